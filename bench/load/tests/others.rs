//! The rates of other load generators on the same target, as a check of our own.
//!
//! The bounds are wide on purpose. They do not say who is faster, which a shared machine cannot
//! tell; they catch a generator that counts wrong.

mod support;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::{OK, Stub, measure, write};

/// What lies between two honest measurements of a server that takes its time.
const SAME: f64 = 1.5;
/// What lies between two generators, each on the same core, of which one may do less work for a
/// request than the other, next to whatever else runs on the machine.
const ALIKE: f64 = 10.0;

/// Another load generator, and where in its output the rate stands.
struct Other {
    name: &'static str,
    arguments: &'static [&'static str],
    before: &'static str,
    after: &'static str,
}

const WRK: Other =
    Other { name: "wrk", arguments: &["-t1", "-d2s", "-c"], before: "Requests/sec:", after: "\n" };

const H2LOAD: Other = Other {
    name: "h2load",
    arguments: &["--h1", "-t1", "-m1", "-D2", "-c"],
    before: "finished in ",
    after: " req/s",
};

/// From crates.io only, and unoptimised where `scripts/torture` has installed it: it is not asked
/// for what it can do at most.
const OHA: Other = Other {
    name: "oha",
    arguments: &["--no-tui", "--output-format", "json", "-z", "2s", "-c"],
    before: "\"requestsPerSec\":",
    after: ",",
};

impl Other {
    /// Requests a second; `None` where it is not installed, which it says.
    fn rate(&self, url: &str, connections: &str) -> Option<f64> {
        let mut command = Command::new(self.name);
        let Ok(output) = command.args(self.arguments).args([connections, url]).output() else {
            eprintln!("{} is not installed: not compared", self.name);
            return None;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        let rest = text.split_once(self.before).map(|(_, rest)| rest);
        let rate = rest.and_then(|rest| rest.split(self.after).next()?.split(' ').next_back());
        let rate = rate.and_then(|rate| rate.trim().parse().ok());
        Some(rate.unwrap_or_else(|| panic!("no rate in {text}")))
    }
}

fn compare(url: &str, connections: &str, others: &[Other], factor: f64) {
    let arguments = ["--connections", connections, "--duration", "2s", "--warmup", "0s"];
    let (run, code) = measure(url, &arguments);
    assert_eq!(code, 0);
    let ours = run["answers_per_second"].as_f64().expect("a number");
    for other in others {
        let Some(theirs) = other.rate(url, connections) else { continue };
        let (ratio, name) = (ours / theirs, other.name);
        eprintln!("{ours:.0} requests/s of ours, {theirs:.0} of {name}");
        assert!((1.0 / factor..factor).contains(&ratio), "{ours} of ours, {theirs} of {name}");
    }
}

#[test]
fn a_server_that_takes_its_time_has_one_rate() {
    // What a request takes is the server's to say: 16 connections, 50 ms each. That is long against
    // the few milliseconds that a thread waits for its turn on a busy machine.
    let stub = Stub::start(|_, stream| {
        std::thread::sleep(Duration::from_millis(50));
        write(stream, OK)
    });
    compare(&stub.url("/"), "16", &[WRK, H2LOAD, OHA], SAME);
}

#[test]
fn the_ceiling_has_a_rate_of_the_same_order() {
    let ceiling = Ceiling::start();
    compare(&ceiling.url, "64", &[WRK, H2LOAD], ALIKE);
}

/// The bare ring loop, killed when dropped.
struct Ceiling {
    process: Child,
    url: String,
}

impl Ceiling {
    fn start() -> Ceiling {
        let mut process = Command::new(ceiling_path())
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the ceiling was built");
        let mut line = String::new();
        let output = process.stdout.take().expect("the output is piped");
        BufReader::new(output).read_line(&mut line).expect("UTF-8");
        let address = line.trim().rsplit(' ').next().expect("an address");
        let url = format!("http://{address}/plaintext");
        Ceiling { process, url }
    }
}

impl Drop for Ceiling {
    fn drop(&mut self) {
        self.process.kill().expect("it runs until it is killed");
        self.process.wait().expect("a killed process ends");
    }
}

/// Beside our own binary; another package's, so it may have to be built.
fn ceiling_path() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_corelane-bench")).with_file_name("ceiling");
    if !path.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "--package", "corelane-ceiling"]);
        if path.parent().is_some_and(|directory| directory.ends_with("release")) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo runs").success(), "the ceiling builds");
    }
    path
}
