//! What all connections of one shard share, and the sending of requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use corelane_runtime::{Moment, SendBuffer, Shard, Stream};

use crate::connection::{Connection, Ledger, Pending};
use crate::plan::{Pace, Plan};
use crate::request::{Rendered, Request};
use crate::response::HeadCache;
use crate::schedule::Schedule;
use crate::tally::{Tally, Window};
use crate::template::Numbers;

/// The same in every run, so that two runs send the same requests at the same times.
const SEED: u64 = 0x636f_7265_6c61_6e65;

/// A generator that is later than this measures itself. It happens where something else runs on
/// its CPU.
const LATENESS_MAX: Duration = Duration::from_millis(1);

/// One shard's part of the load.
pub(crate) struct ShardLoad {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shard: Rc<Shard>,
    pub(crate) links: Vec<RefCell<Link>>,
    pub(crate) state: RefCell<State>,
    /// Whether requests may still be sent.
    pub(crate) is_sending: Cell<bool>,
    /// When a closed loop sends no more: the window's end, once that is known.
    sending_end: Cell<Moment>,
}

/// One of the shard's connections, open or not.
pub(crate) struct Link {
    pub(crate) stream: Option<Stream>,
    pub(crate) connection: Connection,
    /// How often it stands in the queue of those with room; may exceed the room it has.
    tickets: usize,
}

/// When the dispatcher has something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// At this moment, when the next request is due.
    At(Moment),
    /// When a connection becomes idle.
    WhenIdle,
    /// All requests of the run are sent.
    Never,
}

/// What changes with every request.
pub(crate) struct State {
    requests: Vec<Request>,
    next_request: usize,
    numbers: Numbers,
    pub(crate) cache: HeadCache,
    pub(crate) tally: Tally,
    pub(crate) window: Window,
    /// In an open loop.
    pub(crate) schedule: Option<Schedule>,
    /// Connections with room for a request that is not due yet, the longest waiting first.
    idle: VecDeque<usize>,
    /// Since when some connection has been idle.
    idle_since: Moment,
    /// The dispatcher, while it waits for an idle connection.
    dispatcher: Option<Waker>,
}

impl ShardLoad {
    pub(crate) fn new(plan: Arc<Plan>, shard: Rc<Shard>, start: Moment) -> ShardLoad {
        let (id, shard_count) = (shard.id().0, shard.shard_count());
        let link_count = plan.shard_connection_count(id, shard_count);
        let schedule = match plan.pace {
            Pace::Closed => None,
            Pace::Open { rate, arrivals } => {
                let rate = rate / shard_count as f64;
                let phase = id as f64 / shard_count as f64;
                let seed = SEED ^ id as u64;
                Some(Schedule::new(rate, arrivals, start, phase, seed))
            }
        };
        let link = || Link { stream: None, connection: Connection::new(plan.pipeline), tickets: 0 };
        ShardLoad {
            links: (0..link_count).map(|_| RefCell::new(link())).collect(),
            state: RefCell::new(State {
                requests: plan.requests.clone(),
                next_request: id % plan.requests.len(),
                numbers: Numbers::new(id, shard_count, SEED),
                cache: HeadCache::default(),
                tally: Tally::new(),
                window: Window { start, end: start + plan.warmup },
                schedule,
                idle: VecDeque::with_capacity(link_count * plan.pipeline),
                idle_since: start,
                dispatcher: None,
            }),
            is_sending: Cell::new(true),
            sending_end: Cell::new(Moment::NEVER),
            shard,
            plan,
        }
    }

    /// Begins with the measured window: what was counted before is not part of it.
    pub(crate) fn begin_window(&self, window: Window) {
        let mut state = self.state.borrow_mut();
        state.window = window;
        self.sending_end.set(window.end);
        if let Some(schedule) = &mut state.schedule {
            schedule.end_at(window.end);
        }
    }

    /// Ends the window, early where the run is interrupted. What the schedule is ahead by then was
    /// due, and no connection had room for it: it has waited at least until now. An interruption
    /// is not the server's fault.
    pub(crate) fn end_window(&self, end: Moment) {
        self.is_sending.set(false);
        if !self.shard.is_draining() {
            // Where the end was noticed late, the last requests are not the server's fault either.
            self.dispatch();
        }
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        state.window.end = end;
        let Some(schedule) = &mut state.schedule else {
            return;
        };
        schedule.end_at(end);
        if self.shard.is_draining() {
            return;
        }
        while let Some(due) = schedule.take_due(end) {
            state.tally.unsent += 1;
            state.tally.record_corrected(end - due);
        }
    }

    /// Sends what this connection has room for: in a closed loop as much as fits, in an open one
    /// what is due by now; for the rest of its room it queues.
    pub(crate) fn refill(&self, index: usize, link: &mut Link, state: &mut State) {
        if !self.is_sending.get() {
            return;
        }
        let room = link.connection.room(self.plan.pipeline);
        let now = self.shard.now();
        let is_over = now >= self.sending_end.get();
        let sent = self.send(room, link, state, |state| match &mut state.schedule {
            None => (!is_over).then_some(now),
            Some(schedule) => schedule.take_due(now),
        });
        if state.schedule.is_some() {
            if state.idle.is_empty() {
                state.idle_since = now;
            }
            for _ in link.tickets..room - sent {
                link.tickets += 1;
                state.idle.push_back(index);
            }
            if !state.idle.is_empty()
                && let Some(dispatcher) = state.dispatcher.take()
            {
                dispatcher.wake();
            }
        }
    }

    /// Sends what is due to connections that are idle, and says when there is more to do.
    pub(crate) fn dispatch(&self) -> Next {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = self.shard.now();
        while let Some(due) = state.schedule.as_ref().and_then(Schedule::next_due) {
            let Some(index) = state.idle.front().copied() else {
                return Next::WhenIdle;
            };
            if due > now {
                return Next::At(due);
            }
            state.idle.pop_front();
            let mut link = self.links[index].borrow_mut();
            link.tickets -= 1;
            // A ticket outlives the connection that it was drawn for, and the room it had.
            let room = link.connection.room(self.plan.pipeline).min(1);
            if link.stream.is_none() {
                continue;
            }
            let lateness = now - due.max(state.idle_since);
            let sent =
                self.send(room, &mut link, state, |state| state.schedule.as_mut()?.take_due(now));
            if lateness > LATENESS_MAX {
                state.tally.late += sent as u64;
            }
        }
        Next::Never
    }

    /// Has the dispatcher woken when a connection becomes idle.
    pub(crate) fn wait_for_idle(&self, context: &Context<'_>) {
        self.state.borrow_mut().dispatcher = Some(context.waker().clone());
    }

    /// Sends up to `room` requests, each with the moment it was due, as long as `take_due` yields
    /// one; together, so that pipelined requests share a send. Says how many there were.
    fn send(
        &self,
        room: usize,
        link: &mut Link,
        state: &mut State,
        mut take_due: impl FnMut(&mut State) -> Option<Moment>,
    ) -> usize {
        let Some(stream) = &mut link.stream else {
            return 0;
        };
        let mut buffer = Vec::new();
        let mut count = 0;
        while count < room
            && let Some(due) = take_due(state)
        {
            if buffer.capacity() == 0 {
                buffer = self.shard.send_buffer();
            }
            let request = &mut state.requests[state.next_request];
            let sent = self.shard.now();
            let is_head = request.is_head;
            link.connection.push(Pending { due, sent, is_head });
            if let Rendered::Shared(bytes) = request.render(&mut state.numbers, &mut buffer) {
                state.tally.bytes_sent += (buffer.len() + bytes.len()) as u64;
                stream.send(SendBuffer::Owned(std::mem::take(&mut buffer)));
                stream.send(SendBuffer::Shared(bytes));
            }
            state.next_request += 1;
            if state.next_request == state.requests.len() {
                state.next_request = 0;
            }
            count += 1;
        }
        state.tally.sent += count as u64;
        state.tally.bytes_sent += buffer.len() as u64;
        if buffer.is_empty() {
            self.shard.recycle(buffer);
        } else {
            stream.send(SendBuffer::Owned(buffer));
        }
        count
    }

    /// What received bytes are counted in.
    pub(crate) fn ledger<'a>(&'a self, state: &'a mut State) -> Ledger<'a> {
        Ledger {
            expectation: &self.plan.expectation,
            cache: &mut state.cache,
            tally: &mut state.tally,
            window: state.window,
            is_open_loop: state.schedule.is_some(),
            now: self.shard.now(),
        }
    }
}
