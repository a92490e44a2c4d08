//! Work that blocks or computes for long, away from the shards: a bounded pool of threads.
//!
//! ```text
//!   shard                    queue (job_count_max)          threads (thread_count)
//!   offload(job).await ──►  job │ job │ job           ──►   job()
//!        │  full: waits, or                                   │
//!        │  gives the job back (try_offload)                  ▼
//!        ◄──────────────── inbox of the shard ◄──────── the result, or its panic
//! ```
//!
//! The threads run on the CPUs that no shard has, where there are any; else they share the shards'
//! CPUs at a lower priority. A job whose caller has gone before a thread took it is skipped; one
//! that has begun runs to its end, and its result is dropped. So a job that must happen belongs
//! into a task of its own ([`Shard::spawn`]), which no peer can make go away.
//!
//! In a simulated world there are no threads: the jobs run one at a time between the shards'
//! turns, when the seed says so.

mod pool;

pub use pool::{OffloadConfig, OffloadStats};
pub(crate) use pool::{Pool, settle};

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_channel::oneshot;

use crate::shard::Shard;
use pool::Task;

/// Runs `job` on a thread of the pool and gives back its result. Waits while the pool is full.
///
/// ```no_run
/// # async fn hash(password: String) -> Result<(), corelane_runtime::OffloadError> {
/// let digest = corelane_runtime::offload(move || password.bytes().map(u64::from).sum::<u64>());
/// println!("{}", digest.await?);
/// # Ok(())
/// # }
/// ```
///
/// Dropping the future takes the job back unless a thread has begun it.
///
/// # Errors
/// The job panicked, or the runtime ends.
///
/// # Panics
/// Outside a shard.
pub async fn offload<F, R>(job: F) -> Result<R, OffloadError>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let shard = Shard::current();
    let (task, result) = Task::new(job);
    shard.stats().offloads.add(1);
    // A closed queue drops the task, whose result then never comes.
    let _ = shard.offload_pool.queue.send(Box::new(task)).await;
    Offloaded(result).await
}

/// As [`offload`], without waiting for room in the queue.
///
/// # Errors
/// The job, where the queue is full or the runtime ends.
///
/// # Panics
/// Outside a shard.
pub fn try_offload<F, R>(job: F) -> Result<Offloaded<R>, OffloadFull<F>>
where
    F: FnOnce() -> R + Send + 'static,
    R: Send + 'static,
{
    let shard = Shard::current();
    let (task, result) = Task::new(job);
    match shard.offload_pool.queue.try_send(Box::new(task)) {
        Ok(()) => {
            shard.stats().offloads.add(1);
            Ok(Offloaded(result))
        }
        Err(refused) => {
            shard.stats().offloads_rejected.add(1);
            let task = refused.into_inner().into_any().downcast::<Task<F, R>>();
            Err(OffloadFull(task.expect("the queue gives back what it was given").job))
        }
    }
}

/// The result of a job that was offloaded, as a future. Dropping it takes the job back unless a
/// thread has begun it.
#[derive(Debug)]
pub struct Offloaded<R>(oneshot::Receiver<Result<R, OffloadError>>);

impl<R> Future for Offloaded<R> {
    type Output = Result<R, OffloadError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = Pin::new(&mut self.0).poll(context);
        result.map(|result| result.unwrap_or(Err(OffloadError::Stopped)))
    }
}

/// A job has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OffloadError {
    /// The job panicked, with this text.
    Panicked(String),
    /// The runtime ended before the job began.
    Stopped,
}

impl fmt::Display for OffloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OffloadError::Panicked(text) => write!(f, "the offloaded job panicked: {text}"),
            OffloadError::Stopped => f.write_str("the runtime ended before the job began"),
        }
    }
}

impl Error for OffloadError {}

/// A job that the full queue did not take, unharmed: to be refused, or offered again.
pub struct OffloadFull<F>(
    /// The job.
    pub F,
);

impl<F> fmt::Debug for OffloadFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OffloadFull")
    }
}

impl<F> fmt::Display for OffloadFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the offload queue is full; wait with `offload`, or raise its job_count_max")
    }
}

impl<F> Error for OffloadFull<F> {}
