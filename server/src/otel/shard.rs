//! A shard's end of the spans: it begins them, and records those that end.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelane_runtime::Moment;

use crate::http1::Field;
use crate::middleware::{Sampler, TraceContext, Tracer};
use crate::records::{Entry, Outcome, Outlet, Packed, Shelf};

/// What one shard records spans with.
#[derive(Debug)]
pub(crate) struct SpanEnd {
    tracer: Tracer,
    shelf: Shelf,
}

impl SpanEnd {
    pub(super) fn new(sampler: Sampler, outlet: Outlet) -> SpanEnd {
        SpanEnd { tracer: Tracer::new(sampler), shelf: Shelf::new(outlet) }
    }

    /// The place of a request in a trace.
    pub(crate) fn begin(&self, bytes: &[u8], fields: &[Field]) -> TraceContext {
        self.tracer.begin(bytes, fields)
    }

    /// An exchange is over.
    pub(crate) fn put(&self, asked: &Entry<'_>, outcome: &Outcome) {
        self.shelf.put(asked, outcome, true);
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, asked: &Entry<'_>) -> Packed {
        self.shelf.draft(asked)
    }

    /// The exchange's answer is written.
    pub(crate) fn finish(&self, draft: Packed, outcome: &Outcome) {
        self.shelf.finish(draft, outcome, true);
    }

    /// Hands the spans of the turn that ends over; says how many are lost because the ring is full.
    pub(crate) fn settle(&self, end: Moment) -> u64 {
        self.shelf.settle(end, Duration::ZERO, nanos_now)
    }
}

/// Finer than the second of a line: spans of several services are laid beside each other.
fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
