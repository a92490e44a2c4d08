//! The end of an inbox: what comes too late is dropped, by its owner or by whoever sent it.
//!
//! ```text
//!   sender                          owner
//!   puts it into the inbox          has_come = true
//!   fence (that of the news)        fence
//!   has_come? yes: empties it       empties it
//! ```
//!
//! With `cfg(loom)` it is built on loom, which tries every order of these steps.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Whether the inbox has an owner no longer.
pub(crate) struct Ending {
    has_come: AtomicBool,
}

impl Ending {
    pub(crate) fn new() -> Ending {
        Ending { has_come: AtomicBool::new(false) }
    }

    /// Called by the owner when it takes nothing more; `empty` drops what is in the inbox.
    pub(crate) fn come(&self, empty: impl FnOnce()) {
        self.has_come.store(true, Ordering::Release);
        // Pairs with the fence in `News::tell`, which lies between a push and the look behind it:
        // either the sender sees the end, or what it has pushed is seen here.
        fence(Ordering::SeqCst);
        empty();
    }

    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Acquire)
    }
}
