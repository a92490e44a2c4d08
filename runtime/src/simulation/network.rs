//! The simulated network: descriptors, listeners with their queues, connections, and chance.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use fastrand::Rng;

use super::connection::{Connection, End, Side};
use super::faults::Faults;
use super::peer::PeerState;
use crate::clock::Moment;
use crate::world::Descriptor;

/// What a descriptor stands for.
#[derive(Debug)]
enum Socket {
    /// Made to be connected.
    Fresh,
    Listener {
        address: SocketAddr,
        /// Connected, and not accepted yet.
        queue: VecDeque<End>,
    },
    Stream(End),
}

/// Everything outside the shards. One for all of them.
pub(super) struct Network {
    pub(super) random: Rng,
    pub(super) faults: Faults,
    pub(super) now: Moment,
    pub(super) peers: Vec<PeerState>,
    sockets: BTreeMap<i32, Socket>,
    connections: Vec<Connection>,
    socket_bytes_max: usize,
    /// What a shard did against the contract, inside a task, where a panic would be caught.
    violations: Vec<String>,
}

impl Network {
    pub(super) fn new(seed: u64, faults: Faults, socket_bytes_max: usize) -> Network {
        Network {
            random: Rng::with_seed(seed),
            faults,
            now: Moment::from_nanos(1_000_000_000),
            peers: Vec::new(),
            sockets: BTreeMap::new(),
            connections: Vec::new(),
            socket_bytes_max,
            violations: Vec::new(),
        }
    }

    pub(super) fn roll(&mut self, probability: impl FnOnce(&Faults) -> f64) -> bool {
        let probability = probability(&self.faults);
        probability > 0.0 && self.random.f64() < probability
    }

    /// Until when a shard that has taken its turn gets no other one.
    pub(super) fn stall_end(&mut self) -> Moment {
        if !self.roll(|faults| faults.stall) {
            return self.now;
        }
        let longest = self.faults.stall_max.as_nanos() as u64;
        self.now + Duration::from_nanos(self.random.u64(0..=longest))
    }

    pub(super) fn violations(&self) -> &[String] {
        &self.violations
    }

    /// Descriptors that are open.
    pub(super) fn open_count(&self) -> usize {
        self.sockets.len()
    }

    /// The lowest free number, as the kernel gives it: a stale one is soon somebody else's.
    fn open(&mut self, socket: Socket) -> Descriptor {
        let number = (3..).find(|number| !self.sockets.contains_key(number));
        let number = number.expect("a number is free");
        self.sockets.insert(number, socket);
        Descriptor(number)
    }

    pub(super) fn open_fresh(&mut self) -> Descriptor {
        self.open(Socket::Fresh)
    }

    pub(super) fn open_listener(&mut self, address: SocketAddr) -> Descriptor {
        let queue = VecDeque::new();
        self.open(Socket::Listener { address, queue })
    }

    pub(super) fn is_open(&self, descriptor: Descriptor) -> bool {
        self.sockets.contains_key(&descriptor.0)
    }

    /// Closes a descriptor as `close(2)` does: what waits in a listener's queue is reset.
    pub(super) fn close(&mut self, descriptor: Descriptor) {
        let socket = self.sockets.remove(&descriptor.0);
        match socket.expect("a descriptor is closed once") {
            Socket::Fresh => {}
            Socket::Listener { queue, .. } => queue.into_iter().for_each(|end| self.reset(end)),
            Socket::Stream(end) => self.close_end(end),
        }
    }

    /// Connects from nowhere to one of the listeners on `address`; `None` where there is none.
    pub(super) fn connect(&mut self, target: SocketAddr) -> Option<End> {
        let listens = |socket: &Socket| match socket {
            Socket::Listener { address, .. } => *address == target,
            _ => false,
        };
        let listening = self.sockets.iter().filter(|(_, socket)| listens(socket));
        let listeners: Vec<i32> = listening.map(|(number, _)| *number).collect();
        if listeners.is_empty() {
            return None;
        }
        let chosen = listeners[self.random.usize(0..listeners.len())];
        let connection = self.connections.len();
        let client = SocketAddr::from(([10, 0, 0, 2], 10_000 + (connection % 50_000) as u16));
        self.connections.push(Connection::new(self.socket_bytes_max, [client, target]));
        let side = Side::Server;
        if let Some(Socket::Listener { queue, .. }) = self.sockets.get_mut(&chosen) {
            queue.push_back(End { connection, side });
        }
        Some(End { connection, side: Side::Client })
    }

    /// Turns a fresh descriptor into a connected one.
    pub(super) fn attach(&mut self, descriptor: Descriptor, end: End) {
        let known = self.sockets.insert(descriptor.0, Socket::Stream(end));
        assert!(matches!(known, Some(Socket::Fresh)), "connected twice");
    }

    pub(super) fn has_queued(&self, listener: Descriptor) -> bool {
        matches!(self.sockets.get(&listener.0),
            Some(Socket::Listener { queue, .. }) if !queue.is_empty())
    }

    /// Takes the first connection out of a listener's queue.
    pub(super) fn accept(&mut self, listener: Descriptor) -> Option<Descriptor> {
        let Some(Socket::Listener { queue, .. }) = self.sockets.get_mut(&listener.0) else {
            self.violations.push(format!("accept on {listener:?}, which is no listener"));
            return None;
        };
        let end = queue.pop_front()?;
        Some(self.open(Socket::Stream(end)))
    }

    /// The end of a connection that a descriptor stands for; `None` before it is connected.
    pub(super) fn end_of(&self, descriptor: Descriptor) -> Option<End> {
        match self.sockets.get(&descriptor.0) {
            Some(Socket::Stream(end)) => Some(*end),
            _ => None,
        }
    }

    /// The address of whoever a socket is connected to.
    pub(super) fn peer_address(&self, descriptor: Descriptor) -> Option<SocketAddr> {
        let end = self.end_of(descriptor)?;
        let connection = self.connection(end);
        (!connection.is_reset()).then(|| connection.address(end.side.other()))
    }

    pub(super) fn connection(&self, end: End) -> &Connection {
        &self.connections[end.connection]
    }

    pub(super) fn connection_mut(&mut self, end: End) -> &mut Connection {
        &mut self.connections[end.connection]
    }

    /// Breaks a connection. What was under way arrives or is lost, by chance.
    pub(super) fn reset(&mut self, end: End) {
        let keeps = [self.random.bool(), self.random.bool()];
        self.connections[end.connection].reset(keeps);
    }

    pub(super) fn close_end(&mut self, end: End) {
        // A socket that is closed with bytes unread answers with a reset (RFC 9293 section 3.10.4,
        // and RFC 2525 section 2.17), which may overtake what was sent before.
        if self.connections[end.connection].close(end.side) {
            self.reset(end);
        }
    }

    /// Writes on one end; how many bytes were taken, or the errno.
    pub(super) fn write(&mut self, end: End, bytes: &[u8]) -> Result<usize, i32> {
        let connection = &mut self.connections[end.connection];
        if connection.is_reader_gone(end.side) && !connection.is_reset() {
            // Sent into the void: the answer is a reset, which the next call finds.
            self.reset(end);
            return Ok(bytes.len());
        }
        match connection.write(end.side, bytes) {
            // Who has been told of the reset, or of a timeout before it, gets another errno.
            Err(libc::ECONNRESET) => {
                let errnos = [libc::ECONNRESET, libc::EPIPE, libc::ETIMEDOUT];
                Err(errnos[self.random.usize(0..errnos.len())])
            }
            written => written,
        }
    }
}
