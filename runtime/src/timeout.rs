//! A bound on how long a future may take.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::shard::Shard;
use crate::timer::Timer;

/// Runs a future for `duration` at most, counted from the start of this turn.
///
/// The future is polled before the clock is looked at: one that is ready counts, however late.
/// Dropping the result drops the future and disarms the timer. Resolution: one
/// [`TICK`](crate::TICK), never early.
///
/// ```no_run
/// # use std::time::Duration;
/// # use corelane_runtime::{Stream, timeout};
/// # async fn receive(stream: &mut Stream) -> std::io::Result<()> {
/// let received = timeout(Duration::from_secs(5), stream.recv()).await??;
/// # drop(received);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`TimedOut`], when the time is up; the future is dropped then.
///
/// # Panics
/// Outside a shard.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    let shard = Shard::current();
    let timer = Timer::new(&shard);
    timer.arm(shard.now() + duration);
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => timer.poll_expired(context).map(|()| Err(TimedOut)),
    })
    .await
}

/// The time of a [`timeout`] was up before its future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it took longer than its time")
    }
}

impl Error for TimedOut {}

impl From<TimedOut> for io::Error {
    fn from(error: TimedOut) -> io::Error {
        io::Error::new(io::ErrorKind::TimedOut, error)
    }
}
