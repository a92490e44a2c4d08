//! `corelane serve DIR`: a file server in one line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
#[cfg(feature = "compression")]
use corelane::middleware::compression;
use corelane::{Address, Admin, App, Coding, ConfigError, Cores, Files, Server, files};

use crate::logs::AccessOptions;
use crate::proxies::ProxyOptions;

/// Serves the files of a directory until Ctrl-C or SIGTERM, and finishes what is under way then.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The directory
    #[arg(value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Where to listen: IP:PORT or unix:PATH; can be repeated
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    listen: Vec<Address>,
    /// Which CPUs get a shard: all, physical, a count, or a list such as 0,2-3
    #[arg(long, value_name = "SPEC", default_value = "all")]
    cores: Cores,
    /// Answers with index.html where nothing is found: for applications that route in the browser
    #[arg(long)]
    spa: bool,
    /// Shows directories that have no index.html
    #[arg(long)]
    list: bool,
    /// Serves names that begin with a dot as well
    #[arg(long)]
    dotfiles: bool,
    /// Sends NAME.br, NAME.zst or NAME.gz for NAME to clients that take the coding
    #[arg(long)]
    precompressed: bool,
    /// Compresses text for clients that take zstd, gzip or br
    #[cfg_attr(not(feature = "compression"), arg(hide = true))]
    #[arg(long)]
    compress: bool,
    /// Where metrics, health and a live page are: IP:PORT, unix:PATH or none
    #[arg(long, value_name = "ADDR", default_value = "none")]
    admin: AdminAt,
    /// Keeps the process's number in this file, for corelane restart
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Prints nothing when it is ready
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    access: AccessOptions,
    #[command(flatten)]
    proxies: ProxyOptions,
}

/// Where the admin address is.
#[derive(Clone, Debug)]
enum AdminAt {
    Nowhere,
    At(Address),
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

impl Options {
    fn files(&self) -> Files {
        let mut files = files(&self.directory);
        if self.spa {
            files = files.fallback("index.html");
        }
        if self.list {
            files = files.listing();
        }
        if self.dotfiles {
            files = files.dotfiles();
        }
        if self.precompressed {
            files = files.precompressed([Coding::Brotli, Coding::Zstd, Coding::Gzip]);
        }
        files
    }

    fn admin(&self) -> Option<Admin> {
        let AdminAt::At(address) = &self.admin else { return None };
        let admin = Admin::new(address.clone()).show("directory", self.directory.display());
        Some(match self.access.file() {
            Some(file) => admin.show("access_log", file.display()),
            None => admin,
        })
    }
}

/// Serves until a signal ends it.
pub(crate) fn run(options: Options) -> corelane::Result<()> {
    check_directory(&options.directory)?;
    let app = App::new().files("/", options.files()).cores(options.cores.clone());
    let app = options.proxies.believe(app);
    let app = if options.compress { compress(app)? } else { app };
    let app = options.admin().into_iter().fold(app, App::admin);
    let app = options.access.record(app)?;
    let app = options.listen.iter().cloned().fold(app, App::listen);
    let app = options.pid_file.iter().fold(app, App::pid_file);
    app.inherit().start(())?.run_announced(|server| {
        if !options.quiet {
            announce(server, &options);
        }
    })
}

#[cfg(feature = "compression")]
fn compress(app: App) -> Result<App, ConfigError> {
    Ok(app.layer(compression()))
}

#[cfg(not(feature = "compression"))]
fn compress(_: App) -> Result<App, ConfigError> {
    let problem = "this corelane was built without the feature \"compression\"; with \
                   --precompressed it sends NAME.br, NAME.zst or NAME.gz that are there";
    Err(ConfigError::new("compress", problem))
}

/// The same is found out by each shard when it starts, where it is the machine that fails.
fn check_directory(path: &Path) -> Result<(), ConfigError> {
    let problem = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => "it is not a directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(ConfigError::new("DIR", format!("{} can not be served: {problem}", path.display())))
}

fn announce(server: &Server, options: &Options) {
    let directory = options.directory.canonicalize().unwrap_or_else(|_| options.directory.clone());
    let mut out = std::io::stdout();
    // A closed standard output must not end the server.
    let _ = writeln!(out, "{}", server.ready_line());
    let _ = writeln!(out, "files of {}; Ctrl-C ends it", directory.display());
    match server.admin_address() {
        Some(Address::Tcp(admin)) => _ = writeln!(out, "metrics and a live page at http://{admin}"),
        Some(admin) => _ = writeln!(out, "metrics and a live page at {admin}"),
        None => {}
    }
}
