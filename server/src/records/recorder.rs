//! What a shard records: it decides which exchanges are written down, and never waits.
//!
//! ```text
//!   handler called ──► choose ──► draft ──► finish ──► the turn's end: settle ──► rings
//!                                 request   answer     duration
//! ```

use std::cell::{Cell, RefCell};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use corelane_runtime::{Moment, ShardId};
use http::StatusCode;

use super::entry::{Entry, set_answer, set_duration, set_end};
use super::outlet::Outlet;
use crate::extract::Exchange;
use crate::log::Settings;
#[cfg(feature = "otel")]
use crate::middleware::Sampler;
use crate::middleware::{TraceContext, Tracer};

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

/// What is to become of an exchange.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chosen {
    line: Line,
    is_span: bool,
}

/// Whether the access log has a line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    No,
    /// If it fails, or is slow.
    MayBe,
    Due,
}

/// A request that is not answered yet: an entry without its answer.
#[derive(Debug)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    chosen: Chosen,
}

/// What one shard records with.
#[derive(Debug)]
pub(crate) struct Recorder {
    shard: u16,
    lines: Option<Lines>,
    spans: Option<Spans>,
    turn: RefCell<Turn>,
    spare: RefCell<Vec<Vec<u8>>>,
}

/// The shard's end of the access log.
#[derive(Debug)]
pub(crate) struct Lines {
    sample_one_in: u32,
    slow_after: Duration,
    /// `0 <= until_next < sample_one_in`, or both are zero.
    until_next: Cell<u32>,
    outlet: Outlet,
}

/// The shard's end of the spans.
#[derive(Debug)]
pub(crate) struct Spans {
    tracer: Tracer,
    outlet: Outlet,
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

/// The exchanges of this turn, whose durations its end will tell.
#[derive(Debug, Default)]
struct Turn {
    entries: Vec<u8>,
    marks: Vec<Mark>,
    dropped: Dropped,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    size: usize,
    began: Moment,
    chosen: Chosen,
}

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) lines: u64,
    pub(crate) spans: u64,
}

impl Lines {
    pub(crate) fn new(settings: Settings, outlet: Outlet) -> Lines {
        let Settings { sample_one_in, slow_after, .. } = settings;
        let slow_after = slow_after.unwrap_or(Duration::MAX);
        Lines { sample_one_in, slow_after, until_next: Cell::new(0), outlet }
    }

    /// Called once for each request; `status` is that of its answer where there is one already.
    fn choose(&self, status: Option<StatusCode>) -> Line {
        if self.is_due() || status.is_some_and(|status| status.is_server_error()) {
            Line::Due
        } else if status.is_none() || self.slow_after < Duration::MAX {
            Line::MayBe
        } else {
            Line::No
        }
    }

    fn is_due(&self) -> bool {
        let is_due = self.sample_one_in > 0 && self.until_next.get() == 0;
        let next = if is_due { self.sample_one_in } else { self.until_next.get() };
        self.until_next.set(next.saturating_sub(1));
        is_due
    }
}

impl Spans {
    #[cfg(feature = "otel")]
    pub(crate) fn new(sampler: Sampler, outlet: Outlet) -> Spans {
        Spans { tracer: Tracer::new(sampler), outlet }
    }
}

impl Recorder {
    pub(crate) fn new(shard: usize, lines: Option<Lines>, spans: Option<Spans>) -> Recorder {
        Recorder {
            shard: u16::try_from(shard).unwrap_or(u16::MAX),
            lines,
            spans,
            turn: RefCell::default(),
            spare: RefCell::default(),
        }
    }

    /// The place of a request in a trace, where spans are exported.
    pub(crate) fn begin_trace(&self, exchange: &Exchange<'_>) -> Option<TraceContext> {
        self.spans.as_ref().map(|spans| spans.tracer.begin(exchange))
    }

    /// Whether a request is to be recorded, or may have to be: `status` is that of its answer where
    /// there is one already. Called once for each request.
    pub(crate) fn choose(&self, status: Option<StatusCode>, is_sampled: bool) -> Option<Chosen> {
        let line = self.lines.as_ref().map_or(Line::No, |lines| lines.choose(status));
        let is_span = is_sampled && self.spans.is_some();
        (line != Line::No || is_span).then_some(Chosen { line, is_span })
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, chosen: Chosen, asked: &Entry<'_>) -> Draft {
        let mut bytes = self.spare.borrow_mut().pop().unwrap_or_default();
        Entry { shard: self.shard, ..asked.clone() }.write(&mut bytes);
        Draft { bytes, chosen }
    }

    /// The exchange's answer is written; [`settle`](Recorder::settle) is called when the turn ends.
    pub(crate) fn finish(&self, draft: Draft, outcome: &Outcome) {
        let Draft { mut bytes, mut chosen } = draft;
        let slow_after = self.lines.as_ref().map_or(Duration::MAX, |lines| lines.slow_after);
        chosen.line = match chosen.line {
            Line::MayBe if outcome.status.is_server_error() => Line::Due,
            Line::MayBe if slow_after == Duration::MAX => Line::No,
            line => line,
        };
        if chosen.line != Line::No || chosen.is_span {
            set_answer(&mut bytes, outcome);
            self.keep(&bytes, outcome.began, chosen);
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_DRAFTS_MAX {
            spare.push(bytes);
        }
    }

    /// Until the turn ends; not more than the rings can take.
    fn keep(&self, entry: &[u8], began: Moment, chosen: Chosen) {
        let turn = &mut *self.turn.borrow_mut();
        let outlets = [self.lines.as_ref().map(|lines| &lines.outlet), self.spans_outlet()];
        let bytes_max = outlets.into_iter().flatten().map(Outlet::bytes_max).max().unwrap_or(0);
        if turn.entries.len() + entry.len() > bytes_max {
            turn.dropped.lines += u64::from(chosen.line == Line::Due);
            turn.dropped.spans += u64::from(chosen.is_span);
            return;
        }
        turn.entries.extend_from_slice(entry);
        turn.marks.push(Mark { size: entry.len(), began, chosen });
    }

    fn spans_outlet(&self) -> Option<&Outlet> {
        self.spans.as_ref().map(|spans| &spans.outlet)
    }

    /// Hands the exchanges of the turn that ends to the desks; says what is lost because a ring is
    /// full.
    pub(crate) fn settle(&self, end: Moment) -> Dropped {
        let turn = &mut *self.turn.borrow_mut();
        let mut dropped = std::mem::take(&mut turn.dropped);
        if turn.marks.is_empty() {
            return dropped;
        }
        // The answers of a turn leave together: one reading of the clock is for all of them.
        let has_spans = turn.marks.iter().any(|mark| mark.chosen.is_span);
        let ended_nanos = if has_spans { nanos_now() } else { 0 };
        let mut rest = &mut turn.entries[..];
        for Mark { size, began, chosen } in turn.marks.drain(..) {
            let (entry, behind) = rest.split_at_mut(size);
            rest = behind;
            let duration = end - began;
            set_duration(entry, duration);
            if let Some(outlet) = self.spans_outlet().filter(|_| chosen.is_span) {
                set_end(entry, ended_nanos);
                dropped.spans += u64::from(!outlet.push(entry));
            }
            let is_line = |lines: &&Lines| match chosen.line {
                Line::No => false,
                Line::MayBe => duration >= lines.slow_after,
                Line::Due => true,
            };
            if let Some(lines) = self.lines.as_ref().filter(is_line) {
                dropped.lines += u64::from(!lines.outlet.push(entry));
            }
        }
        turn.entries.clear();
        self.lines.iter().for_each(|lines| lines.outlet.ring());
        self.spans_outlet().filter(|_| has_spans).into_iter().for_each(Outlet::ring);
        dropped
    }
}

fn nanos_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
