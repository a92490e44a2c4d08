//! One shard's items.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use corelane::Shard;
use serde::Serialize;

/// The most items that one shard keeps: about 100 MB where each has the longest of everything.
const COUNT_MAX: usize = 100_000;

/// Ids stay exact in clients whose only numbers are 64-bit floats.
pub(super) const ID_MAX: u64 = (1 << 53) - 1;

/// An item of the store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Item {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) content: Content,
}

/// What a client may say of an item, checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Content {
    pub(super) name: String,
    pub(super) category: String,
    pub(super) price: u32,
    pub(super) quantity: u32,
    pub(super) active: bool,
    pub(super) tags: Vec<String>,
}

/// Why the store did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    Absent(u64),
    Exists(u64),
    Full,
}

/// The items whose ids leave this shard's number when they are divided by the number of shards.
#[derive(Debug)]
pub(crate) struct Store {
    items: RefCell<BTreeMap<u64, Item>>,
    /// The next id to give out; it is this shard's.
    next_id: Cell<u64>,
    shard_count: u64,
}

impl Store {
    pub(crate) fn new(shard: &Shard) -> Store {
        Store::of(shard.id().0 as u64, shard.shard_count() as u64)
    }

    fn of(index: u64, shard_count: u64) -> Store {
        // No item has the id 0.
        let first_id = if index == 0 { shard_count } else { index };
        Store { items: RefCell::default(), next_id: Cell::new(first_id), shard_count }
    }

    /// Keeps a new item, under an id of the client's choice or the next one.
    pub(super) fn create(&self, id: Option<u64>, content: Content) -> Result<Item, StoreError> {
        let mut items = self.items.borrow_mut();
        if let Some(id) = id.filter(|id| items.contains_key(id)) {
            return Err(StoreError::Exists(id));
        }
        if items.len() >= COUNT_MAX {
            return Err(StoreError::Full);
        }
        let id = id.unwrap_or_else(|| self.take_id(&items));
        let item = Item { id, content };
        items.insert(id, item.clone());
        Ok(item)
    }

    pub(super) fn read(&self, id: u64) -> Result<Item, StoreError> {
        self.items.borrow().get(&id).cloned().ok_or(StoreError::Absent(id))
    }

    pub(super) fn replace(&self, id: u64, content: Content) -> Result<Item, StoreError> {
        let mut items = self.items.borrow_mut();
        let item = items.get_mut(&id).ok_or(StoreError::Absent(id))?;
        item.content = content;
        Ok(item.clone())
    }

    pub(super) fn remove(&self, id: u64) -> Result<(), StoreError> {
        self.items.borrow_mut().remove(&id).map(drop).ok_or(StoreError::Absent(id))
    }

    /// The first `limit` items with ids above `after`.
    pub(super) fn page(&self, after: u64, limit: usize) -> Vec<Item> {
        let items = self.items.borrow();
        let page = items.range(after.saturating_add(1)..).take(limit);
        page.map(|(_, item)| item.clone()).collect()
    }

    /// An id that no item has. The store is not full, so only clients' own ids are in the way.
    fn take_id(&self, items: &BTreeMap<u64, Item>) -> u64 {
        let mut id = self.next_id.get();
        while items.contains_key(&id) {
            id += self.shard_count;
        }
        self.next_id.set(id + self.shard_count);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(name: &str) -> Content {
        Content {
            name: name.to_owned(),
            category: String::new(),
            price: 1,
            quantity: 2,
            active: true,
            tags: Vec::new(),
        }
    }

    #[test]
    fn new_ids_belong_to_the_shard_and_to_nobody_else() {
        for (index, expected) in [(0, [3, 6, 12]), (1, [1, 4, 10]), (2, [2, 5, 11])] {
            let store = Store::of(index, 3);
            let third = expected[1] + 3;
            assert_eq!(store.create(Some(third), content("chosen")).map(|item| item.id), Ok(third));
            let ids = expected.map(|_| store.create(None, content("new")).unwrap().id);
            assert_eq!(ids, expected);
            assert_eq!(store.create(Some(ids[0]), content("x")), Err(StoreError::Exists(ids[0])));
        }
    }

    #[test]
    fn a_full_store_takes_nothing_but_changes() {
        let store = Store::of(0, 1);
        for _ in 0..COUNT_MAX {
            store.create(None, content("x")).unwrap();
        }
        assert_eq!(store.create(None, content("y")), Err(StoreError::Full));
        assert!(store.replace(1, content("y")).is_ok());
        assert_eq!(store.remove(2), Ok(()));
        assert_eq!(store.create(None, content("y")).map(|item| item.id), Ok(COUNT_MAX as u64 + 1));
    }

    #[test]
    fn pages_are_in_order() {
        let store = Store::of(0, 1);
        for id in [5, 1, 9] {
            store.create(Some(id), content("x")).unwrap();
        }
        let page = |after, limit| -> Vec<u64> {
            store.page(after, limit).iter().map(|item| item.id).collect()
        };
        assert_eq!(page(0, 2), [1, 5]);
        assert_eq!(page(5, 2), [9]);
        assert!(page(u64::MAX, 2).is_empty());
    }
}
