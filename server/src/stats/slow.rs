//! The last requests that took long, for people who want to know which.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use corelane_runtime::Moment;

/// How many are kept for each shard.
const COUNT_MAX: usize = 16;

/// One slow request, or several of a turn that was slow for all of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    /// The index of its route in [`ServerStats::routes`](super::ServerStats::routes).
    pub(crate) route: usize,
    /// The first digit of the status.
    pub(crate) class: u16,
    pub(crate) count: u32,
    pub(crate) ended: Moment,
    /// From the end of the head to the call of the handler: the body came.
    pub(crate) receive: Duration,
    /// From the call of the handler to the head of its answer.
    pub(crate) handle: Duration,
    /// From there to the end of its content.
    pub(crate) send: Duration,
}

/// The last slow requests of one shard.
#[derive(Debug)]
pub(crate) struct SlowRequests(Mutex<VecDeque<Slow>>);

impl Default for SlowRequests {
    fn default() -> SlowRequests {
        SlowRequests(Mutex::new(VecDeque::with_capacity(COUNT_MAX)))
    }
}

impl SlowRequests {
    /// Keeps one. The shard never waits: while somebody looks, what is slow is not kept.
    #[cold]
    pub(crate) fn push(&self, slow: Slow) {
        let Ok(mut kept) = self.0.try_lock() else { return };
        if kept.len() == COUNT_MAX {
            kept.pop_front();
        }
        kept.push_back(slow);
    }

    /// What is kept, the oldest first.
    pub(crate) fn copy(&self) -> Vec<Slow> {
        self.0.lock().map(|kept| kept.iter().copied().collect()).unwrap_or_default()
    }
}
