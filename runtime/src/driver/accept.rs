//! Accepting: one accept per listener, which goes on; what it accepts waits in the listener's slot.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use super::operation::{Kind, Operation, SlotKey, Token};
use super::{Driver, Interest, Slot, State};
use crate::mutation::{Mutation, is_made};
use crate::world::{Completion, Descriptor};

/// Accepted streams that may wait for their acceptor; beyond, clients wait in the kernel's queue,
/// which is where a server that takes no more connections wants them.
const ACCEPTED_COUNT_MAX: usize = 256;

pub(crate) struct ListenerSlot {
    pub(crate) descriptor: Descriptor,
    /// Whether its connections may go to another shard.
    hands_over: bool,
    pub(crate) in_flight: u8,
    is_armed: bool,
    is_disarming: bool,
    is_closing: bool,
    is_close_submitted: bool,
    /// Accepted, and not yet taken by the acceptor's task.
    accepted: VecDeque<SlotKey>,
    /// The errno that ended the last accept, until the acceptor has seen it.
    failure: Option<i32>,
    acceptor: Interest,
}

impl ListenerSlot {
    fn new(descriptor: Descriptor, hands_over: bool) -> ListenerSlot {
        ListenerSlot {
            descriptor,
            hands_over,
            in_flight: 0,
            is_armed: false,
            is_disarming: false,
            is_closing: false,
            is_close_submitted: false,
            accepted: VecDeque::new(),
            failure: None,
            acceptor: Interest::default(),
        }
    }

    pub(super) fn start_close(&mut self) -> Option<Descriptor> {
        if !self.is_closing || self.in_flight > 0 || self.is_close_submitted {
            return None;
        }
        self.is_close_submitted = true;
        Some(self.descriptor)
    }
}

impl Driver {
    /// Takes charge of a listening descriptor. Nothing is accepted before the first `poll_accept`.
    pub(crate) fn listen(&self, descriptor: Descriptor, hands_over: bool) -> SlotKey {
        let listener = ListenerSlot::new(descriptor, hands_over);
        self.state().slots.insert(Slot::Listener(listener))
    }

    /// The descriptors that this shard listens on.
    pub(crate) fn listening(&self) -> Vec<Descriptor> {
        let state = self.state();
        let listening = state.slots.values().filter_map(|slot| match slot {
            Slot::Listener(listener) if !listener.is_closing => Some(listener.descriptor),
            _ => None,
        });
        listening.collect()
    }

    /// The next accepted stream's slot, or the errno that ended accepting. The next call after an
    /// error arms again: the caller waits first where the errno calls for it.
    pub(crate) fn poll_accept(
        &self,
        key: SlotKey,
        context: &Context<'_>,
    ) -> Poll<Result<SlotKey, i32>> {
        let mut state = self.state();
        let state = &mut *state;
        let Some(listener) = state.listener(key) else {
            return Poll::Ready(Err(libc::EBADF));
        };
        if let Some(stream) = listener.accepted.pop_front() {
            listener.acceptor.settle();
            return Poll::Ready(Ok(stream));
        }
        if let Some(errno) = listener.failure.take() {
            listener.acceptor.settle();
            return Poll::Ready(Err(errno));
        }
        listener.acceptor.wait(context);
        if !listener.is_armed {
            listener.is_armed = true;
            listener.in_flight += 1;
            let (listener, hands_over) = (listener.descriptor, listener.hands_over);
            state.submit(Operation::Accept { listener, hands_over }, Kind::Accept, key);
        }
        Poll::Pending
    }

    /// Stops accepting; what is accepted already, or still completes, is kept for `poll_disarmed`.
    pub(crate) fn disarm_accept(&self, key: SlotKey) {
        disarm(&mut self.state(), key);
    }

    /// After `disarm_accept`: each accepted stream, then `None` once nothing more can arrive.
    pub(crate) fn poll_disarmed(
        &self,
        key: SlotKey,
        context: &Context<'_>,
    ) -> Poll<Option<SlotKey>> {
        let mut state = self.state();
        let Some(listener) = state.listener(key) else {
            return Poll::Ready(None);
        };
        if let Some(stream) = listener.accepted.pop_front() {
            return Poll::Ready(Some(stream));
        }
        if !listener.is_armed {
            listener.acceptor.settle();
            return Poll::Ready(None);
        }
        listener.acceptor.wait(context);
        Poll::Pending
    }

    /// The owner lets go of a listener: accepted streams that nobody took are closed.
    pub(crate) fn release_listener(&self, key: SlotKey) {
        self.disarm_accept(key);
        let mut state = self.state();
        let state = &mut *state;
        let Some(listener) = state.listener(key) else {
            return;
        };
        listener.is_closing = true;
        for stream in std::mem::take(&mut listener.accepted) {
            if let Some(stream) = state.stream(stream) {
                stream.is_closing = true;
            }
            self.finish_if_closing(state, stream);
        }
        self.finish_if_closing(state, key);
    }

    pub(super) fn on_accept(&self, state: &mut State, key: SlotKey, completion: Completion) {
        let accepted = (completion.result >= 0).then_some(Descriptor(completion.result));
        let accepted = accepted.map(|descriptor| (descriptor, self.adopt(state, descriptor)));
        let Some(listener) = state.listener(key) else {
            self.stats.stale_completions.add(1);
            accepted.inspect(|(_, stream)| self.abandon(state, *stream));
            return;
        };
        if !completion.more {
            listener.in_flight -= 1;
            (listener.is_armed, listener.is_disarming) =
                (is_made(Mutation::AcceptForgotten), false);
        }
        let is_closing = listener.is_closing;
        match accepted {
            // An accept that was cancelled may still have happened: the client is there.
            Some((_, stream)) if is_closing => self.abandon(state, stream),
            Some((_, stream)) => {
                listener.accepted.push_back(stream);
                listener.acceptor.wake();
                if listener.accepted.len() >= ACCEPTED_COUNT_MAX {
                    disarm(state, key);
                }
            }
            None => listener.fail(-completion.result),
        }
        self.finish_if_closing(state, key);
    }

    fn abandon(&self, state: &mut State, key: SlotKey) {
        if let Some(stream) = state.stream(key) {
            stream.is_closing = true;
        }
        self.finish_if_closing(state, key);
    }
}

/// Cancels the accept that is in flight, once.
fn disarm(state: &mut State, key: SlotKey) {
    let Some(listener) = state.listener(key) else {
        return;
    };
    if listener.is_armed && !listener.is_disarming {
        listener.is_disarming = true;
        listener.in_flight += 1;
        let target = Token::new(Kind::Accept, key);
        state.submit(Operation::Cancel { target }, Kind::Cancel, key);
    }
}

impl ListenerSlot {
    fn fail(&mut self, errno: i32) {
        // A cancelled accept is no failure: whoever cancelled it waits for it to end.
        if errno != libc::ECANCELED {
            self.failure = Some(errno);
        }
        self.acceptor.wake();
    }
}
