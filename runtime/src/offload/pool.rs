//! The threads of the pool, their queue, and what they count.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use async_channel::{Receiver, Sender};
use futures_channel::oneshot;
use rustix::thread::CpuSet;

use super::OffloadError;
use crate::error::ConfigError;
use crate::shard::panic_text;

/// The size of the pool; one for the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffloadConfig {
    /// Threads, 1 to 1024. Default 4: enough that a slow job does not hold up all others, few
    /// enough that they do not crowd out the shards of a small machine.
    pub thread_count: usize,
    /// Jobs that may wait for a thread, at least 1. Default 1024; beyond, `offload` waits and
    /// `try_offload` gives the job back.
    pub job_count_max: usize,
    /// By how much the threads' priority is lowered (`nice(1)`), 0 to 19, where they share their
    /// CPUs with shards. Default 10: a tenth of a CPU's time when a shard wants all of it.
    pub nice: u8,
}

impl Default for OffloadConfig {
    fn default() -> OffloadConfig {
        OffloadConfig { thread_count: 4, job_count_max: 1024, nice: 10 }
    }
}

impl OffloadConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=1024).contains(&self.thread_count) {
            let problem = format!("{} is not within 1 to 1024 threads", self.thread_count);
            return Err(ConfigError::new("offload.thread_count", problem));
        }
        if self.job_count_max == 0 {
            let problem = "0 leaves no room for any job; write at least 1";
            return Err(ConfigError::new("offload.job_count_max", problem));
        }
        if self.nice > 19 {
            let problem = format!("{} is not within 0 to 19", self.nice);
            return Err(ConfigError::new("offload.nice", problem));
        }
        Ok(())
    }
}

/// What the pool has done so far, and does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OffloadStats {
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that ran to their end, panics included.
    pub finished: u64,
    /// Jobs whose caller had gone before they began.
    pub skipped: u64,
    /// Jobs that panicked.
    pub panicked: u64,
}

/// The queue and the counters, shared by the shards and the threads.
pub(crate) struct Pool {
    pub(super) queue: Sender<Box<dyn Work>>,
    waiting: Receiver<Box<dyn Work>>,
    running: AtomicUsize,
    finished: AtomicU64,
    skipped: AtomicU64,
    panicked: AtomicU64,
}

impl Pool {
    /// A pool without threads.
    pub(crate) fn new(job_count_max: usize) -> Pool {
        let (queue, waiting) = async_channel::bounded(job_count_max.max(1));
        Pool {
            queue,
            waiting,
            running: AtomicUsize::new(0),
            finished: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
        }
    }

    /// Starts the threads, which run on `cpus` until the pool is closed.
    ///
    /// They are not waited for in the end: a job that blocks for ever must not keep the process.
    pub(crate) fn start(
        self: &Arc<Self>,
        thread_count: usize,
        cpus: &[usize],
        nice: u8,
    ) -> io::Result<()> {
        let cpus: Arc<[usize]> = cpus.into();
        for index in 0..thread_count {
            let (pool, cpus) = (Arc::clone(self), Arc::clone(&cpus));
            let thread = std::thread::Builder::new().name(format!("offload-{index}"));
            thread.spawn(move || {
                settle(&cpus, nice);
                while let Ok(work) = pool.waiting.recv_blocking() {
                    work.run(&pool);
                }
            })?;
        }
        Ok(())
    }

    /// Takes no more jobs; the threads end when they have emptied the queue.
    pub(crate) fn close(&self) {
        self.queue.close();
    }

    pub(crate) fn stats(&self) -> OffloadStats {
        OffloadStats {
            queued: self.waiting.len(),
            running: self.running.load(Ordering::Relaxed),
            finished: self.finished.load(Ordering::Relaxed),
            skipped: self.skipped.load(Ordering::Relaxed),
            panicked: self.panicked.load(Ordering::Relaxed),
        }
    }

    /// Runs the job that has waited longest, on the calling thread.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn run_next(&self) {
        if let Ok(work) = self.waiting.try_recv() {
            work.run(self);
        }
    }
}

/// Puts the calling thread where it does not disturb the shards. Where the system refuses, it
/// stays where it is: a slower shard is better than none.
pub(crate) fn settle(cpus: &[usize], nice: u8) {
    let mut allowed = CpuSet::new();
    let known = cpus.iter().filter(|cpu| **cpu < CpuSet::MAX_CPU);
    known.for_each(|cpu| allowed.set(*cpu));
    if allowed.count() > 0
        && let Err(error) = rustix::thread::sched_setaffinity(None, &allowed)
    {
        tracing::warn!(%error, "a thread stays on the CPUs of whoever started it");
    }
    // On Linux a priority belongs to a thread (setpriority(2), "C library/kernel differences").
    let thread = rustix::thread::gettid();
    if nice > 0
        && let Err(error) = rustix::process::setpriority_process(Some(thread), i32::from(nice))
    {
        tracing::warn!(%error, "a thread runs with the shards' priority");
    }
}

/// A job without its type.
pub(super) trait Work: Send {
    fn run(self: Box<Self>, pool: &Pool);
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

/// A job and where its result goes.
pub(super) struct Task<F, R> {
    pub(super) job: F,
    reply: oneshot::Sender<Result<R, OffloadError>>,
}

impl<F, R> Task<F, R> {
    pub(super) fn new(job: F) -> (Task<F, R>, oneshot::Receiver<Result<R, OffloadError>>) {
        let (reply, result) = oneshot::channel();
        (Task { job, reply }, result)
    }
}

impl<F, R> Work for Task<F, R>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    fn run(self: Box<Self>, pool: &Pool) {
        let Task { job, reply } = *self;
        if reply.is_canceled() {
            pool.skipped.fetch_add(1, Ordering::Relaxed);
            // The job's captures are the application's code as well.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
            return;
        }
        pool.running.fetch_add(1, Ordering::Relaxed);
        let result = catch_unwind(AssertUnwindSafe(job)).map_err(|panic| {
            pool.panicked.fetch_add(1, Ordering::Relaxed);
            OffloadError::Panicked(panic_text(&*panic).to_owned())
        });
        pool.running.fetch_sub(1, Ordering::Relaxed);
        pool.finished.fetch_add(1, Ordering::Relaxed);
        // A caller that has gone meanwhile does not need the result, whose destructor may panic.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(reply.send(result))));
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
