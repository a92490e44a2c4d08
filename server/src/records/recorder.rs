//! What a shard records: it decides which exchanges are written down, and never waits.
//!
//! ```text
//!   handler called ──► choose ──► draft ──► finish ──► the turn's end: settle ──► ring
//!                                 request   answer     duration
//! ```

use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::time::Duration;

use corelane_runtime::{Moment, ShardId};
use http::StatusCode;

use super::entry::{Entry, set_answer, set_duration};
use super::outlet::Outlet;
use crate::log::Settings;

/// Drafts that are kept for reuse.
const SPARE_DRAFTS_MAX: usize = 64;

/// What is known of an answer when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// In nanoseconds since 1970.
    pub(crate) ended_nanos: u64,
    /// When the request's head was there.
    pub(crate) began: Moment,
    pub(crate) status: StatusCode,
    /// Bytes of the answer.
    pub(crate) bytes: u64,
}

/// That a request is to be written, or may have to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    is_due: bool,
}

/// A request that is not answered yet: an entry without its answer.
#[derive(Debug)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    is_due: bool,
}

/// What one shard records with.
#[derive(Debug)]
pub(crate) struct Recorder {
    shard: u16,
    sample_one_in: u32,
    slow_after: Duration,
    /// `0 <= until_next < sample_one_in`, or both are zero.
    until_next: Cell<u32>,
    outlet: Outlet,
    turn: RefCell<Turn>,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// The recorders of all shards, until each has taken its own.
#[derive(Debug, Default)]
pub(crate) struct Recorders(Mutex<Vec<Option<Recorder>>>);

impl Recorders {
    pub(crate) fn new(recorders: Vec<Recorder>) -> Recorders {
        Recorders(Mutex::new(recorders.into_iter().map(Some).collect()))
    }

    /// This shard's, where there is an access log.
    pub(crate) fn take(&self, shard: ShardId) -> Option<Recorder> {
        // A poisoned lock: another shard panicked while it started, and all are about to stop.
        self.0.lock().ok()?.get_mut(shard.0)?.take()
    }
}

/// The exchanges of this turn, whose durations its end will tell.
#[derive(Debug, Default)]
struct Turn {
    entries: Vec<u8>,
    marks: Vec<Mark>,
    /// Those for which there was no room.
    dropped: u64,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    size: usize,
    began: Moment,
    /// Whether it is written however fast it was.
    is_due: bool,
}

impl Recorder {
    pub(crate) fn new(shard: usize, settings: Settings, outlet: Outlet) -> Recorder {
        Recorder {
            shard: u16::try_from(shard).unwrap_or(u16::MAX),
            sample_one_in: settings.sample_one_in,
            slow_after: settings.slow_after.unwrap_or(Duration::MAX),
            until_next: Cell::new(0),
            outlet,
            turn: RefCell::default(),
            spare: RefCell::default(),
        }
    }

    /// Whether a request is to be written, or may have to be: `status` is that of its answer where
    /// there is one already. Called once for each request.
    pub(crate) fn choose(&self, status: Option<StatusCode>) -> Option<Chosen> {
        let is_due = self.is_due() || status.is_some_and(|status| status.is_server_error());
        let may_be = status.is_none() || self.slow_after < Duration::MAX;
        (is_due || may_be).then_some(Chosen { is_due })
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, chosen: Chosen, asked: &Entry<'_>) -> Draft {
        let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
        Entry { shard: self.shard, ..asked.clone() }.write(&mut bytes);
        Draft { bytes, is_due: chosen.is_due }
    }

    /// The exchange's answer is written; [`settle`](Recorder::settle) is called when the turn ends.
    pub(crate) fn finish(&self, draft: Draft, outcome: &Outcome) {
        let Draft { mut bytes, is_due } = draft;
        let is_due = is_due || outcome.status.is_server_error();
        if is_due || self.slow_after < Duration::MAX {
            set_answer(&mut bytes, outcome);
            let turn = &mut *self.turn.borrow_mut();
            if turn.entries.len() + bytes.len() > self.outlet.bytes_max() {
                turn.dropped += 1;
            } else {
                turn.entries.extend_from_slice(&bytes);
                turn.marks.push(Mark { size: bytes.len(), began: outcome.began, is_due });
            }
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_DRAFTS_MAX {
            spare.push(bytes);
        }
    }

    fn is_due(&self) -> bool {
        let is_due = self.sample_one_in > 0 && self.until_next.get() == 0;
        let next = if is_due { self.sample_one_in } else { self.until_next.get() };
        self.until_next.set(next.saturating_sub(1));
        is_due
    }

    /// Hands the exchanges of the turn that ends to the writer; says how many are lost because its
    /// ring is full.
    pub(crate) fn settle(&self, end: Moment) -> u64 {
        let turn = &mut *self.turn.borrow_mut();
        let mut dropped = std::mem::take(&mut turn.dropped);
        if turn.marks.is_empty() {
            return dropped;
        }
        let mut rest = &mut turn.entries[..];
        for Mark { size, began, is_due } in turn.marks.drain(..) {
            let (entry, behind) = rest.split_at_mut(size);
            rest = behind;
            let duration = end - began;
            if is_due || duration >= self.slow_after {
                set_duration(entry, duration);
                dropped += u64::from(!self.outlet.push(entry));
            }
        }
        turn.entries.clear();
        self.outlet.ring();
        dropped
    }
}
