//! A shard's end of the ring by which its records leave it, and the bell that wakes the desk.

use std::cell::{Cell, RefCell};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use rtrb::{Consumer, Producer, RingBuffer};

/// One shard's ring.
#[derive(Debug)]
pub(crate) struct Outlet {
    ring: RefCell<Producer<u8>>,
    bytes_max: usize,
    /// Bytes that were put in since the desk was woken. `0 <= unheard <= bytes_max / 2`
    unheard: Cell<usize>,
    bell: Arc<Bell>,
}

impl Outlet {
    /// With the other end.
    pub(super) fn new(bytes_max: usize, bell: Arc<Bell>) -> (Outlet, Consumer<u8>) {
        let (producer, consumer) = RingBuffer::new(bytes_max);
        let (ring, unheard) = (RefCell::new(producer), Cell::new(0));
        (Outlet { ring, bytes_max, unheard, bell }, consumer)
    }

    /// Bytes that fit into the empty ring.
    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes that there is room for now, at least.
    pub(crate) fn room(&self) -> usize {
        self.ring.borrow().slots()
    }

    /// Whether there was room for the bytes, all of them. Wakes the desk with each half of the ring
    /// that was filled: until then it comes by itself, sooner or later.
    pub(crate) fn push(&self, bytes: &[u8]) -> bool {
        let is_taken = self.ring.borrow_mut().push_entire_slice(bytes).is_ok();
        let unheard = self.unheard.get() + if is_taken { bytes.len() } else { 0 };
        if unheard > self.bytes_max / 2 {
            self.unheard.set(0);
            self.bell.wake();
        } else {
            self.unheard.set(unheard);
        }
        is_taken
    }
}

/// What the desk shares with the shards, and with those who end it.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub(super) is_ending: AtomicBool,
    pub(super) wants_reopening: Arc<AtomicBool>,
    pub(super) thread: OnceLock<Thread>,
}

impl Bell {
    /// A wake that comes while the desk works is kept for when it rests next.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_desk_is_woken_when_half_of_the_ring_was_filled() {
        let bell = Arc::new(Bell::default());
        // This thread is the desk.
        let _ = bell.thread.set(std::thread::current());
        let (outlet, mut ring) = Outlet::new(100, Arc::clone(&bell));
        for _ in 0..3 {
            assert!(outlet.push(&[0; 30]) && outlet.push(&[0; 30]));
            // Without a wake it would rest for ever.
            std::thread::park();
            ring.read_chunk(60).expect("what was pushed").commit_all();
        }
        // What does not fit is neither put in nor heard of.
        assert!(outlet.push(&[0; 50]) && !outlet.push(&[0; 51]) && outlet.push(&[0; 50]));
        assert_eq!((ring.slots(), outlet.unheard.get()), (100, 0));
    }
}
