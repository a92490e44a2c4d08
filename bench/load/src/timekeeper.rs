//! The course of a run on one shard: warm-up, window, the wait for what is missing, the reports.

use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use corelane_runtime::{Moment, Timer, sleep};

use crate::connection::Ledger;
use crate::shard_load::ShardLoad;
use crate::tally::{Tally, Window};

/// How often a shard reports.
pub(crate) const INTERVAL: Duration = Duration::from_secs(1);

/// What a shard counted in one interval.
#[derive(Debug)]
pub(crate) struct Interval {
    /// Its number on this shard; intervals of one number belong together.
    pub(crate) index: u32,
    /// Since the run began.
    pub(crate) offset: Duration,
    /// How much of the run it covers.
    pub(crate) length: Duration,
    /// Whether it is part of the measured window, and not of the warm-up.
    pub(crate) is_measured: bool,
    /// Whether the shard is through.
    pub(crate) is_last: bool,
    pub(crate) tally: Tally,
}

/// Runs the clock of one shard, and reports each interval.
pub(crate) async fn keep_time(load: Rc<ShardLoad>, start: Moment, report: mpsc::Sender<Interval>) {
    // An interrupted run drains the shard: this pass keeps it until the last report is out.
    let _pass = load.shard.enter_gate();
    let mut keeper = Timekeeper {
        timer: Timer::new(&load.shard),
        load,
        start,
        index: 0,
        report,
    };
    keeper.warm_up().await;
    keeper.measure().await;
}

struct Timekeeper {
    load: Rc<ShardLoad>,
    start: Moment,
    index: u32,
    timer: Timer,
    report: mpsc::Sender<Interval>,
}

impl Timekeeper {
    /// Lets the warm-up pass; what it counted is reported and forgotten.
    async fn warm_up(&mut self) {
        let end = self.start + self.load.plan.warmup;
        let mut from = self.start;
        while from < end && !self.load.shard.is_draining() {
            let until = end.min(from + INTERVAL);
            from = self.wait_until(until).await;
            self.cut(until, INTERVAL, false, false);
        }
    }

    /// Lets the window pass, waits for what is missing, and reports all of it.
    async fn measure(&mut self) {
        let start = self.load.shard.now();
        let end = start + self.load.plan.duration;
        self.load.state.borrow_mut().window = Window { start, end };
        let mut from = start;
        loop {
            let until = end.min(from + INTERVAL);
            let now = self.wait_until(until).await;
            if until == end || self.load.shard.is_draining() {
                let length = now.min(end) - from;
                self.finish(now.min(end)).await;
                return self.cut(from, length, true, true);
            }
            self.cut(from, until - from, true, false);
            from = until;
        }
    }

    /// Stops sending, and waits for the answers that are still due.
    async fn finish(&self, end: Moment) {
        self.load.is_sending.set(false);
        let is_interrupted = self.load.shard.is_draining();
        {
            let mut state = self.load.state.borrow_mut();
            state.window.end = end;
            if !is_interrupted {
                state.count_unsent(end);
            }
        }
        let patience = end + self.load.plan.timeout;
        while self.is_missing_answers()
            && self.load.shard.now() < patience
            && !self.load.shard.is_draining()
        {
            sleep(Duration::from_millis(1)).await;
        }
        if !is_interrupted {
            let mut state = self.load.state.borrow_mut();
            let mut ledger: Ledger<'_> = self.load.ledger(&mut state);
            for link in &self.load.links {
                link.borrow_mut().connection.give_up(&mut ledger);
            }
        }
    }

    fn is_missing_answers(&self) -> bool {
        let is_missing = |count: usize| count > 0;
        let mut links = self.load.links.iter();
        links.any(|link| is_missing(link.borrow().connection.pending_count()))
    }

    /// Waits for a moment, or for an interruption; says when that was.
    async fn wait_until(&self, moment: Moment) -> Moment {
        self.timer.arm(moment);
        poll_fn(|context| {
            // A drain polls every task once.
            if self.load.shard.is_draining() {
                return Poll::Ready(());
            }
            self.timer.poll_expired(context)
        })
        .await;
        self.load.shard.now()
    }

    /// Reports what was counted since the last time. Allocates, once a second.
    fn cut(&mut self, from: Moment, length: Duration, is_measured: bool, is_last: bool) {
        let tally = mem::replace(&mut self.load.state.borrow_mut().tally, Tally::new());
        // Nobody listens any more where another shard has failed.
        let _ = self.report.send(Interval {
            index: self.index,
            offset: from - self.start,
            length,
            is_measured,
            is_last,
            tally,
        });
        self.index += 1;
    }
}
