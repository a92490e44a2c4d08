//! A shard's end of the ring by which its entries leave it, and the bell that wakes the desk.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use rtrb::{Consumer, Producer, RingBuffer};

use super::entry::ENTRY_BYTES_MAX;

/// One shard's ring.
#[derive(Debug)]
pub(crate) struct Outlet {
    ring: RefCell<Producer<u8>>,
    bytes_max: usize,
    bell: Arc<Bell>,
}

impl Outlet {
    /// With the other end. Two of the longest entries fit, however few bytes are asked for.
    pub(super) fn new(ring_bytes: usize, bell: Arc<Bell>) -> (Outlet, Consumer<u8>) {
        let bytes_max = ring_bytes.max(2 * ENTRY_BYTES_MAX);
        let (producer, consumer) = RingBuffer::new(bytes_max);
        (Outlet { ring: RefCell::new(producer), bytes_max, bell }, consumer)
    }

    /// Bytes that fit into the empty ring.
    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Whether there was room for the entry, whole.
    pub(super) fn push(&self, entry: &[u8]) -> bool {
        self.ring.borrow_mut().push_entire_slice(entry).is_ok()
    }

    /// Has the desk look.
    pub(super) fn ring(&self) {
        self.bell.ring();
    }
}

/// What the desk shares with the shards, and with those who end it.
#[derive(Debug, Default)]
pub(super) struct Bell {
    pub(super) is_asleep: AtomicBool,
    pub(super) is_ending: AtomicBool,
    pub(super) wants_reopening: Arc<AtomicBool>,
    pub(super) thread: OnceLock<Thread>,
}

impl Bell {
    /// Wakes the desk where it sleeps. A load, nearly always.
    fn ring(&self) {
        if self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::Relaxed) {
            self.wake();
        }
    }

    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
