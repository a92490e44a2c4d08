//! What the services among the examples share: their options, their log, and how they end.

mod options;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use corelane::log::{AccessLog, StandardError};
use corelane::runtime::ShardConfig;
use corelane::{Admin, App, Error, ServerConfig};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub use options::{AdminAt, Flags, Options, read_flags};

/// Serves what `prepare` makes, until a signal ends it. The exit code is 2 where the operator can
/// change something, 1 where the machine refuses; one sentence on standard error says what.
pub fn run(program: &str, prepare: impl FnOnce() -> Result<(App, Options), String>) -> ExitCode {
    let fail = |code: u8, problem: &str| {
        eprintln!("{program}: {problem}");
        ExitCode::from(code)
    };
    let (app, options) = match start_log().and_then(|()| prepare()) {
        Ok(prepared) => prepared,
        Err(problem) => return fail(2, &problem),
    };
    // Of the settings of connections, the programs have none of their own.
    let config = ServerConfig { proxy: options.proxy, ..ServerConfig::default() };
    let app = app.config(config).cores(options.cores).balance(options.balance);
    let app = match options.admin.admin() {
        Some(admin) => app.admin(shown(admin, &options.others)),
        None => app,
    };
    let app = app.shard(ShardConfig { spin: options.spin, ..ShardConfig::default() });
    let app = app.concurrency_max(options.limit_concurrency);
    let app = options.pid_file.into_iter().fold(app, App::pid_file);
    let log = options.access_log.map(|path| access_log(path).format(options.access_log_format));
    let app = log.into_iter().fold(app, App::access_log);
    match app.serve(options.listen) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Error::Config(error)) => fail(2, &error.to_string()),
        Err(error) => fail(1, &error.to_string()),
    }
}

fn access_log(path: PathBuf) -> AccessLog {
    if path.as_os_str() == "-" { AccessLog::stdout() } else { AccessLog::file(path) }
}

/// With the program's own settings among those that it shows.
fn shown(admin: Admin, others: &[(&'static str, String)]) -> Admin {
    others.iter().fold(admin, |admin, (key, value)| admin.show(*key, value))
}

/// Logs to standard error; standard output has the one line that says the service is ready.
///
/// The variable `RUST_LOG` says how much, such as `warn` or `info,corelane_runtime=debug`.
fn start_log() -> Result<(), String> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(text) => text.parse::<Targets>().map_err(|error| format!("RUST_LOG: {error}"))?,
        Err(_) => Targets::new().with_default(LevelFilter::INFO),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(|| StandardError)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).init();
    Ok(())
}
