//! What all connections of one shard share, and the sending of requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Waker};

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

/// One shard's part of the load.
pub(crate) struct ShardLoad {
    pub(crate) plan: Arc<Plan>,
    pub(crate) shard: Rc<Shard>,
    pub(crate) links: Vec<RefCell<Link>>,
    pub(crate) state: RefCell<State>,
    /// Whether requests may still be sent.
    pub(crate) is_sending: Cell<bool>,
}

/// One of the shard's connections, open or not.
pub(crate) struct Link {
    pub(crate) stream: Option<Stream>,
    pub(crate) connection: Connection,
    /// How often it stands in the queue of those with room; may exceed the room it has.
    tickets: usize,
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
    /// The dispatcher, while it waits for an idle connection.
    dispatcher: Option<Waker>,
}

impl State {
    /// Counts what the schedule was ahead by at the end: requests that were due, and that no
    /// connection had room for. They have waited at least until now.
    pub(crate) fn count_unsent(&mut self, end: Moment) {
        let Some(schedule) = &mut self.schedule else {
            return;
        };
        while let Some(due) = schedule.take_due(end) {
            if self.window.contains(due) {
                self.tally.unsent += 1;
                self.tally.record_corrected(end - due);
            }
        }
    }
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
        let link = || Link {
            stream: None,
            connection: Connection::new(plan.pipeline),
            tickets: 0,
        };
        ShardLoad {
            links: (0..link_count).map(|_| RefCell::new(link())).collect(),
            state: RefCell::new(State {
                requests: plan.requests.clone(),
                next_request: id % plan.requests.len(),
                numbers: Numbers::new(id, shard_count, SEED),
                cache: HeadCache::default(),
                tally: Tally::new(),
                window: Window {
                    start,
                    end: start + plan.warmup,
                },
                schedule,
                idle: VecDeque::with_capacity(link_count * plan.pipeline),
                dispatcher: None,
            }),
            is_sending: Cell::new(true),
            shard,
            plan,
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
        let sent = self.send(room, link, state, |state| match &mut state.schedule {
            None => Some(now),
            Some(schedule) => schedule.take_due(now),
        });
        if state.schedule.is_some() {
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

    /// Sends what is due to connections that are idle. Says when there is something to do again:
    /// `None` where that is when a connection becomes idle, which wakes the caller.
    pub(crate) fn dispatch(&self, context: &Context<'_>) -> Option<Moment> {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let now = self.shard.now();
        loop {
            let due = state.schedule.as_ref()?.next_due();
            let Some(index) = state.idle.front().copied() else {
                state.dispatcher = Some(context.waker().clone());
                return None;
            };
            if due > now {
                return Some(due);
            }
            state.idle.pop_front();
            let mut link = self.links[index].borrow_mut();
            link.tickets -= 1;
            // A ticket outlives the connection that it was drawn for, and the room it had.
            let room = link.connection.room(self.plan.pipeline).min(1);
            if link.stream.is_some() {
                self.send(room, &mut link, state, |state| {
                    state.schedule.as_mut()?.take_due(now)
                });
            }
        }
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
