//! `corelane doctor`: what of this machine stops the server or slows it down, and the fix.

mod finding;
mod kernel;
mod limits;
mod machine;
mod network;
mod print;
mod processor;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use finding::{Check, Finding, Level};
use machine::Machine;

/// Says what of this machine stops the server or slows it down, and how to fix it.
///
/// It looks at the limits of its own process: run it where and as the service runs. The exit code
/// is 1 where something stops the server.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Prints JSON in the place of text
    #[arg(long)]
    json: bool,
    /// Reads the kernel's files below DIR, such as those of another machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Every check, in the order of the report.
const CHECKS: [&[Check]; 4] = [kernel::CHECKS, limits::CHECKS, network::CHECKS, processor::CHECKS];

/// Looks, prints, and says by the exit code whether the server can start.
pub(crate) fn run(options: &Options) -> ExitCode {
    let findings = examine(&Machine::below(&options.root));
    let mut out = std::io::stdout().lock();
    // A closed standard output changes nothing about the machine.
    let _ = match options.json {
        true => print::json(&mut out, &findings),
        false => print::text(&mut out, &findings),
    };
    let starts = findings.iter().all(|finding| finding.level < Level::Stop);
    if starts { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn examine(machine: &Machine) -> Vec<Finding> {
    CHECKS.iter().copied().flatten().map(|check| check.run(machine)).collect()
}
