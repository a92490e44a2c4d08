//! Asks the CPU for memory that will be looked at soon.
//!
//! A turn with many connections goes from one that nobody has touched for a while to the next. The
//! order is known beforehand, so the waits for memory can overlap with the work on those before.

/// How much of a value is asked for, at most: a CPU has about as many misses under way at once.
const LINES_MAX: usize = 10;

const LINE_BYTES: usize = 64;

/// Brings the cache lines of `value` near, from its first on. A hint: it changes nothing else, and
/// nothing at all where the CPU's hint is not known here.
#[inline]
pub(crate) fn prefetch<T: ?Sized>(value: &T) {
    let start = std::ptr::from_ref(value).cast::<u8>();
    let lines = (start.addr() % LINE_BYTES + size_of_val(value)).div_ceil(LINE_BYTES);
    let lines = lines.min(LINES_MAX);
    for line in 0..lines {
        hint(start.wrapping_add(line * LINE_BYTES));
    }
}

/// Brings the cache line at `address` near, whatever is there.
#[inline]
pub(crate) fn prefetch_address(address: *const ()) {
    hint(address.cast());
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn hint(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a prefetch reads nothing and never faults, whatever the address (PREFETCHh in Intel's
    // manual).
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn hint(_address: *const u8) {}
