//! From our operations to the kernel's: one switch, and the calls that never go through the ring.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use super::buffer_ring::BUFFER_GROUP;
use super::operation::{BytesPointer, Half, Operation};
use crate::world::Descriptor;

/// Have an accept wait for a client before it looks for one (Linux 6.10, `ioprio` of the entry).
const IORING_ACCEPT_POLL_FIRST: u16 = 1 << 2;

/// The kernel's form of an operation. Made in its caller, where it is written to the ring: one
/// that is moved there waits for the CPU's stores.
#[inline(always)]
pub(super) fn entry_of(operation: Operation) -> squeue::Entry {
    match operation {
        Operation::Accept { listener, .. } => {
            let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            opcode::AcceptMulti::new(types::Fd(listener.0)).flags(flags).build()
        }
        Operation::Connect { socket, address } => {
            opcode::Connect::new(types::Fd(socket.0), address.start.as_ptr(), address.size).build()
        }
        Operation::Recv { socket } => {
            on(socket, |fd| opcode::RecvMulti::new(fd, BUFFER_GROUP).build())
        }
        Operation::Send { socket, bytes, waits: true, .. } => on(socket, |fd| send(fd, bytes)),
        Operation::Send { socket, bytes, more, .. } => on(socket, |fd| try_send(fd, bytes, more)),
        Operation::Writable { socket } => {
            on(socket, |fd| opcode::PollAdd::new(fd, libc::POLLOUT as u32).build())
        }
        Operation::SendFile { .. } => unreachable!("it is no operation of the ring's"),
        Operation::Close { socket } => match socket.place() {
            Some(place) => opcode::Close::new(types::Fixed(place)).build(),
            None => opcode::Close::new(types::Fd(socket.0)).build(),
        },
        Operation::Cancel { target } => opcode::AsyncCancel::new(target.user_data()).build(),
    }
}

/// An entry on a socket, which is the process's or in the ring's table.
#[inline(always)]
fn on(socket: Descriptor, build: impl FnOnce(types::Fd) -> squeue::Entry) -> squeue::Entry {
    match socket.place() {
        Some(place) => build(types::Fd(place as i32)).flags(squeue::Flags::FIXED_FILE),
        None => build(types::Fd(socket.0)),
    }
}

/// MSG_NOSIGNAL: a peer that has gone must not raise SIGPIPE.
#[inline(always)]
fn send(socket: types::Fd, bytes: BytesPointer) -> squeue::Entry {
    let send = opcode::Send::new(socket, bytes.as_ptr(), bytes.size());
    send.flags(libc::MSG_NOSIGNAL).build()
}

/// MSG_DONTWAIT fails the request where there is no room, instead of arming a poll. MSG_WAITALL
/// makes a short send a failure, so that only a whole one is silent (io_uring_prep_send(3),
/// IOSQE_CQE_SKIP_SUCCESS in io_uring_enter(2)).
#[inline(always)]
fn try_send(socket: types::Fd, bytes: BytesPointer, more: bool) -> squeue::Entry {
    let send = opcode::Send::new(socket, bytes.as_ptr(), bytes.size());
    let more = if more { libc::MSG_MORE } else { 0 };
    send.flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL | more)
        .build()
        .flags(squeue::Flags::SKIP_SUCCESS)
}

/// Has an accept wait first: each look in vain makes and frees a socket and a file.
pub(super) fn poll_first(mut accept: squeue::Entry) -> squeue::Entry {
    // SAFETY: an entry is the kernel's `struct io_uring_sqe`, aligned to eight bytes, which has the
    // 16 bits of `ioprio` behind its first two bytes; the crate has no setter for them.
    unsafe { (&raw mut accept).cast::<u16>().add(1).write(IORING_ACCEPT_POLL_FIRST) };
    accept
}

/// Shuts down one half or both of a socket's connection, or resets it.
pub(super) fn shut_down(socket: RawFd, half: Half) {
    let how = match half {
        Half::Write => libc::SHUT_WR,
        Half::Both => libc::SHUT_RDWR,
        Half::Reset => {
            // SAFETY: the kernel reads as many bytes of the address as it is told.
            unsafe {
                // connect(2): with AF_UNSPEC it dissolves the connection, which for TCP sends a
                // reset. Unlike SO_LINGER it need not wait for the descriptor's close.
                let mut nobody: libc::sockaddr = std::mem::zeroed();
                nobody.sa_family = libc::AF_UNSPEC as libc::sa_family_t;
                libc::connect(socket, &raw const nobody, size_of_val(&nobody) as _);
            }
            libc::SHUT_RDWR
        }
    };
    // ENOTCONN, where the peer was faster, is as good as success.
    // SAFETY: a system call on a number; no memory is involved.
    unsafe { libc::shutdown(socket, how) };
}
