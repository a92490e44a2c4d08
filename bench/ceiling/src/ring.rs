//! The ring: how it is set up, how operations get in and how completions come out.

use std::io;
use std::os::fd::RawFd;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fixed;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, types};

use crate::buffers;

/// Submissions that one turn queues before it has to enter early.
const SUBMISSIONS: u32 = 1024;

/// Multishot operations complete more often than they are submitted, hence four times as many.
const COMPLETIONS: u32 = SUBMISSIONS * 4;

/// The most connections that can be open at once.
const SOCKETS_MAX: u32 = 32_768;

/// Which kind of operation a completion ends; the upper half of `user_data`.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Operation {
    Accept = 0,
    Receive = 1,
    Send = 2,
    Shutdown = 3,
    Close = 4,
}

/// A completion, taken apart.
pub(crate) struct Completion {
    pub(crate) operation: Operation,
    /// The connection that the operation is for; zero for an accept and a close.
    pub(crate) index: usize,
    /// The socket accepted or a count of bytes, or the errno that the operation failed with.
    pub(crate) result: Result<u32, i32>,
    pub(crate) buffer: Option<u16>,
    /// Whether a multishot operation is still armed.
    pub(crate) more: bool,
}

/// Opens a ring with everything that one thread can use; needs Linux 6.1.
pub(crate) fn open() -> io::Result<IoUring> {
    let newest = builder().setup_no_sqarray().build(SUBMISSIONS);
    // IORING_SETUP_NO_SQARRAY came with Linux 6.6; an older kernel answers EINVAL.
    newest.or_else(|_| builder().build(SUBMISSIONS))
}

fn builder() -> io_uring::Builder {
    let mut builder = IoUring::builder();
    builder
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS);
    builder
}

/// Registers a table for as many sockets as RLIMIT_NOFILE allows, the limit for it by
/// io_uring_register_files(3). A socket that lives in the ring's table, never in the process's,
/// spares each operation a lookup and a reference count: about 1 % of a request's CPU time.
fn register_sockets(submitter: &Submitter<'_>) -> io::Result<()> {
    let mut count = SOCKETS_MAX;
    loop {
        match submitter.register_files_sparse(count) {
            Err(error) if error.raw_os_error() == Some(libc::EMFILE) && count > 1 => count /= 2,
            result => return result,
        }
    }
}

/// The submitting side of the ring.
pub(crate) struct Submissions<'ring> {
    submitter: Submitter<'ring>,
    queue: SubmissionQueue<'ring>,
}

/// Splits the ring into its two sides; registers its descriptor and a table for its sockets.
pub(crate) fn split(ring: &mut IoUring) -> io::Result<(Submissions<'_>, CompletionQueue<'_>)> {
    let (mut submitter, queue, completions) = ring.split();
    submitter.register_ring_fd()?;
    register_sockets(&submitter)?;
    Ok((Submissions { submitter, queue }, completions))
}

impl Submissions<'_> {
    pub(crate) fn submitter(&self) -> &Submitter<'_> {
        &self.submitter
    }

    /// The one system call of a turn: submits everything queued, waits for one completion.
    pub(crate) fn enter(&mut self) -> io::Result<()> {
        self.enter_for(1)
    }

    /// Arms the accept, which completes with a socket's place in the ring's table.
    pub(crate) fn accept(&mut self, listener: RawFd) {
        let entry = opcode::AcceptMulti::new(types::Fd(listener)).allocate_file_index(true).build();
        self.push(entry, Operation::Accept, 0);
    }

    pub(crate) fn receive(&mut self, socket: Fixed, index: usize) {
        let entry = opcode::RecvMulti::new(socket, buffers::GROUP).build();
        self.push(entry, Operation::Receive, index);
    }

    /// Queues a send of `bytes`, which must stay where they are until it has completed.
    ///
    /// With MSG_WAITALL the kernel goes on by itself after a short send (io_uring_prep_send(3)).
    pub(crate) fn send(&mut self, socket: Fixed, index: usize, bytes: &[u8]) {
        let entry = opcode::Send::new(socket, bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build();
        self.push(entry, Operation::Send, index);
    }

    /// Ends the receive that is armed on `socket`, which then completes with zero bytes.
    pub(crate) fn shutdown(&mut self, socket: Fixed, index: usize) {
        let entry = opcode::Shutdown::new(socket, libc::SHUT_RDWR).build();
        self.push(entry, Operation::Shutdown, index);
    }

    /// Queues the close of a socket that has no other operation left.
    pub(crate) fn close(&mut self, socket: Fixed) {
        let entry = opcode::Close::new(socket).build();
        self.push(entry.flags(Flags::SKIP_SUCCESS), Operation::Close, 0);
    }

    fn enter_for(&mut self, completions: usize) -> io::Result<()> {
        self.queue.sync();
        let result = self.submitter.submit_and_wait(completions);
        self.queue.sync();
        match result {
            Ok(_) => Ok(()),
            // EBUSY and EAGAIN: completions have to be reaped first. EINTR: a signal came.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EBUSY | libc::EAGAIN | libc::EINTR)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn push(&mut self, entry: Entry, operation: Operation, index: usize) {
        let entry = entry.user_data((operation as u64) << 32 | index as u64);
        // SAFETY: the only operation that points into memory is a send, and `server` keeps a
        // connection's outgoing bytes untouched until that send's completion has been read.
        while unsafe { self.queue.push(&entry) }.is_err() {
            self.enter_for(0).expect("a ring that was set up accepts submissions");
        }
    }
}

impl From<cqueue::Entry> for Completion {
    fn from(entry: cqueue::Entry) -> Self {
        let operation = match entry.user_data() >> 32 {
            0 => Operation::Accept,
            1 => Operation::Receive,
            2 => Operation::Send,
            3 => Operation::Shutdown,
            _ => Operation::Close,
        };
        let result = entry.result();
        Self {
            operation,
            index: entry.user_data() as u32 as usize,
            result: u32::try_from(result).map_err(|_| -result),
            buffer: cqueue::buffer_select(entry.flags()),
            more: cqueue::more(entry.flags()),
        }
    }
}
