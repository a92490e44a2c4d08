//! A shard's end of the spans: it begins them, and hands those of a turn over at its end.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use corelane_runtime::Moment;

use super::packed::{pack, set_answer, set_times};
use crate::http1::Field;
use crate::middleware::{Sampler, TraceContext, Tracer};
use crate::records::{Entry, Outcome, Outlet};

/// Drafts that are kept for reuse.
const SPARE_DRAFTS_MAX: usize = 64;

/// What one shard records spans with.
#[derive(Debug)]
pub(crate) struct SpanEnd {
    tracer: Tracer,
    turn: RefCell<Turn>,
    spare: RefCell<Vec<Vec<u8>>>,
    outlet: Outlet,
}

/// The spans that ended in this turn.
#[derive(Debug, Default)]
struct Turn {
    packed: Vec<u8>,
    /// The size of each, and when it began.
    marks: Vec<(usize, Moment)>,
    dropped: u64,
}

impl SpanEnd {
    pub(super) fn new(sampler: Sampler, outlet: Outlet) -> SpanEnd {
        let (turn, spare) = (RefCell::default(), RefCell::default());
        SpanEnd { tracer: Tracer::new(sampler), turn, spare, outlet }
    }

    /// The place of a request in a trace.
    pub(crate) fn begin(&self, bytes: &[u8], fields: &[Field]) -> TraceContext {
        self.tracer.begin(bytes, fields)
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, asked: &Entry<'_>) -> Vec<u8> {
        let mut packed = self.spare.borrow_mut().pop().unwrap_or_default();
        pack(asked, &mut packed);
        packed
    }

    /// The exchange's answer is written.
    pub(crate) fn finish(&self, mut packed: Vec<u8>, outcome: &Outcome) {
        set_answer(&mut packed, outcome.status);
        let turn = &mut *self.turn.borrow_mut();
        // Not more than the ring can take.
        if turn.packed.len() + packed.len() > self.outlet.bytes_max() {
            turn.dropped += 1;
        } else {
            turn.packed.extend_from_slice(&packed);
            turn.marks.push((packed.len(), outcome.began));
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_DRAFTS_MAX {
            spare.push(packed);
        }
    }

    /// Hands the spans of the turn that ends over; says how many are lost because the ring is full.
    pub(crate) fn settle(&self, end: Moment) -> u64 {
        let turn = &mut *self.turn.borrow_mut();
        let mut dropped = std::mem::take(&mut turn.dropped);
        if turn.marks.is_empty() {
            return dropped;
        }
        // The answers of a turn leave together: one reading of the clock is for all of them.
        let ended_nanos = nanos_now();
        let mut rest = &mut turn.packed[..];
        for (size, began) in turn.marks.drain(..) {
            let (packed, behind) = rest.split_at_mut(size);
            rest = behind;
            set_times(packed, ended_nanos, end - began);
            dropped += u64::from(!self.outlet.push(packed));
        }
        turn.packed.clear();
        dropped
    }
}

fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
