//! Finds duplicates in older segments, by the line or by the signed identity of an entry.
//!
//! A segment is searched only if its range of `event_time` includes the entry. (An entry without a
//! time is searched for in all segments that have such entries.) A sealed segment is searched only
//! if its filter of fingerprints says "maybe". A limited number of filters and files is kept open.
//!
//! Version 1 of a segment has no signed identities. There the valid entries of the same time are
//! checked again.

use std::ops::RangeInclusive;

use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension};
use xorf::{BinaryFuse8, BinaryFuse8Ref, DmaSerializable, Filter, FilterRef};

use crate::ingest::{Entry, Fingerprint};
use crate::store::catalog::segments::{Segment, State};
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::Closed;
use crate::store::segment::identity::{self, Identity};
use crate::store::sqlite::Database;

/// About 120 KB each.
const FILTERS: usize = 1024;
const CONNECTIONS: usize = 8;
/// Times of segments of version 1.
const TIMES: usize = 64;

/// The closed segments, in which entries are searched for.
pub(in crate::store) struct OlderSegments {
    directory: Directory,
    segments: Vec<Segment>,
    /// A range for each segment that includes all its event times, and 0 if entries lack one. Every
    /// new entry is compared with all of them, so they stand close together.
    ranges: Vec<RangeInclusive<i64>>,
    filters: LruCache<String, Fingerprints>,
    connections: LruCache<String, Database>,
    /// The signed identities by file and time, for files of version 1.
    times: LruCache<(String, i64), Vec<(Fingerprint, u64)>>,
}

impl OlderSegments {
    pub(in crate::store) fn new(directory: Directory, segments: Vec<Segment>) -> OlderSegments {
        let mut older = OlderSegments {
            directory,
            segments: Vec::new(),
            ranges: Vec::new(),
            filters: LruCache::new(FILTERS),
            connections: LruCache::new(CONNECTIONS),
            times: LruCache::new(TIMES),
        };
        older.set(segments);
        older
    }

    /// Replaces the list of segments. Files that are no longer in it are closed.
    pub(in crate::store) fn set(&mut self, segments: Vec<Segment>) {
        self.ranges = segments.iter().map(|one| range(one.closed.as_ref())).collect();
        self.segments = segments;
        let known = |file: &String| self.segments.iter().any(|segment| segment.file == *file);
        self.connections.retain(|file, _| known(file));
        self.filters.retain(|file, _| known(file));
        self.times.retain(|(file, _), _| known(file));
    }

    /// The id of the entry with the same line. A segment that cannot be read is skipped with a
    /// warning, so that new entries can be stored.
    pub(in crate::store) fn find(&mut self, entry: &Entry) -> Option<u64> {
        self.look(identity::time(entry), Identity::Line(entry.fingerprint))
    }

    /// The id of the entry with the same signed identity.
    pub(in crate::store) fn find_signed(&mut self, entry: &Entry) -> Option<u64> {
        self.look(identity::time(entry), Identity::Signed(entry.signed?))
    }

    /// The segment that has the entry `id`.
    pub(in crate::store) fn with(&mut self, id: u64) -> Result<&Database, StoreError> {
        let OlderSegments { directory, segments, connections, .. } = self;
        let segment = segments
            .iter()
            .rfind(|segment| segment.first_id <= id)
            .ok_or(StoreError::NoSuch { what: "entry", id })?;
        cached(connections, segment.file.clone(), || segment.open(directory))
    }

    fn look(&mut self, time: i64, identity: Identity) -> Option<u64> {
        let OlderSegments { directory, segments, ranges, filters, connections, times } = self;
        let near = segments.iter().zip(ranges).filter(|(_, range)| range.contains(&time));
        let covering = near.filter(|(one, _)| covers(one.closed.as_ref(), time));
        // Replays are of the recent past, so the newest segment is searched first.
        covering.rev().find_map(|(segment, _)| {
            let mut look = || -> Result<Option<u64>, StoreError> {
                let path = directory.segment(&segment.file);
                let file = || segment.file.clone();
                if segment.state == State::Sealed {
                    let load = || {
                        let connection = segment.open(directory)?;
                        Fingerprints::load(&connection).doing("read the filter", &path)
                    };
                    if !cached(filters, file(), load)?.may_contain(identity) {
                        return Ok(None);
                    }
                }
                let connection = cached(connections, file(), || segment.open(directory))?;
                let found = match identity {
                    Identity::Signed(signed) if !connection.columns().has("signed") => {
                        let read = || {
                            let read = identity::signed_at(connection, time);
                            read.doing("look for what is signed", &path)
                        };
                        let of_time = cached(times, (file(), time), read)?;
                        Ok(of_time.iter().find(|(one, _)| *one == signed).map(|(_, id)| *id))
                    }
                    identity => identity.find(connection, time),
                };
                found.doing("look for a duplicate", &path)
            };
            look().unwrap_or_else(|error| {
                tracing::warn!(%error, "a segment cannot be searched for duplicates");
                None
            })
        })
    }
}

/// A range that includes all times for which [`covers`] is true.
fn range(closed: Option<&Closed>) -> RangeInclusive<i64> {
    let Some(closed) = closed else { return i64::MIN..=i64::MAX };
    match closed.event_time {
        Some((_, greatest)) if closed.without_time > 0 => 0..=greatest,
        Some((least, greatest)) => least..=greatest,
        None => 0..=0,
    }
}

/// Whether a segment may have entries of this time.
fn covers(closed: Option<&Closed>, time: i64) -> bool {
    let Some(closed) = closed else { return true };
    match closed.event_time {
        _ if time == 0 => closed.without_time > 0,
        Some((least, greatest)) => (least..=greatest).contains(&time),
        None => false,
    }
}

/// The value for `key`. It is created if it is missing.
fn cached<K: std::hash::Hash + Eq + Clone, T>(
    cache: &mut LruCache<K, T>,
    key: K,
    make: impl FnOnce() -> Result<T, StoreError>,
) -> Result<&T, StoreError> {
    if !cache.contains_key(&key) {
        cache.insert(key.clone(), make()?);
    }
    cache.get(&key).map(|value| value as &T).ok_or(StoreError::Closing)
}

/// A stored filter of fingerprints. "Maybe" may be wrong (about 1 in 256), "no" is always right.
pub(in crate::store) struct Fingerprints {
    descriptor: Vec<u8>,
    fingerprints: Vec<u8>,
    /// Whether it includes signed identities. Version 1 has only fingerprints of lines.
    has_signed: bool,
}

impl Fingerprints {
    /// Creates a filter of these fingerprints. `None` if there are too few.
    pub(in crate::store) fn of(
        fingerprints: impl Iterator<Item = Fingerprint>,
    ) -> Option<Fingerprints> {
        let mut keys: Vec<u64> = fingerprints.map(key).collect();
        keys.sort_unstable();
        keys.dedup();
        let filter = BinaryFuse8::try_from(&keys).ok()?;
        let mut descriptor = vec![0; BinaryFuse8::DESCRIPTOR_LEN];
        filter.dma_copy_descriptor_to(&mut descriptor);
        let fingerprints = filter.dma_fingerprints().to_vec();
        Some(Fingerprints { descriptor, fingerprints, has_signed: true })
    }

    fn load(connection: &Database) -> rusqlite::Result<Fingerprints> {
        let found = connection
            .query_row("SELECT descriptor, fingerprints FROM filter", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        // Without a filter the segment itself is searched.
        let (descriptor, fingerprints) = found.unwrap_or_default();
        let has_signed = connection.columns().has("signed");
        Ok(Fingerprints { descriptor, fingerprints, has_signed })
    }

    /// Writes the filter to a segment.
    pub(in crate::store) fn store(&self, connection: &Connection) -> rusqlite::Result<usize> {
        connection
            .execute("INSERT INTO filter VALUES (?1, ?2)", (&self.descriptor, &self.fingerprints))
    }

    fn may_contain(&self, identity: Identity) -> bool {
        let (fingerprint, is_in_it) = match identity {
            Identity::Line(line) => (line, true),
            Identity::Signed(signed) => (signed, self.has_signed),
        };
        // With a damaged filter the crate would read past its end.
        if !is_in_it || !self.is_sound() {
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

    fn line(n: u64) -> Identity {
        Identity::Line(fingerprint(n))
    }

    #[test]
    fn a_filter_never_misses() {
        for count in [1, 2, 3, 10, 1000, 50_000] {
            let Some(filter) = Fingerprints::of((0..count).map(fingerprint)) else {
                assert!(count < 10, "no filter of {count}");
                continue;
            };
            assert!(filter.is_sound(), "{count}");
            assert!((0..count).all(|n| filter.may_contain(line(n))), "{count}");
            let wrong = (count..count + 10_000).filter(|n| filter.may_contain(line(*n)));
            assert!(wrong.count() < 200, "{count}");
        }
    }

    #[test]
    fn a_damaged_filter_says_maybe() {
        let mut filter = Fingerprints::of((0..100).map(fingerprint)).unwrap();
        filter.fingerprints.truncate(10);
        assert!(filter.may_contain(line(1)));
        filter.descriptor.clear();
        assert!(filter.may_contain(line(1)));
    }
}
