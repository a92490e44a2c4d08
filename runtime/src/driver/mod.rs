//! What a shard has in flight: the slot table, the operations to submit, the buffers.
//!
//! The driver owns every socket, every buffer that the world may touch, and every operation until
//! its last completion. It never blocks, never runs a task, and knows no clock; the one ring call
//! a turn is made by [`Shard::turn`](crate::Shard::turn).
//!
//! **Invariant:** a slot is freed only when nothing of its is in flight, so memory that the kernel
//! may still write to is never freed, and a descriptor number is never reused under an operation.

pub(crate) mod accept;
pub(crate) mod backtrace;
pub(crate) mod buffers;
pub(crate) mod connect;
pub(crate) mod disk;
pub(crate) mod operation;
pub(crate) mod prefetch;
pub(crate) mod recv;
pub(crate) mod send;
pub(crate) mod sendfile;
pub(crate) mod slots;
pub(crate) mod stream;

mod buffer_ring;
mod direct;
mod enter;
mod entry;
pub(crate) mod host;
pub(crate) mod park;
mod places;
pub(crate) mod probe;
pub(crate) mod ring;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

use crate::stats::Stats;
use crate::world::{Completion, Descriptor, World};
use accept::ListenerSlot;
use buffers::{BufferId, BufferPool};
use operation::{Half, Kind, Operation, SlotKey, Token};
use slots::SlotTable;
use stream::StreamSlot;

/// How many completions beforehand the slot of one is brought near; what its waker points to, which
/// only the slot knows, half as many.
const LOOK_AHEAD: usize = 8;

/// The bounds of one shard's driver.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Unread bytes of one connection above which the driver stops receiving from it.
    pub(crate) unread_bytes_max: usize,
    /// Send buffers kept for reuse.
    pub(crate) spare_buffer_count_max: usize,
    /// A send buffer that grew larger than this is freed after use.
    pub(crate) spare_buffer_bytes_max: usize,
}

pub(crate) struct Driver {
    pub(crate) pool: Rc<BufferPool>,
    pub(crate) bounds: Bounds,
    pub(crate) stats: Arc<Stats>,
    state: RefCell<State>,
}

/// Everything behind the driver's one cell. Methods on it never call out, except to wake tasks,
/// and a wake only queues the task: so the cell is never borrowed twice.
pub(crate) struct State {
    pub(crate) slots: SlotTable<Slot>,
    pub(crate) operations: Vec<(Operation, Token)>,
    /// Streams whose receive ended because the ring was out of buffers.
    pub(crate) starved: VecDeque<SlotKey>,
    /// Streams that received into buffers since the last flush.
    pub(crate) fresh: Vec<SlotKey>,
    /// Whether anybody waits for a send since the last flush: the shard must not sleep before it
    /// has looked whether the send was done.
    pub(crate) awaits_sends: bool,
    /// Connections to shut down with the next flush.
    pub(crate) shutdowns: Vec<(Descriptor, Half)>,
    /// Empty send buffers, ready for reuse.
    pub(crate) spare: Vec<Vec<u8>>,
    lent: Vec<BufferId>,
}

/// What a slot is used for.
pub(crate) enum Slot {
    Listener(ListenerSlot),
    Stream(StreamSlot),
}

impl Driver {
    pub(crate) fn new(pool: Rc<BufferPool>, bounds: Bounds, stats: Arc<Stats>) -> Driver {
        let state = State {
            slots: SlotTable::new(),
            operations: Vec::new(),
            starved: VecDeque::new(),
            fresh: Vec::new(),
            awaits_sends: false,
            shutdowns: Vec::new(),
            spare: Vec::new(),
            lent: Vec::with_capacity(usize::from(pool.count())),
        };
        Driver { pool, bounds, stats, state: RefCell::new(state) }
    }

    pub(crate) fn state(&self) -> std::cell::RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// How many slots are in use: listeners and streams, until their last completion.
    pub(crate) fn slot_count(&self) -> usize {
        self.state.borrow().slots.count()
    }

    /// Hands the queued operations and the returned buffers to the world.
    pub(crate) fn flush(&self, world: &mut impl World) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        self.copy_fresh(state);
        self.pool.lend(&mut state.lent);
        self.stats.buffers_spare.set(self.pool.spare_count() as u64);
        if !state.lent.is_empty() {
            world.provide(&self.pool, &state.lent);
        }
        if self.can_rearm(state) {
            self.rearm_starved(state);
        }
        for (socket, half) in state.shutdowns.drain(..) {
            world.shutdown(socket, half);
        }
        for (operation, token) in state.operations.drain(..) {
            world.submit(operation, token);
        }
    }

    /// Whether the next flush has something to hand down although nothing completes before.
    pub(crate) fn has_work(&self) -> bool {
        self.can_rearm(&self.state.borrow())
    }

    /// Whether a send was waited for since this was last asked; see [`World::enter`].
    pub(crate) fn take_awaits_sends(&self) -> bool {
        std::mem::take(&mut self.state.borrow_mut().awaits_sends)
    }

    /// Applies completions in their order, and empties the list.
    pub(crate) fn complete_all(&self, completions: &mut Vec<Completion>) {
        for (index, completion) in completions.iter().enumerate() {
            if let Some(ahead) = completions.get(index + LOOK_AHEAD) {
                self.state.borrow().slots.prefetch(ahead.token.slot());
            }
            if let Some(ahead) = completions.get(index + LOOK_AHEAD / 2) {
                self.look_ahead(*ahead);
            }
            self.complete(*completion);
        }
        completions.clear();
    }

    /// Brings near what waking the reader of a connection will look at.
    #[inline]
    fn look_ahead(&self, ahead: Completion) {
        if ahead.token.kind() == Kind::Recv
            && let Some(stream) = self.state.borrow_mut().stream(ahead.token.slot())
        {
            stream.reader.prefetch();
        }
    }

    /// Applies one completion: bookkeeping, and the wake of whoever waits for it.
    fn complete(&self, completion: Completion) {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let key = completion.token.slot();
        match completion.token.kind() {
            Kind::Accept => self.on_accept(state, key, completion),
            Kind::Connect => self.on_connect(state, key, completion),
            Kind::Recv => self.on_recv(state, key, completion),
            Kind::Send => self.on_send(state, key, completion),
            Kind::Writable => self.on_writable(state, key),
            Kind::Cancel => self.on_cancel(state, key),
            Kind::Close => self.on_close(state, key),
        }
    }

    fn on_cancel(&self, state: &mut State, key: SlotKey) {
        // Whether the cancelled operation was found does not matter: its own last completion is
        // what counts, and it arrives in either case.
        match state.slots.find(key) {
            Some(Slot::Listener(listener)) => listener.in_flight -= 1,
            Some(Slot::Stream(stream)) => stream.in_flight -= 1,
            None => return self.stats.stale_completions.add(1),
        }
        self.finish_if_closing(state, key);
    }

    /// Once a closing slot has nothing in flight its descriptor is closed, as the last operation.
    pub(crate) fn finish_if_closing(&self, state: &mut State, key: SlotKey) {
        let descriptor = match state.slots.find(key) {
            Some(Slot::Listener(listener)) => listener.start_close(),
            Some(Slot::Stream(stream)) => stream.start_close(),
            None => None,
        };
        if let Some(socket) = descriptor {
            state.submit(Operation::Close { socket }, Kind::Close, key);
        }
    }

    fn on_close(&self, state: &mut State, key: SlotKey) {
        match state.slots.remove(key) {
            Some(Slot::Stream(_)) => self.stats.streams_closed.add(1),
            Some(Slot::Listener(_)) => {}
            None => self.stats.stale_completions.add(1),
        }
    }
}

impl State {
    pub(crate) fn submit(&mut self, operation: Operation, kind: Kind, key: SlotKey) {
        self.operations.push((operation, Token::new(kind, key)));
    }

    pub(crate) fn stream(&mut self, key: SlotKey) -> Option<&mut StreamSlot> {
        match self.slots.find(key) {
            Some(Slot::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn listener(&mut self, key: SlotKey) -> Option<&mut ListenerSlot> {
        match self.slots.find(key) {
            Some(Slot::Listener(listener)) => Some(listener),
            _ => None,
        }
    }
}

/// One task's interest in something that completes.
///
/// ```text
///            wait                wake
///   Absent ───────► Waiting ─────────────► Woken
///      ▲               │ wait (again)        │
///      └───────────────┴─────────────────────┘ settle
/// ```
///
/// The waker stays in place from one wait to the next: a connection's task waits a million times
/// with the same waker, and cloning it each time would be an atomic increment for nothing.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    waker: Option<Waker>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Absent,
    Waiting,
    Woken,
}

impl Interest {
    pub(crate) fn wait(&mut self, context: &Context<'_>) {
        self.stage = Stage::Waiting;
        match &self.waker {
            Some(waker) if waker.will_wake(context.waker()) => {}
            _ => self.waker = Some(context.waker().clone()),
        }
    }

    pub(crate) fn wake(&mut self) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Woken;
            if let Some(waker) = &self.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Brings near what [`wake`](Interest::wake) looks at.
    #[inline]
    pub(crate) fn prefetch(&self) {
        if let Some(waker) = &self.waker {
            prefetch::prefetch_address(waker.data());
        }
    }

    pub(crate) fn settle(&mut self) {
        self.stage = Stage::Absent;
    }

    /// Whether somebody waits and was not woken yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }
}
