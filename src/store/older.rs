//! The entries of older segments: is a line that comes now there already?
//!
//! A segment is asked only if its range of `event_time` covers the entry (entries without a time
//! are looked for in all that have such), and a sealed one only if its filter of fingerprints says
//! "maybe". Few filters and few files are kept open.

use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension};
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

use super::StoreError;
use super::catalog::{Closed, Segment, State};
use super::directory::Directory;
use super::error::SqliteContext;
use super::schema::SEGMENT;
use super::sqlite::{self, Access, Database};
use crate::entry::Millis;
use crate::ingest::{Entry, Fingerprint};

/// About 60 KB each.
const FILTERS: usize = 1024;
const CONNECTIONS: usize = 8;

/// The segments that take no more appends.
pub(super) struct Older {
    directory: Directory,
    segments: Vec<(Segment, Closed)>,
    filters: LruCache<String, Fingerprints>,
    connections: LruCache<String, Database>,
}

impl Older {
    pub(super) fn new(directory: Directory, segments: Vec<Segment>) -> Older {
        let mut older = Older {
            directory,
            segments: Vec::new(),
            filters: LruCache::new(FILTERS),
            connections: LruCache::new(CONNECTIONS),
        };
        older.set(segments);
        older
    }

    /// Takes over a new list of segments; files that left it are closed.
    pub(super) fn set(&mut self, segments: Vec<Segment>) {
        let closed = |segment: Segment| Some((segment.closed.clone()?, segment));
        self.segments = segments
            .into_iter()
            .filter_map(closed)
            .map(|(closed, segment)| (segment, closed))
            .collect();
        let known = |file: &String| self.segments.iter().any(|(segment, _)| segment.file == *file);
        self.connections.retain(|file, _| known(file));
        self.filters.retain(|file, _| known(file));
    }

    /// The id of an entry with the same identity, if an older segment has one. A segment that cannot
    /// be read is passed over with a warning: it must not keep new entries from being stored.
    pub(super) fn find(&mut self, entry: &Entry) -> Option<u64> {
        let Older { directory, segments, filters, connections } = self;
        let time = entry.event_time.map_or(0, Millis::get);
        // A replay is of the recent past: the newest segment first.
        segments.iter().rev().filter(|(_, closed)| covers(closed, time)).find_map(|(segment, _)| {
            let mut look = || -> Result<Option<u64>, StoreError> {
                if !maybe(directory, segment, filters, entry.fingerprint)? {
                    return Ok(None);
                }
                let connection = cached(connections, &segment.file, || open(directory, segment))?;
                find_in(connection, time, entry.fingerprint)
                    .doing("look for a duplicate", &directory.segment(&segment.file))
            };
            look().unwrap_or_else(|error| {
                tracing::warn!(%error, "a segment cannot be searched for duplicates");
                None
            })
        })
    }
}

fn covers(closed: &Closed, time: i64) -> bool {
    match closed.event_time {
        _ if time == 0 => closed.without_time > 0,
        Some((least, greatest)) => (least..=greatest).contains(&time),
        None => false,
    }
}

/// Whether a segment may have a fingerprint. One that is not sealed has no filter.
fn maybe(
    directory: &Directory,
    segment: &Segment,
    filters: &mut LruCache<String, Fingerprints>,
    fingerprint: Fingerprint,
) -> Result<bool, StoreError> {
    if segment.state != State::Sealed {
        return Ok(true);
    }
    let load = || {
        let connection = open(directory, segment)?;
        Fingerprints::load(&connection).doing("read the filter", &directory.segment(&segment.file))
    };
    Ok(cached(filters, &segment.file, load)?.may_contain(fingerprint))
}

fn open(directory: &Directory, segment: &Segment) -> Result<Database, StoreError> {
    let access = if segment.state == State::Sealed { Access::Immutable } else { Access::Shared };
    sqlite::open_read_only(&directory.segment(&segment.file), &SEGMENT, access)
}

/// The value for `file`, made if it is not there.
fn cached<'a, T>(
    cache: &'a mut LruCache<String, T>,
    file: &str,
    make: impl FnOnce() -> Result<T, StoreError>,
) -> Result<&'a T, StoreError> {
    if !cache.contains_key(file) {
        cache.insert(file.to_owned(), make()?);
    }
    cache.get(file).map(|value| value as &T).ok_or(StoreError::Closing)
}

fn find_in(
    connection: &Connection,
    time: i64,
    fingerprint: Fingerprint,
) -> rusqlite::Result<Option<u64>> {
    connection
        .prepare_cached("SELECT id FROM entries WHERE event_time = ?1 AND fingerprint = ?2")?
        .query_row((time, fingerprint.0.as_slice()), |row| row.get(0))
        .optional()
}

/// A filter of fingerprints as it is stored: it may say "maybe" wrongly (about 1 in 256), "no" never.
pub(super) struct Fingerprints {
    descriptor: Vec<u8>,
    fingerprints: Vec<u8>,
}

impl Fingerprints {
    /// Makes the filter of these fingerprints. `None` if there are too few of them for one.
    pub(super) fn of(fingerprints: impl Iterator<Item = Fingerprint>) -> Option<Fingerprints> {
        let mut keys: Vec<u64> = fingerprints.map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let filter = BinaryFuse8::try_from(&keys).ok()?;
        let mut descriptor = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut descriptor);
        Some(Fingerprints { descriptor, fingerprints: filter.dma_fingerprints().to_vec() })
    }

    fn load(connection: &Connection) -> rusqlite::Result<Fingerprints> {
        let found = connection
            .query_row("SELECT descriptor, fingerprints FROM filter", [], |row| {
                Ok(Fingerprints { descriptor: row.get(0)?, fingerprints: row.get(1)? })
            })
            .optional()?;
        // Without a filter the segment is asked itself.
        Ok(found.unwrap_or(Fingerprints { descriptor: Vec::new(), fingerprints: Vec::new() }))
    }

    /// Puts the filter where `connection` is.
    pub(super) fn store(&self, connection: &Connection) -> rusqlite::Result<usize> {
        connection
            .execute("INSERT INTO filter VALUES (?1, ?2)", (&self.descriptor, &self.fingerprints))
    }

    fn may_contain(&self, fingerprint: Fingerprint) -> bool {
        // A damaged filter must not make the crate reach past its end.
        if !self.is_sound() {
            return true;
        }
        BinaryFuse8Ref::from_dma(&self.descriptor, &self.fingerprints).contains(&key(fingerprint))
    }

    fn is_sound(&self) -> bool {
        let word = |at: usize| -> Option<usize> {
            let bytes = self.descriptor.get(at..at + 4)?.try_into().ok()?;
            usize::try_from(u32::from_le_bytes(bytes)).ok()
        };
        // The layout of the descriptor: seed (8 bytes), segment length, mask, length of all segments.
        let sound = || {
            let (length, mask, all) = (word(8)?, word(12)?, word(16)?);
            let reach = all.checked_add(length.checked_mul(2)?)?;
            Some(length.is_power_of_two() && mask == length - 1 && reach <= self.fingerprints.len())
        };
        sound().unwrap_or(false)
    }
}

fn key(fingerprint: Fingerprint) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = fingerprint.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(n: u64) -> Fingerprint {
        Fingerprint::of(&n.to_le_bytes())
    }

    #[test]
    fn a_filter_never_misses() {
        for count in [1, 2, 3, 10, 1000, 50_000] {
            let Some(filter) = Fingerprints::of((0..count).map(fingerprint)) else {
                assert!(count < 10, "no filter of {count}");
                continue;
            };
            assert!(filter.is_sound(), "{count}");
            assert!((0..count).all(|n| filter.may_contain(fingerprint(n))), "{count}");
            let wrong = (count..count + 10_000).filter(|n| filter.may_contain(fingerprint(*n)));
            assert!(wrong.count() < 200, "{count}");
        }
    }

    #[test]
    fn a_damaged_filter_says_maybe() {
        let mut filter = Fingerprints::of((0..100).map(fingerprint)).unwrap();
        filter.fingerprints.truncate(10);
        assert!(filter.may_contain(fingerprint(1)));
        filter.descriptor.clear();
        assert!(filter.may_contain(fingerprint(1)));
    }
}
