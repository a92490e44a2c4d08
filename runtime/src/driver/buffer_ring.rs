//! The ring of provided buffers: which of the pool's the kernel may fill next.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::{IoUring, types};

use super::buffers::{BufferId, BufferPool};

/// The one buffer group of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The ring of provided buffers (`io_uring_register_buf_ring(3)`, Linux 5.19): the pool's buffers
/// by address, in memory that is shared with the kernel.
pub(super) struct BufferRing {
    entries: NonNull<types::BufRingEntry>,
    layout: Layout,
    count: u16,
    /// Entries ever added; the kernel sees it in `provide`.
    tail: u16,
}

impl BufferRing {
    pub(super) fn new(count: u16) -> BufferRing {
        let size = usize::from(count) * size_of::<types::BufRingEntry>();
        // The kernel wants the ring on a page of its own.
        let layout = Layout::from_size_align(size, 4096).expect("count is bounded");
        // SAFETY: the layout's size is not zero: `count` is at least one.
        let entries = unsafe { alloc_zeroed(layout) };
        let Some(entries) = NonNull::new(entries.cast()) else { handle_alloc_error(layout) };
        BufferRing { entries, layout, count, tail: 0 }
    }

    pub(super) fn register(&self, ring: &IoUring) -> io::Result<()> {
        let address = self.entries.as_ptr() as u64;
        // SAFETY: the memory holds `count` entries and lives until this value is dropped, which
        // is after the ring: see the order of `Uring`'s fields.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(address, self.count, BUFFER_GROUP, 0)
        }
    }

    pub(super) fn provide(&mut self, pool: &BufferPool, buffers: &[BufferId]) {
        for buffer in buffers {
            let index = self.tail & (self.count - 1);
            // SAFETY: `index < count`. The kernel reads entries from its head up to the published
            // tail; this one is beyond, since at most `count` buffers exist and each is provided
            // once at a time.
            let entry = unsafe { &mut *self.entries.as_ptr().add(usize::from(index)) };
            entry.set_addr(pool.address(*buffer).as_ptr() as u64);
            entry.set_len(pool.buffer_bytes());
            entry.set_bid(buffer.0);
            self.tail = self.tail.wrapping_add(1);
        }
        // SAFETY: the tail lies in the first entry, which is valid; it is aligned to two bytes.
        // Nobody else in this process touches it, and the kernel reads it with acquire.
        let tail = unsafe {
            AtomicU16::from_ptr(types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut())
        };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for BufferRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the ring is closed already.
        unsafe { dealloc(self.entries.as_ptr().cast(), self.layout) }
    }
}
