//! A server inside a program that has threads of its own: it starts, goes on, and is told to end.
//!
//! The program here measures something on a thread, serves the latest measurement on one core, and
//! ends when its standard input does. Without an argument it takes any free port:
//! `cargo run -p corelane-examples --bin embedding`, then `curl` what it prints, then Ctrl-D.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use corelane::{App, Cores, get};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or("127.0.0.1:0".to_owned());
    let measurement = Arc::new(AtomicU64::new(0));

    let written = Arc::clone(&measurement);
    thread::spawn(move || {
        loop {
            written.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(10));
        }
    });

    // A handler is cloned for every shard; what it shares with other threads is Send and Sync.
    let latest = move || {
        let measurement = Arc::clone(&measurement);
        async move { measurement.load(Ordering::Relaxed).to_string() }
    };
    // `start` returns once every shard listens. Signals stay the program's own business.
    let server = App::new().cores(Cores::Count(1)).route("/", get(latest)).start(&address)?;
    println!("{}", server.ready_line());

    std::io::stdin().read_to_end(&mut Vec::new())?;

    // Finishes what is in flight; dropping the server instead would cut it off.
    server.drain();
    server.join()?;
    println!("ended");
    Ok(())
}
