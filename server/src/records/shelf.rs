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

    /// Puts a drafted exchange down, whose answer is written; as [`put`](Shelf::put).
    pub(crate) fn finish(&self, draft: Packed, outcome: &Outcome, is_due: bool) {
        self.append(outcome, is_due, |packed| packed.extend_from_slice(&draft));
        self.reuse(draft);
    }

    /// Takes the memory of a draft back: the exchange was put down, or is not to be recorded.
    pub(crate) fn reuse(&self, draft: Packed) {
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
        if has_any(&shelved.packed) {
            let wall_nanos = wall_nanos();
            if !self.push(&mut shelved.packed, end, wall_nanos) {
                dropped += self.keep_first(&mut shelved.packed);
                if has_any(&shelved.packed) {
                    self.push(&mut shelved.packed, end, wall_nanos);
                }
            }
        }
        shelved.packed.clear();
        dropped
    }

    /// Whether there was room for the turn.
    fn push(&self, packed: &mut [u8], end: Moment, wall_nanos: u64) -> bool {
        seal(packed, end, wall_nanos);
        self.outlet.push(packed)
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

/// Whether there are exchanges in the turn.
fn has_any(packed: &[u8]) -> bool {
    packed.len() > TURN_BYTES
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;

    use super::*;
    use crate::records::entry::tests::sample;
    use crate::records::packed::{exchanges, turns};

    /// How many exchanges are lost of two that are put down, and the turns that the desk gets.
    fn settled(ring_bytes: usize) -> (u64, Vec<usize>) {
        let (outlet, mut ring) = Outlet::new(ring_bytes, Arc::default());
        let shelf = Shelf::new(outlet);
        let (began, status) = (Moment::from_nanos(0), StatusCode::OK);
        let outcome = Outcome { ended_seconds: 0, began, status, bytes: 0 };
        for _ in 0..2 {
            shelf.put(&sample(), &outcome, true);
        }
        let lost = shelf.settle(began, Duration::MAX, || 0);
        let chunk = ring.read_chunk(ring.slots()).expect("what is there");
        let (first, second) = chunk.as_slices();
        let mut counts = Vec::new();
        turns([first, second], &mut Vec::new(), |turn| counts.push(exchanges(turn).count()));
        (lost, counts)
    }

    #[test]
    fn a_turn_leaves_as_far_as_there_is_room() {
        let mut packed = Vec::new();
        pack(&sample(), &mut packed);
        let size = TURN_BYTES + packed.len();
        assert_eq!(settled(2 * size), (0, vec![2]));
        assert_eq!(settled(size), (1, vec![1]));
        // Not even what stands before the exchanges.
        assert_eq!(settled(size - 1), (2, vec![]));
    }
}
