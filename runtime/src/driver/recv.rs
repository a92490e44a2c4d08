//! Receiving: one multishot receive per stream, into whichever buffer the ring picks.
//!
//! ```text
//!           arm                    over unread_bytes_max, nobody reads
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
use crate::mutation::{Mutation, is_made};
use crate::world::Completion;

/// Buffers of one stream that may wait for its reader within a turn; beyond, they are copied out.
/// The kernel posts at most 32 in one go.
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
        if let Some(cold) = &mut stream.cold
            && !cold.unread.is_empty()
        {
            return Some(Received::copied(std::mem::take(&mut cold.unread)));
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
        let is_first = stream.received.count() == 0;
        stream.received.push(&self.pool, buffer);
        stream.reader.wake();
        if stream.received.count() > RECEIVED_COUNT_MAX {
            self.copy_unread(state, key);
        } else if is_first {
            state.fresh.push(key);
        }
    }

    /// After the tasks have run: what nobody has read must not keep buffers that others need. A
    /// reader that was woken has looked by now, unless it waits for something else.
    pub(super) fn copy_fresh(&self, state: &mut State) {
        while let Some(key) = state.fresh.pop() {
            if state.stream(key).is_some_and(|stream| stream.received.count() > 0) {
                self.copy_unread(state, key);
            }
        }
    }

    /// Copies out what waits to be read; stops receiving where that is more than the bound.
    #[cold]
    fn copy_unread(&self, state: &mut State, key: SlotKey) {
        let Some(stream) = state.stream(key) else {
            return;
        };
        let unread = &mut stream.cold.get_or_insert_default().unread;
        stream.received.copy_out(&self.pool, unread);
        let is_over = unread.len() > self.bounds.unread_bytes_max;
        if is_over && stream.receiving == Receiving::Armed {
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
                state.starved.push_back(key);
                self.stats.buffers_exhausted.add(1);
                self.stats.buffers_all_used.add(u64::from(self.pool.spare_count() == 0));
            }
            // Cancelled by us, or the kernel ended the multishot: whoever waits is served again.
            // Who was woken, and has not looked, arms it when it does.
            libc::ECANCELED | libc::EINTR | libc::EAGAIN => arm_if_awaited(state, key),
            errno => {
                stream.receive_end = Some(errno);
                stream.reader.wake();
            }
        }
    }

    /// Whether starved receives can be armed again: once half of the buffers are back. Re-arming
    /// for each single buffer would end in `ENOBUFS` again at once.
    pub(super) fn can_rearm(&self, state: &State) -> bool {
        !state.starved.is_empty() && self.pool.spare_count() * 2 >= usize::from(self.pool.count())
    }

    /// Re-arms the longest starved receives, one for each buffer: more would only starve again.
    /// The shard does not block while there are others.
    pub(super) fn rearm_starved(&self, state: &mut State) {
        let mut spare_count = self.pool.lent_count();
        while spare_count > 0
            && let Some(key) = state.starved.pop_front()
        {
            if let Some(stream) = state.stream(key)
                && stream.receiving == Receiving::Starved
            {
                stream.receiving = Receiving::Idle;
                arm_if_awaited(state, key);
                spare_count -= 1;
            }
        }
    }
}

/// Arms the receive of a stream whose reader waits.
fn arm_if_awaited(state: &mut State, key: SlotKey) {
    if is_made(Mutation::RearmForgotten) {
        return;
    }
    if state.stream(key).is_some_and(|stream| {
        stream.receiving == Receiving::Idle && stream.reader.is_waiting() && !stream.is_closing
    }) {
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
