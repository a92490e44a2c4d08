//! Something that begins while a third closes the door, and a fourth looks whether it has.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::announced::Announced;

struct Shared {
    announced: Announced,
    /// As a shard's phase is written and read.
    is_closed: AtomicBool,
    /// What the beginner does, once it may.
    is_done: AtomicBool,
}

/// Whoever finds the door closed and nothing under way has all that ever begins.
#[test]
fn nothing_begins_unseen() {
    crate::model(|| {
        let shared = Arc::new(Shared {
            announced: Announced::default(),
            is_closed: AtomicBool::new(false),
            is_done: AtomicBool::new(false),
        });
        let beginner = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                let has_begun = shared.announced.begin(|| shared.is_closed.load(Ordering::Acquire));
                if has_begun {
                    shared.is_done.store(true, Ordering::Relaxed);
                    shared.announced.end();
                }
                has_begun
            })
        };
        let closer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.is_closed.store(true, Ordering::Release))
        };
        let is_over = shared.is_closed.load(Ordering::Acquire) && !shared.announced.is_any();
        let is_done = shared.is_done.load(Ordering::Relaxed);
        let has_begun = beginner.join().expect("no panic");
        closer.join().expect("no panic");
        assert!(!is_over || is_done == has_begun, "{is_done}, {has_begun}");
    });
}
