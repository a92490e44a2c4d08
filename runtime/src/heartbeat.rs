//! What a shard shows of itself to those who watch it: one store a turn.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Names something that a shard does, for the log line of a stall: a route. From
/// [`Shard::name_activities`](crate::Shard::name_activities).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity(u32);

impl Activity {
    /// The activity with this index in the list of names.
    pub fn new(index: usize) -> Activity {
        Activity(u32::try_from(index).unwrap_or(u32::MAX))
    }

    /// Its index in the list of names.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Set in `state` while an activity runs; clear in every turn's number.
const IS_ACTIVITY: u64 = 1 << 63;

/// Written by the shard, read by the thread that watches it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Heartbeat {
    /// The number of the turn whose tasks have all run, or the activity that was begun since. So
    /// the shard runs its tasks while this is anything but the number of the present turn.
    state: AtomicU64,
    /// The shard's thread; zero before it runs.
    thread: AtomicI32,
    names: Mutex<Vec<String>>,
}

impl Heartbeat {
    /// All tasks and jobs of a turn have run.
    pub(crate) fn rest(&self, turn: u64) {
        self.state.store(turn, Ordering::Relaxed);
    }

    /// Something is about to run outside a turn's tasks: a job of another shard.
    pub(crate) fn resume(&self) {
        self.state.store(0, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self, activity: Activity) {
        self.state.store(IS_ACTIVITY | u64::from(activity.0), Ordering::Relaxed);
    }

    /// Whether the shard has been running its tasks in `turn` without an end so far.
    pub(crate) fn is_running(&self, turn: u64) -> bool {
        self.state.load(Ordering::Relaxed) != turn
    }

    pub(crate) fn enter_thread(&self) {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        self.thread.store(thread, Ordering::Relaxed);
    }

    pub(crate) fn thread(&self) -> i32 {
        self.thread.load(Ordering::Relaxed)
    }

    pub(crate) fn set_names(&self, names: Vec<String>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// The activity that was begun last in this turn, where one was.
    pub(crate) fn activity(&self) -> Option<String> {
        let state = self.state.load(Ordering::Relaxed);
        let index = (state & IS_ACTIVITY != 0).then_some((state & !IS_ACTIVITY) as usize)?;
        self.names.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }
}
