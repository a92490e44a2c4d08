//! A shard's end of the access log: it decides which exchanges have a line.
//!
//! The line itself is for the writer: to copy an exchange costs a shard half of what its text
//! would.

use std::cell::Cell;
use std::time::Duration;

use corelane_runtime::Moment;
use http::StatusCode;

use super::access::Settings;
use crate::records::{Entry, Outcome, Outlet, Packed, Shelf};

/// Whether there is to be a line of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    No,
    /// If it fails, or is slow.
    MayBe,
    Due,
}

/// A line whose answer is still to come.
#[derive(Debug)]
pub(crate) struct LineDraft {
    packed: Packed,
    wish: Wish,
}

/// What one shard has lines written with.
#[derive(Debug)]
pub(crate) struct Lines {
    sample_one_in: u32,
    slow_after: Duration,
    /// `0 <= until_next < sample_one_in`, or both are zero.
    until_next: Cell<u32>,
    /// Of the last exchange.
    ended_seconds: Cell<u64>,
    shelf: Shelf,
}

impl Lines {
    pub(super) fn new(settings: Settings, outlet: Outlet) -> Lines {
        Lines {
            sample_one_in: settings.sample_one_in,
            slow_after: settings.slow_after.unwrap_or(Duration::MAX),
            until_next: Cell::new(0),
            ended_seconds: Cell::new(0),
            shelf: Shelf::new(outlet),
        }
    }

    /// Called once for each request; `status` is that of its answer where there is one already.
    pub(crate) fn choose(&self, status: Option<StatusCode>) -> Wish {
        if self.is_due() || status.is_some_and(|status| status.is_server_error()) {
            Wish::Due
        } else if status.is_none() || self.slow_after < Duration::MAX {
            Wish::MayBe
        } else {
            Wish::No
        }
    }

    fn is_due(&self) -> bool {
        let is_due = self.sample_one_in > 0 && self.until_next.get() == 0;
        let next = if is_due { self.sample_one_in } else { self.until_next.get() };
        self.until_next.set(next.saturating_sub(1));
        is_due
    }

    /// An exchange is over.
    pub(crate) fn put(&self, wish: Wish, asked: &Entry<'_>, outcome: &Outcome) {
        let is_due = is_due(wish, outcome.status);
        if self.is_wanted(is_due) {
            self.ended_seconds.set(outcome.ended_seconds);
            self.shelf.put(asked, outcome, is_due);
        }
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, wish: Wish, asked: &Entry<'_>) -> LineDraft {
        LineDraft { packed: self.shelf.draft(asked), wish }
    }

    /// The exchange's answer is written.
    pub(crate) fn finish(&self, draft: LineDraft, outcome: &Outcome) {
        let is_due = is_due(draft.wish, outcome.status);
        if self.is_wanted(is_due) {
            self.ended_seconds.set(outcome.ended_seconds);
            self.shelf.finish(draft.packed, outcome, is_due);
        } else {
            self.shelf.reuse(draft.packed);
        }
    }

    /// Whether there may be a line at all.
    fn is_wanted(&self, is_due: bool) -> bool {
        is_due || self.slow_after < Duration::MAX
    }

    /// Hands the lines of the turn that ends to the writer; says how many are lost because the ring
    /// is full.
    pub(crate) fn settle(&self, end: Moment) -> u64 {
        // Lines have the second: the clock of the shard will do.
        self.shelf.settle(end, self.slow_after, || self.ended_seconds.get() * 1_000_000_000)
    }
}

fn is_due(wish: Wish, status: StatusCode) -> bool {
    wish == Wish::Due || status.is_server_error()
}
