//! The small files that a shard keeps in memory, bounded in bytes.

use std::rc::Rc;

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::settings::FileCache;
use super::stored::Stored;

/// Kept files by the path that was asked for. What is asked for once makes no room for itself: the
/// replacement (S3-FIFO) keeps what comes again, so a crawler does not empty the cache.
pub(super) struct Kept(Cache<Box<str>, Rc<Stored>, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Rc<Stored>> for Weight {
    fn weight(&self, path: &Box<str>, stored: &Rc<Stored>) -> u64 {
        path.len() as u64 + stored.memory_bytes()
    }
}

impl Kept {
    pub(super) fn new(bounds: &FileCache) -> Kept {
        // Only where the table starts: an eighth of what would fit if all files were of 8 KB.
        let count = usize::try_from(bounds.bytes_max / (64 << 10)).unwrap_or(usize::MAX);
        Kept(Cache::with_weighter(count.clamp(16, 1 << 16), bounds.bytes_max, Weight))
    }

    pub(super) fn find(&self, path: &str) -> Option<&Rc<Stored>> {
        self.0.get(path)
    }

    pub(super) fn keep(&mut self, path: &str, stored: &Rc<Stored>) {
        self.0.insert(path.into(), Rc::clone(stored));
    }

    pub(super) fn forget(&mut self, path: &str) {
        self.0.remove(path);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
