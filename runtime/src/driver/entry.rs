//! From our operations to the kernel's: one switch, and the calls that never go through the ring.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};

use super::buffer_ring::BUFFER_GROUP;
use super::operation::{Half, Operation};

/// The kernel's form of an operation.
pub(super) fn entry_of(operation: Operation) -> squeue::Entry {
    match operation {
        Operation::Accept { listener } => {
            opcode::AcceptMulti::new(types::Fd(listener.0)).flags(libc::SOCK_CLOEXEC).build()
        }
        Operation::Connect { socket, address } => {
            opcode::Connect::new(types::Fd(socket.0), address.start.as_ptr(), address.size).build()
        }
        Operation::Recv { socket } => {
            opcode::RecvMulti::new(types::Fd(socket.0), BUFFER_GROUP).build()
        }
        Operation::Send { socket, bytes, waits } => {
            let send = opcode::Send::new(types::Fd(socket.0), bytes.as_ptr(), bytes.size());
            // MSG_NOSIGNAL: a peer that has gone must not raise SIGPIPE.
            if waits {
                return send.flags(libc::MSG_NOSIGNAL).build();
            }
            // MSG_DONTWAIT fails the request where there is no room, instead of arming a poll.
            // MSG_WAITALL makes a short send a failure, so that only a whole one is silent
            // (io_uring_prep_send(3), IOSQE_CQE_SKIP_SUCCESS in io_uring_enter(2)).
            send.flags(libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_WAITALL)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS)
        }
        Operation::Writable { socket } => {
            opcode::PollAdd::new(types::Fd(socket.0), libc::POLLOUT as u32).build()
        }
        Operation::SendFile { .. } => unreachable!("it is done as it is submitted"),
        Operation::Close { socket } => opcode::Close::new(types::Fd(socket.0)).build(),
        Operation::Cancel { target } => opcode::AsyncCancel::new(target.user_data()).build(),
    }
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
