//! The one place that hears of every exchange that ends: what is counted of it, and how long it
//! took.
//!
//! ```text
//!   head ──► called ──► answered ──► the turn's end       plain: all in one turn
//!      receive     handle       send ──► its end          content that is made while it is sent
//! ```
//!
//! The answers of a turn leave together, with the one call of the kernel that ends it. So the
//! exchanges that began in it have all taken the same time, and one reading of the clock tells how
//! much: until then they are only counted, by route and class of status.

use std::cell::{Cell, RefCell};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use corelane_runtime::{Activity, Moment, Shard};
use http::StatusCode;

use super::conversation::Conversation;
use crate::records::{Dropped, Recorder};
use crate::response::Rest;
use crate::stats::{ServerStats, Slow, class_of};

/// An exchange whose answer is written.
#[derive(Debug)]
pub(super) struct Finished {
    /// Its route: its index and, for people, its name.
    pub(super) route: Activity,
    pub(super) status: StatusCode,
    /// The turn in which its head was there.
    pub(super) began: Moment,
    /// The turn in which its handler was called.
    pub(super) called: Moment,
    /// The turn in which the head of the answer was written, where content was made afterwards.
    pub(super) answered: Option<Moment>,
    /// Bytes of the answer, the framing of chunks left out.
    pub(super) bytes: u64,
}

impl Conversation {
    /// A head was accepted: an exchange begins.
    pub(super) fn note_exchange(&mut self) {
        self.site.stats.requests.add(1);
        self.began = self.shard.now();
        self.is_in_exchange = true;
    }

    /// An answer is written, as far as it is there: it starts at `start` in the send buffer.
    pub(super) fn note_answer(
        &mut self,
        route: Activity,
        status: StatusCode,
        called: Moment,
        start: usize,
        rest: &Rest,
    ) {
        self.site.stats.count_response(status);
        let bytes = answer_bytes(&self.out, start, rest);
        let began = self.began;
        if matches!(rest, Rest::Stream { .. }) {
            let answered = Some(self.shard.now());
            let finished = Finished { route, status, began, called, answered, bytes };
            self.streamed = Some(Box::new(finished));
        } else {
            self.finish(Finished { route, status, began, called, answered: None, bytes });
        }
    }

    /// One more piece of content that is made while it is sent.
    pub(super) fn note_piece(&mut self, size: usize) {
        if let Some(finished) = &mut self.streamed {
            finished.bytes += size as u64;
        }
    }

    /// The last piece was handed over.
    pub(super) fn note_last_piece(&mut self) {
        if let Some(finished) = self.streamed.take() {
            self.finish(*finished);
        }
    }

    /// The connection ends: an exchange that is still under way will have no whole answer.
    pub(super) fn note_end(&mut self) {
        if mem::replace(&mut self.is_in_exchange, false) {
            self.site.stats.abandoned.add(1);
        }
    }

    #[inline(always)]
    fn finish(&mut self, finished: Finished) {
        self.is_in_exchange = false;
        let (status, bytes) = (finished.status, finished.bytes);
        self.site.tally.note(&self.shard, finished);
        self.log_answer(status, bytes);
    }
}

/// Bytes of an answer, as far as it is there: it starts at `start` in the send buffer.
pub(super) fn answer_bytes(out: &[u8], start: usize, rest: &Rest) -> u64 {
    let shared = if let Rest::Shared(bytes) = rest { bytes.len() } else { 0 };
    (out.len() - start + shared) as u64
}

/// The exchanges that ended in this turn.
pub(crate) struct Tally {
    stats: Arc<ServerStats>,
    slow_threshold: Duration,
    /// What writes them down.
    pub(super) recorder: Option<Recorder>,
    /// Those that began in it as well, by route.
    fresh: Box<[Fresh]>,
    /// The routes that have any of those.
    touched: RefCell<Vec<usize>>,
    /// When they began: at the start of the turn.
    began: Cell<Moment>,
    /// Those that began earlier; at most one for each connection.
    late: RefCell<Vec<Finished>>,
}

#[derive(Default)]
struct Fresh {
    counts: [Cell<u32>; 5],
    is_touched: Cell<bool>,
}

impl Tally {
    /// For a shard whose routes are counted already.
    pub(crate) fn new(
        stats: Arc<ServerStats>,
        slow_threshold: Duration,
        recorder: Option<Recorder>,
    ) -> Tally {
        let fresh: Box<[Fresh]> = stats.routes().iter().map(|_| Fresh::default()).collect();
        let touched = RefCell::new(Vec::with_capacity(fresh.len()));
        let (began, late) = (Cell::default(), RefCell::default());
        Tally { stats, slow_threshold, recorder, fresh, touched, began, late }
    }

    /// Most are fresh: of those nothing is kept, and nothing of them need be in one piece.
    #[inline(always)]
    fn note(&self, shard: &Shard, finished: Finished) {
        shard.ask_turn_end();
        if finished.began != shard.now() {
            return self.note_late(finished);
        }
        let index = self.index_of(finished.route);
        let fresh = &self.fresh[index];
        if !fresh.is_touched.replace(true) {
            self.note_first(index, finished.began);
        }
        let count = &fresh.counts[class_of(finished.status)];
        count.set(count.get() + 1);
    }

    /// The first one of its route in this turn.
    #[inline(never)]
    fn note_first(&self, route: usize, began: Moment) {
        self.began.set(began);
        self.touched.borrow_mut().push(route);
    }

    #[inline(never)]
    fn note_late(&self, finished: Finished) {
        self.late.borrow_mut().push(finished);
    }

    /// Those beyond the routes with figures of their own share the last one's.
    fn index_of(&self, route: Activity) -> usize {
        route.index().min(self.fresh.len() - 1)
    }

    /// The turn has ended: now it is known how long they took.
    pub(crate) fn settle(&self, end: Moment) {
        for index in self.touched.borrow_mut().drain(..) {
            self.settle_fresh(index, end);
        }
        for finished in self.late.borrow_mut().drain(..) {
            self.settle_late(&finished, end);
        }
        if let Some(recorder) = &self.recorder {
            let Dropped { lines, spans } = recorder.settle(end);
            self.stats.access_log_dropped.add(lines);
            self.stats.spans_dropped.add(spans);
        }
    }

    fn settle_fresh(&self, index: usize, end: Moment) {
        let (fresh, route) = (&self.fresh[index], &self.stats.routes()[index]);
        fresh.is_touched.set(false);
        let handle = end - self.began.get();
        let mut all = 0;
        for (class, count) in fresh.counts.iter().enumerate() {
            let count = count.take();
            if count == 0 {
                continue;
            }
            all += count;
            route.exchanges[class].add(u64::from(count));
            if handle >= self.slow_threshold {
                let (receive, send) = (Duration::ZERO, Duration::ZERO);
                let class = class as u16 + 1;
                let slow = Slow { route: index, class, count, ended: end, receive, handle, send };
                self.stats.slow.push(slow);
            }
        }
        route.durations.record(handle, u64::from(all));
    }

    fn settle_late(&self, finished: &Finished, end: Moment) {
        let Finished { status, began, called, answered, .. } = *finished;
        let index = self.index_of(finished.route);
        let route = &self.stats.routes()[index];
        route.exchanges[class_of(status)].add(1);
        route.durations.record(end - began, 1);
        if end - began >= self.slow_threshold {
            let answered = answered.unwrap_or(end);
            self.stats.slow.push(Slow {
                route: index,
                class: class_of(status) as u16 + 1,
                count: 1,
                ended: end,
                receive: called - began,
                handle: answered - called,
                send: end - answered,
            });
        }
    }
}
