//! The course of a run on one shard: warm-up, window, the wait for what is missing, the reports.

use std::future::poll_fn;
use std::mem;
use std::rc::Rc;
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;

use corelane_runtime::{Moment, TICK, Timer, sleep};

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
    let mut keeper = Timekeeper { timer: Timer::new(&load.shard), load, start, index: 0, report };
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
        // Without a warm-up the first request is part of the window, with one the timer's delay
        // is part of the warm-up.
        let start = match self.load.plan.warmup.is_zero() {
            true => self.start,
            false => self.load.shard.now(),
        };
        let end = start + self.load.plan.duration;
        self.load.begin_window(Window { start, end });
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

    /// Stops sending, and waits for the answers that are missing. Those that stay missing are
    /// counted by their connections, as any request that is not answered in time.
    async fn finish(&self, end: Moment) {
        self.load.end_window(end);
        while self.is_missing_answers() && !self.load.shard.is_draining() {
            sleep(TICK).await;
        }
    }

    fn is_missing_answers(&self) -> bool {
        let mut links = self.load.links.iter();
        links.any(|link| link.borrow().connection.oldest().is_some())
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
