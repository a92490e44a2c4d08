//! A shard that ends while others send to it.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::ending::Ending;
use crate::news::News;

struct Shared {
    ending: Ending,
    news: News,
    /// How many jobs are in the inbox. Relaxed: the inbox promises nothing about other memory.
    inbox: AtomicUsize,
}

impl Shared {
    /// As `Remote::send_job` does it.
    fn send(&self) {
        if self.ending.has_come() {
            return;
        }
        self.inbox.fetch_add(1, Ordering::Relaxed);
        self.news.tell(|| {});
        if self.ending.has_come() {
            self.empty();
        }
    }

    fn empty(&self) {
        let take = |count: usize| count.checked_sub(1);
        while self.inbox.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {}
    }
}

/// A job that stayed in the inbox would never tell its sender that there is no reply.
#[test]
fn nothing_stays_in_the_inbox() {
    crate::model(|| {
        let shared =
            Shared { ending: Ending::new(), news: News::new(), inbox: AtomicUsize::new(0) };
        let shared = Arc::new(shared);
        let send = || {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.send())
        };
        let senders = [send(), send()];
        shared.ending.come(|| shared.empty());
        senders.into_iter().for_each(|sender| sender.join().expect("a sender does not panic"));
        assert_eq!(shared.inbox.load(Ordering::Relaxed), 0);
    });
}
