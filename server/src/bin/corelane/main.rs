//! `corelane`: what the server does without a program of one's own.
#![forbid(unsafe_code)]

mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An HTTP/1.1 server, one pinned shard a core.
#[derive(Debug, Parser)]
#[command(name = "corelane", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Options),
}

fn main() -> ExitCode {
    // Prints what is wrong with the arguments, or the help, and ends the program.
    let Arguments { command } = Arguments::parse();
    start_log();
    let ended = match command {
        Command::Serve(options) => serve::run(options),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corelane: {error}");
            // The operator can change it: 2. The machine refuses: 1.
            ExitCode::from(if matches!(error, corelane::Error::Config(_)) { 2 } else { 1 })
        }
    }
}

/// Warnings and errors go to standard error.
fn start_log() {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    log.with_max_level(tracing::Level::WARN).init();
}
