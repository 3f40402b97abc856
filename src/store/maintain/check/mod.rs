//! Reads every stored entry again, verifies it, and compares the result with the record.
//!
//! - Here: the files. SQLite's own check, the hash of sealed files, and gaps in the ids.
//! - `entry`: one entry. `keys`: the keys that may verify it.
//!
//! It changes nothing. A damaged file is a difference and does not stop the check.

mod entry;
mod keys;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Mutex;
use std::sync::PoisonError;

use rayon::prelude::*;
use serde::Serialize;

use self::entry::{Found, Overlaid, Recorded, Slice};
use self::keys::Trusted;
use crate::entry::Warning;
use crate::random;
use crate::signature::Seed;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::{Segment, State};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::segment::blocks::with_raw;
use crate::store::segment::row::Ids;
use crate::store::segment::{contents, origins};
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

/// What a check does.
#[derive(Clone, Copy, Debug)]
pub struct CheckOptions {
    /// How many differences are listed.
    pub shown: usize,
    /// Whether valid signatures are also verified with ring, to find the odd ones.
    pub strict: bool,
    /// Whether a recorded gap in the ids is a difference.
    pub gaps: bool,
}

impl Default for CheckOptions {
    fn default() -> CheckOptions {
        CheckOptions { shown: 100, strict: false, gaps: true }
    }
}

/// The number of ids per slice. A thread checks one slice at a time, in one batch.
const SLICE: u64 = 2000;

impl Reader {
    /// Checks the whole store. `progress` is called with the number of checked entries and of all
    /// entries.
    pub fn check(
        &self,
        CheckOptions { shown, strict, gaps: report_gaps }: CheckOptions,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<CheckReport, StoreError> {
        let trusted = self.catalog(Trusted::load)?;
        let (segments, overlaid) = self.catalog(snapshot)?;
        let greatest = self.greatest_id()?;
        let gaps = self.gaps()?;
        let mut explained = self.catalog(Catalog::removed)?;
        explained.extend(gaps.iter().map(|gap| gap.first_id..=gap.last_id));
        let seed = random::seed()?;
        let findings = Mutex::default();
        let check = Check { reader: self, trusted, seed, strict, findings, shown };
        check.note_all(self.catalog(Catalog::quick_check)?, "catalog.db");
        check.order(&segments, &explained);
        for gap in gaps.iter().filter(|_| report_gaps) {
            let what = format!(
                "the ids {} to {} are not there: {}",
                gap.first_id, gap.last_id, gap.reason
            );
            check.note("catalog.db", None, what);
        }
        check.orphans(&segments, &overlaid, greatest);
        segments.par_iter().for_each(|segment| check.file(segment, greatest));
        let slices: Vec<_> =
            segments.iter().flat_map(|segment| slices(segment, greatest)).collect();
        let all = slices.iter().map(|slice| slice.last - slice.first + 1).sum();
        let done = Mutex::new(0);
        slices.par_iter().for_each(|slice| {
            check.slice(slice);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done += slice.last - slice.first + 1;
            progress(*done, all);
        });
        let findings = check.findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(CheckReport {
            segments: segments.len() as u64,
            entries: findings.entries,
            differences: findings.differences,
            first: findings.first.into_iter().collect(),
            odd_signatures: strict.then_some(findings.odd_signatures),
            first_odd: findings.first_odd.into_iter().collect(),
        })
    }
}

/// A check in progress.
struct Check<'a> {
    reader: &'a Reader,
    trusted: Trusted,
    seed: Seed,
    strict: bool,
    findings: Mutex<Findings>,
    shown: usize,
}

#[derive(Default)]
struct Findings {
    entries: u64,
    differences: u64,
    first: BTreeSet<Difference>,
    odd_signatures: u64,
    first_odd: BTreeSet<Difference>,
}

impl Check<'_> {
    fn note(&self, file: &str, id: Option<u64>, what: String) {
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        let difference = Difference { file: file.to_owned(), id, what };
        // The same file may fail to be opened for many of its slices.
        if findings.first.contains(&difference) {
            return;
        }
        findings.differences += 1;
        self.list(&mut findings.first, difference);
    }

    fn note_odd(&self, file: &str, id: u64) {
        let what = Warning::OddSignature.to_string();
        let odd = Difference { file: file.to_owned(), id: Some(id), what };
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.odd_signatures += 1;
        self.list(&mut findings.first_odd, odd);
    }

    /// Keeps the first of these.
    fn list(&self, first: &mut BTreeSet<Difference>, one: Difference) {
        first.insert(one);
        if first.len() > self.shown {
            first.pop_last();
        }
    }

    fn note_all(&self, what: Vec<String>, file: &str) {
        what.into_iter().for_each(|what| self.note(file, None, what));
    }

    /// Checks that the segments follow each other, except for the ranges in `explained`.
    fn order(&self, segments: &[Segment], explained: &[RangeInclusive<u64>]) {
        for pair in segments.windows(2) {
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
    fn orphans(&self, segments: &[Segment], overlaid: &[u64], greatest: u64) {
        for id in overlaid {
            let of = segments.iter().rfind(|segment| segment.first_id <= *id);
            if of.is_none_or(|segment| *id > end(segment, greatest)) {
                let what = "a late verdict of an entry that is not there";
                self.note("catalog.db", Some(*id), what.into());
            }
        }
    }

    /// Checks the file of a segment, without its entries.
    fn file(&self, segment: &Segment, greatest: u64) {
        if let Some((bytes, sha256)) = &segment.sealed {
            match contents::hash(&self.reader.directory().segment(&segment.file)) {
                Ok(found) if found == (*bytes, sha256.clone()) => {}
                Ok((found, hash)) => self.note(
                    &segment.file,
                    None,
                    format!(
                        "it has {found} bytes and the SHA-256 {hash}, recorded are {bytes} and {sha256}"
                    ),
                ),
                Err(error) => self.unreadable(segment, &error),
            }
        }
        let last = end(segment, greatest);
        let found = self.reader.read_segment(segment.first_id, |database| {
            let mut found = sqlite::quick_check(database)?;
            found.extend(dense(database, segment.first_id, last)?);
            Ok((found, origins::spans(database)?))
        });
        match found {
            Ok(found) => {
                let (mut found, spans) = found.unwrap_or_default();
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

    /// Notes an error, unless the segment was rewritten or deleted meanwhile.
    fn unreadable(&self, segment: &Segment, error: &StoreError) {
        let now = self.reader.catalog(Catalog::segments).unwrap_or_default();
        if now.iter().any(|one| one.file == segment.file) {
            self.note(&segment.file, None, error.to_string());
        }
    }

    fn slice(&self, slice: &SliceOf<'_>) {
        let mut next = slice.first;
        while next <= slice.last {
            let read = self.reader.visit(
                slice.segment.first_id,
                |overlay, _| Overlaid::read(overlay, next..=slice.last),
                |segment, _, overlaid| Slice::read(segment, next..=slice.last, overlaid),
            );
            match read {
                Ok(Some(read)) => {
                    self.entries(slice.segment, read.entries);
                    next = read.next;
                }
                // Retention deleted it.
                Ok(None) => return,
                Err(error) => return self.unreadable(slice.segment, &error),
            }
        }
    }

    fn entries(&self, segment: &Segment, recorded: Vec<Recorded>) {
        let found = entry::check(recorded, &self.trusted, &self.seed, self.strict);
        let count = found.len() as u64;
        for Found { id, differences, is_odd } in found {
            differences.into_iter().for_each(|what| self.note(&segment.file, Some(id), what));
            if is_odd {
                self.note_odd(&segment.file, id);
            }
        }
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.entries += count;
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

/// Some entries of a segment, by their ids.
struct SliceOf<'a> {
    segment: &'a Segment,
    first: u64,
    last: u64,
}

fn slices(segment: &Segment, greatest: u64) -> impl Iterator<Item = SliceOf<'_>> {
    let last = end(segment, greatest);
    let mut first = segment.first_id;
    std::iter::from_fn(move || {
        let slice = SliceOf { segment, first, last: last.min(first.saturating_add(SLICE - 1)) };
        first = slice.last.saturating_add(1);
        (slice.first <= slice.last).then_some(slice)
    })
}

/// The id of the last entry of a segment; what comes later is not looked at.
fn end(segment: &Segment, greatest: u64) -> u64 {
    match (&segment.closed, segment.state) {
        (Some(closed), _) => closed.last_id,
        (None, State::Live) => greatest,
        (None, _) => segment.first_id.saturating_sub(1),
    }
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
