//! The pool of buffers that a shard lends to its ring, so that an idle connection owns none.
//!
//! ```text
//!            provide                     receive completes
//!   returned ───────► lent to the world ──────────────────► held by a `Received`
//!      ▲                                                          │
//!      └──────────────────────────────────────────────────────────┘ drop
//! ```
//!
//! The pool owns the memory and knows who holds each buffer; it never touches the ring. The edges
//! are asserted: a buffer that is given back twice would be two connections' buffer at once.
//!
//! The kernel uses the lent buffers in rotation, so all that are lent pass through the caches, and
//! once used take up memory. Hence only so many are lent as the last turns needed twice over; the
//! others wait, and those that came back last are lent first. Buffers that are filled to the brim
//! are no such need: they belong to bulk transfers, which go faster through few buffers that stay
//! in a cache, at the price of being armed again (`ENOBUFS`), than through all of them.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::rc::Rc;

use crate::mutation::{Mutation, is_made};

/// Names a buffer of a shard's pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId(pub u16);

impl BufferId {
    /// No buffer; ends a [`BufferList`].
    const NONE: BufferId = BufferId(u16::MAX);
}

/// Who may touch a buffer's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// Nobody, until it is provided again.
    Returned,
    /// The kernel, or the simulation.
    World,
    /// A received message, queued in a slot or held by a task.
    Shard,
}

#[derive(Clone, Copy)]
struct Record {
    holder: Holder,
    /// The next buffer of the list that this one is in.
    next: BufferId,
    /// Received bytes, `0 <= filled <= buffer_bytes`.
    filled: u32,
}

/// A fixed set of equal buffers in one allocation.
pub struct BufferPool {
    allocation: NonNull<u8>,
    layout: Layout,
    /// The first page that begins within the allocation.
    start: NonNull<u8>,
    buffer_bytes: u32,
    records: Box<[Cell<Record>]>,
    /// A stack: what was used last lies in a cache yet.
    returned: RefCell<Vec<BufferId>>,
    lent_count: Cell<usize>,
    /// How many buffers the world is to have after each `lend`: `LENT_COUNT_MIN..=count`.
    lent_target: Cell<usize>,
    /// Buffers that the world has filled in part since the last `lend`.
    partial_count: Cell<usize>,
    /// The most that `partial_count` was at a `lend` of the present period.
    demand: Cell<usize>,
    /// Calls of `lend` until the demand is looked at.
    period_left: Cell<u32>,
}

/// Buffers that the world always has, where there are as many. With the default size they are half
/// a mebibyte: what an upload is received into stays in a second-level cache, and others wait for
/// no more than that to be copied before it is their turn. The kernel would fill up to 32 for one
/// connection in one go.
const LENT_COUNT_MIN: usize = 16;

/// Turns after which a demand that has fallen is believed.
const PERIOD_TURNS: u32 = 4096;

impl BufferPool {
    /// Between two buffers lies one cache line, so that the first lines of many buffers do not all
    /// fall into the same set of the first-level cache: the ring hands buffers out in rotation,
    /// and a small request touches only the first line or two of each.
    const GAP_BYTES: usize = 64;

    /// What the first buffer is aligned to.
    const PAGE_BYTES: usize = 4096;

    /// A pool of `count` buffers of `buffer_bytes` each; memory is only touched as it is used.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> BufferPool {
        assert!(count > 0 && count < BufferId::NONE.0, "a pool has 1 to 65534 buffers");
        let size = usize::from(count) * Self::stride(buffer_bytes);
        // Aligned by hand: for more than 16 bytes the standard library's allocator writes the zeros
        // itself (`alloc_zeroed`), which makes all of it resident; else it asks calloc(3), which
        // gets pages that are zero already and yet to be touched.
        let layout = Layout::from_size_align(size + Self::PAGE_BYTES, 16);
        let layout = layout.expect("count and size are bounded");
        // SAFETY: the layout's size is not zero: there is at least one buffer and a gap.
        let allocation = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(allocation) else { handle_alloc_error(layout) };
        let gap = allocation.align_offset(Self::PAGE_BYTES).min(Self::PAGE_BYTES);
        // SAFETY: the allocation is larger than the buffers by a page, and the gap is at most that.
        let start = unsafe { allocation.add(gap) };
        let record = Record { holder: Holder::Returned, next: BufferId::NONE, filled: 0 };
        BufferPool {
            allocation,
            layout,
            start,
            buffer_bytes,
            records: vec![Cell::new(record); usize::from(count)].into_boxed_slice(),
            returned: RefCell::new((0..count).map(BufferId).collect()),
            lent_count: Cell::new(0),
            lent_target: Cell::new(LENT_COUNT_MIN.min(usize::from(count))),
            partial_count: Cell::new(0),
            demand: Cell::new(0),
            period_left: Cell::new(PERIOD_TURNS),
        }
    }

    const fn stride(buffer_bytes: u32) -> usize {
        buffer_bytes as usize + Self::GAP_BYTES
    }

    /// How many buffers there are.
    pub fn count(&self) -> u16 {
        self.records.len() as u16
    }

    /// The size of one buffer, in bytes.
    pub fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// How many buffers the world has.
    pub fn lent_count(&self) -> usize {
        self.lent_count.get()
    }

    /// How many buffers hold received bytes.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn held_count(&self) -> usize {
        let is_held = |record: &&Cell<Record>| record.get().holder == Holder::Shard;
        self.records.iter().filter(is_held).count()
    }

    /// Where a buffer starts. Whoever holds the buffer may touch `buffer_bytes` from there.
    pub(crate) fn address(&self, buffer: BufferId) -> NonNull<u8> {
        assert!(buffer.0 < self.count(), "the pool has no {buffer:?}");
        // SAFETY: from `start` on the allocation holds `count` strides; the index is below `count`.
        unsafe { self.start.add(usize::from(buffer.0) * Self::stride(self.buffer_bytes)) }
    }

    /// Moves returned buffers into `lent`, which is emptied first, until the world has as many as
    /// it should: they are the world's now.
    pub(crate) fn lend(&self, lent: &mut Vec<BufferId>) {
        lent.clear();
        self.follow_demand();
        let mut returned = self.returned.borrow_mut();
        let wanted = self.lent_target.get().saturating_sub(self.lent_count.get());
        let kept = returned.len().saturating_sub(wanted);
        lent.extend(returned.drain(kept..));
        for buffer in lent.iter() {
            self.change_holder(*buffer, Holder::Returned, Holder::World, 0);
        }
        self.lent_count.set(self.lent_count.get() + lent.len());
    }

    /// Twice the demand is lent: at once where it rises, after a period where it falls.
    fn follow_demand(&self) {
        let partial = self.partial_count.take();
        let demand = self.demand.get().max(partial);
        self.demand.set(demand);
        self.period_left.set(self.period_left.get() - 1);
        let is_over = self.period_left.get() == 0;
        if demand * 2 > self.lent_target.get() || is_over {
            let least = LENT_COUNT_MIN.min(self.records.len());
            self.lent_target.set((demand * 2).clamp(least, self.records.len()));
        }
        if is_over {
            self.period_left.set(PERIOD_TURNS);
            self.demand.set(partial);
        }
    }

    /// How many buffers hold no received bytes.
    pub(crate) fn spare_count(&self) -> usize {
        self.lent_count.get() + self.returned.borrow().len()
    }

    /// The world filled `size` bytes of a buffer and let go of it.
    pub(crate) fn take(&self, buffer: BufferId, size: u32) {
        assert!(size <= self.buffer_bytes, "the world wrote past a buffer");
        self.change_holder(buffer, Holder::World, Holder::Shard, size);
        if size < self.buffer_bytes {
            self.partial_count.set(self.partial_count.get() + 1);
        }
        self.lent_count.set(self.lent_count.get() - 1);
    }

    pub(crate) fn give_back(&self, buffer: BufferId) {
        if is_made(Mutation::BufferKept) {
            return;
        }
        self.change_holder(buffer, Holder::Shard, Holder::Returned, 0);
        self.returned.borrow_mut().push(buffer);
        if is_made(Mutation::BufferReturnedTwice) {
            self.returned.borrow_mut().push(buffer);
        }
    }

    fn change_holder(&self, buffer: BufferId, from: Holder, to: Holder, filled: u32) {
        let record = self.records[usize::from(buffer.0)].get();
        assert_eq!(record.holder, from, "{buffer:?} changes hands twice");
        let next = BufferId::NONE;
        self.records[usize::from(buffer.0)].set(Record { holder: to, next, filled });
    }

    #[cfg(any(test, feature = "simulation"))]
    /// Copies bytes into a buffer that the simulated world holds; says how many fitted.
    pub(crate) fn fill(&self, buffer: BufferId, bytes: &[u8]) -> u32 {
        let holder = self.records[usize::from(buffer.0)].get().holder;
        assert_eq!(holder, Holder::World, "only the world fills buffers");
        let size = bytes.len().min(self.buffer_bytes as usize);
        // SAFETY: `address` gives `buffer_bytes` valid bytes, `size` is no larger, and while the
        // world holds the buffer no reference to its bytes exists.
        unsafe { self.address(buffer).copy_from_nonoverlapping(NonNull::from(bytes).cast(), size) };
        size as u32
    }

    /// The bytes received into a buffer that the shard holds.
    fn filled(&self, buffer: BufferId) -> NonNull<[u8]> {
        let record = self.records[usize::from(buffer.0)].get();
        debug_assert_eq!(record.holder, Holder::Shard);
        NonNull::slice_from_raw_parts(self.address(buffer), record.filled as usize)
    }
}

impl Drop for BufferPool {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout. The ring that knew the memory is gone: it
        // holds an `Rc` of the pool, and lets go of it after it has closed its descriptor with
        // nothing in flight.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) }
    }
}

impl fmt::Debug for BufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferPool")
            .field("count", &self.count())
            .field("buffer_bytes", &self.buffer_bytes)
            .field("lent", &self.lent_count.get())
            .finish_non_exhaustive()
    }
}

/// Buffers in the order in which they were received, linked through the pool's records: a slot's
/// queue of unread messages costs no allocation.
#[derive(Debug)]
pub(crate) struct BufferList {
    first: BufferId,
    last: BufferId,
    count: u16,
}

impl BufferList {
    pub(crate) const EMPTY: BufferList =
        BufferList { first: BufferId::NONE, last: BufferId::NONE, count: 0 };

    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    pub(crate) fn push(&mut self, pool: &BufferPool, buffer: BufferId) {
        match self.count {
            0 => self.first = buffer,
            _ => {
                let last = &pool.records[usize::from(self.last.0)];
                last.set(Record { next: buffer, ..last.get() });
            }
        }
        self.last = buffer;
        self.count += 1;
    }

    pub(crate) fn pop(&mut self, pool: &BufferPool) -> Option<BufferId> {
        if self.count == 0 {
            return None;
        }
        let first = self.first;
        self.first = pool.records[usize::from(first.0)].get().next;
        self.count -= 1;
        Some(first)
    }

    /// Appends the bytes of all queued buffers to `bytes` and gives the buffers back.
    pub(crate) fn copy_out(&mut self, pool: &Rc<BufferPool>, bytes: &mut Vec<u8>) {
        while let Some(buffer) = self.pop(pool) {
            bytes.extend_from_slice(&Received::new(Rc::clone(pool), buffer));
        }
    }

    /// Gives all queued buffers back unread.
    pub(crate) fn clear(&mut self, pool: &BufferPool) {
        while let Some(buffer) = self.pop(pool) {
            pool.give_back(buffer);
        }
    }
}

/// Received bytes; they can be changed in place. Dropping it gives the buffer back to the pool.
///
/// Hold it within one turn only: what must outlive an `.await` is copied out, or the shard runs
/// out of buffers while a handler is slow.
pub struct Received {
    source: Source,
    /// Bytes at the front that were skipped.
    start: usize,
}

enum Source {
    Pool { pool: Rc<BufferPool>, buffer: BufferId },
    Copied(Vec<u8>),
}

impl Received {
    pub(crate) fn new(pool: Rc<BufferPool>, buffer: BufferId) -> Received {
        Received { source: Source::Pool { pool, buffer }, start: 0 }
    }

    /// Bytes that had to be copied out of their buffer because nobody was reading.
    pub(crate) fn copied(bytes: Vec<u8>) -> Received {
        Received { source: Source::Copied(bytes), start: 0 }
    }

    /// Has the bytes begin `count` bytes later: what is in front of there is done with.
    ///
    /// # Panics
    /// Where there are fewer.
    pub fn skip(&mut self, count: usize) {
        assert!(count <= self.len(), "no more is skipped than there is");
        self.start += count;
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let bytes = match &self.source {
            // SAFETY: the shard holds the buffer, and this value is the only one that names it:
            // `take` gives each buffer out once. Shared with `self`, so nobody writes.
            Source::Pool { pool, buffer } => unsafe { pool.filled(*buffer).as_ref() },
            Source::Copied(bytes) => bytes,
        };
        &bytes[self.start..]
    }
}

impl DerefMut for Received {
    fn deref_mut(&mut self) -> &mut [u8] {
        let bytes = match &mut self.source {
            // SAFETY: as in `deref`, and `self` is borrowed mutably, so this is the only access.
            Source::Pool { pool, buffer } => unsafe { pool.filled(*buffer).as_mut() },
            Source::Copied(bytes) => bytes,
        };
        &mut bytes[self.start..]
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if let Source::Pool { pool, buffer } = &self.source {
            pool.give_back(*buffer);
        }
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&self.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lent(pool: &BufferPool) -> Vec<BufferId> {
        let mut lent = Vec::new();
        pool.lend(&mut lent);
        lent
    }

    fn receive(pool: &BufferPool, buffer: BufferId, bytes: &[u8]) {
        let size = pool.fill(buffer, bytes);
        pool.take(buffer, size);
    }

    /// An idle shard has its buffers' addresses, not their memory.
    #[test]
    #[cfg_attr(miri, ignore = "it asks the kernel")]
    fn what_is_not_used_is_not_resident() {
        let pool = BufferPool::new(1024, 64 * 1024);
        let (first, end) = (pool.address(BufferId(0)), pool.address(BufferId(1023)));
        let range = first.as_ptr() as usize..end.as_ptr() as usize;
        // proc_pid_smaps(5): a mapping's line, then what of it is resident, in KiB.
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("the kernel has it");
        let (mut is_ours, mut resident) = (false, None);
        for line in maps.lines() {
            let bounds = line.split(' ').next().and_then(|range| range.split_once('-'));
            let bound = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(low), Some(high))) =
                bounds.map(|(low, high)| (bound(low), bound(high)))
            {
                is_ours = low <= range.start && range.end <= high;
            } else if let Some(size) = line.strip_prefix("Rss:").filter(|_| is_ours) {
                resident = size.trim().trim_end_matches(" kB").parse::<usize>().ok();
            }
        }
        let resident = resident.expect("the mapping with the buffers");
        assert!(resident < 32 * 1024, "{resident} KiB of 64 MiB");
    }

    #[test]
    fn a_buffer_goes_round() {
        let pool = Rc::new(BufferPool::new(2, 16));
        let buffers = lent(&pool);
        assert_eq!(pool.lent_count(), 2);
        receive(&pool, buffers[1], b"hello");
        let mut received = Received::new(Rc::clone(&pool), buffers[1]);
        received[0] = b'H';
        assert_eq!(&received[..], b"Hello");
        received.skip(1);
        received[0] = b'E';
        received.skip(0);
        assert_eq!(&received[..], b"Ello");
        received.skip(4);
        assert!(received.is_empty());
        assert_eq!(pool.lent_count(), 1);
        assert!(lent(&pool).is_empty());
        drop(received);
        assert_eq!(lent(&pool), [buffers[1]]);
    }

    /// Fills and gives back `demand` buffers in each of some turns; says how many are lent then.
    fn lent_after(pool: &Rc<BufferPool>, demand: usize, turns: u32) -> usize {
        let mut world: std::collections::VecDeque<BufferId> = lent(pool).into();
        for _ in 0..turns {
            for _ in 0..demand.min(world.len()) {
                let buffer = world.pop_front().expect("as many are lent");
                receive(pool, buffer, b"x");
                pool.give_back(buffer);
            }
            world.extend(lent(pool));
        }
        for buffer in world.drain(..) {
            pool.take(buffer, 0);
            pool.give_back(buffer);
        }
        // Not a demand of the world that the test has emptied here.
        pool.partial_count.set(0);
        pool.lent_target.get()
    }

    #[test]
    fn as_many_are_lent_as_are_needed_twice_over() {
        let pool = Rc::new(BufferPool::new(1024, 16));
        assert_eq!(lent_after(&pool, 5, 10), LENT_COUNT_MIN);
        assert_eq!(lent_after(&pool, 200, 10), 400);
        assert_eq!(lent_after(&pool, 700, 10), 1024);
        assert_eq!(lent_after(&pool, 1, 3 * PERIOD_TURNS), LENT_COUNT_MIN);
    }

    #[test]
    fn full_buffers_are_no_demand() {
        let pool = Rc::new(BufferPool::new(1024, 1));
        assert_eq!(lent_after(&pool, LENT_COUNT_MIN, 10), LENT_COUNT_MIN);
    }

    #[test]
    fn a_pool_smaller_than_the_minimum_is_lent_whole() {
        let pool = BufferPool::new(8, 16);
        assert_eq!(lent(&pool).len(), 8);
    }

    #[test]
    fn what_was_used_last_is_lent_first() {
        let pool = BufferPool::new(1024, 16);
        let first = lent(&pool)[0];
        receive(&pool, first, b"x");
        pool.give_back(first);
        assert_eq!(lent(&pool), [first]);
    }

    #[test]
    fn a_list_keeps_the_order_and_gives_back() {
        let pool = Rc::new(BufferPool::new(3, 4));
        let mut list = BufferList::EMPTY;
        for buffer in lent(&pool).into_iter().rev() {
            receive(&pool, buffer, &[b'0' + buffer.0 as u8]);
            list.push(&pool, buffer);
        }
        let mut bytes = Vec::new();
        list.copy_out(&pool, &mut bytes);
        assert_eq!(bytes, b"210");
        assert_eq!(list.count(), 0);
        assert_eq!(lent(&pool).len(), 3);
    }

    #[test]
    fn more_than_fits_is_cut() {
        let pool = Rc::new(BufferPool::new(1, 4));
        let buffer = lent(&pool)[0];
        assert_eq!(pool.fill(buffer, b"hello"), 4);
    }

    #[test]
    #[should_panic(expected = "changes hands twice")]
    fn giving_back_twice_is_a_bug() {
        let pool = BufferPool::new(1, 4);
        let buffer = lent(&pool)[0];
        receive(&pool, buffer, b"x");
        pool.give_back(buffer);
        pool.give_back(buffer);
    }
}
