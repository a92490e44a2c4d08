//! What a shard records: it decides which exchanges are, and never waits.
//!
//! ```text
//!   answered at once ──► choose ──► put ────────────────┐
//!   else             ──► choose ──► draft ──► finish ───┴─► the turn's end: settle ──► rings
//!                                   request   answer        duration
//! ```

use std::sync::Mutex;

use corelane_runtime::{Moment, ShardId};
use http::StatusCode;

use super::SpanEnd;
use super::entry::Entry;
use super::shelf::Packed;
use crate::http1::Field;
use crate::log::{LineDraft, Lines, Wish};
use crate::middleware::TraceContext;

/// What is known of an answer when it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// In seconds since 1970.
    pub(crate) ended_seconds: u64,
    /// When the request's head was there.
    pub(crate) began: Moment,
    pub(crate) status: StatusCode,
    /// Bytes of the answer.
    pub(crate) bytes: u64,
}

/// What is to become of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    line: Wish,
    is_span: bool,
}

/// A request that is not answered yet, as far as it is recorded.
#[derive(Debug)]
pub(crate) struct Draft {
    line: Option<LineDraft>,
    span: Option<Packed>,
}

/// What one shard records with.
#[derive(Debug)]
pub(crate) struct Recorder {
    lines: Option<Lines>,
    spans: Option<SpanEnd>,
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) lines: u64,
    pub(crate) spans: u64,
}

/// The recorders of all shards, until each has taken its own.
#[derive(Debug, Default)]
pub(crate) struct Recorders(Mutex<Vec<Option<Recorder>>>);

impl Recorders {
    pub(crate) fn new(recorders: Vec<Recorder>) -> Recorders {
        Recorders(Mutex::new(recorders.into_iter().map(Some).collect()))
    }

    /// This shard's, where anything is recorded.
    pub(crate) fn take(&self, shard: ShardId) -> Option<Recorder> {
        // A poisoned lock: another shard panicked while it started, and all are about to stop.
        self.0.lock().ok()?.get_mut(shard.0)?.take()
    }
}

impl Recorder {
    pub(crate) fn new(lines: Option<Lines>, spans: Option<SpanEnd>) -> Recorder {
        Recorder { lines, spans }
    }

    /// The place of a request in a trace, where spans are exported.
    pub(crate) fn begin_trace(&self, bytes: &[u8], fields: &[Field]) -> Option<TraceContext> {
        self.spans.as_ref().map(|spans| spans.begin(bytes, fields))
    }

    /// Whether a request is to be recorded, or may have to be: `status` is that of its answer where
    /// there is one already. Called once for each request.
    pub(crate) fn choose(&self, status: Option<StatusCode>, is_sampled: bool) -> Option<Chosen> {
        let line = self.lines.as_ref().map_or(Wish::No, |lines| lines.choose(status));
        let is_span = is_sampled && self.spans.is_some();
        (line != Wish::No || is_span).then_some(Chosen { line, is_span })
    }

    /// Records an exchange that is over.
    pub(crate) fn put(&self, chosen: Chosen, asked: &Entry<'_>, outcome: &Outcome) {
        if let Some(lines) = self.lines.as_ref().filter(|_| chosen.line != Wish::No) {
            lines.put(chosen.line, asked, outcome);
        }
        if let Some(spans) = self.spans.as_ref().filter(|_| chosen.is_span) {
            spans.put(asked, outcome);
        }
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, chosen: Chosen, asked: &Entry<'_>) -> Draft {
        let lines = self.lines.as_ref().filter(|_| chosen.line != Wish::No);
        Draft {
            line: lines.map(|lines| lines.draft(chosen.line, asked)),
            span: self.spans.as_ref().filter(|_| chosen.is_span).map(|spans| spans.draft(asked)),
        }
    }

    /// The exchange's answer is written; [`settle`](Recorder::settle) is called when the turn ends.
    pub(crate) fn finish(&self, draft: Draft, outcome: &Outcome) {
        if let (Some(lines), Some(line)) = (&self.lines, draft.line) {
            lines.finish(line, outcome);
        }
        if let (Some(spans), Some(span)) = (&self.spans, draft.span) {
            spans.finish(span, outcome);
        }
    }

    /// Hands the exchanges of the turn that ends to the desks; says what is lost because a ring is
    /// full.
    pub(crate) fn settle(&self, end: Moment) -> Dropped {
        Dropped {
            lines: self.lines.as_ref().map_or(0, |lines| lines.settle(end)),
            spans: self.spans.as_ref().map_or(0, |spans| spans.settle(end)),
        }
    }
}
