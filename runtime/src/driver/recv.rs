//! Receiving: one multishot receive per stream, into whichever buffer the ring picks.
//!
//! ```text
//!           arm                    unread_bytes_max, nobody reads
//!   Idle ─────────► Armed ──────────────────────────────► Cancelling
//!    ▲ ▲              │ last completion (ECANCELED or data)    │
//!    │ └──────────────┴────────────────────────────────────────┘
//!    │ half of the buffers are back      ENOBUFS
//!    └──────────────── Starved ◄──────────────── Armed
//! ```
//!
//! End of file and errors leave it `Idle` with `receive_end` set; it is not armed again then.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::buffers::{BufferId, Received};
use super::operation::{Kind, Operation, SlotKey, Token};
use super::stream::StreamSlot;
use super::{Driver, State};
use crate::world::Completion;

/// Buffers of one stream that may wait for its reader; beyond, they are copied out. A reader that
/// was woken takes them in the same turn, and the kernel posts at most 32 in one go.
const RECEIVED_COUNT_MAX: u16 = 64;

/// Whether the stream's receive is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiving {
    Idle,
    Armed,
    Cancelling,
    Starved,
}

impl Driver {
    /// The next received bytes; an empty message is end of file.
    pub(crate) fn poll_recv(
        &self,
        key: SlotKey,
        context: &Context<'_>,
    ) -> Poll<io::Result<Received>> {
        let mut state = self.state();
        let state = &mut *state;
        let Some(stream) = state.stream(key) else {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ENOTCONN)));
        };
        if let Some(received) = self.next_received(stream) {
            stream.reader.settle();
            return Poll::Ready(Ok(received));
        }
        match stream.receive_end {
            Some(0) => return Poll::Ready(Ok(Received::copied(Vec::new()))),
            Some(errno) => return Poll::Ready(Err(io::Error::from_raw_os_error(errno))),
            None => {}
        }
        stream.reader.wait(context);
        if stream.receiving == Receiving::Idle {
            arm(state, key);
        }
        Poll::Pending
    }

    fn next_received(&self, stream: &mut StreamSlot) -> Option<Received> {
        if !stream.unread.is_empty() {
            return Some(Received::copied(std::mem::take(&mut stream.unread)));
        }
        let buffer = stream.received.pop(&self.pool)?;
        Some(Received::new(Rc::clone(&self.pool), buffer))
    }

    pub(super) fn on_recv(&self, state: &mut State, key: SlotKey, completion: Completion) {
        if let (Some(buffer), Ok(size)) = (completion.buffer, u32::try_from(completion.result)) {
            self.pool.take(buffer, size);
            self.stats.bytes_received.add(u64::from(size));
        }
        let Some(stream) = state.stream(key) else {
            completion.buffer.inspect(|buffer| self.pool.give_back(*buffer));
            return self.stats.stale_completions.add(1);
        };
        if !completion.more {
            stream.in_flight -= 1;
            stream.receiving = Receiving::Idle;
        }
        match completion.buffer {
            Some(buffer) if completion.result > 0 => self.deliver(state, key, buffer),
            buffer => {
                buffer.inspect(|buffer| self.pool.give_back(*buffer));
                self.on_recv_end(state, key, -completion.result);
            }
        }
        self.finish_if_closing(state, key);
    }

    fn deliver(&self, state: &mut State, key: SlotKey, buffer: BufferId) {
        let Some(stream) = state.stream(key) else {
            return self.pool.give_back(buffer);
        };
        if stream.is_closing {
            return self.pool.give_back(buffer);
        }
        stream.received.push(&self.pool, buffer);
        stream.reader.wake();
        if !stream.reader.is_absent() && stream.received.count() <= RECEIVED_COUNT_MAX {
            return;
        }
        // Nobody reads: what outlives the turn must not keep a buffer that others need.
        let StreamSlot { received, unread, .. } = stream;
        received.copy_out(&self.pool, unread);
        if unread.len() > self.bounds.unread_bytes_max && stream.receiving == Receiving::Armed {
            stream.receiving = Receiving::Cancelling;
            stream.in_flight += 1;
            let target = Token::new(Kind::Recv, key);
            state.submit(Operation::Cancel { target }, Kind::Cancel, key);
            self.stats.receives_paused.add(1);
        }
    }

    /// The receive completed without data; `errno` zero is end of file.
    fn on_recv_end(&self, state: &mut State, key: SlotKey, errno: i32) {
        let Some(stream) = state.stream(key) else {
            return;
        };
        match errno {
            libc::ENOBUFS => {
                stream.receiving = Receiving::Starved;
                state.starved.push(key);
                self.stats.buffers_exhausted.add(1);
            }
            // Cancelled by us, or the kernel ended the multishot: whoever waits is served again.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => {
                if !stream.reader.is_absent() && !stream.is_closing {
                    arm_if_idle(state, key);
                }
            }
            errno => {
                stream.receive_end = Some(errno);
                stream.reader.wake();
            }
        }
    }

    /// Re-arms starved receives once half of the buffers are back: re-arming for each single
    /// buffer would end in `ENOBUFS` again at once.
    pub(super) fn rearm_starved(&self, state: &mut State) {
        if self.pool.lent_count() * 2 < usize::from(self.pool.count()) {
            return;
        }
        for key in std::mem::take(&mut state.starved) {
            if let Some(stream) = state.stream(key)
                && stream.receiving == Receiving::Starved
            {
                stream.receiving = Receiving::Idle;
                if !stream.is_closing {
                    arm(state, key);
                }
            }
        }
    }
}

fn arm_if_idle(state: &mut State, key: SlotKey) {
    if state.stream(key).is_some_and(|stream| stream.receiving == Receiving::Idle) {
        arm(state, key);
    }
}

fn arm(state: &mut State, key: SlotKey) {
    let Some(stream) = state.stream(key) else {
        return;
    };
    stream.receiving = Receiving::Armed;
    stream.in_flight += 1;
    let socket = stream.descriptor;
    state.submit(Operation::Recv { socket }, Kind::Recv, key);
}
