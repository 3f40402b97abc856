//! The manifest: which files the archive of a store has. The format is defined in docs/archive.md.
//!
//! It is a series of deltas, numbered from 0 without gaps. Each names the SHA-256 of the one before it,
//! so a delta cannot be changed or taken out of the middle unnoticed. After every [`PER_SNAPSHOT`]
//! deltas there is a snapshot of all, so that a reader need not read every delta. Objects are only
//! created. `place` reads and writes them; nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::journal::{End, Skipped};
use super::layout::{self, Table};
use crate::ingest::sha256;

/// The version of the manifest's format.
pub(crate) const VERSION: u32 = 1;

/// The number of deltas for each snapshot.
pub(crate) const PER_SNAPSHOT: u64 = if cfg!(test) { 4 } else { 64 };

/// The most bytes of a delta, and of a snapshot, both when decompressed.
const MAX_DELTA: usize = 64 << 20;
const MAX_SNAPSHOT: usize = 1 << 30;

/// A change of the archive. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// The version of the format.
    pub(crate) version: u32,
    pub(crate) number: u64,
    /// The id of the store.
    pub(crate) store: String,
    pub(crate) created_at: i64,
    /// The program that wrote it.
    pub(crate) program: String,
    /// The SHA-256 of the delta before it, in hexadecimal. Only the first has none.
    pub(crate) previous: Option<String>,
    /// The segment that is archived with it.
    pub(crate) segment: Option<Segment>,
    /// The files that it adds.
    pub(crate) files: Vec<File>,
    /// Ranges of ids before the segment that no segment has, each the first and the last id.
    #[serde(default)]
    pub(crate) gaps: Vec<(u64, u64)>,
    /// The numbers of archived bodies that left the quarantine.
    #[serde(default)]
    pub(crate) released: Vec<u64>,
    /// Epochs of the journal that have ended, and of which everything is archived with it.
    #[serde(default)]
    pub(crate) ends: Vec<End>,
    /// Objects of the journal that the store gave up.
    #[serde(default)]
    pub(crate) skips: Vec<Skipped>,
    /// How far the store is archived with it.
    pub(crate) progress: Progress,
}

/// A segment of the store that is archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Segment {
    pub(crate) first_id: u64,
    pub(crate) last_id: u64,
    pub(crate) first_delivery: u64,
    pub(crate) last_delivery: u64,
    /// When it was begun.
    pub(crate) created_at: i64,
    /// The SHA-256 of the file of the store that was read.
    pub(crate) sha256: String,
}

impl Segment {
    /// The number of its entries.
    pub(crate) fn entries(&self) -> u64 {
        self.last_id.saturating_add(1).saturating_sub(self.first_id)
    }

    /// The number of its deliveries.
    pub(crate) fn deliveries(&self) -> u64 {
        self.last_delivery.saturating_add(1).saturating_sub(self.first_delivery)
    }
}

/// A file. Ranges are the smallest and the largest value, where there is one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct File {
    /// The name of the table.
    pub(crate) table: String,
    /// The name of the object.
    pub(crate) key: String,
    /// Its size.
    pub(crate) bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub(crate) sha256: String,
    pub(crate) rows: u64,
    /// The first id of the segment that it is of.
    pub(crate) segment: Option<u64>,
    pub(crate) min_id: Option<i64>,
    pub(crate) max_id: Option<i64>,
    pub(crate) min_time: Option<i64>,
    pub(crate) max_time: Option<i64>,
    pub(crate) min_stored_at: Option<i64>,
    pub(crate) max_stored_at: Option<i64>,
}

impl File {
    /// Its table. `None` if a later version added it.
    pub(crate) fn table(&self) -> Option<Table> {
        Table::named(&self.table)
    }
}

/// How far a store is archived, outside of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The number of the last change of a verdict.
    pub(crate) change: u64,
    /// The number of the last body in quarantine.
    pub(crate) quarantine: u64,
    /// What the last file of keys has, as a hash.
    pub(crate) keys: Option<String>,
    /// For each epoch of the journal that has not ended, the number of an object up to which everything is
    /// archived. Of that object itself, some may be missing.
    #[serde(default)]
    pub(crate) journal: BTreeMap<u64, u64>,
}

/// All that the deltas up to one say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    /// The version of the format.
    version: u32,
    /// The id of the store.
    pub(crate) store: String,
    /// The number of the next delta.
    pub(crate) next: u64,
    /// The SHA-256 of the last delta.
    pub(crate) last: Option<String>,
    /// When the last delta was written.
    pub(crate) changed_at: Option<i64>,
    /// The segments, by their first ids.
    pub(crate) segments: BTreeMap<u64, Segment>,
    /// The files, in the order in which they were added.
    pub(crate) files: Vec<File>,
    /// Ranges of ids that no segment has.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// The numbers of archived bodies that left the quarantine.
    pub(crate) released: BTreeSet<u64>,
    /// Epochs of the journal that have ended.
    #[serde(default)]
    pub(crate) ends: BTreeMap<u64, End>,
    /// Objects of the journal that the store gave up.
    #[serde(default)]
    pub(crate) skips: Vec<Skipped>,
    pub(crate) progress: Progress,
}

impl Manifest {
    /// The manifest of an archive that has nothing of a store yet.
    pub(crate) fn new(store: &str) -> Manifest {
        Manifest {
            version: VERSION,
            store: store.to_owned(),
            next: 0,
            last: None,
            changed_at: None,
            segments: BTreeMap::new(),
            files: Vec::new(),
            gaps: Vec::new(),
            released: BTreeSet::new(),
            ends: BTreeMap::new(),
            skips: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// An empty delta that can follow.
    pub(crate) fn begin(&self, created_at: i64) -> Delta {
        Delta {
            version: VERSION,
            number: self.next,
            store: self.store.clone(),
            created_at,
            program: concat!("vidimus ", env!("CARGO_PKG_VERSION")).to_owned(),
            previous: self.last.clone(),
            segment: None,
            files: Vec::new(),
            gaps: Vec::new(),
            released: Vec::new(),
            ends: Vec::new(),
            skips: Vec::new(),
            progress: self.progress.clone(),
        }
    }

    /// Reads the next delta, given as it is in the object `key`, and checks that it can be added.
    pub(crate) fn check(&self, key: &str, body: &Bytes) -> Result<Delta, ArchiveError> {
        let delta = Delta::read(key, body)?;
        let wrong = |what: String| Err(ArchiveError::damaged(key, what));
        if delta.store != self.store {
            return wrong(format!("it is of the store {:?}, not {:?}", delta.store, self.store));
        }
        if delta.number != self.next {
            return wrong(format!("it has the number {}, not {}", delta.number, self.next));
        }
        if delta.previous != self.last {
            return wrong("it does not follow the delta before it: one of them was changed".into());
        }
        if let Err(what) = check_files(&self.store, &delta.files) {
            return wrong(what);
        }
        if let Some(segment) = &delta.segment
            && let Err(what) = check_segment(&self.segments, segment)
        {
            return wrong(what);
        }
        Ok(delta)
    }

    /// Adds the next delta, given as it is in the object `key`.
    pub(crate) fn add(&mut self, key: &str, body: &Bytes) -> Result<(), ArchiveError> {
        let delta = self.check(key, body)?;
        if let Some(segment) = delta.segment {
            self.segments.insert(segment.first_id, segment);
        }
        self.files.extend(delta.files);
        self.gaps.extend(delta.gaps);
        self.released.extend(delta.released);
        self.ends.extend(delta.ends.into_iter().map(|end| (end.epoch, end)));
        self.skips.extend(delta.skips);
        self.progress = delta.progress;
        self.changed_at = Some(delta.created_at);
        self.last = Some(hash(body));
        self.next += 1;
        Ok(())
    }

    /// The files of a table.
    pub(crate) fn of(&self, table: Table) -> impl Iterator<Item = &File> {
        self.files.iter().filter(move |file| file.table() == Some(table))
    }

    /// The number of entries in all segments.
    pub(crate) fn entries(&self) -> u64 {
        total(self.segments.values().map(Segment::entries))
    }

    /// The number of deliveries in all segments.
    pub(crate) fn deliveries(&self) -> u64 {
        total(self.segments.values().map(Segment::deliveries))
    }

    /// The size of all files, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        total(self.files.iter().map(|file| file.bytes))
    }

    /// The snapshot that is due after the delta that was just added: its number.
    pub(crate) fn due_snapshot(&self) -> Option<u64> {
        (self.next > 0 && self.next.is_multiple_of(PER_SNAPSHOT))
            .then(|| self.next / PER_SNAPSHOT - 1)
    }

    /// It as the body of a snapshot.
    pub(crate) fn to_snapshot(&self) -> Result<Bytes, ArchiveError> {
        let fail = |error: String| ArchiveError::damaged("snapshot", error);
        let json = serde_json::to_vec(self).map_err(|error| fail(error.to_string()))?;
        let body = zstd::bulk::compress(&json, 6).map_err(|error| fail(error.to_string()))?;
        Ok(body.into())
    }

    /// Reads the snapshot in the object `key`.
    pub(crate) fn from_snapshot(
        store: &str,
        number: u64,
        key: &str,
        body: &[u8],
    ) -> Result<Manifest, ArchiveError> {
        let wrong = |what: String| ArchiveError::damaged(key, what);
        let json = decompress(body).map_err(|error| wrong(error.to_string()))?;
        check_version(key, &json)?;
        let manifest: Manifest =
            serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))?;
        let expected = number.saturating_add(1).saturating_mul(PER_SNAPSHOT);
        if manifest.store != store || manifest.next != expected {
            return Err(wrong("it is of another store or has another number".into()));
        }
        check_files(store, &manifest.files).map_err(wrong)?;
        let mut before = BTreeMap::new();
        for (first_id, segment) in &manifest.segments {
            if *first_id != segment.first_id {
                return Err(wrong(format!(
                    "its segment {first_id} begins at {}",
                    segment.first_id
                )));
            }
            check_segment(&before, segment).map_err(wrong)?;
            before.insert(*first_id, segment.clone());
        }
        Ok(manifest)
    }
}

impl Delta {
    /// It as the body of an object.
    pub(crate) fn to_body(&self) -> Result<Bytes, ArchiveError> {
        let json = serde_json::to_vec(self);
        json.map(Bytes::from).map_err(|error| ArchiveError::damaged("delta", error.to_string()))
    }

    /// Reads the delta in the object `key`.
    pub(crate) fn read(key: &str, body: &[u8]) -> Result<Delta, ArchiveError> {
        if body.len() > MAX_DELTA {
            return Err(ArchiveError::damaged(key, "it is longer than any delta"));
        }
        check_version(key, body)?;
        serde_json::from_slice(body).map_err(|error| ArchiveError::damaged(key, error.to_string()))
    }
}

/// Checks that files are in the archive of a store.
fn check_files(store: &str, files: &[File]) -> Result<(), String> {
    let home = layout::store(store);
    let is_at_home = |file: &&File| {
        file.key.strip_prefix(&home).is_some_and(|rest| rest.starts_with('/'))
            && !file.key.split('/').any(|part| matches!(part, "" | "." | ".."))
    };
    match files.iter().find(|file| !is_at_home(file)) {
        None => Ok(()),
        Some(stray) => {
            Err(format!("it lists {:?}, which is not in the archive of the store", stray.key))
        }
    }
}

/// Checks that a segment can be added to those before it.
fn check_segment(before: &BTreeMap<u64, Segment>, segment: &Segment) -> Result<(), String> {
    if segment.first_id > segment.last_id.saturating_add(1) {
        return Err(format!("its segment ends at {} before it begins", segment.last_id));
    }
    let other = before.range(..=segment.last_id.max(segment.first_id)).next_back();
    match other.is_some_and(|(_, other)| other.last_id >= segment.first_id) {
        false => Ok(()),
        true => Err(format!("ids from {} on are in two segments", segment.first_id)),
    }
}

/// The sum of numbers, which anybody may have written: it may be too large for its type.
fn total(numbers: impl Iterator<Item = u64>) -> u64 {
    numbers.fold(0, u64::saturating_add)
}

/// The SHA-256 of an object, in hexadecimal.
pub(crate) fn hash(body: &[u8]) -> String {
    HEXLOWER.encode(&sha256(&digest::digest(&digest::SHA256, body)))
}

/// Refuses a later version of the format before the rest is read.
fn check_version(key: &str, json: &[u8]) -> Result<(), ArchiveError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let found: Versioned = serde_json::from_slice(json)
        .map_err(|error| ArchiveError::damaged(key, error.to_string()))?;
    match found.version {
        VERSION => Ok(()),
        version => {
            let what = format!("it has the version {version}, and this program reads {VERSION}");
            Err(ArchiveError::damaged(key, what))
        }
    }
}

/// Decompresses a snapshot, up to its limit.
fn decompress(body: &[u8]) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut json = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::new(body)?.take(MAX_SNAPSHOT as u64 + 1);
    decoder.read_to_end(&mut json)?;
    match json.len() > MAX_SNAPSHOT {
        true => Err(std::io::Error::other("it is longer than any snapshot")),
        false => Ok(json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: &str = "0123456789abcdef0123456789abcdef";

    fn file(name: &str) -> File {
        File {
            table: "entries".into(),
            key: format!("archive/store={STORE}/{name}"),
            bytes: 1,
            sha256: "00".into(),
            rows: 1,
            segment: Some(1),
            min_id: Some(1),
            max_id: Some(1),
            min_time: None,
            max_time: None,
            min_stored_at: None,
            max_stored_at: None,
        }
    }

    fn segment(first_id: u64, last_id: u64) -> Segment {
        Segment {
            first_id,
            last_id,
            first_delivery: first_id,
            last_delivery: last_id,
            created_at: 0,
            sha256: "00".into(),
        }
    }

    /// Adds the delta that `change` makes of an empty one. Returns the error if it is refused.
    fn add(manifest: &mut Manifest, change: impl FnOnce(&mut Delta)) -> Result<(), String> {
        let mut delta = manifest.begin(5);
        change(&mut delta);
        let body = delta.to_body().unwrap();
        assert_eq!(Delta::read("d", &body).unwrap(), delta);
        manifest.add("d", &body).map_err(|error| error.to_string())
    }

    #[test]
    fn deltas_follow_one_another() {
        let mut manifest = Manifest::new(STORE);
        add(&mut manifest, |delta| {
            delta.segment = Some(segment(1, 10));
            delta.files = vec![file("a")];
            delta.progress.change = 7;
        })
        .unwrap();
        assert_eq!((manifest.next, manifest.progress.change), (1, 7));
        let before = manifest.clone();
        let mut refused = |expected: &str, change: fn(&mut Delta)| {
            let error = add(&mut manifest, change).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert_eq!(manifest, before);
        };
        refused("number 7", |delta| delta.number = 7);
        refused("does not follow", |delta| delta.previous = None);
        refused("of the store", |delta| delta.store = "other".into());
        refused("two segments", |delta| delta.segment = Some(segment(10, 20)));
        refused("before it begins", |delta| delta.segment = Some(segment(30, 20)));
        for stray in
            ["x", "archive/store=other/a", "archive/store=0123456789abcdef0123456789abcdef/../a"]
        {
            let error = add(&mut manifest, |delta| {
                delta.files = vec![File { key: stray.into(), ..file("a") }];
            });
            assert!(error.unwrap_err().contains("not in the archive"), "{stray}");
        }
        add(&mut manifest, |delta| delta.segment = Some(segment(11, 20))).unwrap();
    }

    #[test]
    fn a_snapshot_is_all_deltas_before_it() {
        let mut manifest = Manifest::new(STORE);
        let mut due = Vec::new();
        for number in 0..PER_SNAPSHOT {
            add(&mut manifest, |delta| {
                delta.segment = Some(segment(number * 5 + 1, number * 5 + 5))
            })
            .unwrap();
            due.push(manifest.due_snapshot());
        }
        assert_eq!(due, [None, None, None, Some(0)]);
        let body = manifest.to_snapshot().unwrap();
        assert_eq!(Manifest::from_snapshot(STORE, 0, "s", &body).unwrap(), manifest);
        assert!(Manifest::from_snapshot(STORE, 1, "s", &body).is_err());
        assert!(Manifest::from_snapshot("other", 0, "s", &body).is_err());
        let refused = |change: fn(&mut Manifest), expected: &str| {
            let mut other = manifest.clone();
            change(&mut other);
            let body = other.to_snapshot().unwrap();
            let error = Manifest::from_snapshot(STORE, 0, "s", &body).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(
            |other| other.files.push(File { key: "x".into(), ..file("a") }),
            "not in the archive",
        );
        refused(|other| drop(other.segments.insert(3, segment(3, 4))), "two segments");
        refused(|other| drop(other.segments.insert(99, segment(98, 99))), "begins at 98");
        assert!(Manifest::from_snapshot(STORE, 0, "s", &body[..body.len() - 1]).is_err());
    }

    #[test]
    fn sums_of_numbers_that_anybody_wrote_do_not_overflow() {
        let mut manifest = Manifest::new(STORE);
        for (first_id, last_id) in [(1, 10), (11, u64::MAX)] {
            add(&mut manifest, |delta| {
                let (first_delivery, last_delivery) = (0, u64::MAX);
                let segment = segment(first_id, last_id);
                delta.segment = Some(Segment { first_delivery, last_delivery, ..segment });
                delta.files = vec![File { bytes: u64::MAX, ..file("a") }];
            })
            .unwrap();
        }
        let sums = (manifest.entries(), manifest.deliveries(), manifest.bytes());
        assert_eq!(sums, (u64::MAX - 1, u64::MAX, u64::MAX));
    }

    #[test]
    fn a_later_version_is_refused() {
        let mut delta = Manifest::new(STORE).begin(0);
        delta.version = VERSION + 1;
        let error = Delta::read("d", &delta.to_body().unwrap()).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
        for bad in ["", "{}", "[]", "{\"version\":1}"] {
            assert!(Delta::read("d", bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
