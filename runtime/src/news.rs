//! How a shard learns that something was sent to it, and is woken for that where it sleeps.
//!
//! ```text
//!   sender                              shard
//!   puts it into the inbox              is_asleep = true
//!   is_there = true                     fence
//!   fence                               is_there?  yes: is_asleep = false, look
//!   is_asleep?  yes: rings                         no:  sleeps until it rings
//! ```
//!
//! With `cfg(loom)` it is built on loom, which tries every order of these steps.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether there is anything new for a shard, and whether it has to be woken for it.
pub(crate) struct News {
    /// Whether anything was sent since the shard last looked.
    is_there: AtomicBool,
    /// Whether the shard blocks, or is about to.
    is_asleep: AtomicBool,
}

impl News {
    pub(crate) fn new() -> News {
        News { is_there: AtomicBool::new(false), is_asleep: AtomicBool::new(false) }
    }

    /// Called once the inbox has it: marks the news, and rings where the shard sleeps.
    pub(crate) fn tell(&self, ring: impl FnOnce()) {
        // A swap although nobody wants the value: the shard reads the mark of the last of several
        // senders, and has what the others sent only where that one had read theirs.
        self.is_there.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        // Only the first of many senders pays for the system call.
        let rouse =
            || self.is_asleep.compare_exchange(true, false, Ordering::AcqRel, Ordering::Relaxed);
        if self.is_asleep.load(Ordering::Relaxed) && rouse().is_ok() {
            ring();
        }
    }

    /// Whether there may be something to receive; clears the mark.
    pub(crate) fn take(&self) -> bool {
        // The plain load first: on a busy shard this is read every turn and almost never set.
        self.is_there.load(Ordering::Relaxed) && self.is_there.swap(false, Ordering::AcqRel)
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }

    /// Announces that the shard is about to block. `false`: it must not, there is news.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `tell`: either the sender sees that the shard is asleep, or the
        // shard sees the news. Without it both could miss each other.
        fence(Ordering::SeqCst);
        let has_news = self.is_there.load(Ordering::Relaxed);
        if has_news {
            self.wake_up();
        }
        !has_news
    }

    pub(crate) fn wake_up(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
    }
}
