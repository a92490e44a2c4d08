//! The gate, which a drain waits at, and the future that tells when a drain begins.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::shard::Shard;

impl Shard {
    /// Enters the gate: a drain ends only when everybody has left it again.
    pub fn enter_gate(self: &Rc<Self>) -> GatePass {
        self.gate_count.set(self.gate_count.get() + 1);
        GatePass(Rc::clone(self))
    }

    /// Completes when the shard begins to drain.
    pub fn drained(self: &Rc<Self>) -> Drained {
        Drained { shard: Rc::clone(self), key: None }
    }
}

/// Completes when the shard begins to drain; see [`Shard::drained`].
#[derive(Debug)]
pub struct Drained {
    shard: Rc<Shard>,
    key: Option<usize>,
}

impl Future for Drained {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.shard.is_draining() {
            return Poll::Ready(());
        }
        let mut waiters = this.shard.drain_waiters.borrow_mut();
        match this.key {
            Some(key) => waiters[key].clone_from(context.waker()),
            None => this.key = Some(waiters.insert(context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.shard.drain_waiters.borrow_mut().remove(key);
        }
    }
}

/// A place behind the gate; see [`Shard::enter_gate`].
#[derive(Debug)]
pub struct GatePass(Rc<Shard>);

impl Drop for GatePass {
    fn drop(&mut self) {
        self.0.gate_count.set(self.0.gate_count.get() - 1);
    }
}
