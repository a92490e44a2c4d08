//! A server that stalls cannot hide it from an open loop.

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{OK, Stub, measure, write};

/// A generator that shares its CPU with another one measures that one's turns.
static ALONE: Mutex<()> = Mutex::new(());

const PERIOD: Duration = Duration::from_secs(1);
const STALL: Duration = Duration::from_millis(100);

/// A server that answers nothing during the first tenth of each second.
fn stalling() -> Stub {
    let start = Instant::now();
    Stub::start(move |_, stream| {
        let into = start.elapsed().as_nanos() % PERIOD.as_nanos();
        let left = STALL.as_nanos().saturating_sub(into);
        std::thread::sleep(Duration::from_nanos(u64::try_from(left).expect("small")));
        write(stream, OK)
    })
}

#[test]
fn the_open_loop_shows_a_stall_that_the_uncorrected_latency_hides() {
    let _alone = ALONE.lock();
    let stub = stalling();
    for arrivals in ["constant", "poisson"] {
        // A tenth of the requests are due in a stall, uniformly: the 99th of a hundred waits for
        // 90 ms. But only one request a connection is sent in each: two of two thousand.
        let (run, code) = measure(
            &stub.url("/"),
            &[
                "--rate",
                "2000",
                "--arrivals",
                arrivals,
                "--connections",
                "2",
                "--duration",
                "3s",
                "--warmup",
                "200ms",
            ],
        );
        assert_eq!(code, 0);
        let p99 = |kind: &str| run["latency_ns"][kind]["p99"].as_u64().expect("a number");
        let (corrected, uncorrected) = (p99("corrected"), p99("uncorrected"));
        assert!(corrected > 60_000_000, "{arrivals}: {run:#}");
        assert!(uncorrected < corrected / 2, "{arrivals}: {run:#}");
    }
}

#[test]
fn the_closed_loop_cannot_see_it() {
    let _alone = ALONE.lock();
    let stub = stalling();
    let (run, code) =
        measure(&stub.url("/"), &["--connections", "2", "--duration", "2s", "--warmup", "0s"]);
    assert_eq!(code, 0);
    assert!(run["latency_ns"].get("uncorrected").is_none());
    let latency = |name: &str| run["latency_ns"]["corrected"][name].as_u64().expect("a number");
    // Two stalls of two requests each, among thousands.
    assert!(latency("max") > 60_000_000, "{run:#}");
    assert!(latency("p99") < latency("max") / 2, "{run:#}");
}

#[test]
fn a_server_that_falls_silent_is_counted_by_what_was_due() {
    let _alone = ALONE.lock();
    let start = Instant::now();
    let stub = Stub::start(move |_, stream| {
        if start.elapsed() > Duration::from_millis(1500) {
            std::thread::sleep(Duration::from_secs(60));
        }
        write(stream, OK)
    });
    let (run, _) = measure(
        &stub.url("/"),
        &[
            "--rate",
            "1000",
            "--connections",
            "4",
            "--duration",
            "2s",
            "--warmup",
            "0s",
            "--timeout",
            "1s",
        ],
    );
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    assert_eq!(number(&run["errors"]["timeout"]), 4, "{run:#}");
    assert!(number(&run["unsent"]) > 100, "{run:#}");
    // Each request that was due has a latency.
    let corrected = &run["latency_ns"]["corrected"];
    assert_eq!(number(&corrected["count"]), 2000, "{run:#}");
    assert!(number(&corrected["p90"]) > 100_000_000, "{run:#}");
}
