//! Reads every stored entry again, verifies it, and compares the result with the record.
//!
//! - Here: the files. SQLite's own check, the hash of sealed files, gaps in the ids, and what the
//!   catalog says of each segment.
//! - `entry`: one entry. `keys`: the keys that may verify it.
//!
//! It changes nothing. A damaged file is a difference and does not stop the check.

mod entry;
mod keys;

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rayon::prelude::*;
use serde::Serialize;

use self::entry::{Found, Overlaid, Part, Recorded};
use self::keys::Trusted;
use crate::entry::{Millis, Warning};
use crate::random;
use crate::signature::{Key, KeySet, Seed};
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::read::logged::{Slice, last_id};
use crate::store::segment::blocks::with_raw;
use crate::store::segment::row::{Entries, Ids, VerifyingKey};
use crate::store::segment::{Closed, contents, origins};
use crate::store::sqlite::{self, Database, MAX_ID};

/// The result of a check.
#[derive(Debug, Default, Serialize)]
pub struct CheckReport {
    /// The number of segments checked.
    pub segments: u64,
    /// The number of entries verified again.
    pub entries: u64,
    /// The number of differences.
    pub differences: u64,
    /// The first differences.
    pub first: Vec<Difference>,
    /// The number of valid entries whose signature is odd. `None` if they were not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub odd_signatures: Option<u64>,
    /// The first entries with an odd signature.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_odd: Vec<Difference>,
}

/// A difference from what is recorded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Difference {
    pub file: String,
    /// The entry; `None` if it is about the file.
    pub id: Option<u64>,
    /// What is different.
    pub what: String,
}

/// A sealed file that was hashed.
#[derive(Clone, Debug)]
pub struct HashedFile {
    /// The id of the first entry of its segment.
    pub first_id: u64,
    /// Its name in the folder of the segments.
    pub file: String,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// What a check does.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// How many differences are listed.
    pub shown: usize,
    /// Whether valid signatures are also verified with ring, to find the odd ones.
    pub strict: bool,
    /// Whether a recorded gap in the ids is a difference.
    pub gaps: bool,
    /// The keys that every signature is verified with. `None`: those that the store has seen, each for
    /// its inputs and until it retired.
    pub keys: Option<Arc<KeySet>>,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions { shown: 100, strict: false, gaps: true, keys: None }
    }
}

impl Reader {
    /// Checks the whole store. `progress` is called with the number of checked entries and of all
    /// entries.
    pub fn check(
        &self,
        options: CheckOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<CheckReport, StoreError> {
        let check = self.begin_check(options)?;
        check.files()?;
        let slices = check.slices();
        let all = slices.iter().map(Slice::count).sum();
        let done = Mutex::new(0);
        slices.par_iter().for_each(|slice| {
            check.entries(slice);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += slice.count();
            progress(*done, all);
        });
        Ok(check.report())
    }

    /// Begins a check of the store as it is now.
    pub fn begin_check(&self, options: CheckOptions) -> Result<StoreCheck<'_>, StoreError> {
        let trusted = match &options.keys {
            Some(keys) => Trusted::Given(Arc::clone(keys)),
            None => self.catalog(Trusted::load)?,
        };
        let (segments, overlaid) = self.catalog(snapshot)?;
        Ok(StoreCheck {
            reader: self,
            trusted,
            seed: random::seed()?,
            greatest: self.greatest_id()?,
            segments,
            overlaid,
            findings: Mutex::default(),
            options,
        })
    }
}

/// How many ids are looked at beyond the number of entries in a file.
const BEYOND: u64 = 1 << 24;

/// A check in progress.
pub struct StoreCheck<'a> {
    reader: &'a Reader,
    trusted: Trusted,
    seed: Seed,
    segments: Vec<Segment>,
    /// The ids of the entries that are overlaid.
    overlaid: Vec<u64>,
    /// The largest id in the store.
    greatest: u64,
    findings: Mutex<Findings>,
    options: CheckOptions,
}

#[derive(Default)]
struct Findings {
    entries: u64,
    differences: u64,
    first: BTreeSet<Difference>,
    /// Those that are about a file, because one may be found with many slices of its entries.
    of_files: BTreeSet<Difference>,
    hashed: Vec<HashedFile>,
    /// The number of entries in each segment, by its first id.
    rows: HashMap<u64, u64>,
    odd_signatures: u64,
    first_odd: BTreeSet<Difference>,
}

impl StoreCheck<'_> {
    /// Checks the catalog and the files, without the entries.
    pub fn files(&self) -> Result<(), StoreError> {
        let gaps = self.reader.gaps()?;
        let mut explained = self.reader.catalog(Catalog::removed)?;
        explained.extend(gaps.iter().map(|gap| gap.first_id..=gap.last_id));
        self.note_all(self.reader.catalog(Catalog::quick_check)?, "catalog.db");
        self.order(&explained);
        for gap in gaps.iter().filter(|_| self.options.gaps) {
            let what = format!(
                "the ids {} to {} are not there: {}",
                gap.first_id, gap.last_id, gap.reason
            );
            self.note("catalog.db", None, what);
        }
        self.orphans();
        self.segments.par_iter().for_each(|segment| self.file(segment));
        Ok(())
    }

    /// The entries, in slices. A thread checks one slice at a time, in one batch. The ids in a damaged
    /// file may be any numbers, so it is read as far as it has entries, and a little further.
    pub fn slices(&self) -> Vec<Slice> {
        let findings = self.findings();
        let slices = |segment: &Segment| {
            let rows = findings.rows.get(&segment.first_id).copied().unwrap_or(0);
            let most = segment.first_id.saturating_add(rows).saturating_add(BEYOND);
            Slice::all(segment.first_id, last_id(segment, self.greatest).min(most))
        };
        self.segments.iter().flat_map(slices).collect()
    }

    /// The sealed files that were hashed.
    pub fn hashed(&self) -> Vec<HashedFile> {
        self.findings().hashed.clone()
    }

    /// Takes the differences that were found since the last time: their number, and the first of them.
    pub fn take(&self) -> (u64, Vec<Difference>) {
        let mut findings = self.findings();
        let first = std::mem::take(&mut findings.first);
        (std::mem::take(&mut findings.differences), first.into_iter().collect())
    }

    /// What was found.
    pub fn report(self) -> CheckReport {
        let strict = self.options.strict;
        let findings = self.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        CheckReport {
            segments: self.segments.len() as u64,
            entries: findings.entries,
            differences: findings.differences,
            first: findings.first.into_iter().collect(),
            odd_signatures: strict.then_some(findings.odd_signatures),
            first_odd: findings.first_odd.into_iter().collect(),
        }
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, file: &str, id: Option<u64>, what: String) {
        let mut findings = self.findings();
        let difference = Difference { file: file.to_owned(), id, what };
        if id.is_none() && !findings.of_files.insert(difference.clone()) {
            return;
        }
        findings.differences += 1;
        self.list(&mut findings.first, difference);
    }

    fn note_odd(&self, file: &str, id: u64) {
        let what = Warning::OddSignature.to_string();
        let odd = Difference { file: file.to_owned(), id: Some(id), what };
        let mut findings = self.findings();
        findings.odd_signatures += 1;
        self.list(&mut findings.first_odd, odd);
    }

    /// Keeps the first of these.
    fn list(&self, first: &mut BTreeSet<Difference>, one: Difference) {
        first.insert(one);
        if first.len() > self.options.shown {
            first.pop_last();
        }
    }

    fn note_all(&self, what: Vec<String>, file: &str) {
        what.into_iter().for_each(|what| self.note(file, None, what));
    }

    /// Checks that the segments follow each other, except for the ranges in `explained`.
    fn order(&self, explained: &[RangeInclusive<u64>]) {
        for pair in self.segments.windows(2) {
            let [before, after] = pair else { continue };
            let last = before.closed.as_ref().map(|closed| closed.last_id);
            if last.is_none_or(|last| last >= after.first_id) {
                let what = format!(
                    "it has entries up to {}, and the next segment begins with {}",
                    last.map_or_else(|| "no end".to_owned(), |last| last.to_string()),
                    after.first_id
                );
                self.note(&before.file, None, what);
            }
            if let Some(id) = unexplained(last, after.first_id, explained) {
                let what = format!(
                    "entries from the id {id} on are not there, and nothing says that they were removed"
                );
                self.note(&before.file, None, what);
            }
        }
    }

    /// Checks that the entries of late verdicts exist.
    fn orphans(&self) {
        for id in &self.overlaid {
            let of = self.segments.iter().rfind(|segment| segment.first_id <= *id);
            if of.is_none_or(|segment| *id > last_id(segment, self.greatest)) {
                let what = "a late verdict of an entry that is not there";
                self.note("catalog.db", Some(*id), what.into());
            }
        }
    }

    /// Checks the file of a segment, without its entries.
    fn file(&self, segment: &Segment) {
        if let Some(sealed) = &segment.sealed {
            self.hash(segment, sealed);
        }
        let last = last_id(segment, self.greatest);
        let found = self.reader.visit(
            segment.first_id,
            |_, _| Ok(()),
            |database, now, ()| {
                let mut found = sqlite::quick_check(database)?;
                found.extend(dense(database, segment.first_id, last)?);
                if let Some(closed) = &now.closed {
                    found.extend(summary(closed, &Closed::of(database, database.version())?));
                }
                found.extend(keys(database)?);
                let count = "SELECT count(*) FROM entries";
                let rows: u64 = database.query_row(count, [], |row| row.get(0))?;
                Ok((found, origins::spans(database)?, rows))
            },
        );
        match found {
            Ok(found) => {
                let (mut found, spans, rows) = found.unwrap_or_default();
                self.findings().rows.insert(segment.first_id, rows);
                if segment.closed.is_some() {
                    let differences =
                        |catalog: &Catalog| catalog.differences(segment.first_id, &spans);
                    match self.reader.catalog(differences) {
                        Ok(differences) => found.extend(differences),
                        Err(error) => found.push(error.to_string()),
                    }
                }
                self.note_all(found, &segment.file);
            }
            Err(error) => self.unreadable(segment, &error),
        }
    }

    /// Compares the hash of a sealed file with the recorded one.
    fn hash(&self, segment: &Segment, (bytes, sha256): &(u64, String)) {
        let (found, hash) = match contents::hash(&self.reader.directory().segment(&segment.file)) {
            Ok(found) => found,
            Err(error) => return self.unreadable(segment, &error),
        };
        if (found, &hash) != (*bytes, sha256) {
            let what = format!(
                "it has {found} bytes and the SHA-256 {hash}, recorded are {bytes} and {sha256}"
            );
            self.note(&segment.file, None, what);
        }
        let (first_id, file) = (segment.first_id, segment.file.clone());
        self.findings().hashed.push(HashedFile { first_id, file, sha256: hash });
    }

    /// Notes an error, unless the segment was rewritten or deleted meanwhile.
    fn unreadable(&self, segment: &Segment, error: &StoreError) {
        let now = self.reader.catalog(Catalog::segments).unwrap_or_default();
        if now.iter().any(|one| one.file == segment.file) {
            self.note(&segment.file, None, error.to_string());
        }
    }

    /// Checks the entries of a slice.
    pub fn entries(&self, slice: &Slice) {
        let segment = self.segments.iter().find(|one| one.first_id == slice.segment);
        let Some(segment) = segment else { return };
        let (mut next, last) = (*slice.ids.start(), *slice.ids.end());
        while next <= last {
            let read = self.reader.visit(
                slice.segment,
                |overlay, _| Overlaid::read(overlay, next..=last),
                |segment, _, overlaid| Part::read(segment, next..=last, overlaid),
            );
            match read {
                Ok(Some(read)) => {
                    self.compare(segment, read.entries);
                    next = read.next;
                }
                // Retention deleted it.
                Ok(None) => return,
                Err(error) => return self.unreadable(segment, &error),
            }
        }
    }

    fn compare(&self, segment: &Segment, recorded: Vec<Recorded>) {
        let found = entry::check(recorded, &self.trusted, &self.seed, self.options.strict);
        let count = found.len() as u64;
        for Found { id, differences, is_odd } in found {
            differences.into_iter().for_each(|what| self.note(&segment.file, Some(id), what));
            if is_odd {
                self.note_odd(&segment.file, id);
            }
        }
        self.findings().entries += count;
    }
}

/// The segments, and the ids of the entries that are overlaid.
fn snapshot(catalog: &Catalog) -> Result<(Vec<Segment>, Vec<u64>), StoreError> {
    let overlaid = catalog.overlay().overlaid(&Ids::Range(0..=MAX_ID));
    Ok((catalog.segments()?, overlaid.doing("read", catalog.path())?))
}

/// The first id between the entry `last` of a segment and the first of the next one that none of
/// the ranges has.
fn unexplained(last: Option<u64>, next: u64, explained: &[RangeInclusive<u64>]) -> Option<u64> {
    let mut id = last?.saturating_add(1);
    while id < next {
        match explained.iter().find(|range| range.contains(&id)) {
            Some(range) => id = range.end().saturating_add(1),
            None => return Some(id),
        }
    }
    None
}

/// What the catalog says of a segment and its entries do not.
fn summary(recorded: &Closed, found: &Closed) -> Vec<String> {
    let range = |range: Option<(i64, i64)>| match range.map(|(least, most)| [least, most]) {
        Some(ends) => ends.map(|end| Millis::saturating(end).to_string()).join(" to "),
        None => "none".to_owned(),
    };
    let ranges = [
        ("times", recorded.time, found.time),
        ("times of the event", recorded.event_time, found.event_time),
        ("times of receipt", recorded.received_at, found.received_at),
        ("times of storing", recorded.stored_at, found.stored_at),
    ];
    let numbers = [
        ("last delivery", recorded.last_delivery, found.last_delivery),
        ("number of entries without a time", recorded.without_time, found.without_time),
        ("number of entries that wait for a key", recorded.awaiting_key, found.awaiting_key),
    ];
    let ranges = ranges.into_iter().map(|(what, one, other)| (what, range(one), range(other)));
    let numbers =
        numbers.into_iter().map(|(what, one, other)| (what, one.to_string(), other.to_string()));
    ranges
        .chain(numbers)
        .filter(|(_, recorded, found)| recorded != found)
        .map(|(what, recorded, found)| {
            format!("recorded in the catalog as its {what} {recorded}, found {found}")
        })
        .collect()
}

/// The keys of a segment whose thumbprints are not those of their public keys.
fn keys(segment: &Database) -> rusqlite::Result<Vec<String>> {
    let differ = |key: &VerifyingKey| {
        let public: Result<[u8; 32], _> = key.public.as_slice().try_into();
        let of = public.ok().map(|public| Key::new(None, public).thumbprint().to_string());
        of.as_ref() != Some(&key.thumbprint)
    };
    let what = |key: &VerifyingKey| {
        format!("its key with the thumbprint {:?} has another public key", key.thumbprint)
    };
    Ok(segment.keys()?.iter().filter(|key| differ(key)).map(what).collect())
}

/// Whether there is an entry and a line for each id from `first` to `last`.
fn dense(segment: &Database, first: u64, last: u64) -> rusqlite::Result<Option<String>> {
    let expected = (last + 1).saturating_sub(first);
    let sql = "SELECT (SELECT count(*) FROM entries WHERE id BETWEEN ?1 AND ?2),
                      (SELECT count(*) FROM raw WHERE id BETWEEN ?1 AND ?2),
                      (SELECT count(*) FROM entries WHERE id < ?1),
                      (SELECT first_id FROM segment)";
    let (entries, lines, before, first_id): (u64, u64, u64, u64) =
        segment.query_row(&with_raw(segment.columns(), sql), [first, last], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
    let sound = (entries, lines, before, first_id) == (expected, expected, 0, first);
    Ok((!sound).then(|| {
        format!(
            "it begins with the id {first_id} and has {entries} entries and {lines} lines with ids \
             from {first} to {last}, expected {expected} of each"
        )
    }))
}
