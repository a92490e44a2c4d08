//! Deadlines that move with every request and hardly ever pass: the wheel, a tree, a heap.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::hint::black_box;
use std::time::Duration;

use corelane_runtime::Moment;
use corelane_runtime::bench::Wheel;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "timer, 10,000 armed", name: "Corelane", run: wheel },
    Case { group: "timer, 10,000 armed", name: "BTreeMap", run: tree },
    Case { group: "timer, 10,000 armed", name: "BinaryHeap, lazy", run: heap },
];

const TIMER_COUNT: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(30);
/// So many deadlines move in one turn, and a turn takes so long: half a million moves a second.
const MOVES_PER_TURN: u64 = 16;
const TURN: Duration = Duration::from_micros(32);

/// Moves one deadline after the other and lets time pass; each move counts one, each that fires a
/// thousand.
fn go<T>(
    count: u64,
    state: &mut T,
    arm: impl Fn(&mut T, usize, Moment),
    advance: impl Fn(&mut T, Moment) -> usize,
) -> u64 {
    let mut now = Moment::from_nanos(1_000_000);
    for index in 0..TIMER_COUNT {
        arm(state, index, now + TIMEOUT);
    }
    let mut sum = 0;
    for turn in 0..count {
        arm(state, black_box(turn as usize % TIMER_COUNT), now + TIMEOUT);
        sum += 1;
        if turn % MOVES_PER_TURN == 0 {
            now = now + TURN;
            sum += 1000 * advance(state, now) as u64;
        }
    }
    sum
}

fn wheel(count: u64) -> u64 {
    let mut wheel = Wheel::new(Moment::default());
    let keys: Vec<_> = (0..TIMER_COUNT).map(|_| wheel.insert()).collect();
    let arm = |wheel: &mut Wheel, index: usize, due| wheel.arm(keys[index], due);
    go(count, &mut wheel, arm, Wheel::advance)
}

/// When each timer fires, and the timers in that order.
#[derive(Default)]
struct Tree {
    deadlines: Vec<Option<Moment>>,
    order: BTreeMap<(Moment, usize), ()>,
}

fn tree(count: u64) -> u64 {
    let mut tree = Tree { deadlines: vec![None; TIMER_COUNT], ..Tree::default() };
    let arm = |tree: &mut Tree, index: usize, due| {
        if let Some(before) = tree.deadlines[index].replace(due) {
            tree.order.remove(&(before, index));
        }
        tree.order.insert((due, index), ());
    };
    go(count, &mut tree, arm, |tree, now| {
        let mut fired = 0;
        while let Some(entry) = tree.order.first_entry()
            && entry.key().0 <= now
        {
            let ((_, index), ()) = entry.remove_entry();
            tree.deadlines[index] = None;
            fired += 1;
        }
        fired
    })
}

/// One entry of each timer in the heap, put where it belongs when its old time comes.
#[derive(Default)]
struct Heap {
    deadlines: Vec<Option<Moment>>,
    order: BinaryHeap<Reverse<(Moment, usize)>>,
}

fn heap(count: u64) -> u64 {
    let mut heap = Heap { deadlines: vec![None; TIMER_COUNT], ..Heap::default() };
    let arm = |heap: &mut Heap, index: usize, due| {
        if heap.deadlines[index].replace(due).is_none() {
            heap.order.push(Reverse((due, index)));
        }
    };
    go(count, &mut heap, arm, |heap, now| {
        let mut fired = 0;
        while let Some(Reverse((due, index))) = heap.order.peek().copied()
            && due <= now
        {
            heap.order.pop();
            match heap.deadlines[index] {
                Some(later) if later > now => heap.order.push(Reverse((later, index))),
                _ => {
                    heap.deadlines[index] = None;
                    fired += 1;
                }
            }
        }
        fired
    })
}
