//! `io_uring_enter(2)`, by way of the ring's registered descriptor where the kernel has it.
//!
//! The `io-uring` crate remembers a registered descriptor in its `Submitter`, which borrows the
//! ring and so can not be kept beside it; hence the two system calls are made here.

use std::io;
use std::os::fd::RawFd;

const IORING_ENTER_GETEVENTS: libc::c_uint = 1 << 0;
const IORING_ENTER_REGISTERED_RING: libc::c_uint = 1 << 4;
const IORING_REGISTER_RING_FDS: libc::c_uint = 20;

/// `struct io_uring_rsrc_update` of the kernel's interface.
#[repr(C)]
struct ResourceUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// By what number the ring is entered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entrance {
    number: RawFd,
    flags: libc::c_uint,
}

impl Entrance {
    /// Registers the ring's descriptor for the calling thread (Linux 5.18), which spares each
    /// call the lookup; falls back to the descriptor itself.
    pub(super) fn new(ring: RawFd) -> Entrance {
        let flags = IORING_ENTER_GETEVENTS;
        let mut update = ResourceUpdate { offset: u32::MAX, reserved: 0, data: ring as u64 };
        // SAFETY: one valid `io_uring_rsrc_update`, as the operation asks for.
        let registered = unsafe {
            let update = &raw mut update;
            libc::syscall(libc::SYS_io_uring_register, ring, IORING_REGISTER_RING_FDS, update, 1)
        };
        if registered == 1 {
            let flags = flags | IORING_ENTER_REGISTERED_RING;
            return Entrance { number: update.offset as RawFd, flags };
        }
        Entrance { number: ring, flags }
    }

    pub(super) fn is_registered(self) -> bool {
        self.flags & IORING_ENTER_REGISTERED_RING != 0
    }

    /// Submits `queued` entries, runs deferred work, and waits for `want` completions.
    ///
    /// GETEVENTS is always set: with IORING_SETUP_DEFER_TASKRUN only such a call runs the task
    /// work that completions come from (io_uring_setup(2)).
    pub(super) fn enter(self, queued: u32, want: u32) -> io::Result<()> {
        let no_signals = std::ptr::null::<libc::sigset_t>();
        // SAFETY: no signal mask is passed; what queued entries point to is kept by their slots.
        let entered = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.number,
                queued,
                want,
                self.flags,
                no_signals,
                // Passed on the stack, where the upper half of an `int` would be left to chance.
                0_usize,
            )
        };
        if entered < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
