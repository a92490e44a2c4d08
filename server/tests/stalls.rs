//! A handler that holds its shard is named in the log by its route.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelane::{App, Path, Shard, get};
use support::TestServer;

/// What the program logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn contains(&self, text: &str) -> bool {
        String::from_utf8_lossy(&self.0.lock().expect("log")).contains(text)
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("log").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Holds the shard until that is counted. The bound only ends a test that has failed already.
async fn hold(Path(part): Path<String>) -> String {
    let stats = Arc::clone(Shard::current().stats());
    if part == "later" {
        // Not in the handler's first poll.
        corelane::sleep(Duration::from_millis(1)).await;
    }
    let (start, before) = (Instant::now(), stats.stalls.value());
    while stats.stalls.value() == before {
        assert!(start.elapsed() < Duration::from_secs(30), "the stall is not counted");
        std::hint::spin_loop();
    }
    part
}

#[test]
fn a_stall_is_logged_with_the_route_of_its_handler() {
    let log = Log::default();
    let writer = log.clone();
    let writer = move || writer.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    tracing::subscriber::set_global_default(subscriber).expect("once");
    let app = App::new()
        .route("/quick", get(async || "quick"))
        .route("/hold/now/{part}", get(hold))
        .route("/hold/later/{part}", get(hold));
    let server = TestServer::start(app);
    assert_eq!(server.get("/quick").text(), "quick");
    for part in ["now", "later"] {
        // One stall a second is logged; those between are counted.
        support::eventually("a line in the log", || {
            assert_eq!(server.get(&format!("/hold/{part}/{part}")).text(), part);
            log.contains(&format!("route=\"/hold/{part}/{{part}}\""))
        });
    }
    server.stop();
}
