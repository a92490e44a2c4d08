//! Where a shard puts the exchanges that it records until its turn ends, and how they leave it.

use std::cell::RefCell;
use std::mem;
use std::time::Duration;

use corelane_runtime::Moment;

use super::entry::Entry;
use super::outlet::Outlet;
use super::packed::{TURN_BYTES, outline, pack, seal, set_answer};
use super::recorder::Outcome;

/// Drafts that are kept for reuse.
const SPARE_DRAFTS_MAX: usize = 64;

/// A request whose answer is still to come.
pub(crate) type Packed = Vec<u8>;

/// The exchanges that ended in this turn.
#[derive(Debug)]
pub(crate) struct Shelf {
    turn: RefCell<Turn>,
    spare: RefCell<Vec<Packed>>,
    outlet: Outlet,
}

#[derive(Debug, Default)]
struct Turn {
    /// Empty, or the turn's bytes and the exchanges, each behind the other.
    packed: Vec<u8>,
    /// Whether one may yet be left out.
    is_open: bool,
    dropped: u64,
}

impl Shelf {
    pub(crate) fn new(outlet: Outlet) -> Shelf {
        Shelf { turn: RefCell::default(), spare: RefCell::default(), outlet }
    }

    /// Puts an exchange down that is over; one that is not due is left out unless it was slow.
    pub(crate) fn put(&self, asked: &Entry<'_>, outcome: &Outcome, is_due: bool) {
        self.append(outcome, is_due, |packed| pack(asked, packed));
    }

    /// Copies what is known of a request.
    pub(crate) fn draft(&self, asked: &Entry<'_>) -> Packed {
        let mut packed = self.spare.borrow_mut().pop().unwrap_or_default();
        packed.clear();
        pack(asked, &mut packed);
        packed
    }

    /// Its answer is written; `is_wanted` is whether the exchange may be recorded.
    pub(crate) fn finish(&self, draft: Packed, outcome: &Outcome, is_wanted: bool, is_due: bool) {
        if is_wanted {
            self.append(outcome, is_due, |packed| packed.extend_from_slice(&draft));
        }
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_DRAFTS_MAX {
            spare.push(draft);
        }
    }

    fn append(&self, outcome: &Outcome, is_due: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let turn = &mut *self.turn.borrow_mut();
        // Not much more than the ring can take.
        if turn.packed.len() > self.outlet.bytes_max() {
            turn.dropped += u64::from(is_due);
            return;
        }
        if turn.packed.is_empty() {
            turn.packed.extend_from_slice(&[0; TURN_BYTES]);
        }
        let start = turn.packed.len();
        write(&mut turn.packed);
        set_answer(&mut turn.packed[start..], outcome, is_due);
        turn.is_open |= !is_due;
    }

    /// Hands the exchanges of the turn that ends to the desk, less those that are neither due nor
    /// took `slow_after`; says how many are lost because the ring is full. `wall_nanos` is asked
    /// where there are any.
    pub(crate) fn settle(
        &self,
        end: Moment,
        slow_after: Duration,
        wall_nanos: impl FnOnce() -> u64,
    ) -> u64 {
        let shelved = &mut *self.turn.borrow_mut();
        let mut dropped = mem::take(&mut shelved.dropped);
        if mem::take(&mut shelved.is_open) {
            leave_out(&mut shelved.packed, |began| end - began < slow_after);
        }
        if shelved.packed.len() > TURN_BYTES {
            let wall_nanos = wall_nanos();
            seal(&mut shelved.packed, end, wall_nanos);
            if !self.outlet.push(&shelved.packed) {
                dropped += self.keep_first(&mut shelved.packed);
                seal(&mut shelved.packed, end, wall_nanos);
                self.outlet.push(&shelved.packed);
            }
        }
        shelved.packed.clear();
        dropped
    }

    /// Cuts off the exchanges that there is no room for; says how many they are.
    #[cold]
    fn keep_first(&self, packed: &mut Vec<u8>) -> u64 {
        // Nobody but the desk moves the ring's ends meanwhile, and it only makes room.
        let room = self.outlet.room();
        let (mut at, mut end, mut lost) = (TURN_BYTES, TURN_BYTES, 0);
        while let Some((size, ..)) = outline(&packed[at..]) {
            at += size;
            if at <= room {
                end = at;
            } else {
                lost += 1;
            }
        }
        packed.truncate(end);
        lost
    }
}

/// Takes those out that are not due, and that began when `is_fast` says so.
fn leave_out(packed: &mut Vec<u8>, is_fast: impl Fn(Moment) -> bool) {
    let (mut from, mut to) = (TURN_BYTES, TURN_BYTES);
    while let Some((size, began, is_due)) = outline(&packed[from..]) {
        if is_due || !is_fast(began) {
            packed.copy_within(from..from + size, to);
            to += size;
        }
        from += size;
    }
    packed.truncate(to);
}
