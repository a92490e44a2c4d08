//! What it takes to name the place of a stall is given back. Alone in its file: it measures its
//! process.

mod support;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::{config, on_shard};

/// Whether the stall was.
static IS_LOGGED: AtomicBool = AtomicBool::new(false);

struct Log;

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if String::from_utf8_lossy(bytes).contains("holds the shard") {
            IS_LOGGED.store(true, Ordering::Release);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The memory of this process that is no file's, in KiB (proc_pid_smaps_rollup(5)).
fn anonymous_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("a file of proc(5)");
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:"));
    let number = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
    number.unwrap_or_else(|| panic!("no such line: {text}"))
}

#[test]
fn a_stall_that_was_logged_leaves_no_memory_taken() {
    let subscriber = tracing_subscriber::fmt().with_writer(|| Log).finish();
    tracing::subscriber::set_global_default(subscriber).expect("once");
    on_shard(config(1), |_shard| async {
        let (start, before) = (Instant::now(), anonymous_kib());
        while !IS_LOGGED.load(Ordering::Acquire) {
            assert!(start.elapsed() < Duration::from_secs(30), "the stall is not logged");
            std::hint::spin_loop();
        }
        let grown = anonymous_kib().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB are kept");
    });
}
