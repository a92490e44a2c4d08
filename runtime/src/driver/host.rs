//! The rare calls that a shard makes without its ring, as plain system calls.

use std::io;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::time::Instant;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::clock::Moment;
use crate::world::{Descriptor, Host};

/// The machine itself.
pub(crate) struct Machine {
    /// Where the shards' clock begins.
    pub(crate) origin: Instant,
}

impl Host for Machine {
    fn peer_address(&self, descriptor: Descriptor) -> io::Result<Option<SocketAddr>> {
        borrow(descriptor).peer_addr().map(|address| address.as_socket())
    }

    fn local_address(&self, descriptor: Descriptor) -> io::Result<Option<SocketAddr>> {
        borrow(descriptor).local_addr().map(|address| address.as_socket())
    }

    fn accept_now(&self, listener: Descriptor) -> io::Result<Option<Descriptor>> {
        let listener = borrow(listener);
        listener.set_nonblocking(true)?;
        match listener.accept() {
            Ok((stream, _)) => Ok(Some(Descriptor(stream.into_raw_fd()))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn open_socket(&self, address: &SockAddr) -> io::Result<Descriptor> {
        let is_internet = address.is_ipv4() || address.is_ipv6();
        let protocol = is_internet.then_some(Protocol::TCP);
        let socket =
            Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, protocol)?;
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
    // SAFETY: the descriptor is open, and its slot has just given it away.
    unsafe { OwnedFd::from_raw_fd(descriptor.0) }
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
