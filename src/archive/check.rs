//! Checks an archive by itself: its manifest, every file, and every signature, with keys that the
//! caller fetched anew. It changes nothing. A damaged object is a difference and does not stop the check.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use ring::digest;
use serde::Serialize;

use super::decode::Decoder;
use super::error::ArchiveError;
use super::layout::{self, Table};
use super::manifest::{File, Manifest};
use super::place::Place;
use super::rows::Rows;
use super::schema::{self, metadata};
use crate::entry::VerdictName;
use crate::ingest::CheckedLine;
use crate::signature::{KeySet, Seed};

/// The lines that are verified together.
const BATCH: usize = 2000;

/// The result of a check.
#[derive(Debug, Default, Serialize)]
pub(crate) struct CheckReport {
    /// The id of the store.
    pub(crate) store: String,
    /// The number of segments in the manifest.
    pub(crate) segments: u64,
    /// The number of files that were read.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// The number of entries that were read.
    pub(crate) entries: u64,
    /// The number of entries that are valid with the keys.
    pub(crate) valid: u64,
    /// The number of entries that are recorded as valid and whose key is not among the keys.
    pub(crate) without_key: u64,
    /// The `kid` of the first of these keys, and how many entries each verified.
    pub(crate) missing_keys: BTreeMap<String, u64>,
    /// The number of entries that are valid with the keys and are recorded otherwise.
    pub(crate) valid_now: u64,
    /// The objects that belong to no manifest: what is left of interrupted runs.
    pub(crate) unlisted: Vec<String>,
    /// The number of differences.
    pub(crate) differences: u64,
    /// The first differences.
    pub(crate) first: Vec<Difference>,
}

/// A difference from what the manifest or an entry says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Difference {
    /// The object.
    pub(crate) object: String,
    /// The entry; `None` if it is about the object.
    pub(crate) id: Option<u64>,
    /// What is different.
    pub(crate) what: String,
}

/// What an archive is checked with.
pub(crate) struct Checker<'a> {
    pub(crate) place: &'a Place,
    pub(crate) keys: &'a KeySet,
    pub(crate) seed: Seed,
    /// The number of differences that are listed.
    pub(crate) shown: usize,
}

/// A check in progress.
struct Check<'a> {
    with: &'a Checker<'a>,
    report: Mutex<CheckReport>,
    /// The late verdicts of entries.
    late: BTreeMap<u64, Late>,
    thumbprints: BTreeSet<String>,
}

/// A late verdict.
struct Late {
    change: u64,
    is_valid: bool,
    key: Option<Arc<KeyNames>>,
}

/// The thumbprint and the `kid` of a key.
#[derive(PartialEq, Eq)]
struct KeyNames(String, String);

impl KeyNames {
    /// The key that verified an entry. `last` is one that may be the same.
    fn of(rows: &Rows, row: usize, last: Option<&Arc<KeyNames>>) -> Option<Arc<KeyNames>> {
        let text = |name| rows.get(row, name).as_text();
        let (thumbprint, kid) = (text("key")?, text("kid").unwrap_or_default());
        match last.filter(|last| last.0 == thumbprint && last.1 == kid) {
            Some(last) => Some(Arc::clone(last)),
            None => Some(Arc::new(KeyNames(thumbprint.to_owned(), kid.to_owned()))),
        }
    }
}

impl Checker<'_> {
    /// Checks the archive of a store. `progress` is called with the bytes that were read and those of all
    /// files.
    ///
    /// # Errors
    /// [`ArchiveError`] if the archive cannot be listed.
    pub(crate) fn check(
        &self,
        store: &str,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<CheckReport, ArchiveError> {
        let mut check = Check {
            with: self,
            report: Mutex::default(),
            late: BTreeMap::new(),
            thumbprints: self.keys.keys().iter().map(|key| key.thumbprint().to_string()).collect(),
        };
        let manifest = check.manifest(store)?;
        check.listed(&manifest)?;
        check.segments(&manifest);
        let (all, done) = (manifest.bytes(), Mutex::new(0u64));
        let read = |check: &Check<'_>, file: &File| {
            let found = check.file(file);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *done = done.saturating_add(file.bytes);
            progress(*done, all);
            found
        };
        // Late verdicts first: they say what is expected of the entries.
        let (verdicts, others): (Vec<&File>, Vec<&File>) =
            manifest.files.iter().partition(|file| file.table() == Some(Table::Verdicts));
        for file in verdicts {
            for (id, late) in read(&check, file) {
                if check.late.get(&id).is_none_or(|known| known.change <= late.change) {
                    check.late.insert(id, late);
                }
            }
        }
        others.par_iter().for_each(|file| drop(read(&check, file)));
        let mut report = check.report.into_inner().unwrap_or_else(PoisonError::into_inner);
        report.store = store.to_owned();
        report.segments = manifest.segments.len() as u64;
        report.first.sort();
        Ok(report)
    }
}

/// Whether a file is of a segment that the manifest lacks.
fn is_of_no_segment(manifest: &Manifest, key: &str) -> bool {
    let Some(first_id) = layout::segment_of(&manifest.store, key) else { return false };
    let before = manifest.segments.range(..=first_id).next_back();
    // A segment may have no entries.
    before.is_none_or(|(id, before)| *id != first_id && before.last_id < first_id)
}

impl Check<'_> {
    fn report(&self) -> std::sync::MutexGuard<'_, CheckReport> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, object: &str, id: Option<u64>, what: impl Into<String>) {
        let mut report = self.report();
        report.differences += 1;
        if report.first.len() < self.with.shown {
            report.first.push(Difference { object: object.to_owned(), id, what: what.into() });
        }
    }

    /// Reads the manifest from its first delta on, as far as it is sound.
    fn manifest(&self, store: &str) -> Result<Manifest, ArchiveError> {
        let mut manifest = Manifest::new(store);
        loop {
            let key = layout::delta(store, manifest.next);
            let Some(body) = self.with.place.get(&key)? else { break };
            if let Err(error) = manifest.add(&key, &body) {
                self.note(&key, None, error.to_string());
                return Ok(manifest);
            }
        }
        // A reader begins with the newest snapshot. It must come to the same.
        match self.with.place.manifest(store) {
            Ok(other) if other == manifest => {}
            Ok(_) => {
                let what = "the snapshots of the manifest differ from its deltas";
                self.note(&layout::manifest(store), None, what);
            }
            Err(error) => self.note(&layout::manifest(store), None, error.to_string()),
        }
        Ok(manifest)
    }

    /// Compares the manifest with the objects that there are.
    fn listed(&self, manifest: &Manifest) -> Result<(), ArchiveError> {
        let known: BTreeSet<&str> = manifest.files.iter().map(|file| file.key.as_str()).collect();
        let prefix = layout::manifest(&manifest.store);
        let (mut later, mut unlisted) = (0, Vec::new());
        for (key, _) in self.with.place.list(&layout::store(&manifest.store))? {
            match layout::delta_number(&manifest.store, &key) {
                Some(number) => later += u64::from(number >= manifest.next),
                None if key.starts_with(&prefix) || known.contains(key.as_str()) => {}
                None => unlisted.push(key),
            }
        }
        // If deltas follow, they may list them. So may one that was written meanwhile.
        let is_read_to_the_end = later == 0
            && self.with.place.get(&layout::delta(&manifest.store, manifest.next))?.is_none();
        let lost =
            unlisted.iter().filter(|key| is_read_to_the_end && is_of_no_segment(manifest, key));
        for key in lost {
            let what = "no segment of the manifest has its entries: an archiver that is at work or was \
                        interrupted has written it, or the end of the manifest was taken away";
            self.note(key, None, what);
        }
        self.report().unlisted = unlisted;
        if later > 0 {
            let key = layout::delta(&manifest.store, manifest.next);
            let what = format!("the manifest ends here, and {later} deltas follow");
            self.note(&key, None, what);
        }
        Ok(())
    }

    /// Checks that the segments follow one another, and that the files of each have all its rows.
    fn segments(&self, manifest: &Manifest) {
        let mut rows: BTreeMap<(u64, Table), u64> = BTreeMap::new();
        for file in &manifest.files {
            if let (Some(segment), Some(table)) = (file.segment, file.table()) {
                let rows = rows.entry((segment, table)).or_default();
                *rows = rows.saturating_add(file.rows);
            }
        }
        let object = layout::manifest(&manifest.store);
        let mut gaps = manifest.gaps.clone();
        gaps.sort_unstable();
        let mut next = None;
        for segment in manifest.segments.values() {
            if let Some(next) = next.filter(|next| *next < segment.first_id) {
                self.gap(&gaps, &object, next, segment.first_id);
            }
            next = Some(segment.last_id.saturating_add(1));
            let expected =
                [(Table::Entries, segment.entries()), (Table::Deliveries, segment.deliveries())];
            for (table, expected) in expected {
                let found = rows.get(&(segment.first_id, table)).copied().unwrap_or(0);
                if found != expected {
                    let (first, table) = (segment.first_id, table.name());
                    let what = format!(
                        "the segment {first} has {expected} {table}, and its files have {found}"
                    );
                    self.note(&object, None, what);
                }
            }
        }
    }

    /// Notes the ids from `from` to before `to` that no segment has and no gap explains. `gaps` are in
    /// order.
    fn gap(&self, gaps: &[(u64, u64)], object: &str, from: u64, to: u64) {
        let mut next = from;
        for (first, last) in gaps {
            if *first <= next && *last >= next {
                next = last.saturating_add(1);
            }
        }
        if next < to {
            self.note(object, None, format!("no segment has the ids {next} to {}", to - 1));
        }
    }

    /// Checks a file. Returns the late verdicts in it.
    fn file(&self, file: &File) -> Vec<(u64, Late)> {
        let Some(table) = file.table() else {
            self.note(&file.key, None, format!("the table {:?} is not known", file.table));
            return Vec::new();
        };
        match self.read(file, table) {
            Ok(late) => late,
            Err(error) => {
                self.note(&file.key, None, error.to_string());
                Vec::new()
            }
        }
    }

    fn read(&self, file: &File, table: Table) -> Result<Vec<(u64, Late)>, ArchiveError> {
        let body = self.with.place.read_file(file)?;
        {
            let mut report = self.report();
            report.files += 1;
            report.bytes += file.bytes;
        }
        let decoder = Decoder::new(&file.key, table, body)?;
        let is_said =
            |key: &str, expected: Option<String>| decoder.fact(key) == expected.as_deref();
        let facts = [
            (metadata::TABLE, Some(table.name().to_owned())),
            (metadata::STORE, layout::store_of(&file.key).map(str::to_owned)),
            (metadata::ROWS, Some(file.rows.to_string())),
            (metadata::MIN_ID, file.min_id.map(|id| id.to_string())),
            (metadata::MAX_ID, file.max_id.map(|id| id.to_string())),
        ];
        for (key, expected) in facts {
            if !is_said(key, expected) {
                self.note(&file.key, None, format!("its {key} differs from the manifest"));
            }
        }
        let (mut rows_read, mut late) = (0, Vec::new());
        let mut context = digest::Context::new(&digest::SHA256);
        let bytes_column = schema::bytes_column(table);
        for group in 0..decoder.groups() {
            let rows = decoder.group(group, None)?;
            rows_read += rows.len() as u64;
            for row in 0..rows.len() {
                if let Some(column) = bytes_column {
                    context.update(rows.get(row, column).bytes().unwrap_or_default());
                    context.update(b"\n");
                }
            }
            match table {
                Table::Entries => self.entries(file, &rows),
                Table::Verdicts => {
                    for row in 0..rows.len() {
                        let get = |name| rows.get(row, name).unsigned();
                        let (Some(id), Some(change)) = (get("id"), get("change")) else { continue };
                        let verdict = rows.get(row, "verdict").as_text();
                        let is_valid = verdict == Some(VerdictName::Valid.as_str());
                        let last =
                            late.last().and_then(|(_, late): &(u64, Late)| late.key.as_ref());
                        let key = KeyNames::of(&rows, row, last);
                        late.push((id, Late { change, is_valid, key }));
                    }
                }
                _ => {}
            }
        }
        if rows_read != file.rows {
            let what = format!("it has {rows_read} rows, and the manifest says {}", file.rows);
            self.note(&file.key, None, what);
        }
        let contents = data_encoding::HEXLOWER.encode(context.finish().as_ref());
        if bytes_column.is_some() && !is_said(metadata::SHA256, Some(contents)) {
            self.note(&file.key, None, "its bytes differ from the SHA-256 in its metadata");
        }
        Ok(late)
    }

    /// Verifies the lines of entries.
    fn entries(&self, file: &File, rows: &Rows) {
        let all: Vec<usize> = (0..rows.len()).collect();
        // The files are checked in parallel. A large one must not be checked on one core alone.
        all.par_chunks(BATCH).for_each(|batch| {
            let lines: Vec<(&[u8], &KeySet)> = batch
                .iter()
                .map(|row| (rows.get(*row, "line").bytes().unwrap_or_default(), self.with.keys))
                .collect();
            let checked = CheckedLine::each(&lines, usize::MAX, &self.with.seed);
            let (mut valid, mut valid_now) = (0, 0);
            for (row, checked) in batch.iter().zip(checked) {
                let (is_valid, was_valid) = self.entry(file, rows, *row, &checked);
                valid += u64::from(is_valid);
                valid_now += u64::from(is_valid && !was_valid);
            }
            let mut report = self.report();
            report.entries += batch.len() as u64;
            report.valid += valid;
            report.valid_now += valid_now;
        });
    }

    /// Compares an entry with what was found. Returns whether it is valid, and whether it is recorded so.
    fn entry(&self, file: &File, rows: &Rows, row: usize, checked: &CheckedLine) -> (bool, bool) {
        let id = rows.get(row, "id").unsigned();
        if id.is_none() {
            self.note(&file.key, None, "an entry has no id");
        }
        let late = id.and_then(|id| self.late.get(&id));
        let was_valid = match late {
            Some(late) => late.is_valid,
            None => rows.get(row, "verdict").as_text() == Some(VerdictName::Valid.as_str()),
        };
        // Of a line that is too long to be parsed only the beginning is here: it is never valid.
        let is_long = rows.get(row, "line_bytes").integer().is_some();
        let is_valid = !is_long && checked.verdict().proof().is_some();
        if was_valid && !is_valid {
            let key = match late {
                Some(late) => late.key.clone(),
                None => KeyNames::of(rows, row, None),
            };
            match key.filter(|key| !self.thumbprints.contains(&key.0)) {
                Some(missing) => {
                    let mut report = self.report();
                    report.without_key += 1;
                    let is_listed = report.missing_keys.contains_key(&missing.1);
                    if is_listed || report.missing_keys.len() < self.with.shown {
                        *report.missing_keys.entry(missing.1.clone()).or_default() += 1;
                    }
                }
                None => {
                    let verdict = checked.verdict();
                    let (name, reason) = (verdict.name().as_str(), verdict.reason());
                    let reason = reason.unwrap_or("there is no signature");
                    let what = format!("it is recorded as valid, and is {name}: {reason}");
                    self.note(&file.key, id, what);
                }
            }
        }
        (is_valid, was_valid)
    }
}
