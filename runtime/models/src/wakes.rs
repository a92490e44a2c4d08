//! A task that is woken by threads while its shard polls it.

use loom::sync::atomic::{AtomicBool, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::pipe::Pipe;
use crate::sent::Sent;

struct Shared {
    /// Whether the task waits in the inbox.
    sent: Sent,
    inbox: Mutex<usize>,
    pipe: Pipe,
    /// What the task looks at when it is polled.
    results: [AtomicBool; 2],
}

/// Two results come from two threads; the task is polled once for each time that it was in the
/// inbox, and must have seen both in the end.
#[test]
fn a_task_sees_what_it_was_woken_for() {
    crate::model(|| {
        let shared = Arc::new(Shared {
            sent: Sent::new(),
            inbox: Mutex::new(0),
            pipe: Pipe::new(),
            results: [AtomicBool::new(false), AtomicBool::new(false)],
        });
        let finish = |index: usize| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.results[index].store(true, Ordering::Relaxed);
                shared.sent.send(|| {
                    *shared.inbox.lock().expect("nobody panics") += 1;
                    shared.pipe.write();
                });
            })
        };
        let threads = [finish(0), finish(1)];
        while !poll(&shared) {
            receive(&shared);
        }
        threads.into_iter().for_each(|thread| thread.join().expect("a thread does not panic"));
    });
}

fn poll(shared: &Shared) -> bool {
    shared.results.iter().all(|result| result.load(Ordering::Relaxed))
}

/// Waits until the task is in the inbox, and takes it out.
fn receive(shared: &Shared) {
    loop {
        let mut inbox = shared.inbox.lock().expect("nobody panics");
        if *inbox > 0 {
            assert_eq!(*inbox, 1, "it is in the inbox twice");
            *inbox = 0;
            drop(inbox);
            return shared.sent.receive();
        }
        drop(inbox);
        shared.pipe.read();
    }
}
