//! One connection: its socket and the bytes that wait on either side of it.

use io_uring::types::Fixed;

use crate::answers::{Answers, Refused};

/// The state of one slot. A closed slot keeps its buffers' memory for the next connection.
pub(crate) struct Connection {
    pub(crate) socket: Fixed,
    /// Whether a receive is armed.
    pub(crate) is_receiving: bool,
    /// Whether a send of `outgoing[sent..]` is with the kernel; until it ends, `outgoing` rests.
    pub(crate) is_sending: bool,
    /// Whether a shutdown is with the kernel.
    pub(crate) is_ending: bool,
    /// The start of a head whose end has not arrived.
    partial: Vec<u8>,
    /// The responses being sent; `0 <= sent <= outgoing.len()`.
    outgoing: Vec<u8>,
    sent: usize,
    /// The responses for the send after that.
    waiting: Vec<u8>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            socket: Fixed(u32::MAX),
            is_receiving: false,
            is_sending: false,
            is_ending: false,
            partial: Vec::new(),
            outgoing: Vec::new(),
            sent: 0,
            waiting: Vec::new(),
        }
    }

    /// Starts over with a new socket.
    pub(crate) fn reset(&mut self, socket: Fixed) {
        self.socket = socket;
        self.partial.clear();
        self.outgoing.clear();
        self.sent = 0;
        self.waiting.clear();
    }

    /// Whether the kernel has no operation left for it, so that it can be closed.
    pub(crate) fn is_idle(&self) -> bool {
        !self.is_receiving && !self.is_sending && !self.is_ending
    }

    /// Answers every head that `bytes` completes, and keeps what is left over.
    pub(crate) fn feed(&mut self, bytes: &[u8], answers: &Answers) -> Result<(), Refused> {
        if self.partial.is_empty() {
            let parsed = answers.answer(bytes, &mut self.waiting)?;
            self.partial.extend_from_slice(&bytes[parsed..]);
        } else {
            self.partial.extend_from_slice(bytes);
            let parsed = answers.answer(&self.partial, &mut self.waiting)?;
            self.partial.drain(..parsed);
        }
        Ok(())
    }

    /// Counts `length` more bytes of `outgoing` as sent.
    pub(crate) fn advance(&mut self, length: usize) {
        self.sent += length;
    }

    /// Forgets everything that is to be sent, except what the kernel is already sending.
    pub(crate) fn discard(&mut self) {
        self.waiting.clear();
        if !self.is_sending {
            self.sent = self.outgoing.len();
        }
    }

    /// The bytes that the next send takes; called only while none is with the kernel.
    pub(crate) fn next_send(&mut self) -> &[u8] {
        debug_assert!(!self.is_sending, "the kernel is still reading from `outgoing`");
        if self.sent == self.outgoing.len() {
            self.outgoing.clear();
            self.sent = 0;
            std::mem::swap(&mut self.outgoing, &mut self.waiting);
        }
        &self.outgoing[self.sent..]
    }
}
