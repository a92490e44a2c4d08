//! What waits in another thread's inbox at most once, however often it is sent.
//!
//! ```text
//!   sender                                     receiver
//!   changes what the receiver will look at     takes it out of the inbox
//!   is_sent = true                             is_sent = false
//!     it was true: somebody has sent it        looks
//!     it was false: puts it into the inbox
//! ```
//!
//! With `cfg(loom)` it is built on loom, which tries every order of these steps.

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether it waits in the inbox.
pub(crate) struct Sent(AtomicBool);

impl Sent {
    pub(crate) fn new() -> Sent {
        Sent(AtomicBool::new(false))
    }

    /// Calls `put` unless it waits already.
    pub(crate) fn send(&self, put: impl FnOnce()) {
        if !self.0.swap(true, Ordering::AcqRel) {
            put();
        }
    }

    /// Called when it was taken out, before the receiver looks: what changes from here on is sent
    /// again.
    pub(crate) fn receive(&self) {
        // A swap although nobody wants the value: a sender that finds the mark set leaves its
        // change to this look, which is sure to see it only by having read that sender's mark. A
        // plain store may also still be under way when the look has been taken: lost for good.
        self.0.swap(false, Ordering::AcqRel);
    }
}
