//! What the page cache was lately found to have, so that it is not asked again for each of many
//! downloads.
//!
//! Pages may be dropped meanwhile: then the shard waits for the disk once, as a server does that
//! never asks. They rarely are while they are being used.

use std::cell::RefCell;
use std::time::Duration;

use corelane_runtime::Moment;

/// How long the page cache is believed to have what it had: enough for a file that is asked for
/// ten times a second.
const BELIEVED_FOR: Duration = Duration::from_millis(100);

/// Ranges that a shard remembers, in 40 KiB of memory.
const COUNT: usize = 1024;

/// A range of a file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) start: u64,
    pub(super) end: u64,
}

thread_local! {
    /// Each range in the one place that may have it, and when it was last found.
    static LATELY: RefCell<Vec<(Seen, Moment)>> = const { RefCell::new(Vec::new()) };
}

impl Seen {
    /// Whether the page cache has the range: as it did just now, or as `ask` finds.
    pub(super) fn is_cached(self, now: Moment, ask: impl FnOnce() -> bool) -> bool {
        LATELY.with_borrow_mut(|lately| {
            if lately.is_empty() {
                lately.resize(COUNT, (Seen::default(), Moment::default()));
            }
            let place = &mut lately[self.place()];
            if place.0 == self && now < place.1 + BELIEVED_FOR {
                return true;
            }
            let is_there = ask();
            if is_there {
                *place = (self, now);
            }
            is_there
        })
    }

    /// The ranges of one file, which are about a mebibyte long, lie beside each other.
    fn place(self) -> usize {
        (self.inode.wrapping_add(self.start >> 20) % COUNT as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_believed_for_a_while_and_what_was_not_is_asked_for_again() {
        let start = Moment::default() + Duration::from_secs(5);
        let check = |inode, after: Duration, finds, expected| {
            let (mut is_asked, seen) = (false, Seen { inode, ..Seen::default() });
            let is_there = seen.is_cached(start + after, || {
                is_asked = true;
                finds
            });
            assert_eq!((is_asked, is_there), expected, "{inode} after {after:?}");
        };
        let moment = Duration::from_millis(1);
        check(7, Duration::ZERO, false, (true, false));
        check(7, Duration::ZERO, true, (true, true));
        check(7, BELIEVED_FOR - moment, false, (false, true));
        check(7, BELIEVED_FOR, false, (true, false));
        let same_place = 7 + COUNT as u64;
        check(same_place, Duration::ZERO, true, (true, true));
        check(7, Duration::ZERO, false, (true, false));
        check(same_place, Duration::ZERO, false, (false, true));
    }
}
