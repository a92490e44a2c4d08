//! The provided-buffer ring: receive buffers that the kernel picks when bytes arrive.

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The id that receives name this group of buffers by.
pub(crate) const GROUP: u16 = 0;

/// A power of two. The kernel takes buffers first in, first out, so all of them pass through the
/// cache: few and small is fast, and a turn has at most a few dozen in use.
const COUNT: u16 = 256;

/// Room for a pipeline of about twenty heads of a load generator.
const SIZE: usize = 2048;

/// io_uring_register_buf_ring(3): the descriptors start on a page boundary.
const PAGE: usize = 4096;

/// The descriptors and the memory they describe, shared with the kernel until the process ends.
pub(crate) struct Buffers {
    descriptors: NonNull<BufRingEntry>,
    memory: NonNull<u8>,
    /// Counts the buffers ever given to the kernel, wrapping; position is `tail % COUNT`.
    tail: u16,
}

impl Buffers {
    /// Allocates the buffers, gives them all to the kernel and registers them as `GROUP`.
    ///
    /// The memory is never freed, so it outlives every receive that the kernel may still run.
    pub(crate) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        let descriptors = allocate(usize::from(COUNT) * size_of::<BufRingEntry>()).cast();
        let memory = allocate(usize::from(COUNT) * SIZE);
        let mut buffers = Self { descriptors, memory, tail: 0 };
        (0..COUNT).for_each(|id| buffers.give_back(id));
        buffers.publish();
        let address = descriptors.as_ptr() as u64;
        // SAFETY: `address` is that of COUNT zeroed descriptors on a page boundary, never freed.
        unsafe { submitter.register_buf_ring_with_flags(address, COUNT, GROUP, 0)? };
        Ok(buffers)
    }

    /// The first `length` bytes of buffer `id`, which a completion has just handed over.
    pub(crate) fn bytes(&self, id: u16, length: usize) -> &[u8] {
        assert!(id < COUNT && length <= SIZE, "the kernel fills only buffers that it was given");
        // SAFETY: buffer `id` lies within `memory` by the assert. The kernel does not write to it
        // between its completion and `give_back`, which needs `&mut self` and so ends this borrow.
        unsafe {
            let start = self.memory.as_ptr().add(usize::from(id) * SIZE);
            std::slice::from_raw_parts(start, length)
        }
    }

    /// Puts buffer `id` at the ring's tail; the kernel sees it at the next `publish`.
    pub(crate) fn give_back(&mut self, id: u16) {
        let position = usize::from(self.tail % COUNT);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `position < COUNT` lies within the descriptors, and `id < COUNT` within `memory`.
        // At most COUNT buffers exist, so the kernel has already taken what this entry held.
        // The reserved field of the first entry, which is the shared tail, is left alone.
        unsafe {
            let entry = &mut *self.descriptors.as_ptr().add(position);
            entry.set_addr(self.memory.as_ptr().add(usize::from(id) * SIZE) as u64);
            entry.set_len(SIZE as u32);
            entry.set_bid(id);
        }
    }

    /// Shows the kernel every buffer given back so far.
    pub(crate) fn publish(&self) {
        // SAFETY: the pointer is to the first descriptor, whose reserved field is the ring's tail:
        // aligned, valid for the life of the process, and written by this thread alone.
        let tail = unsafe {
            let tail = BufRingEntry::tail(self.descriptors.as_ptr());
            AtomicU16::from_ptr(tail.cast_mut())
        };
        // Release: the descriptors are written before the kernel can see that they are there.
        tail.store(self.tail, Ordering::Release);
    }
}

/// Takes `size` zeroed bytes on a page boundary, for good.
fn allocate(size: usize) -> NonNull<u8> {
    let layout = Layout::from_size_align(size, PAGE).expect("the sizes are small constants");
    // SAFETY: both callers ask for more than zero bytes.
    NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}
