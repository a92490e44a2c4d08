//! Connecting: the address lives in the slot until the completion.

use std::io;
use std::ptr::NonNull;
use std::task::{Context, Poll};

use socket2::SockAddr;

use super::operation::{AddressPointer, Kind, Operation, SlotKey, Token};
use super::{Driver, Interest, State};
use crate::world::{Completion, Descriptor};

/// A connect that is in flight or has just ended.
pub(crate) struct Connecting {
    address: SockAddr,
    /// The completion's result.
    result: Option<i32>,
    caller: Interest,
}

impl Driver {
    /// Starts to connect an unconnected socket, and takes charge of it.
    pub(crate) fn connect(&self, socket: Descriptor, address: SockAddr) -> SlotKey {
        let mut state = self.state();
        let key = self.adopt(&mut state, socket);
        let connecting =
            Box::new(Connecting { address, result: None, caller: Interest::default() });
        let address = AddressPointer {
            start: NonNull::from(&connecting.address).cast(),
            size: connecting.address.len(),
        };
        if let Some(stream) = state.stream(key) {
            stream.cold().connecting = Some(connecting);
            stream.in_flight += 1;
        }
        state.submit(Operation::Connect { socket, address }, Kind::Connect, key);
        key
    }

    /// Ready when the connect has ended, one way or the other.
    pub(crate) fn poll_connected(
        &self,
        key: SlotKey,
        context: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        let Some(stream) = state.stream(key) else {
            return Poll::Ready(Err(io::Error::from_raw_os_error(libc::ENOTCONN)));
        };
        let Some(connecting) = stream.connecting() else {
            return Poll::Ready(Ok(()));
        };
        match connecting.result {
            None => {
                connecting.caller.wait(context);
                Poll::Pending
            }
            Some(result @ ..0) => Poll::Ready(Err(io::Error::from_raw_os_error(-result))),
            Some(_) => {
                stream.cold().connecting = None;
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(super) fn cancel_connect(&self, state: &mut State, key: SlotKey) {
        let Some(stream) = state.stream(key) else {
            return;
        };
        stream.in_flight += 1;
        let target = Token::new(Kind::Connect, key);
        state.submit(Operation::Cancel { target }, Kind::Cancel, key);
    }

    pub(super) fn on_connect(&self, state: &mut State, key: SlotKey, completion: Completion) {
        let Some(stream) = state.stream(key) else {
            return self.stats.stale_completions.add(1);
        };
        stream.in_flight -= 1;
        if let Some(connecting) = stream.connecting() {
            connecting.result = Some(completion.result);
            connecting.caller.wake();
        }
        self.finish_if_closing(state, key);
    }
}
