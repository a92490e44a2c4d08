//! Which shard serves an accepted connection, and how one gets there that another accepted.
//!
//! ```text
//!   shard 0: accepts ──► has fewer than the others: stays
//!              │
//!              └──► shard 1 has fewer: its descriptor goes over the mesh ──► shard 1's listener
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use crate::address::Address;
use crate::announced::Announced;
use crate::driver::host;
use crate::driver::operation::SlotKey;
use crate::error::ConfigError;
use crate::remote::{Phase, Remote};
use crate::shard::Shard;

/// Which shard serves a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// The one that the kernel chose by a hash of the addresses; free, and even enough for many
    /// connections. The default.
    #[default]
    Hash,
    /// The one with the fewest connections: for few connections that live long, of which the hash
    /// may give one shard all. Costs a message between shards for each that is handed over.
    LeastConnections,
    /// The one on whose CPU the connection came in (`SO_INCOMING_CPU`, socket(7)), so that the
    /// kernel's part of its work and the shard's are on one CPU: for network cards whose queues are
    /// spread over the shards' CPUs, and for clients on all of those. A CPU without a shard leaves
    /// it to the hash, as Linux before 6.2 always does. Nothing evens it out: what all comes in on
    /// one CPU is all one shard's.
    Cpu,
}

impl FromStr for Balance {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Balance, ConfigError> {
        match text {
            "hash" => Ok(Balance::Hash),
            "least_connections" => Ok(Balance::LeastConnections),
            "cpu" => Ok(Balance::Cpu),
            _ => {
                let problem =
                    format!("{text:?} is not known; write hash, least_connections or cpu");
                Err(ConfigError::new("balance", problem))
            }
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Balance::Hash => "hash",
            Balance::LeastConnections => "least_connections",
            Balance::Cpu => "cpu",
        })
    }
}

/// What the shards know of each other's connections. Written when a connection is accepted or
/// ends, by listeners that balance: with [`Balance::LeastConnections`] alone.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Connections that the shard has, or that are on their way to it.
    connection_count: AtomicUsize,
    /// Connections that are on their way to it.
    coming: Announced,
    /// Listeners that take what comes.
    listener_count: AtomicUsize,
}

impl Load {
    pub(crate) fn connection_ended(&self) {
        self.connection_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Connections that other shards have sent to one of this shard's listeners.
pub(crate) struct Handed {
    address: Address,
    streams: VecDeque<SlotKey>,
    acceptor: Option<Waker>,
}

impl Shard {
    /// A listener takes what other shards send for `address`.
    pub(crate) fn open_handed(&self, address: &Address) {
        let (streams, acceptor) = (VecDeque::new(), None);
        self.handed.borrow_mut().push(Handed { address: address.clone(), streams, acceptor });
        self.remote.load.listener_count.fetch_add(1, Ordering::Relaxed);
    }

    /// The listener is gone: what it has not taken is closed.
    pub(crate) fn close_handed(&self, address: &Address) {
        self.remote.load.listener_count.fetch_sub(1, Ordering::Relaxed);
        let mut handed = self.handed.borrow_mut();
        let index = handed.iter().position(|handed| handed.address == *address);
        let Some(closed) = index.map(|index| handed.swap_remove(index)) else { return };
        drop(handed);
        for key in closed.streams {
            self.remote.load.connection_ended();
            self.driver.release_stream(key);
        }
    }

    /// A connection that another shard has sent for `address`.
    pub(crate) fn poll_handed(&self, address: &Address, context: &Context<'_>) -> Poll<SlotKey> {
        let mut handed = self.handed.borrow_mut();
        let Some(handed) = handed.iter_mut().find(|handed| handed.address == *address) else {
            return Poll::Pending;
        };
        if let Some(key) = handed.streams.pop_front() {
            return Poll::Ready(key);
        }
        handed.acceptor = Some(context.waker().clone());
        Poll::Pending
    }

    /// Whether connections may still be on their way to this shard, which drains.
    pub(crate) fn expects_handed(&self) -> bool {
        self.remote.load.coming.is_any()
    }

    /// Sends an accepted connection to the shard that has the fewest, where that is another one.
    /// Gives it back where it is to stay.
    pub(crate) fn hand_over(&self, key: SlotKey, address: &Address) -> Option<SlotKey> {
        let own = &self.remote.load.connection_count;
        let count_of = |remote: &&Arc<Remote>| remote.load.connection_count.load(Ordering::Relaxed);
        let others = self.peers.iter().filter(|peer| {
            let is_listening = peer.load.listener_count.load(Ordering::Relaxed) > 0;
            is_listening && peer.id != self.id() && peer.phase() == Phase::Running
        });
        let target = others.min_by_key(count_of);
        let target = target.filter(|target| count_of(target) < own.load(Ordering::Relaxed));
        if let Some(target) = target
            && self.send_over(key, address, target)
        {
            return None;
        }
        own.fetch_add(1, Ordering::Relaxed);
        Some(key)
    }

    fn send_over(&self, key: SlotKey, address: &Address, target: &Arc<Remote>) -> bool {
        let is_draining = || target.phase() > Phase::Running;
        if !self.host.is_machine() || !target.load.coming.begin(is_draining) {
            return false;
        }
        let Some(descriptor) = self.driver.detach(key) else {
            target.load.coming.end();
            return false;
        };
        target.load.connection_count.fetch_add(1, Ordering::Relaxed);
        let descriptor = host::own(descriptor);
        let (address, receiver) = (address.clone(), Arc::clone(target));
        let job = Box::new(move |shard: &Shard| shard.take_over(descriptor, &address, &receiver));
        match target.send_job(job) {
            Ok(()) => self.stats().handed_over.add(1),
            // The inbox is full or its shard has ended: the connection is served here.
            Err(job) => job(self),
        }
        true
    }

    /// Takes a connection on: one that was sent here, or that could not be sent to `receiver`.
    fn take_over(&self, descriptor: OwnedFd, address: &Address, receiver: &Arc<Remote>) {
        let is_receiver = Arc::ptr_eq(receiver, &self.remote);
        if is_receiver {
            self.stats().taken_over.add(1);
        } else {
            receiver.load.connection_ended();
            self.remote.load.connection_count.fetch_add(1, Ordering::Relaxed);
        }
        let mut handed = self.handed.borrow_mut();
        match handed.iter_mut().find(|handed| handed.address == *address) {
            Some(handed) => {
                let key = self.driver.adopt_descriptor(host::disown(descriptor));
                handed.streams.push_back(key);
                handed.acceptor.take().inspect(Waker::wake_by_ref);
            }
            // The listener was dropped meanwhile; so is its client, as those in its queue are.
            None => self.remote.load.connection_ended(),
        }
        drop(handed);
        receiver.load.coming.end();
    }
}

/// What a balancing listener does beside listening; undone when it is dropped.
#[derive(Debug)]
pub(crate) struct Balancing {
    shard: Rc<Shard>,
    address: Address,
}

impl Balancing {
    pub(crate) fn new(shard: &Rc<Shard>, address: &Address) -> Balancing {
        shard.open_handed(address);
        Balancing { shard: Rc::clone(shard), address: address.clone() }
    }
}

impl Drop for Balancing {
    fn drop(&mut self) {
        self.shard.close_handed(&self.address);
    }
}
