//! The thread that watches the shards: a turn that does not end is counted and logged.
//!
//! A shard that merely waits for its CPU, because others have it, holds nothing up itself: the time
//! that its thread was runnable and did not run is no part of a stall.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::config::CheckedConfig;
use crate::driver::backtrace;
use crate::offload::settle;
use crate::remote::Remote;
use crate::stats::Stats;

/// How often a shard's stalls are logged, at most; what comes between is counted. Finding the names
/// of a backtrace takes tens of milliseconds of CPU.
const LOG_PERIOD: Duration = Duration::from_secs(10);

/// The longest time between two looks while every shard is idle. A stall that follows such a time
/// and is shorter may go unseen.
const IDLE_PERIOD_MAX: Duration = Duration::from_millis(50);

/// Watches for as long as it lives.
#[derive(Debug)]
pub(crate) struct Watch(#[expect(dead_code, reason = "dropping it ends the thread")] Sender);

type Sender = mpsc::Sender<()>;

impl Watch {
    /// Starts the thread.
    pub(crate) fn start(
        config: &CheckedConfig,
        remotes: &[Arc<Remote>],
        stats: &[Arc<Stats>],
    ) -> io::Result<Watch> {
        let threshold = config.shard.stall_threshold;
        let (cpus, nice) = (config.offload_cpus.clone(), config.offload.nice);
        let now = Instant::now();
        let watched = remotes.iter().zip(stats).map(|(remote, stats)| Watched {
            remote: Arc::clone(remote),
            stats: Arc::clone(stats),
            turn: Turn::new(0, now),
            logged: None,
            unlogged_count: 0,
        });
        let mut watched: Vec<_> = watched.collect();
        let (sender, end) = mpsc::channel();
        let watch = move || {
            // Looking names up takes a while, which must not be the shards' time.
            settle(&cpus, nice);
            let mut period = threshold / 2;
            while end.recv_timeout(period) == Err(RecvTimeoutError::Timeout) {
                let looks = watched.iter_mut().map(|shard| shard.look(threshold));
                let is_idle = looks.fold(true, |is_idle, moved| is_idle & !moved);
                period = if is_idle { period * 2 } else { threshold / 2 };
                period = period.min(IDLE_PERIOD_MAX.max(threshold / 2));
            }
        };
        std::thread::Builder::new().name("watch".to_owned()).spawn(watch)?;
        Ok(Watch(sender))
    }
}

/// A shard, and what was last seen of it.
struct Watched {
    remote: Arc<Remote>,
    stats: Arc<Stats>,
    turn: Turn,
    logged: Option<Instant>,
    unlogged_count: u64,
}

impl Watched {
    /// Looks once; says whether the shard has done anything, or still does.
    fn look(&mut self, threshold: Duration) -> bool {
        let number = self.stats.turns.value();
        let is_running = self.remote.heartbeat.is_running(number) && !self.remote.is_closed();
        let has_moved = is_running || number != self.turn.number;
        let thread = self.remote.heartbeat.thread();
        let waited = || CpuTime::of(thread).waited;
        if let Some(held) = self.turn.look(number, is_running, Instant::now(), threshold, waited) {
            self.stats.stalls.add(1);
            self.log(held);
        }
        has_moved
    }

    #[cold]
    fn log(&mut self, held: Duration) {
        if self.logged.is_some_and(|logged| logged.elapsed() < LOG_PERIOD) {
            self.unlogged_count += 1;
            return;
        }
        self.logged = Some(Instant::now());
        let unlogged_count = std::mem::take(&mut self.unlogged_count);
        if !tracing::enabled!(tracing::Level::WARN) {
            return;
        }
        let route = self.remote.heartbeat.activity();
        let backtrace = backtrace::of_thread(self.remote.heartbeat.thread());
        tracing::warn!(
            shard = self.remote.id.0,
            ?held,
            route = route.as_deref().unwrap_or("none"),
            unlogged_count,
            "a task holds the shard; let it await yield_if_needed(), or offload it\n    in {}",
            backtrace.as_deref().unwrap_or("(the thread does not answer)"),
        );
    }
}

/// What a thread of this process did with its time since it was started, as its `schedstat` tells
/// (proc_pid_schedstat(5)). Zero where the kernel does not count it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// How long it ran.
    pub ran: Duration,
    /// How long it was runnable and did not run: others had its CPU.
    pub waited: Duration,
}

impl CpuTime {
    pub(crate) fn of(thread: i32) -> CpuTime {
        let path = format!("/proc/self/task/{thread}/schedstat");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(|nanos| nanos.parse().ok());
        let mut next = || Duration::from_nanos(numbers.next().flatten().unwrap_or_default());
        CpuTime { ran: next(), waited: next() }
    }
}

/// One turn, as it looks from outside.
#[derive(Clone, Copy, Debug)]
struct Turn {
    number: u64,
    /// When its tasks were first seen to run.
    seen: Instant,
    /// How long its thread had waited for its CPU at the second look.
    waited: Option<Duration>,
    is_counted: bool,
}

impl Turn {
    fn new(number: u64, seen: Instant) -> Turn {
        Turn { number, seen, waited: None, is_counted: false }
    }

    /// How long the turn has lasted, once it is a stall; each turn is one at most once.
    ///
    /// `waited` is asked only about turns that are seen twice: nearly all are not.
    fn look(
        &mut self,
        number: u64,
        is_running: bool,
        now: Instant,
        threshold: Duration,
        waited: impl Fn() -> Duration,
    ) -> Option<Duration> {
        if number != self.number || !is_running {
            // A turn that rests is over: what runs next has another number.
            *self = Turn::new(number, now);
            return None;
        }
        if self.is_counted {
            return None;
        }
        let waited = waited();
        let waited = waited.saturating_sub(*self.waited.get_or_insert(waited));
        let held = (now - self.seen).saturating_sub(waited);
        if held < threshold {
            return None;
        }
        self.is_counted = true;
        Some(held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_a_stall_once_and_only_while_it_runs() {
        let threshold = Duration::from_millis(10);
        let start = Instant::now();
        let mut turn = Turn::new(0, start);
        // Milliseconds, the turn's number, whether its tasks run, whether it is a new stall.
        let looks = [
            (5, 1, true, false),
            (14, 1, true, false),
            (15, 1, true, true),
            (90, 1, true, false),
            (95, 1, false, false),
            (400, 1, false, false),
            // A job between two turns, after a long rest.
            (405, 1, true, false),
            (409, 1, true, false),
            (410, 1, true, true),
            (420, 2, true, false),
            (429, 3, true, false),
            (438, 3, true, false),
            (439, 3, true, true),
        ];
        for (millis, number, is_running, is_stall) in looks {
            let now = start + Duration::from_millis(millis);
            let held = turn.look(number, is_running, now, threshold, Duration::default);
            assert_eq!(held.is_some(), is_stall, "after {millis} ms");
        }
    }

    #[test]
    fn a_shard_that_waits_for_its_cpu_does_not_stall() {
        let threshold = Duration::from_millis(10);
        let start = Instant::now();
        let mut turn = Turn::new(1, start);
        // Milliseconds, how many of them the thread has waited, whether it is a new stall.
        for (millis, waited, is_stall) in
            [(5, 105, false), (50, 149, false), (58, 154, false), (60, 154, true)]
        {
            let now = start + Duration::from_millis(millis);
            let held = turn.look(1, true, now, threshold, || Duration::from_millis(waited));
            assert_eq!(held.is_some(), is_stall, "after {millis} ms");
        }
    }

    #[test]
    fn the_kernel_says_how_long_a_thread_has_waited() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let earlier = CpuTime::of(thread);
        let later = CpuTime::of(thread);
        assert!(later.waited >= earlier.waited && later.ran >= earlier.ran);
        // The kernel brings it up to date when the thread stops running, or with its next tick.
        while CpuTime::of(thread).ran.is_zero() {
            std::thread::yield_now();
        }
        assert_eq!(CpuTime::of(-1), CpuTime::default());
    }
}
