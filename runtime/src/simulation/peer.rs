//! The simulated client: a test writes to it and looks at what has arrived.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::connection::End;
use super::network::Network;

/// How a peer's connection ended, as the peer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server closed or shut down its half: end of file.
    Finished,
    /// The connection was reset. Bytes that were under way may be lost.
    Reset,
}

/// A client of the simulation. What it is told to do happens as the simulation advances.
#[derive(Clone)]
pub struct Peer {
    network: Rc<RefCell<Network>>,
    index: usize,
}

/// What the network knows of a peer.
#[derive(Debug)]
pub(super) struct PeerState {
    end: End,
    outgoing: VecDeque<u8>,
    incoming: Vec<u8>,
    /// Sends a FIN once everything is out.
    finishes: bool,
    /// Closes once everything is out.
    closes: bool,
    is_closed: bool,
    reads: bool,
    ending: Option<Ending>,
}

impl Peer {
    pub(super) fn new(network: &Rc<RefCell<Network>>, end: End) -> Peer {
        let mut state = network.borrow_mut();
        state.peers.push(PeerState {
            end,
            outgoing: VecDeque::new(),
            incoming: Vec::new(),
            finishes: false,
            closes: false,
            is_closed: false,
            reads: true,
            ending: None,
        });
        Peer { network: Rc::clone(network), index: state.peers.len() - 1 }
    }

    fn with<R>(&self, change: impl FnOnce(&mut PeerState) -> R) -> R {
        change(&mut self.network.borrow_mut().peers[self.index])
    }

    /// Queues bytes to be sent; they leave in pieces of any size.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.with(|peer| peer.outgoing.extend(bytes.as_ref()));
    }

    /// Sends a FIN once everything is sent, and goes on reading.
    pub fn finish(&self) {
        self.with(|peer| peer.finishes = true);
    }

    /// Closes the connection once everything is sent, and reads no more.
    pub fn close(&self) {
        self.with(|peer| (peer.closes, peer.reads) = (true, false));
    }

    /// Breaks the connection at once.
    pub fn reset(&self) {
        let end = self.with(|peer| {
            peer.outgoing.clear();
            peer.end
        });
        self.network.borrow_mut().reset(end);
    }

    /// Leaves what arrives in the socket, until [`resume_reading`](Peer::resume_reading).
    pub fn stop_reading(&self) {
        self.with(|peer| peer.reads = false);
    }

    /// Reads again.
    pub fn resume_reading(&self) {
        self.with(|peer| peer.reads = true);
    }

    /// Everything that has arrived so far.
    pub fn received(&self) -> Vec<u8> {
        self.with(|peer| peer.incoming.clone())
    }

    /// Takes what has arrived.
    pub fn take_received(&self) -> Vec<u8> {
        self.with(|peer| std::mem::take(&mut peer.incoming))
    }

    /// Bytes that have not left the peer yet.
    pub fn unsent_count(&self) -> usize {
        self.with(|peer| peer.outgoing.len())
    }

    /// How the server ended the connection, if it has.
    pub fn ending(&self) -> Option<Ending> {
        self.with(|peer| peer.ending)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Peer").field(&self.index).finish()
    }
}

impl Network {
    pub(super) fn peer_can_send(&self, index: usize) -> bool {
        let peer = &self.peers[index];
        let connection = self.connection(peer.end);
        if !peer.outgoing.is_empty() {
            return connection.is_writable(peer.end.side);
        }
        (peer.finishes && !connection.is_finished(peer.end.side))
            || (peer.closes && !peer.is_closed)
    }

    pub(super) fn peer_can_receive(&self, index: usize) -> bool {
        let peer = &self.peers[index];
        let connection = self.connection(peer.end);
        peer.reads && peer.ending.is_none() && connection.is_readable(peer.end.side)
    }

    /// Moves some bytes from a peer into the network, or ends its half.
    pub(super) fn peer_send(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let end = peer.end;
        if peer.outgoing.is_empty() {
            if peer.closes {
                peer.is_closed = true;
                return self.close_end(end);
            }
            return self.connection_mut(end).finish(end.side);
        }
        let size = self.random.usize(1..=peer.outgoing.len());
        let bytes: Vec<u8> = peer.outgoing.range(..size).copied().collect();
        let written = self.write(end, &bytes);
        let outgoing = &mut self.peers[index].outgoing;
        match written {
            Ok(size) => drop(outgoing.drain(..size)),
            // The reading half finds out why.
            Err(_) => outgoing.clear(),
        }
    }

    /// Moves some bytes from the network to a peer, or tells it how they ended.
    pub(super) fn peer_receive(&mut self, index: usize) {
        let end = self.peers[index].end;
        let count = self.connection(end).readable_count(end.side);
        let size = self.random.usize(1..=count.max(1));
        let read = self.connection_mut(end).read(end.side, size);
        let peer = &mut self.peers[index];
        match read {
            Ok(bytes) if bytes.is_empty() => peer.ending = Some(Ending::Finished),
            Ok(bytes) => peer.incoming.extend(bytes),
            Err(_) => peer.ending = Some(Ending::Reset),
        }
    }
}
