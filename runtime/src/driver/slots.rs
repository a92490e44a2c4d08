//! The table of what a shard has in flight: slots by index, each use of one by generation.

use super::operation::{SlotKey, Token};
use super::prefetch::prefetch;
use crate::mutation::{Mutation, is_made};

/// A table whose keys stop naming anything once their entry is removed.
#[derive(Debug)]
pub(crate) struct SlotTable<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

/// Begins with a cache line: what is in it then lies in as few of them as can be.
#[derive(Debug)]
#[repr(align(64))]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> SlotTable<T> {
    pub(crate) fn new() -> SlotTable<T> {
        SlotTable { entries: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    pub(crate) fn insert(&mut self, value: T) -> SlotKey {
        if let Some(index) = self.free.pop() {
            let entry = &mut self.entries[index as usize];
            entry.value = Some(value);
            return SlotKey { index, generation: entry.generation };
        }
        let index = u32::try_from(self.entries.len()).expect("fewer slots than descriptors");
        self.entries.push(Entry { generation: 0, value: Some(value) });
        SlotKey { index, generation: 0 }
    }

    /// The entry that `key` was given for, `None` once it was removed.
    pub(crate) fn find(&mut self, key: SlotKey) -> Option<&mut T> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation != key.generation && !is_made(Mutation::GenerationIgnored) {
            return None;
        }
        entry.value.as_mut()
    }

    /// Brings the entry near, whoever uses it now.
    #[inline]
    pub(crate) fn prefetch(&self, key: SlotKey) {
        if let Some(entry) = self.entries.get(key.index as usize) {
            prefetch(entry);
        }
    }

    pub(crate) fn remove(&mut self, key: SlotKey) -> Option<T> {
        self.find(key)?;
        let entry = &mut self.entries[key.index as usize];
        entry.generation = (entry.generation + 1) & Token::GENERATION_MAX;
        self.free.push(key.index);
        entry.value.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_removed_key_names_nobody_even_when_its_slot_is_used_again() {
        let mut table = SlotTable::new();
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b');
        assert_eq!(second.index, first.index);
        assert_eq!(table.find(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.find(second), Some(&mut 'b'));
    }

    /// A turn asks for the slots of all its connections: each line more is one to wait for.
    #[test]
    fn a_stream_takes_two_cache_lines() {
        assert_eq!(size_of::<Entry<crate::driver::Slot>>(), 128);
    }

    #[test]
    fn the_generation_wraps_within_its_bits() {
        let mut table = SlotTable::new();
        let key = table.insert(());
        table.entries[0].generation = Token::GENERATION_MAX;
        table.remove(SlotKey { generation: Token::GENERATION_MAX, ..key });
        assert_eq!(table.insert(()).generation, 0);
    }

    /// Random operations against a map, for one seed after the other.
    #[test]
    fn behaves_like_a_map() {
        for seed in 1..50u64 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut table, mut model) = (SlotTable::new(), HashMap::new());
            let mut removed = Vec::new();
            for value in 0..300u32 {
                if random.u8(0..3) > 0 {
                    let key = table.insert(value);
                    assert_eq!(model.insert(key, value), None, "seed {seed}: a key twice");
                } else if let Some(key) = model.keys().copied().min_by_key(|key| key.index) {
                    assert_eq!(table.remove(key), model.remove(&key), "seed {seed}");
                    removed.push(key);
                }
                assert_eq!(table.count(), model.len(), "seed {seed}");
                assert!(removed.iter().all(|key| table.find(*key).is_none()), "seed {seed}");
            }
            assert!(model.iter().all(|(key, value)| table.find(*key) == Some(&mut value.clone())));
        }
    }
}
