//! Sending: one send in flight per stream, the rest queued in order; partial sends are finished.
//!
//! A send belongs to the driver from the call on: the task that queued it need not wait, and the
//! buffer comes back to the shard's spares when the kernel is done with it. So a connection that
//! waits for its next request holds no send buffer.
//!
//! The first attempt at a buffer does not wait for room, and its success is silent: nearly all
//! sends fit into the socket's buffer, and the shard should sleep on until the peer's next
//! request, not until this answer is out. What did not fit is sent by an operation that waits.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::operation::{BytesPointer, Half, Kind, Operation, SlotKey, Token};
use super::sendfile::{self, FileRange};
use super::stream::StreamSlot;
use super::{Driver, State};
use crate::mutation::{Mutation, is_made};
use crate::world::{Completion, Descriptor};

/// Queued bytes below this are appended to the buffer before them: one send instead of two.
const APPEND_BYTES_MAX: usize = 16 * 1024;

/// Bytes on their way out. Neither kind moves its bytes when it is moved itself.
#[derive(Debug)]
pub enum SendBuffer {
    /// A buffer of the shard's, reused afterwards. From [`Shard::send_buffer`](crate::Shard).
    Owned(Vec<u8>),
    /// Bytes that somebody else may hold as well: sent without a copy.
    Shared(Bytes),
    /// A range of a file, sent without a copy. Only for what [`is_cached`] says that it is in the
    /// page cache: the shard would wait for the disk.
    ///
    /// [`is_cached`]: crate::fs::is_cached
    File(FileRange),
}

impl SendBuffer {
    fn size(&self) -> usize {
        match self {
            SendBuffer::File(range) => range.size,
            buffer => buffer.bytes().len(),
        }
    }

    /// The bytes in memory: none of a file.
    fn bytes(&self) -> &[u8] {
        match self {
            SendBuffer::Owned(bytes) => bytes,
            SendBuffer::Shared(bytes) => bytes,
            SendBuffer::File(_) => &[],
        }
    }
}

/// The buffer that is being sent. It lies in the stream's slot, where most are the shard's own; the
/// others, which are larger, have a box.
#[derive(Debug)]
enum Current {
    Owned(Vec<u8>),
    Other(Box<SendBuffer>),
}

impl From<SendBuffer> for Current {
    fn from(buffer: SendBuffer) -> Current {
        match buffer {
            SendBuffer::Owned(bytes) => Current::Owned(bytes),
            other => Current::Other(Box::new(other)),
        }
    }
}

impl Current {
    fn size(&self) -> usize {
        match self {
            Current::Owned(bytes) => bytes.len(),
            Current::Other(buffer) => buffer.size(),
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Current::Other(buffer) if matches!(**buffer, SendBuffer::File(_)))
    }
}

/// The sending side of a stream, but for what waits behind the current buffer.
#[derive(Debug, Default)]
pub(crate) struct Sending {
    current: Option<Current>,
    /// Bytes of `current` that are sent, `0 <= sent <= current.len()`.
    sent: usize,
    /// Bytes of `current` and of what is queued behind it that are not sent yet.
    unsent_bytes: usize,
    /// Bytes sent since the stream was opened; what a minimum rate is measured by.
    sent_bytes: u64,
    /// The errno after which nothing more is sent.
    failure: Option<i32>,
    pub(super) shutdown_when_sent: bool,
}

impl Sending {
    pub(super) fn is_idle(&self) -> bool {
        self.current.is_none()
    }

    /// Bytes of the current buffer that are not sent yet.
    fn current_left(&self) -> usize {
        self.current.as_ref().map_or(0, |buffer| buffer.size() - self.sent)
    }

    fn is_file(&self) -> bool {
        self.current.as_ref().is_some_and(Current::is_file)
    }
}

/// Appends to the last queued buffer where that saves a send; else queues the buffer itself. Gives
/// back the buffer that is not needed any more.
fn queue(queued: &mut VecDeque<SendBuffer>, buffer: SendBuffer) -> Option<SendBuffer> {
    if let Some(SendBuffer::Owned(last)) = queued.back_mut()
        && !matches!(buffer, SendBuffer::File(_))
        && last.len() + buffer.size() <= APPEND_BYTES_MAX
    {
        last.extend_from_slice(buffer.bytes());
        return Some(buffer);
    }
    queued.push_back(buffer);
    None
}

impl StreamSlot {
    /// Drops what waits behind the current buffer.
    pub(super) fn drop_queued(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.queued.clear();
        }
        self.sending.unsent_bytes = self.sending.current_left();
    }

    /// The current buffer is sent: the next one takes its place.
    fn next_current(&mut self) -> Option<Current> {
        let next = self.cold.as_mut().and_then(|cold| cold.queued.pop_front());
        self.sending.sent = 0;
        std::mem::replace(&mut self.sending.current, next.map(Current::from))
    }

    fn wake_writer(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.writer.wake();
        }
    }
}

impl Driver {
    /// Queues bytes behind what is queued already. On a stream that failed they are dropped: the
    /// failure is reported to whoever reads or waits.
    pub(crate) fn send(&self, key: SlotKey, buffer: SendBuffer) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(stream) = state.stream(key) else {
            return;
        };
        if buffer.size() == 0 || stream.sending.failure.is_some() {
            return;
        }
        let sending = &mut stream.sending;
        sending.unsent_bytes += buffer.size();
        if sending.current.is_none() {
            sending.current = Some(Current::from(buffer));
            sending.sent = 0;
            return submit_rest(state, key, false);
        }
        let is_file = matches!(buffer, SendBuffer::File(_));
        let unneeded = queue(&mut stream.cold().queued, buffer);
        state.awaits_sends = true;
        if is_file {
            send_with_next(&mut state.operations, key);
        }
        if let Some(SendBuffer::Owned(copied)) = unneeded {
            state.recycle(&self.bounds, copied);
        }
    }

    /// Ready when at most `unsent_bytes_max` bytes are still to be sent.
    pub(crate) fn poll_sent(
        &self,
        key: SlotKey,
        unsent_bytes_max: usize,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(stream) = state.stream(key) else {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ENOTCONN)));
        };
        if let Some(errno) = stream.sending.failure {
            return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
        }
        if stream.sending.unsent_bytes <= unsent_bytes_max {
            if let Some(cold) = &mut stream.cold {
                cold.writer.settle();
            }
            return Poll::Ready(Ok(()));
        }
        stream.cold().writer.wait(context);
        // Of a file the end is always told.
        if !stream.sending.is_file() {
            state.awaits_sends = true;
        }
        Poll::Pending
    }

    /// Ready once a send has failed.
    pub(crate) fn poll_broken(&self, key: SlotKey, context: &Context<'_>) -> Poll<()> {
        let mut state = self.state();
        match state.stream(key) {
            Some(stream) if stream.sending.failure.is_none() => {
                stream.cold().writer.wait(context);
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Bytes that are queued or in flight, and bytes sent so far.
    pub(crate) fn send_progress(&self, key: SlotKey) -> (usize, u64) {
        let mut state = self.state();
        let Some(stream) = state.stream(key) else {
            return (0, 0);
        };
        (stream.sending.unsent_bytes, stream.sending.sent_bytes)
    }

    /// An empty buffer, with the capacity of an earlier use where there is a spare one.
    pub(crate) fn send_buffer(&self) -> Vec<u8> {
        self.state().spare.pop().unwrap_or_default()
    }

    /// Keeps an emptied buffer for the next user.
    pub(crate) fn recycle(&self, buffer: Vec<u8>) {
        self.state().recycle(&self.bounds, buffer);
    }

    pub(super) fn on_send(&self, state: &mut State, key: SlotKey, completion: Completion) {
        let Some(stream) = state.stream(key) else {
            return self.stats.stale_completions.add(1);
        };
        stream.in_flight -= 1;
        match completion.result {
            1.. => {
                self.stats.bytes_sent.add(completion.result as u64);
                self.on_sent(state, key, completion.result as usize);
            }
            result if -result == libc::EINTR || -result == libc::EAGAIN => {
                submit_rest(state, key, true);
            }
            // A send of at least one byte never sends none; if it did, trying again would spin.
            0 => self.on_send_failed(state, key, libc::EPIPE),
            result => self.on_send_failed(state, key, -result),
        }
        self.finish_if_closing(state, key);
    }

    fn on_sent(&self, state: &mut State, key: SlotKey, size: usize) {
        let Some(stream) = state.stream(key) else {
            return;
        };
        stream.wake_writer();
        let sending = &mut stream.sending;
        sending.sent += size;
        sending.sent_bytes += size as u64;
        sending.unsent_bytes -= size;
        if sending.current_left() > 0 && !is_made(Mutation::PartialSendDropped) {
            // Of a file one turn sends only so much: after that there may be room.
            let waits = !sending.is_file() || size < sendfile::BYTES_MAX;
            self.stats.partial_sends.add(u64::from(waits));
            return submit_rest(state, key, waits);
        }
        let done = stream.next_current();
        let is_last = stream.sending.current.is_none();
        if is_last && stream.sending.shutdown_when_sent {
            let socket = stream.descriptor;
            state.shutdowns.push((socket, Half::Write));
        }
        if let Some(Current::Owned(buffer)) = done {
            state.recycle(&self.bounds, buffer);
        }
        if !is_last {
            submit_rest(state, key, false);
        }
    }

    /// There is room again, or the connection has failed, which the next attempt finds out.
    pub(super) fn on_writable(&self, state: &mut State, key: SlotKey) {
        let Some(stream) = state.stream(key) else {
            return self.stats.stale_completions.add(1);
        };
        stream.in_flight -= 1;
        submit_rest(state, key, false);
        self.finish_if_closing(state, key);
    }

    #[cold]
    fn on_send_failed(&self, state: &mut State, key: SlotKey, errno: i32) {
        let Some(stream) = state.stream(key) else {
            return;
        };
        let sending = &mut stream.sending;
        sending.failure = Some(errno);
        sending.current = None;
        sending.sent = 0;
        stream.drop_queued();
        stream.wake_writer();
        stream.reader.wake();
    }
}

impl State {
    fn recycle(&mut self, bounds: &super::Bounds, mut buffer: Vec<u8>) {
        let fits = 0 < buffer.capacity() && buffer.capacity() <= bounds.spare_buffer_bytes_max;
        if fits && self.spare.len() < bounds.spare_buffer_count_max {
            if !is_made(Mutation::BufferNotCleared) {
                buffer.clear();
            }
            self.spare.push(buffer);
        }
    }
}

/// A head that is not submitted yet goes out in one packet with the start of its file.
fn send_with_next(operations: &mut [(Operation, Token)], key: SlotKey) {
    let head = Token::new(Kind::Send, key);
    let queued = operations.iter_mut().rev().find(|(_, token)| *token == head);
    if let Some((Operation::Send { waits: false, more, .. }, _)) = queued {
        *more = true;
    }
}

/// Submits what is left of the current buffer; `waits`: there was no room just now.
fn submit_rest(state: &mut State, key: SlotKey, waits: bool) {
    let Some(stream) = state.stream(key) else {
        return;
    };
    let Some(current) = stream.sending.current.as_ref().filter(|_| !stream.is_closing) else {
        return;
    };
    let (socket, sent) = (stream.descriptor, stream.sending.sent);
    let send = |bytes: &[u8]| {
        let (bytes, more) = (BytesPointer::new(&bytes[sent..]), false);
        (Operation::Send { socket, bytes, waits, more }, Kind::Send)
    };
    let (operation, kind) = match current {
        Current::Owned(bytes) => send(bytes),
        Current::Other(buffer) => match &**buffer {
            SendBuffer::File(_) if waits => (Operation::Writable { socket }, Kind::Writable),
            SendBuffer::File(FileRange { file, offset, size }) => {
                let (offset, file) = (offset + sent as u64, Descriptor(file.as_raw_fd()));
                let size = (size - sent).min(sendfile::BYTES_MAX) as u32;
                (Operation::SendFile { socket, file, offset, size }, Kind::Send)
            }
            buffer => send(buffer.bytes()),
        },
    };
    stream.in_flight += 1;
    state.submit(operation, kind, key);
}
