//! `corelane`: what the server does without a program of one's own.
#![forbid(unsafe_code)]

mod doctor;
mod logs;
mod proxies;
mod restart;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(feature = "event-log")]
use corelane::log::{EventFormat, log_events};

/// An HTTP/1.1 server, one pinned shard a core.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, max_term_width = 100)]
struct Arguments {
    /// How warnings and errors are written to standard error: text, logfmt or json
    #[cfg(feature = "event-log")]
    #[arg(long, global = true, value_name = "FORMAT", default_value_t)]
    log_format: EventFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::Options),
    Serve(serve::Options),
    Restart(restart::Options),
}

fn main() -> ExitCode {
    // Prints what is wrong with the arguments, or the help, and ends the program.
    let arguments = Arguments::parse();
    #[cfg(feature = "event-log")]
    if let Err(error) = log_events(arguments.log_format, "warn") {
        return fail(&error.into());
    }
    let ended = match arguments.command {
        Command::Doctor(options) => return doctor::run(&options),
        Command::Serve(options) => serve::run(options),
        Command::Restart(options) => return restart::run(&options),
    };
    ended.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

/// The operator can change it: 2. The machine refuses: 1.
fn fail(error: &corelane::Error) -> ExitCode {
    eprintln!("corelane: {error}");
    ExitCode::from(if matches!(error, corelane::Error::Config(_)) { 2 } else { 1 })
}
