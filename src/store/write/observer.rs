//! Who watches the store at work: what was stored, how long it took, and whether it can be written.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::entry::{Format, Kind, VerdictName};
use crate::ingest::Entry;
use crate::store::write::writer::{Appended, Delivery};

/// Is told what the store does, on the thread that writes: it must not block.
pub trait StoreObserver: Send + Sync + 'static {
    /// A delivery is on the disk. `classes` counts its entries that were new.
    fn stored(&self, delivery: &Delivery, appended: &Appended, classes: &Classes) {
        let _ = (delivery, appended, classes);
    }

    /// A transaction of so many deliveries is on the disk, so long after it was begun.
    fn committed(&self, deliveries: usize, took: Duration) {
        let _ = (deliveries, took);
    }

    /// A delivery, or a whole transaction, could not be written.
    fn failed(&self) {}
}

/// Nobody watches.
impl StoreObserver for () {}

/// A format, a kind (`None`: malformed) and a verdict.
pub type Class = (Option<Format>, Option<Kind>, VerdictName);

/// How many entries there are of each class. Those that were not tried are counted apart: what they are
/// is not known yet.
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
        // There are few in one delivery, most often one.
        match self.tried.iter_mut().find(|(known, _)| *known == class) {
            Some((_, count)) => *count += 1,
            None => self.tried.push((class, 1)),
        }
    }

    /// Those that there are.
    pub fn iter(&self) -> impl Iterator<Item = &(Class, u64)> {
        self.tried.iter()
    }

    /// How many entries were not tried.
    pub fn not_tried(&self) -> u64 {
        self.not_tried
    }
}

/// Whether the store can be written, as far as the last write tells.
///
/// When one failed, an empty transaction is tried while nothing else comes. On a full disk it may
/// succeed where a large delivery fails: there is room for something, and what fails says so again.
#[derive(Debug, Default)]
pub struct Health {
    trouble: Mutex<Option<String>>,
    /// How often the writer has got on.
    beats: AtomicU64,
}

impl Health {
    /// Why the last write failed; `None` if it did not.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes note of how a write went.
    pub(in crate::store) fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// Takes note that the writer gets on, whether it can write or not.
    pub(in crate::store) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the writer has got on so far.
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
    use crate::signature::KeySet;
    use crate::store::directory::Directory;
    use crate::store::{Options, Store};

    #[derive(Default)]
    struct Seen(Mutex<Vec<String>>);

    impl StoreObserver for Seen {
        fn stored(&self, delivery: &Delivery, appended: &Appended, classes: &Classes) {
            let class = |((format, kind, verdict), count): &(Class, u64)| {
                format!(
                    "{count} {} {} {verdict}",
                    Format::word(*format),
                    kind.map_or("none", Kind::as_str)
                )
            };
            let classes: Vec<_> = classes.iter().map(class).collect();
            let (input, duplicates) = (&delivery.input, appended.duplicates);
            let seen = format!("{input}, {duplicates} there already: {}", classes.join(", "));
            self.0.lock().unwrap().push(seen);
        }

        fn committed(&self, deliveries: usize, _: Duration) {
            self.0.lock().unwrap().push(format!("{deliveries} deliveries"));
        }
    }

    #[test]
    fn who_watches_sees_what_is_new() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let seen = Arc::new(Seen::default());
        let observer = Arc::clone(&seen) as Arc<_>;
        let store = Store::open_with_observer(&directory, Options::default(), observer).unwrap();
        let body = "{\"name\":\"Ingress\",\"rt\":1}\n{\"rt\":2}\nhello\n{\"rt\":2}\n{\"rt\":3}\n";
        for _ in 0..2 {
            let caps = Caps { max_line: 100, max_lines: 100 };
            let batch = Batch::new(Bytes::from_static(body.as_bytes()), &KeySet::default(), caps);
            let delivery = Delivery {
                received_at: Millis::MIN,
                started: Instant::now(),
                input: "one".to_owned(),
                peer: "p".to_owned(),
                bytes: 1,
                decoded_bytes: 1,
            };
            store.append(delivery, &batch.unwrap(), &ExpectedIds::default()).unwrap();
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
