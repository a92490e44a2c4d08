//! The command line from the outside: exit codes, output, interruption.

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::{Stub, eventually, measure, run, tool};

#[test]
fn bad_arguments_and_unreachable_targets_exit_with_2() {
    for (arguments, expected) in [
        (&["http://127.0.0.1:1"][..], "cannot be reached"),
        (&["http://no-such-host.invalid"], "cannot be reached"),
        (&["https://127.0.0.1"], "TLS"),
        (&["http://127.0.0.1:1", "--rate", "x"], "--rate"),
        (&["http://127.0.0.1:1", "--cores", "9999-9999"], "--cores"),
        (&["http://127.0.0.1:1", "--no-such-option"], "--no-such-option"),
        (&[], "URL"),
    ] {
        let output = run(arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.contains(expected), "{arguments:?}: {text}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn files_that_cannot_be_written_are_refused_before_the_run() {
    let stub = Stub::ok();
    for option in ["--json", "--hdr"] {
        let output = run(&[&stub.url("/"), option, "/nonexistent/file"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stub.requests().is_empty());
    }
}

#[test]
fn an_interruption_reports_what_there_is() {
    let stub = Stub::ok();
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("report.json");
    let json = path.to_str().expect("UTF-8");
    for pace in [&[][..], &["--rate", "1000"]] {
        let url = stub.url("/");
        let arguments = [&[&url, "--duration", "60s", "--warmup", "100ms", "--json", json], pace];
        let before = stub.requests().len();
        let child = tool(&arguments.concat()).spawn().expect("spawn");
        // Well beyond the warm-up.
        eventually(|| stub.requests().len() > before);
        std::thread::sleep(Duration::from_millis(500));
        let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(kill.expect("kill").success());
        let output = child.wait_with_output().expect("wait");
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("interrupted"), "{text}");
        let report = std::fs::read_to_string(&path).expect("report");
        let report: Value = serde_json::from_str(&report).expect("JSON");
        let run = &report["runs"][0];
        assert_eq!(run["is_interrupted"], true);
        assert!(run["answers"].as_u64() > Some(0), "{run:#}");
        let seconds = run["measured_seconds"].as_f64().expect("a number");
        assert!(seconds > 0.0 && seconds < 59.0, "{run:#}");
        assert_eq!(run["unsent"], 0);
    }
}

#[test]
fn the_table_and_both_files_are_written() {
    let stub = Stub::ok();
    let directory = tempfile::tempdir().expect("directory");
    let hdr = directory.path().join("log.hdr");
    let url = stub.url("/");
    let output = run(&[
        &url,
        "--rate",
        "500",
        "--duration",
        "1200ms",
        "--warmup",
        "0s",
        "--hdr",
        hdr.to_str().expect("UTF-8"),
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "open loop at 500 requests/s",
        "answers/s",
        "p99.99",
        "from due",
        "from sent",
        "2xx ",
        "errors    none",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // No live line where standard error is no terminal.
    assert!(output.stderr.is_empty());
    let log = std::fs::read_to_string(&hdr).expect("log");
    assert_eq!(log.matches("Tag=corrected,").count(), 2, "{log}");
    assert_eq!(log.matches("Tag=uncorrected,").count(), 2, "{log}");
}

#[test]
fn a_sweep_offers_each_rate() {
    let stub = Stub::ok();
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("report.json");
    let url = stub.url("/");
    let output = run(&[
        &url,
        "--sweep=100:300:3",
        "--duration",
        "300ms",
        "--warmup",
        "0s",
        "--json",
        path.to_str().expect("UTF-8"),
    ]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("offered/s"), "{text}");
    let report = std::fs::read_to_string(&path).expect("report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let runs = report["runs"].as_array().expect("runs");
    let rates: Vec<_> = runs.iter().map(|run| run["rate"].as_f64()).collect();
    // On a busy machine the stub may not keep up with the lowest rate, which ends the sweep.
    assert!(rates.len() >= 2);
    let expected = [100.0, 200.0, 300.0].map(Some);
    assert!(expected.starts_with(&rates), "{rates:?}");
}

#[test]
fn several_shards_share_the_load() {
    let stub = Stub::ok();
    let (run, code) = measure(
        &stub.url("/{seq:1}"),
        &[
            "--cores",
            "all",
            "--rate",
            "1000",
            "--arrivals",
            "poisson",
            "--connections",
            "16",
            "--duration",
            "1s",
            "--warmup",
            "0s",
        ],
    );
    assert_eq!(code, 0);
    // Ten standard deviations of a Poisson process.
    let sent = run["sent"].as_f64().expect("a number");
    assert!((sent - 1000.0).abs() < 320.0, "{run:#}");
    let mut paths: Vec<_> = stub.requests().iter().map(|r| r.path().to_owned()).collect();
    let count = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), count, "sequences of different shards never meet");
}
