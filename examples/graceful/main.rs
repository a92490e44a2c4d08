//! A graceful stop: SIGTERM or Ctrl-C lets requests in flight finish; a second one ends at once.
//!
//! Try `curl --include http://127.0.0.1:8080/slow/5000` and, while it waits, Ctrl-C here: the
//! answer still comes, with `Connection: close`. New connections are refused after that.

use std::time::Duration;

use corelane::runtime::sleep;
use corelane::{App, Path, ServerConfig, get};

fn main() -> corelane::Result<()> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:8080".to_owned());
    let config = ServerConfig {
        // As long as the supervisor waits before it kills: 10 s for Docker, 90 s for systemd.
        drain_timeout: Duration::from_secs(9),
        // A server behind a proxy closes idle connections later than the proxy does.
        idle_timeout: Duration::from_secs(75),
        ..ServerConfig::default()
    };
    App::new()
        .config(config)
        .route("/slow/{milliseconds}", get(slow))
        // Comes back with `Ok` once everything is drained, so that what follows is the clean-up.
        .serve(&address)?;
    println!("drained");
    Ok(())
}

async fn slow(Path(milliseconds): Path<u64>) -> String {
    // The shard serves others meanwhile: never std::thread::sleep in a handler.
    sleep(Duration::from_millis(milliseconds)).await;
    format!("answered after {milliseconds} ms\n")
}
