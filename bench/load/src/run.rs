//! One run from the outside: starts the shards, gathers their reports, ends them.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use corelane_runtime::{CheckedConfig, Handle, Shard, StartError, launch};

use crate::dispatch::dispatch;
use crate::drive::drive;
use crate::error::LoadError;
use crate::plan::Plan;
use crate::shard_load::ShardLoad;
use crate::tally::Tally;
use crate::timekeeper::{Interval, keep_time};

/// How soon an interruption is noticed.
const ATTENTION: Duration = Duration::from_millis(50);
/// For a shard's last report once it was interrupted.
const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What a run has measured.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// The length of the measured window.
    pub(crate) measured: Duration,
    pub(crate) is_interrupted: bool,
}

/// Loads the target as planned. `watch` sees each interval once all shards have reported it.
///
/// # Errors
/// What the machine refuses to the shards.
pub(crate) fn run(
    plan: &Arc<Plan>,
    config: &CheckedConfig,
    interrupt: &AtomicBool,
    watch: &mut dyn FnMut(&Interval),
) -> Result<Outcome, LoadError> {
    let (report, reports) = mpsc::channel();
    let handle = {
        let plan = Arc::clone(plan);
        launch(config, move |shard| start(Arc::clone(&plan), shard, report.clone()))?
    };
    let outcome = gather(&handle, &reports, interrupt, watch);
    handle.stopper().stop();
    handle.join()?;
    Ok(outcome)
}

async fn start(
    plan: Arc<Plan>,
    shard: Rc<Shard>,
    report: mpsc::Sender<Interval>,
) -> Result<(), StartError> {
    let start = shard.now();
    let load = Rc::new(ShardLoad::new(plan, Rc::clone(&shard), start));
    for index in 0..load.links.len() {
        shard.spawn(drive(Rc::clone(&load), index));
    }
    if load.state.borrow().schedule.is_some() {
        shard.spawn(dispatch(Rc::clone(&load)));
    }
    shard.spawn(keep_time(load, start, report));
    Ok(())
}

/// Adds up the reports until every shard has sent its last one.
fn gather(
    handle: &Handle,
    reports: &mpsc::Receiver<Interval>,
    interrupt: &AtomicBool,
    watch: &mut dyn FnMut(&Interval),
) -> Outcome {
    let mut gathering = Gathering {
        shard_count: handle.shard_count(),
        open: BTreeMap::new(),
        outcome: Outcome { tally: Tally::new(), measured: Duration::ZERO, is_interrupted: false },
    };
    let mut running_count = handle.shard_count();
    while running_count > 0 {
        if interrupt.load(Ordering::Relaxed) && !gathering.outcome.is_interrupted {
            gathering.outcome.is_interrupted = true;
            handle.stopper().drain(DRAIN_PATIENCE);
        }
        match reports.recv_timeout(ATTENTION) {
            Ok(interval) => {
                running_count -= usize::from(interval.is_last);
                gathering.add(interval, watch);
            }
            Err(RecvTimeoutError::Timeout) => {}
            // A shard has failed; joining it says how.
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    gathering.finish(watch)
}

/// Reports of several shards on their way to one.
struct Gathering {
    shard_count: usize,
    /// By number: what was reported so far, and by how many shards.
    open: BTreeMap<u32, (Interval, usize)>,
    outcome: Outcome,
}

impl Gathering {
    fn add(&mut self, interval: Interval, watch: &mut dyn FnMut(&Interval)) {
        let index = interval.index;
        let count = match self.open.get_mut(&index) {
            Some((sum, count)) => {
                sum.tally.merge(&interval.tally);
                sum.length = sum.length.max(interval.length);
                *count += 1;
                *count
            }
            None => {
                self.open.insert(index, (interval, 1));
                1
            }
        };
        if count == self.shard_count {
            self.close(index, watch);
        }
    }

    fn close(&mut self, index: u32, watch: &mut dyn FnMut(&Interval)) {
        let Some((interval, _)) = self.open.remove(&index) else {
            return;
        };
        if interval.is_measured {
            self.outcome.tally.merge(&interval.tally);
            self.outcome.measured += interval.length;
        }
        watch(&interval);
    }

    /// What not all shards have reported, after an interruption at the edge of an interval.
    fn finish(mut self, watch: &mut dyn FnMut(&Interval)) -> Outcome {
        while let Some(index) = self.open.keys().next().copied() {
            self.close(index, watch);
        }
        self.outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(index: u32, is_measured: bool) -> Interval {
        let mut tally = Tally::new();
        tally.answers = 1;
        Interval {
            index,
            offset: Duration::from_secs(index.into()),
            length: Duration::from_secs(1),
            is_measured,
            is_last: false,
            tally,
        }
    }

    #[test]
    fn intervals_close_when_every_shard_has_reported() {
        let mut gathering = Gathering {
            shard_count: 2,
            open: BTreeMap::new(),
            outcome: Outcome {
                tally: Tally::new(),
                measured: Duration::ZERO,
                is_interrupted: false,
            },
        };
        let mut seen = Vec::new();
        let mut watch = |interval: &Interval| seen.push((interval.index, interval.tally.answers));
        for (index, is_measured) in [(0, false), (1, true), (0, false), (1, true), (2, true)] {
            gathering.add(interval(index, is_measured), &mut watch);
        }
        let outcome = gathering.finish(&mut watch);
        assert_eq!(seen, [(0, 2), (1, 2), (2, 1)]);
        // The warm-up does not count.
        assert_eq!(outcome.tally.answers, 3);
        assert_eq!(outcome.measured, Duration::from_secs(2));
    }
}
