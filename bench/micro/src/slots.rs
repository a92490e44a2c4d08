//! What is in flight, by a key that a completion brings back: the slot table, slab, a hash map.

use std::collections::HashMap;
use std::hint::black_box;

use corelane_runtime::bench::Slots;
use slab::Slab;

use crate::Case;

pub(crate) const CASES: &[Case] = &[
    Case { group: "slot, 1,000 in use", name: "Corelane", run: slots },
    Case { group: "slot, 1,000 in use", name: "slab (no generations)", run: slab },
    Case { group: "slot, 1,000 in use", name: "HashMap", run: map },
];

const IN_USE: u64 = 1000;
/// How often an entry is found between its insertion and its removal: an exchange's completions.
const FINDS: u64 = 8;

/// Inserts, finds so often, removes; the sum is over the values that were found.
fn go<T, K: Copy>(
    count: u64,
    table: &mut T,
    insert: impl Fn(&mut T, u64) -> K,
    find: impl Fn(&mut T, K) -> u64,
    remove: impl Fn(&mut T, K),
) -> u64 {
    for value in 0..IN_USE {
        insert(table, value);
    }
    let mut sum = 0;
    for turn in 0..count {
        let key = insert(table, turn + 1);
        for _ in 0..FINDS {
            sum += find(table, black_box(key));
        }
        remove(table, key);
    }
    sum
}

fn slots(count: u64) -> u64 {
    let find = |table: &mut Slots<u64>, key| table.find(key).map_or(0, |value| *value);
    go(count, &mut Slots::new(), Slots::insert, find, |table, key| {
        table.remove(key);
    })
}

fn slab(count: u64) -> u64 {
    let find = |table: &mut Slab<u64>, key| table.get(key).map_or(0, |value| *value);
    go(count, &mut Slab::new(), Slab::insert, find, |table, key| {
        table.remove(key);
    })
}

fn map(count: u64) -> u64 {
    // As a generator of keys a counter, which never names anything twice either.
    let mut table = (0, HashMap::new());
    let insert = |(last, map): &mut (u64, HashMap<u64, u64>), value| {
        *last += 1;
        map.insert(*last, value);
        *last
    };
    go(count, &mut table, insert, |table, key| table.1.get(&key).map_or(0, |value| *value), {
        |table, key| {
            table.1.remove(&key);
        }
    })
}
