//! A shard's simulated ring: what is in flight, what each operation does, and the contract.
//!
//! Owns the table of operations in flight and the lent buffers, and asserts what the seam
//! promises: no operation on a closed descriptor, nothing in flight when a descriptor is closed,
//! no token twice, no buffer lent twice, no completion after the last one.
//!
//! ```text
//!   submit        enter            perform (seeded order)        enter, once it is due
//!   ──────► queued ────► in flight ──────────────► posted ───────────────► the shard
//!                            ▲                        │
//!                            └──── more == true ──────┘
//! ```

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::connection::End;
use super::network::Network;
use crate::clock::Moment;
use crate::driver::buffers::{BufferId, BufferPool};
use crate::driver::operation::{Half, Kind, Operation, Token};
use crate::world::{Completion, Descriptor, Wait, World};

/// The wall clock when the simulation's monotonic clock is zero.
const EPOCH_SECONDS: u64 = 1_700_000_000;

#[derive(Clone, Copy, Debug)]
struct InFlight {
    operation: Operation,
    token: Token,
}

#[derive(Clone, Copy, Debug)]
struct Posted {
    due: Moment,
    completion: Completion,
}

pub(super) struct SimulatedRing {
    network: Rc<RefCell<Network>>,
    pool: Rc<BufferPool>,
    queued: Vec<InFlight>,
    in_flight: Vec<InFlight>,
    /// Buffers that were lent and not filled yet, in the order in which they were lent.
    lent: VecDeque<BufferId>,
    /// Ordered by `due`; the completions of one operation stay in their order.
    posted: VecDeque<Posted>,
    /// Successes of sends that did not wait: they end no wait of the shard.
    silent: Vec<Completion>,
    /// When the shard's wait ends although nothing has completed.
    wait_end: Option<Moment>,
    /// Completions that arrived for slots that were free by then.
    echo_count: u64,
}

/// How long a shard blocks at most while it could be told of silent successes.
const WAIT_MAX: Duration = Duration::from_millis(1);

impl SimulatedRing {
    pub(super) fn new(network: &Rc<RefCell<Network>>, pool: &Rc<BufferPool>) -> SimulatedRing {
        SimulatedRing {
            network: Rc::clone(network),
            pool: Rc::clone(pool),
            queued: Vec::new(),
            in_flight: Vec::new(),
            lent: VecDeque::new(),
            posted: VecDeque::new(),
            silent: Vec::new(),
            wait_end: None,
            echo_count: 0,
        }
    }

    /// Completions that the shard must have thrown away.
    pub(super) fn echo_count(&self) -> u64 {
        self.echo_count
    }

    /// When the next completion may be delivered.
    pub(super) fn next_due(&self) -> Option<Moment> {
        let posted = self.posted.front().map(|posted| posted.due);
        posted.into_iter().chain(self.wait_end).min()
    }

    /// Whether nothing is queued, in flight, or on its way up.
    pub(super) fn is_quiet(&self) -> bool {
        let is_done = self.posted.is_empty() && self.silent.is_empty();
        is_done && self.queued.is_empty() && self.in_flight.is_empty()
    }

    /// The operations in flight that could complete now.
    pub(super) fn performable(&self) -> impl Iterator<Item = usize> {
        (0..self.in_flight.len()).filter(|index| self.can_perform(*index))
    }

    fn can_perform(&self, index: usize) -> bool {
        let network = self.network.borrow();
        let connection = |socket| {
            let end = network.end_of(socket)?;
            Some((network.connection(end), end.side))
        };
        match self.in_flight[index].operation {
            Operation::Accept { listener, .. } => network.has_queued(listener),
            // An unconnected socket is at end of file.
            Operation::Recv { socket } => {
                connection(socket).is_none_or(|(connection, side)| connection.is_readable(side))
            }
            Operation::Send { socket, .. } | Operation::Writable { socket } => {
                connection(socket).is_none_or(|(connection, side)| connection.is_writable(side))
            }
            Operation::SendFile { .. }
            | Operation::Connect { .. }
            | Operation::Close { .. }
            | Operation::Cancel { .. } => true,
        }
    }

    /// Does what the operation at `index` asks for, as the kernel might.
    pub(super) fn perform(&mut self, index: usize) {
        let InFlight { operation, token } = self.in_flight[index];
        match operation {
            Operation::Accept { listener, .. } => self.accept(index, listener, false),
            Operation::Connect { .. } => self.connect(index),
            Operation::Recv { socket } => self.receive(index, socket),
            Operation::Send { socket, .. } => self.send(index, socket),
            Operation::Writable { .. } => self.finish(index, i32::from(libc::POLLOUT)),
            // A simulation has no disk, and so no file.
            Operation::SendFile { .. } => self.finish(index, -libc::EOPNOTSUPP),
            Operation::Close { socket } => self.close(index, socket),
            Operation::Cancel { target } => {
                self.in_flight.swap_remove(index);
                self.cancel(token, target);
            }
        }
    }

    /// The operation's last completion.
    fn finish(&mut self, index: usize, result: i32) {
        let InFlight { token, .. } = self.in_flight.swap_remove(index);
        self.post(token, result, None, false);
    }

    fn finish_by(&mut self, index: usize, result: Result<usize, i32>) {
        let result = result.map_or_else(|errno| -errno, |size| size as i32);
        self.finish(index, result);
    }

    fn post(&mut self, token: Token, result: i32, buffer: Option<BufferId>, more: bool) {
        let mut network = self.network.borrow_mut();
        let mut due = network.now;
        if network.roll(|faults| faults.delay) {
            let latest = network.faults.delay_max.as_nanos() as u64;
            due = due + Duration::from_nanos(network.random.u64(0..=latest));
        }
        // A ring's completion queue never reorders what one operation posts.
        let earlier = self.posted.iter().rev().find(|posted| posted.completion.token == token);
        due = earlier.map_or(due, |earlier| due.max(earlier.due));
        let place = self.posted.partition_point(|posted| posted.due <= due);
        let completion = Completion { token, result, buffer, more };
        self.posted.insert(place, Posted { due, completion });
    }

    fn accept(&mut self, index: usize, listener: Descriptor, is_last: bool) {
        let mut network = self.network.borrow_mut();
        if network.roll(|faults| faults.accept_failure) {
            let errnos = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ECONNABORTED];
            let errno = errnos[network.random.usize(0..errnos.len())];
            drop(network);
            return self.finish(index, -errno);
        }
        let accepted = network.accept(listener).expect("somebody waits");
        let more = !is_last && !network.roll(|faults| faults.multishot_end);
        drop(network);
        if more {
            self.post(self.in_flight[index].token, accepted.0, None, true);
        } else {
            self.finish(index, accepted.0);
        }
    }

    fn connect(&mut self, index: usize) {
        let operation = self.in_flight[index].operation;
        let Operation::Connect { socket, address } = operation else {
            return;
        };
        let target = address.to_socket_address();
        let mut network = self.network.borrow_mut();
        let end = target.and_then(|target| network.connect(target));
        if let Some(end) = end {
            network.attach(socket, end);
        }
        drop(network);
        self.finish(index, if end.is_some() { 0 } else { -libc::ECONNREFUSED });
    }

    /// Whether the operation ends here and now, by an interruption or with the connection.
    fn interrupted(&mut self, index: usize, end: Option<End>) -> Option<End> {
        let mut network = self.network.borrow_mut();
        let errno = match end {
            None => Some(libc::ENOTCONN),
            Some(_) if network.roll(|faults| faults.interruption) => {
                let errnos = [libc::EINTR, libc::EAGAIN];
                Some(errnos[network.random.usize(0..errnos.len())])
            }
            Some(_) if network.roll(|faults| faults.no_memory) => Some(libc::ENOMEM),
            Some(end) => {
                if network.roll(|faults| faults.reset) {
                    network.reset(end);
                }
                None
            }
        };
        drop(network);
        if let Some(errno) = errno {
            self.finish(index, -errno);
            return None;
        }
        end
    }

    fn receive(&mut self, index: usize, socket: Descriptor) {
        let end = self.network.borrow().end_of(socket);
        let Some(end) = self.interrupted(index, end) else {
            return;
        };
        let mut network = self.network.borrow_mut();
        let count = network.connection(end).readable_count(end.side);
        if count == 0 {
            let read = network.connection_mut(end).read(end.side, 0);
            drop(network);
            return self.finish_by(index, read.map(|bytes| bytes.len()));
        }
        let is_denied = network.roll(|faults| faults.no_buffer);
        let buffer = if is_denied { None } else { self.lent.pop_front() };
        let Some(buffer) = buffer else {
            drop(network);
            return self.finish(index, -libc::ENOBUFS);
        };
        let mut size = count.min(self.pool.buffer_bytes() as usize);
        if network.roll(|faults| faults.partial_receive) {
            size = network.random.usize(1..=size);
        }
        let bytes = network.connection_mut(end).read(end.side, size);
        let bytes = bytes.expect("there are bytes to read");
        let more = !network.roll(|faults| faults.multishot_end);
        drop(network);
        let size = self.pool.fill(buffer, &bytes) as i32;
        let token = self.in_flight[index].token;
        if !more {
            self.in_flight.swap_remove(index);
        }
        self.post(token, size, Some(buffer), more);
    }

    fn send(&mut self, index: usize, socket: Descriptor) {
        let end = self.network.borrow().end_of(socket);
        let Some(end) = self.interrupted(index, end) else {
            return;
        };
        let mut bytes = self.in_flight[index].operation.copy_bytes();
        let mut network = self.network.borrow_mut();
        if network.roll(|faults| faults.partial_send) {
            let size = network.random.usize(1..=bytes.len());
            bytes.truncate(size);
        }
        let written = network.write(end, &bytes);
        drop(network);
        self.finish_by(index, written);
    }

    /// The last operation in flight, a send that does not wait, has its one attempt.
    fn send_at_once(&mut self, socket: Descriptor) {
        let index = self.in_flight.len() - 1;
        if !self.can_perform(index) {
            return self.finish(index, -libc::EAGAIN);
        }
        let InFlight { operation, token } = self.in_flight[index];
        let size = operation.copy_bytes().len() as i32;
        self.send(index, socket);
        let place = self.posted.iter().position(|posted| posted.completion.token == token);
        let mut posted = place.and_then(|place| self.posted.remove(place)).expect("it has ended");
        if posted.completion.result == size {
            return self.silent.push(posted.completion);
        }
        // A failed attempt is told of at once.
        posted.due = self.network.borrow().now;
        self.posted.push_front(posted);
    }

    fn close(&mut self, index: usize, socket: Descriptor) {
        let is_used = |entry: &InFlight| socket_of(entry.operation) == Some(socket);
        let use_count = self.in_flight.iter().filter(|entry| is_used(entry)).count();
        assert_eq!(use_count, 1, "{socket:?} is closed under an operation");
        self.network.borrow_mut().close(socket);
        let token = self.in_flight[index].token;
        self.finish(index, 0);
        self.echo(token);
    }

    /// Has something complete once more behind the close of its slot.
    fn echo(&mut self, closed: Token) {
        let mut network = self.network.borrow_mut();
        if !network.roll(|faults| faults.echo) {
            return;
        }
        let kinds = [(Kind::Send, 1), (Kind::Recv, 0), (Kind::Cancel, 0), (Kind::Close, 0)];
        let (kind, result) = kinds[network.random.usize(0..kinds.len())];
        let token = Token::new(kind, closed.slot());
        let wait = network.random.u64(0..1_000_000);
        drop(network);
        let last = self.posted.iter().map(|posted| posted.due).max();
        let due = last.unwrap_or_default() + Duration::from_nanos(wait);
        let completion = Completion { token, result, buffer: None, more: false };
        self.posted.push_back(Posted { due, completion });
        self.echo_count += 1;
    }

    fn cancel(&mut self, token: Token, target: Token) {
        let found = self.in_flight.iter().position(|entry| entry.token == target);
        let Some(found) = found else {
            return self.post(token, -libc::ENOENT, None, false);
        };
        let is_late =
            self.can_perform(found) && self.network.borrow_mut().roll(|faults| faults.late_cancel);
        match self.in_flight[found].operation {
            Operation::Accept { listener, .. } if is_late => self.accept(found, listener, true),
            Operation::Connect { .. } if is_late => self.connect(found),
            _ => {
                self.finish(found, -libc::ECANCELED);
                return self.post(token, 0, None, false);
            }
        }
        self.post(token, -libc::EALREADY, None, false);
    }

    fn check_submission(&self, entry: InFlight) {
        let InFlight { operation, token } = entry;
        if let Some(socket) = socket_of(operation) {
            let is_open = self.network.borrow().is_open(socket);
            assert!(is_open, "{operation:?} on a closed descriptor");
        }
        // A slot may cancel again before the first cancel has completed; nothing else is doubled.
        if token.kind() != Kind::Cancel {
            let mut others = self.queued.iter().chain(&self.in_flight);
            assert!(others.all(|other| other.token != token), "{token:?} is in flight twice");
        }
    }
}

impl World for SimulatedRing {
    fn submit(&mut self, operation: Operation, token: Token) {
        let entry = InFlight { operation, token };
        self.check_submission(entry);
        self.queued.push(entry);
    }

    fn provide(&mut self, _pool: &BufferPool, buffers: &[BufferId]) {
        for buffer in buffers {
            assert!(!self.lent.contains(buffer), "{buffer:?} is lent twice");
            self.lent.push_back(*buffer);
        }
    }

    fn shutdown(&mut self, socket: Descriptor, half: Half) {
        let mut network = self.network.borrow_mut();
        assert!(network.is_open(socket), "shutdown of {socket:?}, which is closed");
        let Some(end) = network.end_of(socket) else {
            return;
        };
        if half == Half::Reset {
            return network.reset(end);
        }
        let connection = network.connection_mut(end);
        connection.finish(end.side);
        if half == Half::Both {
            connection.shut_read(end.side);
        }
    }

    fn enter(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        for entry in std::mem::take(&mut self.queued) {
            self.in_flight.push(entry);
            if let Operation::Send { socket, waits: false, .. } = entry.operation {
                self.send_at_once(socket);
            }
            // The kernel picks a buffer before it looks for bytes.
            if entry.token.kind() == Kind::Recv && self.lent.is_empty() {
                self.finish(self.in_flight.len() - 1, -libc::ENOBUFS);
            }
        }
        let now = self.network.borrow().now;
        let count = self.posted.partition_point(|posted| posted.due <= now);
        completions.extend(self.posted.drain(..count).map(|posted| posted.completion));
        let is_over = self.wait_end.is_some_and(|end| end <= now);
        if wait == Wait::No || !completions.is_empty() || is_over {
            completions.append(&mut self.silent);
            self.wait_end = None;
        } else if !self.silent.is_empty() {
            self.wait_end.get_or_insert(now + WAIT_MAX);
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        self.network.borrow().now
    }

    fn wall_seconds(&mut self) -> u64 {
        let now = self.network.borrow().now;
        EPOCH_SECONDS + now.since(Moment::default()).as_secs()
    }
}

/// The descriptor that an operation is about.
fn socket_of(operation: Operation) -> Option<Descriptor> {
    match operation {
        Operation::Accept { listener: socket, .. }
        | Operation::Connect { socket, .. }
        | Operation::Recv { socket }
        | Operation::Send { socket, .. }
        | Operation::SendFile { socket, .. }
        | Operation::Writable { socket }
        | Operation::Close { socket } => Some(socket),
        Operation::Cancel { .. } => None,
    }
}
