//! One connected (or connecting) socket's slot, from its first operation to its close.
//!
//! ```text
//!   open ──drop──► closing, operations in flight ──last completion──► closing the descriptor
//!     │                                                                     │ completion
//!     └──drop, nothing in flight──────────────────────────────────────►     ▼
//!                                                                          free
//! ```

use std::collections::VecDeque;
use std::io;

use super::buffers::BufferList;
use super::connect::Connecting;
use super::operation::{Half, SlotKey};
use super::recv::Receiving;
use super::send::{SendBuffer, Sending};
use super::{Driver, Interest, Slot, State};
use crate::mutation::{Mutation, is_made};
use crate::world::Descriptor;

/// What is looked at for each request; with its generation it takes two cache lines.
pub(crate) struct StreamSlot {
    pub(crate) descriptor: Descriptor,
    /// Operations that will still complete.
    pub(crate) in_flight: u8,
    /// The owner let go: close once nothing is in flight.
    pub(crate) is_closing: bool,
    is_close_submitted: bool,
    pub(crate) receiving: Receiving,
    /// Why receiving ended: `Some(0)` for end of file, else the errno.
    pub(crate) receive_end: Option<i32>,
    /// Received and not yet read, in pool buffers; at most one turn old.
    pub(crate) received: BufferList,
    pub(crate) reader: Interest,
    pub(crate) sending: Sending,
    pub(crate) cold: Option<Box<Cold>>,
}

/// What most streams never have. One that has had it keeps the place.
#[derive(Default)]
pub(crate) struct Cold {
    /// Received and not yet read, copied out; older than everything in `received`.
    pub(crate) unread: Vec<u8>,
    /// What is sent behind the current buffer.
    pub(crate) queued: VecDeque<SendBuffer>,
    pub(crate) writer: Interest,
    /// Boxed: an address is as large as the rest, and few streams connect.
    pub(crate) connecting: Option<Box<Connecting>>,
}

impl StreamSlot {
    pub(crate) fn new(descriptor: Descriptor) -> StreamSlot {
        StreamSlot {
            descriptor,
            in_flight: 0,
            is_closing: false,
            is_close_submitted: false,
            receiving: Receiving::Idle,
            receive_end: None,
            received: BufferList::EMPTY,
            reader: Interest::default(),
            sending: Sending::default(),
            cold: None,
        }
    }

    pub(crate) fn cold(&mut self) -> &mut Cold {
        self.cold.get_or_insert_default()
    }

    /// The connect that the stream begins with, where it is the one who connects.
    pub(crate) fn connecting(&mut self) -> Option<&mut Connecting> {
        self.cold.as_mut()?.connecting.as_deref_mut()
    }

    /// The descriptor to close, once: when the owner let go and nothing is in flight.
    pub(crate) fn start_close(&mut self) -> Option<Descriptor> {
        let is_busy = self.in_flight > 0 && !is_made(Mutation::SlotFreedEarly);
        if !self.is_closing || is_busy || self.is_close_submitted {
            return None;
        }
        self.is_close_submitted = true;
        Some(self.descriptor)
    }
}

impl Driver {
    /// Takes charge of a connected descriptor that did not come through the ring.
    pub(crate) fn adopt_descriptor(&self, descriptor: Descriptor) -> SlotKey {
        self.adopt(&mut self.state(), descriptor)
    }

    /// Takes charge of a connected descriptor.
    pub(super) fn adopt(&self, state: &mut State, descriptor: Descriptor) -> SlotKey {
        self.stats.streams_opened.add(1);
        state.slots.insert(Slot::Stream(StreamSlot::new(descriptor)))
    }

    /// Gives away the descriptor of a stream on which nothing was begun yet.
    pub(crate) fn detach(&self, key: SlotKey) -> Option<Descriptor> {
        let mut state = self.state();
        let stream = state.stream(key).filter(|stream| stream.in_flight == 0)?;
        let descriptor = stream.descriptor;
        state.slots.remove(key);
        self.stats.streams_closed.add(1);
        Some(descriptor)
    }

    /// The descriptor of a slot, for a system call while the slot is in use.
    pub(crate) fn descriptor(&self, key: SlotKey) -> io::Result<Descriptor> {
        match self.state().slots.find(key) {
            Some(Slot::Stream(stream)) => Ok(stream.descriptor),
            Some(Slot::Listener(listener)) => Ok(listener.descriptor),
            None => Err(io::Error::from_raw_os_error(libc::ENOTCONN)),
        }
    }

    /// The owner lets go of a stream: what is unsent is dropped, what is in flight is ended, the
    /// descriptor is closed when the last completion is in.
    pub(crate) fn release_stream(&self, key: SlotKey) {
        let mut state = self.state();
        let state = &mut *state;
        let Some(Slot::Stream(stream)) = state.slots.find(key) else {
            return;
        };
        stream.is_closing = true;
        stream.received.clear(&self.pool);
        stream.drop_queued();
        if let Some(cold) = &mut stream.cold {
            cold.unread = Vec::new();
        }
        if stream.in_flight > 0 {
            // `close` alone would neither end what is in flight nor send a FIN: the ring holds the
            // file. A shutdown ends receives and blocked sends, which then complete.
            state.shutdowns.push((stream.descriptor, Half::Both));
            state.awaits_sends = true;
            if stream.connecting().is_some() {
                self.cancel_connect(state, key);
            }
        }
        self.finish_if_closing(state, key);
    }

    /// Resets the connection with the next flush; what is unsent is lost.
    pub(crate) fn abort(&self, key: SlotKey) {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(Slot::Stream(stream)) = state.slots.find(key) {
            state.shutdowns.push((stream.descriptor, Half::Reset));
        }
    }

    /// Shuts the sending half down once everything queued before is sent.
    ///
    /// # Errors
    /// `ENOTCONN` where the stream is not open.
    pub(crate) fn shutdown_write(&self, key: SlotKey) -> io::Result<()> {
        let mut state = self.state();
        let Some(stream) = state.stream(key) else {
            return Err(io::Error::from_raw_os_error(libc::ENOTCONN));
        };
        if stream.sending.is_idle() {
            let socket = stream.descriptor;
            state.shutdowns.push((socket, Half::Write));
        } else {
            stream.sending.shutdown_when_sent = true;
            state.awaits_sends = true;
        }
        Ok(())
    }
}
