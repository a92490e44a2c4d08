//! What the operator of a service may choose: flags, over a file in TOML with the same names.
//!
//! ```toml
//! listen = ["127.0.0.1:8080", "[::1]:8080"] # or one address as text
//! cores = "all"                             # or "physical", a count, a list such as "0,2-3"
//! balance = "hash"                          # or "least_connections", or "cpu"
//! admin = "127.0.0.1:9090"                  # or "unix:PATH", or "none"
//! limit_concurrency = "none"                # or "auto", or a count
//! spin = "50us"                             # or "0s"
//! pid_file = "service.pid"                  # relative to this file's folder
//! trusted_proxies = ["10.0.0.0/8"]          # or one network as text; default: nobody
//! proxy_field = "x-forwarded-for"           # or "forwarded", or "none"
//! proxy_protocol = true                     # default: false
//! access_log = "access.log"                 # the same; or "-" for standard output
//! access_log_format = "combined"            # or "common", "json", "logfmt"
//! ```

use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser};
use corelane::log::AccessFormat;
use corelane::runtime::Balance;
use corelane::{Address, Admin, Concurrency, ConfigError, Cores, IpNet, ProxyConfig, ProxyField};
use toml::de::{DeTable, DeValue};

/// The keys that every service has behind its own ones.
const SHARED: [&str; 10] = [
    "balance",
    "admin",
    "limit_concurrency",
    "spin",
    "pid_file",
    "trusted_proxies",
    "proxy_field",
    "proxy_protocol",
    "access_log",
    "access_log_format",
];

const LISTEN_DEFAULT: &str = "127.0.0.1:8080";
const ADMIN_DEFAULT: &str = "127.0.0.1:9090";

/// The flags that every service has.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where to listen: IP:PORT or unix:PATH; can be repeated [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Vec<Address>,
    /// Which CPUs get a shard: all, physical, a count, or a list such as 0,2-3 [default: all]
    #[arg(long, value_name = "SPEC")]
    cores: Option<Cores>,
    /// Which shard serves a connection: hash, least_connections or cpu [default: hash]
    #[arg(long, value_name = "POLICY")]
    balance: Option<Balance>,
    /// Where metrics, health and a live page are: IP:PORT, unix:PATH or none
    /// [default: 127.0.0.1:9090 where it is free]
    #[arg(long, value_name = "ADDR")]
    admin: Option<AdminAt>,
    /// Requests that a shard takes on at once: a count, auto or none [default: none]
    #[arg(long, value_name = "COUNT")]
    limit_concurrency: Option<Concurrency>,
    /// How long an idle shard looks for work before it sleeps, such as 50us [default: 0s]
    #[arg(long, value_name = "TIME")]
    spin: Option<humantime::Duration>,
    /// Keeps the process's number in this file, for corelane restart
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Believes this proxy, or this network of proxies, about the addresses of clients; can be
    /// repeated [default: nobody is believed]
    #[arg(long, value_name = "NETWORK", value_parser = ProxyConfig::network)]
    trusted_proxy: Vec<IpNet>,
    /// In which field they name them: x-forwarded-for, forwarded or none
    /// [default: x-forwarded-for]
    #[arg(long, value_name = "FIELD")]
    proxy_field: Option<ProxyField>,
    /// Each connection begins with a PROXY protocol head, version 1 or 2, of a trusted proxy
    #[arg(long)]
    proxy_protocol: bool,
    /// Writes a line for each request to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    access_log: Option<PathBuf>,
    /// How: common, combined, json or logfmt [default: combined]
    #[arg(long, value_name = "FORMAT")]
    access_log_format: Option<AccessFormat>,
    /// A TOML file with these options as its keys; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What was chosen.
#[derive(Debug, Default, PartialEq)]
pub struct Options {
    /// Where to listen: at least one address.
    pub listen: Vec<Address>,
    /// Which CPUs get a shard.
    pub cores: Cores,
    /// Which shard serves a connection.
    pub balance: Balance,
    /// Where the admin address is.
    pub admin: AdminAt,
    /// Requests that a shard takes on at once.
    pub limit_concurrency: Concurrency,
    /// How long an idle shard looks for work before it sleeps.
    pub spin: Duration,
    /// The file that is to have the process's number in it.
    pub pid_file: Option<PathBuf>,
    /// Whom to believe about the addresses of clients.
    pub proxy: ProxyConfig,
    /// The file that is to have a line for each request.
    pub access_log: Option<PathBuf>,
    /// How its lines are written.
    pub access_log_format: AccessFormat,
    /// The file's values of the keys that are the program's own, as text.
    pub others: Vec<(&'static str, String)>,
    /// The folder of the file, to which its paths are relative.
    pub folder: PathBuf,
}

impl Flags {
    /// Reads the file that the flags name, and puts the flags over it. `others` are the keys that
    /// it may have beside those of the flags.
    ///
    /// # Errors
    /// What can not be obeyed, in one sentence.
    pub fn over_file(self, others: &[&'static str]) -> Result<Options, String> {
        let mut file = match &self.config {
            Some(path) => Settings::read(path, others)?,
            None => Settings::default(),
        };
        let mut listen = if self.listen.is_empty() { file.listen } else { self.listen };
        if listen.is_empty() {
            listen = LISTEN_DEFAULT.parse().into_iter().collect();
        }
        let cores = self.cores.or(file.cores.take()).unwrap_or_default();
        let balance = self.balance.or(file.balance).unwrap_or_default();
        let admin = self.admin.or(file.admin.take()).unwrap_or_default();
        let folder = self.config.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let folder = folder.to_owned();
        let limit_concurrency = self.limit_concurrency.or(file.limit_concurrency);
        let limit_concurrency = limit_concurrency.unwrap_or_default();
        let spin = self.spin.or(file.spin).map(Duration::from).unwrap_or_default();
        let pid_file = self.pid_file.or(file.pid_file.map(|path| folder.join(path)));
        let is_trusted = !self.trusted_proxy.is_empty();
        let proxy = ProxyConfig {
            trusted: if is_trusted { self.trusted_proxy } else { file.trusted_proxies },
            field: self.proxy_field.or(file.proxy_field).unwrap_or_default(),
            has_protocol_head: self.proxy_protocol || file.proxy_protocol,
        };
        let in_folder =
            |path: PathBuf| if path.as_os_str() == "-" { path } else { folder.join(path) };
        let access_log = self.access_log.or(file.access_log.map(in_folder));
        let access_log_format = self.access_log_format.or(file.access_log_format);
        Ok(Options {
            listen,
            cores,
            balance,
            admin,
            limit_concurrency,
            spin,
            pid_file,
            proxy,
            access_log,
            access_log_format: access_log_format.unwrap_or_default(),
            others: file.others,
            folder,
        })
    }
}

/// Where the admin address is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminAt {
    /// On 127.0.0.1:9090, unless another program has that.
    #[default]
    Usual,
    /// There, or it is an error.
    At(Address),
    /// Nowhere.
    Nowhere,
}

impl FromStr for AdminAt {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<AdminAt, ConfigError> {
        if text == "none" {
            return Ok(AdminAt::Nowhere);
        }
        let address = text.parse().map(AdminAt::At);
        address.map_err(|error: ConfigError| ConfigError::new("admin", error.problem))
    }
}

impl AdminAt {
    /// The address, if there is to be one.
    pub fn admin(self) -> Option<Admin> {
        match self {
            AdminAt::Nowhere => None,
            AdminAt::At(address) => Some(Admin::new(address)),
            AdminAt::Usual => {
                ADMIN_DEFAULT.parse::<Address>().ok().map(|address| Admin::new(address).optional())
            }
        }
    }
}

/// Reads the program's arguments. For `--help`, prints it and ends the program.
///
/// # Errors
/// What can not be obeyed, in one sentence.
pub fn read_flags<F: Parser>(program: &str) -> Result<F, String> {
    F::try_parse().map_err(|error| {
        if error.kind() == ErrorKind::DisplayHelp {
            error.exit();
        }
        // The first line of clap's error: the ones below it repeat the usage.
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default();
        format!("{}; see {program} --help", line.trim_start_matches("error: "))
    })
}

/// What a file says; `None` and empty where it says nothing.
#[derive(Debug, Default, PartialEq)]
struct Settings {
    listen: Vec<Address>,
    cores: Option<Cores>,
    balance: Option<Balance>,
    admin: Option<AdminAt>,
    limit_concurrency: Option<Concurrency>,
    spin: Option<humantime::Duration>,
    pid_file: Option<PathBuf>,
    trusted_proxies: Vec<IpNet>,
    proxy_field: Option<ProxyField>,
    proxy_protocol: bool,
    access_log: Option<PathBuf>,
    access_log_format: Option<AccessFormat>,
    others: Vec<(&'static str, String)>,
}

/// What is wrong, and at which bytes of the file.
struct Mistake(String, Range<usize>);

impl Settings {
    fn read(path: &Path, others: &[&'static str]) -> Result<Settings, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("config: {}: {error}", path.display()))?;
        Settings::parse(&text, others)
            .map_err(|problem| format!("config: {}, {problem}", path.display()))
    }

    fn parse(text: &str, others: &[&'static str]) -> Result<Settings, String> {
        Settings::take(text, others).map_err(|Mistake(problem, span)| {
            let before = text.as_bytes().iter().take(span.start);
            let line = before.filter(|byte| **byte == b'\n').count() + 1;
            format!("line {line}: {problem}")
        })
    }

    /// Goes through the keys by hand: a derived reader names the line, or the key, but not both.
    fn take(text: &str, others: &[&'static str]) -> Result<Settings, Mistake> {
        let mut settings = Settings::default();
        let table = DeTable::parse(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            // Its messages may be several lines long.
            Mistake(error.message().lines().collect::<Vec<_>>().join(", "), span)
        })?;
        for (key, value) in table.into_inner() {
            let (span, value) = (value.span(), value.into_inner());
            let other = others.iter().find(|other| ***other == **key.get_ref());
            let taken = match (&**key.get_ref(), other) {
                ("listen", _) => one_or_more(&value, str::parse::<Address>)
                    .map(|listen| settings.listen = listen),
                ("cores", _) => parse(&value).map(|cores| settings.cores = Some(cores)),
                ("balance", _) => parse(&value).map(|balance| settings.balance = Some(balance)),
                ("admin", _) => parse(&value).map(|admin| settings.admin = Some(admin)),
                ("limit_concurrency", _) => {
                    parse(&value).map(|limit| settings.limit_concurrency = Some(limit))
                }
                ("spin", _) => parse(&value).map(|spin| settings.spin = Some(spin)),
                ("pid_file", _) => parse(&value).map(|path| settings.pid_file = Some(path)),
                ("trusted_proxies", _) => one_or_more(&value, ProxyConfig::network)
                    .map(|networks| settings.trusted_proxies = networks),
                ("proxy_field", _) => parse(&value).map(|field| settings.proxy_field = Some(field)),
                ("proxy_protocol", _) => boolean(&value).map(|is| settings.proxy_protocol = is),
                ("access_log", _) => parse(&value).map(|path| settings.access_log = Some(path)),
                ("access_log_format", _) => {
                    parse(&value).map(|format| settings.access_log_format = Some(format))
                }
                (_, Some(other)) => parse(&value).map(|text| settings.others.push((other, text))),
                (unknown, None) => {
                    let known = [&["listen", "cores"], others, &SHARED[..]].concat().join(", ");
                    let unknown = unknown.escape_debug();
                    let problem = format!("the key {unknown} is unknown; known: {known}");
                    return Err(Mistake(problem, key.span()));
                }
            };
            let named = |problem: String| {
                let prefix = format!("{}: ", key.get_ref());
                // The libraries' own errors name the setting already.
                if problem.starts_with(&prefix) { problem } else { prefix + &problem }
            };
            taken.map_err(|problem| Mistake(named(problem), span))?;
        }
        Ok(settings)
    }
}

/// A list, or the only one of it; never empty.
fn one_or_more<T, E: Display>(
    value: &DeValue<'_>,
    read: impl Fn(&str) -> Result<T, E>,
) -> Result<Vec<T>, String> {
    let one = |value: &DeValue<'_>| read(text(value)?).map_err(|error| error.to_string());
    match value {
        DeValue::Array(values) if values.is_empty() => Err("name at least one".to_owned()),
        DeValue::Array(values) => values.iter().map(|value| one(value.get_ref())).collect(),
        value => one(value).map(|one| vec![one]),
    }
}

fn parse<T: FromStr<Err: Display>>(value: &DeValue<'_>) -> Result<T, String> {
    text(value)?.parse().map_err(|error: T::Err| error.to_string())
}

/// Text, or a whole number where the text would be one.
fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    match value {
        DeValue::String(text) => Ok(text),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str()),
        value => Err(format!("write it as text in quotes, not as {}", value.type_str())),
    }
}

fn boolean(value: &DeValue<'_>) -> Result<bool, String> {
    match value {
        DeValue::Boolean(is) => Ok(*is),
        value => Err(format!("write true or false, not a value of type {}", value.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<Settings, &str>) {
        match (Settings::parse(text, &["dataset"]), expected) {
            (Err(problem), Err(part)) => assert!(problem.contains(part), "{text}: {problem}"),
            (parsed, Ok(expected)) => assert_eq!(parsed, Ok(expected), "{text}"),
            (parsed, expected) => panic!("{text}: {parsed:?}, not {expected:?}"),
        }
    }

    #[test]
    fn what_a_file_may_say() {
        let listen = |texts: &[&str]| texts.iter().filter_map(|text| text.parse().ok()).collect();
        check("", Ok(Settings::default()));
        check(
            "# Both.\nlisten = ['127.0.0.1:1', \"unix:/run/a\"]\ncores = 2\ndataset = 'a.json'",
            Ok(Settings {
                listen: listen(&["127.0.0.1:1", "unix:/run/a"]),
                cores: Some(Cores::Count(2)),
                others: vec![("dataset", "a.json".to_owned())],
                ..Settings::default()
            }),
        );
        let balance = Some(Balance::LeastConnections);
        check("balance = 'least_connections'", Ok(Settings { balance, ..Settings::default() }));
        let balance = Some(Balance::Cpu);
        check("balance = 'cpu'", Ok(Settings { balance, ..Settings::default() }));
        let listen = listen(&["[::1]:80"]);
        check("listen = '[::1]:80'", Ok(Settings { listen, ..Settings::default() }));
        let networks = ["10.0.0.0/8", "127.0.0.1/32"].map(|text| text.parse().unwrap());
        check(
            "trusted_proxies = ['10.0.0.0/8', '127.0.0.1']\nproxy_field = 'forwarded'\n\
             proxy_protocol = true",
            Ok(Settings {
                trusted_proxies: networks.to_vec(),
                proxy_field: Some(ProxyField::Forwarded),
                proxy_protocol: true,
                ..Settings::default()
            }),
        );
    }

    #[test]
    fn mistakes_name_the_line_and_the_key() {
        check("\n\ncorse = 1", Err("line 3: the key corse is unknown; known: listen, cores"));
        check("listen = 'x'", Err("line 1: listen: \"x\" is no address"));
        check("listen = [\n'127.0.0.1:1',\n1]", Err("listen: \"1\" is no address"));
        check("listen = []", Err("line 1: listen: name at least one"));
        check("trusted_proxies = 'x'", Err("line 1: trusted_proxies: \"x\" is no network"));
        check("proxy_field = 'x'", Err("line 1: proxy_field: \"x\" is not read"));
        check("proxy_protocol = 1", Err("line 1: proxy_protocol: write true or false"));
        check("\ncores = 'some'", Err("line 2: cores: \"some\" is not understood"));
        let admin = Some(AdminAt::At(Address::Unix("/run/b".into())));
        check("admin = 'unix:/run/b'", Ok(Settings { admin, ..Settings::default() }));
        let admin = Some(AdminAt::Nowhere);
        check("admin = 'none'", Ok(Settings { admin, ..Settings::default() }));
        check("admin = 'nowhere'", Err("line 1: admin: \"nowhere\" is no address"));
        check("access_log_format = 'xml'", Err("line 1: access_log_format: \"xml\" is not known"));
        check("balance = 'fair'", Err("line 1: balance: \"fair\" is not known"));
        check("\ncores = true", Err("line 2: cores: write it as text in quotes, not as boolean"));
        let spin = "50us".parse().ok();
        check("spin = '50us'", Ok(Settings { spin, ..Settings::default() }));
        check("spin = '50'", Err("line 1: spin: "));
        check("dataset = 1.5", Err("line 1: dataset: write it as text"));
        check("\"a\\nb\" = 1", Err("line 1: the key a\\nb is unknown"));
        check("cores = 1\ncores = 2", Err("line 2: duplicate key"));
        check("cores = 1\nlisten 'x'", Err("line 2: "));
        check("[server]\nlisten = 'x'", Err("line 1: the key server is unknown"));
    }
}
