//! The seam between a shard and the world below it: operations go down, completions come up.
//!
//! Everything above this file (slots, buffers, tasks, timers, streams, the whole server) is the
//! same code in production and in a simulation. Below it is either the kernel's ring
//! (the `driver` module) or a simulated one (the `simulation` module). What crosses it is data,
//! so nothing above it is generic and nothing on the hot path is dispatched dynamically: one call
//! of [`Shard::turn`](crate::Shard::turn) is monomorphic in its world.
//!
//! ```text
//!              tasks: streams, listeners, timers, handlers
//!                  │ queue                    ▲ wake
//!                  ▼                          │
//!   shard   [Operation, Token] ...   slots[token] ◄── Completion
//!   ───────────────│──────────────────────────▲───────────────  the seam: World
//!                  ▼ submit        enter      │ completions, now
//!   world       io_uring on glommio's thread, or the simulation
//! ```

use std::io;
use std::net::SocketAddr;

use socket2::SockAddr;

use crate::clock::Moment;
use crate::driver::buffers::{BufferId, BufferPool};
use crate::driver::operation::{Half, Operation, Token};

/// What a shard needs from below.
///
/// The contract that the slot table relies on: each submitted operation produces completions until
/// one arrives with `more == false`, and none after that; memory that an operation names is not
/// touched after its last completion.
pub trait World {
    /// Queues an operation. It starts with the next [`enter`](World::enter).
    fn submit(&mut self, operation: Operation, token: Token);

    /// Gives buffers back for later receives. Takes effect at once.
    fn provide(&mut self, pool: &BufferPool, buffers: &[BufferId]);

    /// Shuts down one half or both halves of a connection (`shutdown(2)`), by the end of the next
    /// [`enter`](World::enter): it never blocks, so a ring operation, which the kernel hands to a
    /// worker thread, would only be slower. It ends receives and blocked sends, whose completions
    /// then arrive as usual.
    fn shutdown(&mut self, socket: Descriptor, half: Half);

    /// Starts what is queued, waits as told, and appends what has completed to `completions`.
    ///
    /// A send that does not wait for room has completed when this returns, but its success does
    /// not end the wait: whoever needs to know of it enters with [`Wait::No`].
    ///
    /// # Errors
    /// An error of the ring itself, after which the shard can not go on. An interrupted wait
    /// (`EINTR`), a timeout and a busy completion queue are not errors.
    fn enter(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()>;

    /// The monotonic clock.
    fn now(&mut self) -> Moment;

    /// The wall clock, in whole seconds since the Unix epoch. Read once a second.
    fn wall_seconds(&mut self) -> u64;
}

/// The calls that a shard makes without the ring: rare, synchronous, dynamically dispatched.
pub trait Host {
    /// The peer's address of a connected socket, as it was accepted, or by `getpeername(2)`.
    ///
    /// # Errors
    /// `ENOTCONN` where the peer has already reset the connection and its address was not kept, and
    /// for Unix sockets without a name `Ok(None)`.
    fn peer_address(&self, descriptor: Descriptor) -> io::Result<Option<SocketAddr>>;

    /// Accepts a connection that waits in the listener's queue; `None` where none does.
    ///
    /// # Errors
    /// As `accept4(2)`, save `EAGAIN`.
    fn accept_now(&self, listener: Descriptor) -> io::Result<Option<Descriptor>>;

    /// Has a listening TCP socket take no new handshakes; those under way go on.
    ///
    /// # Errors
    /// As `setsockopt(2)`.
    fn refuse_handshakes(&self, listener: Descriptor) -> io::Result<()>;

    /// A new stream socket that can be connected to `address`.
    ///
    /// # Errors
    /// As `socket(2)`.
    fn open_socket(&self, address: &SockAddr) -> io::Result<Descriptor>;

    /// The monotonic clock, read anew: for a task that wants to know how long it has run.
    fn now(&self) -> Moment;

    /// Whether this is the machine itself: glommio hosts the shard, so there are disk files, and a
    /// descriptor can be sent to another shard.
    fn is_machine(&self) -> bool;
}

/// How long [`World::enter`] may block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: there is work on the shard.
    No,
    /// Until something completes, or until this moment.
    Until(Moment),
}

/// A socket, as the world below knows it: a number, which need not be one of the process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Descriptor(pub i32);

/// One entry of the completion queue.
#[derive(Clone, Copy, Debug)]
pub struct Completion {
    /// Whose it is.
    pub token: Token,
    /// The system call's result: zero or more on success, a negated errno otherwise.
    pub result: i32,
    /// The provided buffer that holds the received bytes, for a receive.
    pub buffer: Option<BufferId>,
    /// Whether the operation goes on and will complete again (multishot).
    pub more: bool,
}
