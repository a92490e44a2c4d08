//! The command line, and the plan that it asks for.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use corelane_runtime::Cores;

use crate::error::LoadError;
use crate::expectation::Expectation;
use crate::plan::{Pace, Plan};
use crate::request::{Request, RequestParts};
use crate::schedule::Arrivals;
use crate::sweep::{Sweep, parse_rate};
use crate::target::Target;

/// More than that many connections need more ports than one address has.
const CONNECTIONS_MAX: u64 = 1_000_000;
const PIPELINE_MAX: u64 = 1024;

/// Measures HTTP servers.
#[derive(Debug, Parser)]
#[command(name = "corelane-bench", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Loads one HTTP/1.1 server and measures its rate and latency.
    Load(Box<LoadArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// What to load, such as http://127.0.0.1:8080/plaintext
    pub(crate) url: String,

    /// Connections that are open at a time
    #[arg(short, long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u64).range(1..=CONNECTIONS_MAX))]
    connections: u64,

    /// Requests that each connection may have unanswered
    #[arg(short, long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=PIPELINE_MAX))]
    pipeline: u64,

    /// Open loop: requests a second, whatever the server does (such as 50000 or 50k)
    #[arg(short, long, value_parser = parse_rate, conflicts_with = "sweep")]
    rate: Option<f64>,

    /// Open loop: how requests are spread over time
    #[arg(long, value_enum, default_value_t)]
    arrivals: Arrivals,

    /// Open loop at rising rates, each for --duration, to find where the server stops keeping up;
    /// without a value up to 110 % of what a closed loop reaches
    #[arg(long, value_name = "FROM:TO:STEPS", num_args = 0..=1, require_equals = true,
          default_missing_value = "auto")]
    pub(crate) sweep: Option<Sweep>,

    /// How long to measure
    #[arg(short, long, value_name = "TIME", default_value = "10s",
          value_parser = parse_duration)]
    duration: Duration,

    /// How long to load before measuring
    #[arg(short, long, value_name = "TIME", default_value = "1s",
          value_parser = humantime::parse_duration)]
    warmup: Duration,

    /// How long to wait for a connection, and for an answer
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    timeout: Duration,

    /// The CPUs that generate the load: all, physical, a count, or a list such as 0,2-3
    #[arg(long, value_name = "SPEC", default_value = "1")]
    pub(crate) cores: Cores,

    /// The method of every request
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,

    /// A header field of every request; may be given again
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The body of every request
    #[arg(short, long, value_name = "TEXT", conflicts_with = "body_file")]
    body: Option<String>,

    /// A file with the body of every request
    #[arg(long, value_name = "FILE")]
    body_file: Option<PathBuf>,

    /// Sends bodies chunked, in chunks of this many bytes
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..=1 << 30))]
    chunked: Option<u64>,

    /// One of several requests to be sent in rotation, instead of the URL's path; may be given
    /// again. `{rand:1:50000}` in paths, header values and bodies is a random number, `{seq:1}`
    /// counts
    #[arg(long = "request", value_name = "METHOD PATH [BODY]")]
    requests: Vec<String>,

    /// A file with one --request a line; empty lines and those with a # are passed over
    #[arg(long, value_name = "FILE")]
    request_file: Option<PathBuf>,

    /// Closes each connection after that many requests and makes it anew
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with = "no_keep_alive")]
    requests_per_connection: Option<u64>,

    /// One request a connection, with `Connection: close`
    #[arg(long)]
    no_keep_alive: bool,

    /// A status that answers may have; may be given again (default: any 2xx)
    #[arg(long = "expect-status", value_name = "CODE",
          value_parser = clap::value_parser!(u16).range(200..=599))]
    expect_statuses: Vec<u16>,

    /// The length that the body of each answer must have
    #[arg(long, value_name = "BYTES")]
    expect_length: Option<u64>,

    /// What the body of each answer must be
    #[arg(long, value_name = "TEXT")]
    expect_body: Option<String>,

    /// Writes the result to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Writes a histogram a second to this file, in HdrHistogram's log format
    #[arg(long, value_name = "FILE", conflicts_with = "sweep")]
    pub(crate) hdr: Option<PathBuf>,

    /// No live line while the load runs
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

impl LoadArguments {
    /// The plan for a run at the given pace, once the target is known to be there.
    ///
    /// # Errors
    /// An argument that makes no sense, a file that cannot be read, an unreachable target.
    pub(crate) fn plan(&self, shard_count: usize) -> Result<Plan, LoadError> {
        let target = Target::parse(&self.url)?;
        let requests = self
            .request_parts(&target)?
            .iter()
            .map(|parts| Request::new(parts, &target.authority))
            .collect::<Result<Vec<_>, _>>()?;
        if self.connections < shard_count as u64 {
            let problem = format!("{shard_count} shards need at least {shard_count}, one each");
            return Err(LoadError::argument("--connections", problem));
        }
        let pace = match self.rate {
            None => Pace::Closed,
            Some(rate) => Pace::Open { rate, arrivals: self.arrivals },
        };
        if pace == Pace::Closed && self.sweep.is_none() && self.arrivals != Arrivals::default() {
            let problem = "a closed loop has no arrivals; it needs --rate or --sweep";
            return Err(LoadError::argument("--arrivals", problem));
        }
        Ok(Plan {
            address: target.reach()?,
            requests,
            pace,
            connection_count: bounded(self.connections),
            pipeline: bounded(self.pipeline),
            requests_per_connection: match self.no_keep_alive {
                true => 1,
                false => self.requests_per_connection.unwrap_or(u64::MAX),
            },
            duration: self.duration,
            warmup: self.warmup,
            timeout: self.timeout,
            expectation: Expectation {
                statuses: self.expect_statuses.clone(),
                length: self.expect_length,
                body: self.expect_body.clone().map(String::into_bytes),
            },
        })
    }

    /// The pace at one step of a sweep.
    pub(crate) fn pace_at(&self, rate: f64) -> Pace {
        Pace::Open { rate, arrivals: self.arrivals }
    }

    fn request_parts(&self, target: &Target) -> Result<Vec<RequestParts>, LoadError> {
        let common = RequestParts {
            method: self.method.clone(),
            path: target.path.clone(),
            headers: self
                .headers
                .iter()
                .map(|header| parse_header(header))
                .collect::<Result<_, _>>()?,
            body: self.common_body()?,
            chunk_bytes: self.chunked.map(bounded),
            keeps_alive: !self.no_keep_alive,
        };
        let mut lines = self.requests.clone();
        if let Some(path) = &self.request_file {
            let text = fs::read_to_string(path).map_err(|source| file_error(path, source))?;
            let is_request = |line: &&str| !line.is_empty() && !line.starts_with('#');
            lines.extend(text.lines().map(str::trim).filter(is_request).map(String::from));
            if lines.is_empty() {
                let problem = format!("{} holds no request", path.display());
                return Err(LoadError::argument("--request-file", problem));
            }
        }
        let parts = if lines.is_empty() {
            vec![common]
        } else {
            let parse = |line: &String| parse_request(line, &common);
            lines.iter().map(parse).collect::<Result<_, _>>()?
        };
        if self.chunked.is_some() && parts.iter().all(|parts| parts.body.is_none()) {
            let problem = "there is no body to be sent in chunks; see --body";
            return Err(LoadError::argument("--chunked", problem));
        }
        Ok(parts)
    }

    fn common_body(&self) -> Result<Option<Vec<u8>>, LoadError> {
        match (&self.body, &self.body_file) {
            (Some(body), _) => Ok(Some(body.clone().into_bytes())),
            (None, Some(path)) => {
                fs::read(path).map(Some).map_err(|source| file_error(path, source))
            }
            (None, None) => Ok(None),
        }
    }
}

fn file_error(path: &std::path::Path, source: std::io::Error) -> LoadError {
    LoadError::File { path: path.to_owned(), source }
}

/// `METHOD PATH [BODY]`; the body is the rest of the line.
fn parse_request(line: &str, common: &RequestParts) -> Result<RequestParts, LoadError> {
    let mut words = line.trim().splitn(3, ' ');
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        let problem = format!("\"{line}\" is not METHOD PATH [BODY]");
        return Err(LoadError::argument("--request", problem));
    };
    if !path.starts_with('/') {
        let problem = format!("the path of \"{line}\" does not start with /");
        return Err(LoadError::argument("--request", problem));
    }
    let body = words.next().map(|body| body.as_bytes().to_vec());
    Ok(RequestParts {
        method: method.to_owned(),
        path: path.to_owned(),
        body: body.or_else(|| common.body.clone()),
        ..common.clone()
    })
}

fn parse_header(text: &str) -> Result<(String, String), LoadError> {
    let Some((name, value)) = text.split_once(':') else {
        let problem = format!("\"{text}\" is not NAME: VALUE");
        return Err(LoadError::argument("--header", problem));
    };
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration.is_zero() {
        return Err("must be longer than zero".to_owned());
    }
    Ok(duration)
}

/// A number that was checked to be small.
fn bounded(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<LoadArguments, String> {
        let words = line.split('|').map(str::trim);
        let words = ["corelane-bench", "load"].into_iter().chain(words);
        let arguments = Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Load(load) = arguments.command;
        Ok(*load)
    }

    /// The parts of each request of a command line without a target.
    fn parts(line: &str) -> Result<Vec<RequestParts>, String> {
        let arguments = parse(line)?;
        let target = Target::parse(&arguments.url).map_err(|error| error.to_string())?;
        let parts = arguments.request_parts(&target);
        parts.map_err(|error| error.to_string())
    }

    fn refuse(line: &str, expected: &str) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let line = line.replace("URL", &url);
        let plan = parse(&line).and_then(|arguments| {
            let plan = arguments.plan(2);
            plan.map_err(|error| error.to_string())
        });
        let problem = plan.map(|_| ()).expect_err(&line);
        assert!(problem.contains(expected), "{line}: {problem}");
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn requests_are_put_together() {
        let plain = parts("http://a/b").expect("parts");
        assert_eq!(plain.len(), 1);
        assert_eq!((plain[0].method.as_str(), plain[0].path.as_str()), ("GET", "/b"));
        assert!(plain[0].keeps_alive);
        let posts = parts(
            "http://a | -H | A: b | -X | PUT | --body | x | --no-keep-alive | \
             --request | POST /c {\"d\": 1} | --request | GET /e",
        )
        .expect("parts");
        assert_eq!(posts.len(), 2);
        assert_eq!(posts[0].body.as_deref(), Some(b"{\"d\": 1}".as_slice()));
        assert_eq!(posts[1].body.as_deref(), Some(b"x".as_slice()));
        assert_eq!(posts[1].headers, [("A".to_owned(), "b".to_owned())]);
        assert!(!posts[1].keeps_alive);
    }

    #[test]
    fn requests_are_read_from_a_file() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("requests");
        fs::write(&path, "# two\n\nGET /a\n  POST /b c d\n").expect("write");
        let line = format!("http://a | --request-file | {}", path.display());
        let parts = parts(&line).expect("parts");
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[1].body.as_deref(), Some(b"c d".as_slice()));
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        refuse("URL | --connections | 0", "--connections");
        refuse("URL | --connections | 1", "2 shards");
        refuse("URL | --pipeline | 0", "--pipeline");
        refuse("URL | --rate | fast", "fast");
        refuse("URL | --rate | 1 | --sweep", "--sweep");
        refuse("URL | --sweep=2:1", "FROM:TO:STEPS");
        refuse("URL | --duration | 0s", "longer than zero");
        refuse("URL | --duration | 10", "time unit");
        refuse("URL | --cores | many", "cores");
        refuse("URL | --arrivals | poisson", "--rate or --sweep");
        refuse("URL | --chunked | 10", "--body");
        refuse("URL | --body | a | --body-file | b", "--body-file");
        refuse("URL | --body-file | /nonexistent", "/nonexistent");
        refuse("URL | --header | a", "NAME: VALUE");
        refuse("URL | --request | GET", "METHOD PATH");
        refuse("URL | --request | GET x", "start with /");
        refuse("URL | --request | GET /{rand:2:1}", "{rand:2:1}");
        refuse("URL | --expect-status | 99", "--expect-status");
        refuse("URL | --requests-per-connection | 2 | --no-keep-alive", "--no-keep-alive");
        refuse("ftp://a", "http://");
    }
}
