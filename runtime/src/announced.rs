//! What somebody begins, known to whoever will soon let nobody begin it any more.
//!
//! ```text
//!   whoever begins                      whoever sees that the door is closed
//!   count + 1                           fence
//!   fence                               count > 0: somebody was in time
//!   is the door closed?
//!     yes: count - 1, leaves it be
//! ```
//!
//! The door may be closed by a third. Of the two one sees the other, or both do: nothing begins
//! unseen. With `cfg(loom)` it is built on loom, which tries every order of these steps.

#[cfg(loom)]
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicUsize, Ordering, fence};

/// How often it has begun and not ended.
#[derive(Debug, Default)]
pub(crate) struct Announced(AtomicUsize);

impl Announced {
    /// Begins unless it is too late for that; says which.
    pub(crate) fn begin(&self, is_too_late: impl FnOnce() -> bool) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let has_begun = !is_too_late();
        if !has_begun {
            self.end();
        }
        has_begun
    }

    /// One that had begun is over; what it did is there for whoever finds none under way.
    pub(crate) fn end(&self) {
        self.0.fetch_sub(1, Ordering::Release);
    }

    /// Whether any is under way. Asked by those who have seen that the door is closed.
    pub(crate) fn is_any(&self) -> bool {
        fence(Ordering::SeqCst);
        self.0.load(Ordering::Acquire) > 0
    }
}
