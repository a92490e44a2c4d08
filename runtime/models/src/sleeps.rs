//! A shard that goes to sleep while others send to it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::news::News;
use crate::pipe::Pipe;

struct Shared {
    news: News,
    /// What is in the inbox. Relaxed: whoever has it in order must have that from the news.
    inbox: [AtomicBool; 2],
    /// What a sleeping shard reads.
    pipe: Pipe,
}

/// The shard takes, sleeps and is woken until it has what so many threads have sent. A loss is a
/// sleep without end, which loom reports as a deadlock.
fn receive_all(sender_count: usize) {
    let shared = Arc::new(Shared {
        news: News::new(),
        inbox: [AtomicBool::new(false), AtomicBool::new(false)],
        pipe: Pipe::new(),
    });
    let send = |index: usize| {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            shared.inbox[index].store(true, Ordering::Relaxed);
            shared.news.tell(|| shared.pipe.write());
        })
    };
    let senders: Vec<_> = (0..sender_count).map(send).collect();
    let mut received = 0;
    while received < sender_count {
        if shared.news.take() {
            let is_here = |sent: &&AtomicBool| sent.load(Ordering::Relaxed);
            received = shared.inbox.iter().filter(is_here).count();
        } else if shared.news.fall_asleep() {
            shared.pipe.read();
            shared.news.wake_up();
        }
    }
    senders.into_iter().for_each(|sender| sender.join().expect("a sender does not panic"));
}

#[test]
fn it_sleeps_through_nothing() {
    crate::model(|| receive_all(1));
}

#[test]
fn it_is_woken_for_each_of_two_senders() {
    crate::model(|| receive_all(2));
}
