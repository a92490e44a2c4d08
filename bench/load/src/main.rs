//! `corelane-bench`: measures HTTP servers, with nothing of a server's stall left out.
//!
//! ```text
//!   arguments ──► plan ──► run: a shard on each CPU          report ──► table, --json
//!                           │                                   ▲
//!                           ▼                                   │ intervals, once a second
//!             ┌─────────────────────────────────────────────────┴─────────┐
//!             │ timekeeper   warm-up, window, the wait for what is missing│
//!             │ dispatch     open loop: sends what is due                 │
//!             │ drive        one task a connection: connect, receive, send│
//!             │ connection   requests in flight, no I/O                   │
//!             │ response     bytes to responses, no I/O                   │
//!             └───────────────────────────────────────────────────────────┘
//! ```

#[cfg(test)]
mod allocations;
mod arguments;
mod chunked;
mod connection;
mod dispatch;
mod drive;
mod error;
mod expectation;
mod failure;
mod format;
mod hdr_log;
mod live;
mod load;
mod plan;
mod report;
mod request;
mod response;
mod run;
mod schedule;
mod shard_load;
mod sweep;
mod table;
mod tally;
mod target;
mod template;
mod timekeeper;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Command};

/// 0: measured. 1: nothing was answered, or the machine refused. 2: bad arguments, a file that
/// cannot be used, an unreachable target.
fn main() -> ExitCode {
    let Command::Load(arguments) = Arguments::parse().command;
    match load::load(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("corelane-bench: no request was answered as expected");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("corelane-bench: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
