//! What other threads see of a shard: its inbox, and how to wake it.

use std::fmt;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use crossbeam_queue::{ArrayQueue, SegQueue};

use crate::announced::Announced;
use crate::balance::Load;
use crate::clock::Moment;
use crate::ending::Ending;
use crate::heartbeat::Heartbeat;
use crate::mutation::{Mutation, is_made};
use crate::news::News;
use crate::shard::{Shard, ShardId};
use crate::task::ForeignWake;

/// A job for a shard: runs there, between two turns' tasks.
pub(crate) type Job = Box<dyn FnOnce(&Shard) + Send>;

/// How far a shard is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Serving.
    Running,
    /// Finishing what has begun.
    Draining,
    /// Ending now.
    Stopping,
}

/// The shared half of a shard. Everything else of a shard stays on its thread.
pub(crate) struct Remote {
    pub(crate) id: ShardId,
    wakes: SegQueue<ForeignWake>,
    jobs: ArrayQueue<Job>,
    phase: AtomicU8,
    /// When a drain gives up, in nanoseconds of [`Moment`].
    drain_deadline: AtomicU64,
    /// Begun where another process has the listening sockets too: a drain that comes then leaves
    /// to it what waits in the kernel's queues.
    pub(crate) leaving_queues: Announced,
    /// Whether the shard drains and has nothing left to finish.
    is_done: AtomicBool,
    /// Once it has come, what is sent is dropped.
    ending: Ending,
    news: News,
    alarm: Alarm,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) load: Load,
}

impl Remote {
    pub(crate) fn new(id: ShardId, job_count_max: usize, alarm: Alarm) -> Remote {
        Remote {
            id,
            wakes: SegQueue::new(),
            jobs: ArrayQueue::new(job_count_max.max(1)),
            phase: AtomicU8::new(Phase::Running as u8),
            drain_deadline: AtomicU64::new(u64::MAX),
            leaving_queues: Announced::default(),
            is_done: AtomicBool::new(false),
            ending: Ending::new(),
            news: News::new(),
            alarm,
            heartbeat: Heartbeat::default(),
            load: Load::default(),
        }
    }

    pub(crate) fn send_wake(&self, wake: ForeignWake) {
        self.wakes.push(wake);
        if !is_made(Mutation::WakeLost) {
            self.notify();
        }
        self.empty_if_closed();
    }

    /// Hands a job over; gives it back where the inbox is full or the shard has ended.
    pub(crate) fn send_job(&self, job: Job) -> Result<(), Job> {
        if self.is_closed() {
            return Err(job);
        }
        self.jobs.push(job)?;
        self.notify();
        self.empty_if_closed();
        Ok(())
    }

    /// The shard has ended: whoever waits for a job's reply learns that there will be none.
    pub(crate) fn close(&self) {
        self.ending.come(|| self.empty());
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ending.has_come()
    }

    /// Called after each push, so that what is pushed while the shard ends is dropped by either
    /// the shard or the sender: the fence in `notify` lies between the push and this look.
    fn empty_if_closed(&self) {
        if self.is_closed() {
            self.empty();
        }
    }

    fn empty(&self) {
        while self.jobs.pop().is_some() {}
        while self.wakes.pop().is_some() {}
    }

    /// Whether the shard drains and has nothing left to finish itself.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// Says whether the shard is done; `true` where that is new.
    pub(crate) fn set_done(&self, is_done: bool) -> bool {
        self.is_done.load(Ordering::Relaxed) != is_done
            && self.is_done.swap(is_done, Ordering::AcqRel) != is_done
    }

    /// Begins to drain, to end at `deadline` at the latest; an earlier deadline wins.
    pub(crate) fn drain(&self, deadline: Moment) {
        self.drain_deadline.fetch_min(deadline.as_nanos(), Ordering::AcqRel);
        self.enter_phase(Phase::Draining);
    }

    /// Ends now.
    pub(crate) fn stop(&self) {
        self.enter_phase(Phase::Stopping);
    }

    /// Moves the shard on to a later phase; an earlier one is ignored.
    fn enter_phase(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
        self.notify();
    }

    pub(crate) fn drain_deadline(&self) -> Moment {
        Moment::from_nanos(self.drain_deadline.load(Ordering::Acquire))
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Stopping,
        }
    }

    /// Whether there may be something to receive; clears the mark.
    pub(crate) fn take_news(&self) -> bool {
        self.news.take()
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn has_news(&self) -> bool {
        self.news.is_there()
    }

    pub(crate) fn next_wake(&self) -> Option<ForeignWake> {
        self.wakes.pop()
    }

    pub(crate) fn next_job(&self) -> Option<Job> {
        self.jobs.pop()
    }

    /// How many jobs wait in the inbox.
    pub(crate) fn job_count(&self) -> usize {
        self.jobs.len()
    }

    /// Announces that the shard is about to block. `false`: it must not, there is news.
    pub(crate) fn fall_asleep(&self) -> bool {
        self.news.fall_asleep()
    }

    pub(crate) fn wake_up(&self) {
        self.news.wake_up();
    }

    pub(crate) fn alarm_fd(&self) -> RawFd {
        let reader = self.alarm.0.as_ref().map(|(reader, _)| reader);
        reader.map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Has the shard look at its inbox, and wakes it for that where it sleeps.
    pub(crate) fn notify(&self) {
        self.news.tell(|| self.alarm.ring());
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A pipe that the shard's ring reads; none in a simulation, where nobody blocks.
///
/// Not an eventfd: a parked shard is woken by the eventfd that its ring signals with each
/// completion, and the kernel does not signal one eventfd from within a write to another
/// (`eventfd_signal_allowed`): it defers that, once. Linux 6.18 then loses every further signal of
/// this kind, and the shard sleeps for ever.
pub(crate) struct Alarm(Option<(PipeReader, PipeWriter)>);

impl Alarm {
    pub(crate) fn new() -> io::Result<Alarm> {
        io::pipe().map(Some).map(Alarm)
    }

    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn silent() -> Alarm {
        Alarm(None)
    }

    /// Never blocks: a shard that goes to sleep has read what came before, and each sleep is
    /// ended by one byte at most.
    fn ring(&self) {
        if let Some((_, writer)) = &self.0 {
            // The reading end is open as long as this one.
            let _ = (&*writer).write(&[0]);
        }
    }
}
