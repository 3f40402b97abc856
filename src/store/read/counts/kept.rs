//! Keeps the counts of files: a sealed file never changes, and entries are only added to an unsealed
//! one. The overlay is not in them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashlink::LruCache;

/// Counts by file, and by what was counted in it.
#[derive(Debug)]
pub(in crate::store::read) struct Kept<K: ?Sized, T>(Mutex<Files<K, T>>);

/// What was counted is the same for many files.
type Files<K, T> = LruCache<String, Vec<(Arc<K>, T)>>;

/// The maximum number of counts that are kept of a file. The overview has three of them.
const COUNTS: usize = 4;

impl<K: ?Sized + PartialEq, T: Clone> Kept<K, T> {
    /// Keeps the counts of the last `files` files.
    pub(in crate::store::read) fn of(files: usize) -> Kept<K, T> {
        Kept(Mutex::new(LruCache::new(files)))
    }

    pub(in crate::store::read) fn get(&self, file: &str, what: &K) -> Option<T> {
        let mut files = self.files();
        let (_, kept) = files.get(file)?.iter().find(|(of, _)| **of == *what)?;
        Some(kept.clone())
    }

    pub(in crate::store::read) fn put(&self, file: &str, what: &Arc<K>, counted: T) {
        let mut files = self.files();
        let mut counts = files.remove(file).unwrap_or_default();
        counts.retain(|(of, _)| *of != *what);
        counts.insert(0, (Arc::clone(what), counted));
        counts.truncate(COUNTS);
        files.insert(file.to_owned(), counts);
    }

    fn files(&self) -> MutexGuard<'_, Files<K, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
