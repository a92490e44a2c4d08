//! What the admin address can tell, shared by its threads.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use corelane_runtime::{Monitor, ShardId};

use super::live;
use crate::records::Metric;
use crate::stats::ServerStats;

/// What there is to tell once every shard listens.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) monitor: Monitor,
    pub(crate) servers: Vec<Arc<ServerStats>>,
    /// The CPU of each shard.
    pub(crate) cpus: Vec<usize>,
    /// The receive buffers of each shard.
    pub(crate) buffer_count: u16,
    /// Those of the process that are counted beside the shards.
    pub(crate) metrics: Vec<Metric>,
}

impl Running {
    /// The shards with their server's counters.
    pub(super) fn shards(&self) -> impl Iterator<Item = (ShardId, &ServerStats)> {
        self.servers.iter().enumerate().map(|(index, server)| (ShardId(index), &**server))
    }
}

/// What the admin address can tell.
#[derive(Debug)]
pub(crate) struct View {
    config: String,
    running: OnceLock<Running>,
    samples: Mutex<Samples>,
    changed: Condvar,
}

/// The last events for the live page.
#[derive(Debug, Default)]
struct Samples {
    events: VecDeque<Arc<str>>,
    /// The number of the newest; the first one has 1.
    number: u64,
    is_closed: bool,
}

impl View {
    /// With what `/config` answers.
    pub(crate) fn new(config: String) -> View {
        let (running, samples) = (OnceLock::new(), Mutex::default());
        View { config, running, samples, changed: Condvar::new() }
    }

    /// Every shard listens.
    pub(crate) fn begin(&self, running: Running) {
        let is_new = self.running.set(running).is_ok();
        debug_assert!(is_new, "a server begins once");
        let _samples = self.samples();
        self.changed.notify_all();
    }

    /// Ends every wait.
    pub(super) fn close(&self) {
        self.samples().is_closed = true;
        self.changed.notify_all();
    }

    pub(super) fn running(&self) -> Option<&Running> {
        self.running.get()
    }

    pub(super) fn config(&self) -> &str {
        &self.config
    }

    /// Why no requests should be sent here, if none should.
    pub(super) fn why_not_ready(&self) -> Option<&'static str> {
        match self.running.get() {
            None => Some("starting"),
            Some(running) if running.monitor.is_stopping() => Some("draining"),
            Some(_) => None,
        }
    }

    /// Adds the newest sample; of the old ones as many are kept as the page shows.
    pub(super) fn push(&self, event: String, count_max: usize) {
        let mut samples = self.samples();
        samples.events.push_back(event.into());
        samples.number += 1;
        while samples.events.len() > count_max.max(1) {
            samples.events.pop_front();
        }
        self.changed.notify_all();
    }

    /// The event that a page begins with, once every shard listens; `None` at the end.
    pub(super) fn hello(&self) -> Option<String> {
        let mut samples = self.samples();
        loop {
            if samples.is_closed {
                return None;
            }
            if let Some(running) = self.running.get() {
                return Some(live::hello(running));
            }
            samples = self.wait(samples);
        }
    }

    /// Waits for events beyond the number that was `seen`; `None` at the end.
    pub(super) fn wait_for_samples(&self, seen: &mut u64) -> Option<String> {
        let mut samples = self.samples();
        while !samples.is_closed && samples.number == *seen {
            samples = self.wait(samples);
        }
        if samples.is_closed {
            return None;
        }
        let new = usize::try_from(samples.number - *seen).unwrap_or(usize::MAX);
        *seen = samples.number;
        let old = samples.events.len().saturating_sub(new);
        Some(samples.events.iter().skip(old).map(|event| &**event).collect())
    }

    fn samples(&self) -> MutexGuard<'_, Samples> {
        // A thread that panicked leaves samples that are whole.
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, samples: MutexGuard<'a, Samples>) -> MutexGuard<'a, Samples> {
        self.changed.wait(samples).unwrap_or_else(PoisonError::into_inner)
    }
}
