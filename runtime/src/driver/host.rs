//! The rare calls that a shard makes without its ring, as plain system calls.

use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Instant;

use rustix::io::FdFlags;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};

use super::places::Peers;
use crate::clock::Moment;
use crate::world::{Descriptor, Host};

/// A packet filter (BPF, socket(7) SO_ATTACH_FILTER) that drops segments with SYN and without ACK.
/// A TCP socket's filter sees each segment from its TCP header on: byte 13 has the flags (RFC 9293
/// section 3.1). The client repeats its SYN after a second, and meets whoever listens then.
const NO_HANDSHAKES: [SockFilter; 5] = [
    filter(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, 13),
    filter(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
    filter(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    filter(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
];

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

const fn filter(code: u32, if_true: u8, if_false: u8, value: u32) -> SockFilter {
    SockFilter::new(code as u16, if_true, if_false, value)
}

/// The machine itself.
pub(crate) struct Machine {
    /// Where the shards' clock begins.
    pub(crate) origin: Instant,
    /// Whose sockets are in the ring's own table.
    pub(crate) peers: Rc<Peers>,
}

impl Host for Machine {
    fn peer_address(&self, descriptor: Descriptor) -> io::Result<Option<SocketAddr>> {
        match descriptor.place() {
            Some(place) => Ok(self.peers.of(place)),
            None => borrow(descriptor).peer_addr().map(|address| address.as_socket()),
        }
    }

    fn accept_now(&self, listener: Descriptor) -> io::Result<Option<Descriptor>> {
        let listener = borrow(listener);
        // Another process, or another shard, may take the connection first: never block on it. The
        // flag is the socket's for all of them; the ring waits all the same.
        listener.set_nonblocking(true)?;
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(Descriptor(stream.into_raw_fd())))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn refuse_handshakes(&self, listener: Descriptor) -> io::Result<()> {
        borrow(listener).attach_filter(&NO_HANDSHAKES)
    }

    fn open_socket(&self, address: &SockAddr) -> io::Result<Descriptor> {
        let is_internet = address.is_ipv4() || address.is_ipv6();
        let protocol = is_internet.then_some(Protocol::TCP);
        let domain = Domain::from(i32::from(address.family()));
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), protocol)?;
        if is_internet {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Descriptor(socket.into_raw_fd()))
    }

    fn now(&self) -> Moment {
        Moment::default() + self.origin.elapsed()
    }

    fn is_machine(&self) -> bool {
        true
    }
}

/// A descriptor of the machine that no slot owns any more, to be sent to another shard.
pub(crate) fn own(descriptor: Descriptor) -> OwnedFd {
    assert!(descriptor.place().is_none(), "listeners that hand over accept none into a table");
    // SAFETY: the descriptor is open, and its slot has just given it away.
    unsafe { OwnedFd::from_raw_fd(descriptor.0) }
}

/// A descriptor that this process was started with, from then on closed with its owner, and not
/// inherited any further.
///
/// # Errors
/// `EBADF` where it is not open.
pub(crate) fn inherit(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: it is borrowed for this one call, which fails where it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor.max(0)) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and whoever started this process has said that it is for the caller,
    // which asks once a process (`Inherited::take`); nothing else here knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Another descriptor of the same socket.
pub(crate) fn duplicate(descriptor: Descriptor) -> io::Result<OwnedFd> {
    borrow(descriptor).try_clone().map(OwnedFd::from)
}

/// The descriptor for a slot, which closes it.
pub(crate) fn disown(descriptor: OwnedFd) -> Descriptor {
    Descriptor(descriptor.into_raw_fd())
}

/// The descriptor as a socket that is not closed when it goes out of scope.
fn borrow(descriptor: Descriptor) -> ManuallyDrop<Socket> {
    // SAFETY: the caller's slot owns the descriptor and keeps it open for as long as the call
    // lasts; `ManuallyDrop` leaves it open afterwards.
    ManuallyDrop::new(unsafe { Socket::from_raw_fd(descriptor.0) })
}
