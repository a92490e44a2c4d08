//! The tasks of one shard: futures that need not be `Send`, and the wakers that queue them.
//!
//! The shard polls its tasks itself, inside the one glommio task that hosts it. So it knows
//! exactly whether anything is runnable, which decides whether the ring may block; the same code
//! runs above a simulated ring; and a wake on the shard costs a push onto a queue, no atomic.
//!
//! ```text
//!            spawn               poll: Pending
//!   (new) ────────► queued ◄──────────────────► waiting
//!                     │        wake                │
//!                     │ poll: Ready, or a panic    │ the shard ends
//!                     └────────► gone ◄────────────┘
//! ```

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use crate::driver::prefetch::prefetch;
use crate::remote::Remote;
use crate::sent::Sent;
use crate::shard::Shard;

type BoxedFuture = Pin<Box<dyn Future<Output = ()>>>;

/// How many tasks beforehand a task's entry is brought near; its future, which only the entry
/// knows, half as many.
const LOOK_AHEAD: usize = 4;

/// Names a task for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskKey {
    index: u32,
    generation: u32,
}

pub(crate) struct Tasks {
    marks: RefCell<Vec<Mark>>,
    entries: RefCell<Vec<Entry>>,
    free: RefCell<Vec<u32>>,
    queue: RefCell<VecDeque<TaskKey>>,
    background: RefCell<VecDeque<TaskKey>>,
    live_count: Cell<usize>,
}

/// Whether a task runs in every turn that it is ready in, or when there is nothing better to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Normal,
    Background,
}

/// What a wake looks at. Apart from the entries, so that those of many tasks stay in the cache.
struct Mark {
    generation: u32,
    is_queued: bool,
    urgency: Urgency,
}

struct Entry {
    /// Absent while the task is polled, and when it is gone.
    future: Option<BoxedFuture>,
    waker: Option<Waker>,
}

impl Tasks {
    pub(crate) fn new() -> Tasks {
        Tasks {
            marks: RefCell::new(Vec::new()),
            entries: RefCell::new(Vec::new()),
            free: RefCell::new(Vec::new()),
            queue: RefCell::new(VecDeque::new()),
            background: RefCell::new(VecDeque::new()),
            live_count: Cell::new(0),
        }
    }

    /// How many tasks there are.
    pub(crate) fn live_count(&self) -> usize {
        self.live_count.get()
    }

    /// Whether a task in the background is ready to be polled.
    pub(crate) fn has_background_work(&self) -> bool {
        !self.background.borrow().is_empty()
    }

    /// How many tasks are ready to be polled, those in the background aside.
    pub(crate) fn queued_count(&self) -> usize {
        self.queue.borrow().len()
    }

    pub(crate) fn insert(
        &self,
        remote: &Arc<Remote>,
        future: BoxedFuture,
        urgency: Urgency,
    ) -> TaskKey {
        let (mut marks, mut entries) = (self.marks.borrow_mut(), self.entries.borrow_mut());
        let index = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let index = u32::try_from(entries.len()).expect("fewer tasks than memory");
            marks.push(Mark { generation: 0, is_queued: false, urgency });
            entries.push(Entry { future: None, waker: None });
            index
        });
        let (mark, entry) = (&mut marks[index as usize], &mut entries[index as usize]);
        let key = TaskKey { index, generation: mark.generation };
        let remote = Arc::clone(remote);
        let header = Header { remote, key, sent: Sent::new() };
        mark.urgency = urgency;
        entry.future = Some(future);
        entry.waker = Some(Waker::from(Arc::new(header)));
        self.live_count.set(self.live_count.get() + 1);
        drop((marks, entries));
        self.queue(key);
        key
    }

    /// Queues a task, unless it is queued already or gone.
    pub(crate) fn queue(&self, key: TaskKey) {
        let mut marks = self.marks.borrow_mut();
        let Some(mark) = marks.get_mut(key.index as usize) else {
            return;
        };
        if mark.generation == key.generation && !mark.is_queued {
            mark.is_queued = true;
            self.queue_of(mark.urgency).borrow_mut().push_back(key);
        }
    }

    /// Queues every task: something has changed that any of them may look at.
    pub(crate) fn queue_all(&self) {
        let (mut marks, entries) = (self.marks.borrow_mut(), self.entries.borrow());
        for (index, (mark, entry)) in marks.iter_mut().zip(&*entries).enumerate() {
            if entry.waker.is_some() && !mark.is_queued {
                mark.is_queued = true;
                let key = TaskKey { index: index as u32, generation: mark.generation };
                self.queue_of(mark.urgency).borrow_mut().push_back(key);
            }
        }
    }

    fn queue_of(&self, urgency: Urgency) -> &RefCell<VecDeque<TaskKey>> {
        match urgency {
            Urgency::Normal => &self.queue,
            Urgency::Background => &self.background,
        }
    }

    /// Polls the next queued task. `None` where none is queued; an error is the task's panic.
    pub(crate) fn run_next(&self, urgency: Urgency) -> Option<Result<(), Box<dyn Any + Send>>> {
        let key = self.queue_of(urgency).borrow_mut().pop_front()?;
        self.look_ahead(urgency);
        let Some((mut future, waker)) = self.take(key) else {
            return Some(Ok(()));
        };
        // Nothing is borrowed here: the task may spawn, wake, or drop other tasks' handles.
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(&waker))
        }));
        match polled {
            Ok(poll) if poll.is_pending() => {
                self.put_back(key, future, waker);
                Some(Ok(()))
            }
            polled => {
                self.remove(key);
                // The future's own drop is the task's code too.
                let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
                Some(polled.map(drop).and(dropped))
            }
        }
    }

    /// Brings near what the next tasks will look at.
    #[inline]
    fn look_ahead(&self, urgency: Urgency) {
        let (queue, entries) = (self.queue_of(urgency).borrow(), self.entries.borrow());
        if let Some(later) = queue.get(LOOK_AHEAD) {
            prefetch(&entries[later.index as usize]);
        }
        if let Some(next) = queue.get(LOOK_AHEAD / 2 - 1)
            && let Some(future) = &entries[next.index as usize].future
        {
            prefetch(&**future);
        }
    }

    fn take(&self, key: TaskKey) -> Option<(BoxedFuture, Waker)> {
        let mark = &mut self.marks.borrow_mut()[key.index as usize];
        if mark.generation != key.generation {
            return None;
        }
        mark.is_queued = false;
        let entry = &mut self.entries.borrow_mut()[key.index as usize];
        Some((entry.future.take()?, entry.waker.take()?))
    }

    fn put_back(&self, key: TaskKey, future: BoxedFuture, waker: Waker) {
        let entry = &mut self.entries.borrow_mut()[key.index as usize];
        (entry.future, entry.waker) = (Some(future), Some(waker));
    }

    fn remove(&self, key: TaskKey) {
        let mark = &mut self.marks.borrow_mut()[key.index as usize];
        (mark.generation, mark.is_queued) = (mark.generation.wrapping_add(1), false);
        let entry = &mut self.entries.borrow_mut()[key.index as usize];
        (entry.future, entry.waker) = (None, None);
        self.free.borrow_mut().push(key.index);
        self.live_count.set(self.live_count.get() - 1);
    }

    /// Drops every task. Tasks spawned by their destructors are dropped as well.
    pub(crate) fn clear(&self) {
        while self.live_count() > 0 {
            let count = self.entries.borrow().len();
            for (key, future) in (0..count).filter_map(|index| self.take_future(index)) {
                self.remove(key);
                let _ = catch_unwind(AssertUnwindSafe(|| drop(future)));
            }
        }
        self.queue.borrow_mut().clear();
        self.background.borrow_mut().clear();
    }

    fn take_future(&self, index: usize) -> Option<(TaskKey, BoxedFuture)> {
        let generation = self.marks.borrow()[index].generation;
        let key = TaskKey { index: index as u32, generation };
        let entry = &mut self.entries.borrow_mut()[index];
        Some((key, entry.future.take()?))
    }
}

/// What a task's waker points to. Lives as long as any clone of the waker.
struct Header {
    remote: Arc<Remote>,
    key: TaskKey,
    /// Whether the key waits in the shard's inbox of foreign wakes.
    sent: Sent,
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !Shard::wake_if_current(&self.remote, self.key) {
            // From another thread: each task is in the inbox at most once, which bounds it.
            self.sent.send(|| self.remote.send_wake(ForeignWake(Arc::clone(self))));
        }
    }
}

/// A wake that came from another thread.
pub(crate) struct ForeignWake(Arc<Header>);

impl ForeignWake {
    /// Takes the wake out of the inbox, before its task is polled; a later one sends it again.
    pub(crate) fn receive(self) -> TaskKey {
        self.0.sent.receive();
        self.0.key
    }
}
