//! The arena under other people's load generators: wrk and h2load.

use std::process::Command;

use crate::support::Program;

/// What a command printed. It must be installed: `scripts/test packages` does so.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{out}", output.status);
    out
}

fn wrk(arena: &Program, target: &str) -> String {
    run(Command::new("wrk").args(["-t1", "-c64", "-d1s", &arena.link(target)]))
}

#[test]
fn wrk_sees_no_error_on_any_path() {
    let arena = Program::arena(&[]);
    for target in ["/plaintext", "/json", "/pipeline", "/baseline11?a=1&b=2", "/json/50?m=3"] {
        let report = wrk(&arena, target);
        assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
        assert!(!report.contains("\n  0 requests"), "{report}");
    }
}

#[test]
fn h2load_sees_no_error() {
    let arena = Program::arena(&[]);
    let arguments = ["--h1", "--clients=64", "--threads=1", "--duration=1"];
    let report = run(Command::new("h2load").args(arguments).arg(arena.link("/plaintext")));
    let requests = report.lines().find(|line| line.starts_with("requests:")).expect("a summary");
    assert!(requests.contains(" 0 failed, 0 errored, 0 timeout"), "{report}");
}
