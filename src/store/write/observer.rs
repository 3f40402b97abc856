//! Observes the writes of the store, and whether it can be written to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::entry::{Format, Kind, VerdictName};
use crate::ingest::Entry;

/// Observes the writes of the store. Its methods are called on the writer thread and must not block.
pub trait StoreObserver: Send + Sync + 'static {
    /// A transaction was committed.
    fn committed(&self, deliveries: usize, took: Duration) {
        let _ = (deliveries, took);
    }

    /// A delivery or a transaction failed.
    fn failed(&self) {}
}

/// An observer that does nothing.
impl StoreObserver for () {}

/// A format, a kind (`None` if malformed) and a verdict.
pub type Class = (Option<Format>, Option<Kind>, VerdictName);

/// The number of entries of each class. Entries that were not tried are counted separately, because
/// their verdict is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    tried: Vec<(Class, u64)>,
    not_tried: u64,
}

impl Classes {
    /// Counts an entry.
    pub(in crate::store) fn count(&mut self, entry: &Entry) {
        if entry.verdict.is_not_tried() {
            self.not_tried += 1;
            return;
        }
        let class = (entry.format, entry.kind, entry.verdict.name());
        // A delivery has few classes, mostly one.
        match self.tried.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => self.tried.push((class, 1)),
        }
    }

    /// The classes with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &(Class, u64)> {
        self.tried.iter()
    }

    /// The number of entries that were not tried.
    pub fn not_tried(&self) -> u64 {
        self.not_tried
    }
}

/// Whether the store can be written to, according to the last write.
///
/// After a failure, an empty write is tried while there are no deliveries. On a full disk it may
/// succeed although a large delivery fails.
#[derive(Debug, Default)]
pub struct Health {
    trouble: Mutex<Option<String>>,
    /// The number of steps of the writer.
    beats: AtomicU64,
}

impl Health {
    /// The error of the last write. `None` if it succeeded.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the result of a write.
    pub(in crate::store) fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Records a step of the writer, whether it succeeded or not.
    pub(in crate::store) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of steps of the writer so far.
    pub(in crate::store) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::{KeySet, Seed};
    use crate::store::directory::Directory;
    use crate::store::{Delivery, Options, Store, StoredBatch};

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl StoreObserver for Seen {
        fn committed(&self, deliveries: usize, _: Duration) {
            self.0.lock().unwrap().push(format!("{deliveries} deliveries"));
        }
    }

    fn describe(stored: &StoredBatch) -> String {
        let class = |((format, kind, verdict), count): &(Class, u64)| {
            let kind = kind.map_or("none", Kind::as_str);
            format!("{count} {} {kind} {verdict}", Format::word(*format))
        };
        let classes: Vec<_> = stored.classes.iter().map(class).collect();
        let (input, duplicates) = (&stored.delivery.input, stored.appended.duplicates);
        format!("{input}, {duplicates} there already: {}", classes.join(", "))
    }

    #[test]
    fn commits_are_observed_and_new_entries_are_counted() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let seen = Arc::new(Seen::default());
        let observer = Arc::clone(&seen) as Arc<_>;
        let store = Store::open_with_observer(&directory, Options::default(), observer).unwrap();
        let body = "{\"name\":\"Ingress\",\"rt\":1}\n{\"rt\":2}\nhello\n{\"rt\":2}\n{\"rt\":3}\n";
        for _ in 0..2 {
            let caps = Caps { max_line: 100, max_lines: 100 };
            let batch = Batch::new(
                Bytes::from_static(body.as_bytes()),
                &KeySet::default(),
                caps,
                &Seed::new([7; 32]),
            );
            let delivery = Delivery {
                received_at: Millis::MIN,
                started: Instant::now(),
                input: "one".to_owned(),
                peer: "p".to_owned(),
                bytes: 1,
                decoded_bytes: 1,
                origin: None,
            };
            let stored = store.append(delivery, &batch.unwrap(), &ExpectedIds::default()).unwrap();
            seen.0.lock().unwrap().push(describe(&stored));
        }
        assert_eq!(store.health().trouble(), None);
        let classes = "1 json access unsigned, 2 json other unsigned, 1 unknown none malformed";
        assert_eq!(
            *seen.0.lock().unwrap(),
            [
                "1 deliveries".to_owned(),
                format!("one, 1 there already: {classes}"),
                "1 deliveries".to_owned(),
                "one, 5 there already: ".to_owned(),
            ]
        );
    }
}
