//! Repairs a store whose catalog does not match its segments.
//!
//! [`Plan::make`] reads every file in the folder of the segments and judges it by its contents, not
//! by its name. [`Plan::carry_out`] writes the result to the catalog. Nothing is deleted: a file is
//! moved to `damaged/` if it is damaged, or if another file has all its entries.
//!
//! A segment has its ids, its deliveries and the keys that verified its entries. It has no late
//! verdicts, no later deliveries of its entries, no quarantine and no cursors of outputs. If the
//! catalog is lost, these are lost too, and the report says so.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use rusqlite::Connection;
use serde::Serialize;

use crate::clock::now;
use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::repairs::{Repair, VerifyingKey};
use crate::store::catalog::segments::{Segment, State};
use crate::store::directory::{COMPANIONS, Directory, Lock, companion, create_folder, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::origins::{self, EpochSpan};
use crate::store::segment::{Closed, contents, file_name};
use crate::store::sqlite::Database;

/// The folder for files that are set aside.
const DAMAGED: &str = "damaged";

/// The steps of a repair.
#[derive(Debug)]
pub struct Plan {
    directory: Directory,
    /// Whether the catalog is missing or unreadable.
    catalog_lost: bool,
    taken: Vec<FoundSegment>,
    aside: Vec<SetAside>,
    missing: Vec<RangeInclusive<u64>>,
    _lock: Lock,
}

/// The result of the inspection, and the changes that a repair makes.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether the catalog is missing or unreadable, so that a new one is made.
    pub catalog_lost: bool,
    /// The segments in the repaired catalog, oldest first.
    pub segments: Vec<RepairedSegment>,
    /// The files that are moved to `damaged/`.
    pub set_aside: Vec<SetAside>,
    /// Ranges of ids that no segment has and no record explains: the first and the last id.
    pub missing: Vec<(u64, u64)>,
    /// The data that cannot be restored.
    pub lost: Vec<&'static str>,
}

/// A segment of the repaired store.
#[derive(Clone, Debug, Serialize)]
pub struct RepairedSegment {
    /// Its file in the folder of the segments.
    pub file: String,
    /// The id of its first entry.
    pub first_id: u64,
    /// The number of its entries.
    pub entries: u64,
    /// Whether the old catalog named this file.
    pub known: bool,
}

/// A file that is moved to `damaged/`.
#[derive(Clone, Debug, Serialize)]
pub struct SetAside {
    /// Its name.
    pub file: String,
    pub why: String,
}

/// A segment as described by its file.
#[derive(Debug)]
struct FoundSegment {
    segment: Segment,
    known: bool,
    keys: Vec<VerifyingKey>,
    epochs: Vec<EpochSpan>,
}

impl FoundSegment {
    fn parts(&self) -> (&Segment, &[VerifyingKey], &[EpochSpan]) {
        (&self.segment, &self.keys, &self.epochs)
    }
}

impl Plan {
    /// Inspects a store that no other process writes to. Changes nothing.
    pub fn make(directory: &Directory) -> Result<Plan, StoreError> {
        let lock = directory.lock()?;
        let catalog = read_catalog(directory);
        let known = catalog.as_ref().map(|(segments, _)| segments.clone()).unwrap_or_default();
        let mut found: BTreeMap<u64, FoundSegment> = BTreeMap::new();
        let mut aside = Vec::new();
        for file in directory.databases()? {
            match look(directory, &file, &known) {
                Ok(Some(taken)) => choose(directory, &mut found, &mut aside, taken)?,
                // The file is empty.
                Ok(None) => aside.push(SetAside { file, why: "it holds no entries".into() }),
                Err(why) => aside.push(SetAside { file, why }),
            }
        }
        let taken = without_overlaps(found, &mut aside);
        let removed = catalog.as_ref().map(|(_, removed)| removed.clone()).unwrap_or_default();
        // Early versions removed the oldest segments by retention without recording it.
        let from = known.first().map_or(1, |oldest| oldest.first_id);
        let missing = missing(&taken, &removed, from);
        let directory = directory.clone();
        Ok(Plan { directory, catalog_lost: catalog.is_none(), taken, aside, missing, _lock: lock })
    }

    /// Describes the plan.
    pub fn report(&self) -> Report {
        let taken_up = |taken: &FoundSegment| RepairedSegment {
            file: taken.segment.file.clone(),
            first_id: taken.segment.first_id,
            entries: end(&taken.segment) + 1 - taken.segment.first_id,
            known: taken.known,
        };
        let lost: &[&str] = match self.catalog_lost {
            true => &[
                "verdicts that changed after an entry was stored and that its segment does not have yet: start `vidimus serve` with the same keys, and these entries are checked again",
                "how often entries were delivered after their segment was closed, and which other lines came with the same signature",
                "the bodies in quarantine",
                "the sources of keys, and when each key was seen: each key counts as seen when it verified an entry",
                "what retention removed",
                "the id of the store: a journal and an archive take it for another store",
                "which objects of a journal were skipped, which of its epochs have ended, and which of its bodies were in quarantine or dropped: how far it was read is known from the segments that are left",
                "what is in the archive: it is archived again, under the new id",
                "the cursors of outputs: each waits until `vidimus output reset NAME` says where it goes on",
            ],
            false => &[],
        };
        Report {
            catalog_lost: self.catalog_lost,
            segments: self.taken.iter().map(taken_up).collect(),
            set_aside: self.aside.clone(),
            missing: self.missing.iter().map(|ids| (*ids.start(), *ids.end())).collect(),
            lost: lost.to_vec(),
        }
    }

    /// Whether the catalog is right and nothing has to be done.
    pub fn is_sound(&self) -> bool {
        !self.catalog_lost
            && self.aside.is_empty()
            && self.taken.iter().all(|taken| taken.known)
            && self.missing.is_empty()
    }

    /// Makes the changes.
    pub fn carry_out(self) -> Result<Report, StoreError> {
        let report = self.report();
        for one in &self.aside {
            self.set_aside(&self.directory.segment(&one.file))?;
        }
        if self.catalog_lost {
            self.set_aside(&self.directory.catalog())?;
        }
        let repair = Repair {
            segments: self.taken.iter().map(FoundSegment::parts).collect(),
            missing: &self.missing,
            catalog_lost: self.catalog_lost,
            report: serde_json::to_string(&report).unwrap_or_default(),
        };
        Catalog::make(&self.directory)?.enter_repair(&repair, now())?;
        Ok(report)
    }

    /// Moves a database and its -wal and -shm files to `damaged/`.
    fn set_aside(&self, database: &Path) -> Result<(), StoreError> {
        let folder = self.directory.path().join(DAMAGED);
        create_folder(&folder)?;
        let name = database.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_free = |number: &u32| {
            let to = folder.join(format!("{number}-{name}"));
            !to.exists() && COMPANIONS.iter().all(|c| !companion(&to, c).exists())
        };
        let number = (1..=u32::MAX).find(is_free).unwrap_or_default();
        let to = folder.join(format!("{number}-{name}"));
        for name in [""].iter().chain(&COMPANIONS) {
            let from = companion(database, name);
            if from.exists() {
                fs::rename(&from, companion(&to, name)).doing("set aside", &from)?;
            }
        }
        sync(&folder)?;
        database.parent().map_or(Ok(()), sync)
    }
}

/// The segments that the catalog names, and the ids that it records as removed or missing; `None` if
/// it cannot be read.
type Known = (Vec<Segment>, Vec<RangeInclusive<u64>>);

fn read_catalog(directory: &Directory) -> Option<Known> {
    if !directory.has_catalog() {
        return None;
    }
    let read = || -> Result<Known, StoreError> {
        // Opening it for writing applies its -wal file and migrates it to the newest version.
        let catalog = Catalog::make(directory)?;
        if !catalog.quick_check()?.is_empty() {
            return Err(StoreError::Foreign(catalog.path().to_owned()));
        }
        Ok((catalog.segments()?, catalog.known_gone()?))
    };
    read().inspect_err(|error| tracing::warn!(%error, "the catalog cannot be used")).ok()
}

/// Reads a file; `None` if it is empty, or the reason why it cannot be used.
fn look(
    directory: &Directory,
    file: &str,
    known: &[Segment],
) -> Result<Option<FoundSegment>, String> {
    let path = directory.segment(file);
    if !path.exists() {
        return Err("only its -wal file is left".into());
    }
    let read = || -> Result<Option<FoundSegment>, StoreError> {
        if contents::is_empty(&path)? {
            return Ok(None);
        }
        let database = contents::open(&path)?;
        let sound: Vec<String> = database
            .prepare("PRAGMA quick_check(1)")
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect())
            .doing("check", &path)?;
        if sound.first().is_none_or(|first| first != "ok") {
            let source = std::io::Error::other(sound.join("; "));
            return Err(StoreError::Io { path: path.clone(), doing: "check", source });
        }
        let mut taken = taken(&database, file).doing("read", &path)?;
        let (first, last) = (taken.segment.first_id, end(&taken.segment));
        if !contents::is_dense(&path, first, last)? {
            let source = std::io::Error::other("lines are missing");
            return Err(StoreError::Io { path: path.clone(), doing: "read every line", source });
        }
        let named = known.iter().find(|segment| segment.file == file);
        taken.known = named.is_some();
        if is_sealed(&database).doing("read", &path)? && !file_name::is_temporary(file) {
            // The recorded values stay, so that a file that changed later does not pass as sound.
            let recorded = named.and_then(|segment| segment.sealed.clone());
            taken.segment.sealed = match recorded {
                Some(recorded) => Some(recorded),
                None => Some(contents::hash(&path)?),
            };
            taken.segment.state = State::Sealed;
        }
        Ok(Some(taken))
    };
    read().map_err(|error| error.to_string())
}

fn taken(database: &Database, file: &str) -> rusqlite::Result<FoundSegment> {
    let (first_id, first_delivery, created_at) = database.query_row(
        "SELECT first_id, first_delivery, created_at FROM segment",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, Millis::saturating(row.get(2)?))),
    )?;
    let keys = database
        .prepare("SELECT thumbprint, kid, public FROM keys")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let segment = Segment {
        first_id,
        first_delivery,
        state: State::Closed,
        file: file.to_owned(),
        created_at,
        closed: Some(Closed::of(database, database.version())?),
        sealed: None,
    };
    let epochs = origins::spans(database)?;
    Ok(FoundSegment { segment, known: false, keys, epochs })
}

/// Whether a segment has the filter that sealing adds, and no -wal file.
fn is_sealed(database: &Connection) -> rusqlite::Result<bool> {
    let mode: String = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    Ok(mode == "delete" && database.table_exists(None, "filter")?)
}

/// Chooses between two files of the same segment: the one that has all entries of the other. If they
/// have the same entries, the one that the catalog names.
fn choose(
    directory: &Directory,
    found: &mut BTreeMap<u64, FoundSegment>,
    aside: &mut Vec<SetAside>,
    taken: FoundSegment,
) -> Result<(), StoreError> {
    let first_id = taken.segment.first_id;
    let Some(other) = found.remove(&first_id) else {
        found.insert(first_id, taken);
        return Ok(());
    };
    let rank = |one: &FoundSegment| {
        let segment = &one.segment;
        let whole = !file_name::is_temporary(&segment.file);
        (end(segment), whole, one.known, segment.sealed.is_some(), segment.file.clone())
    };
    let (better, other) = if rank(&taken) > rank(&other) { (taken, other) } else { (other, taken) };
    let path = |one: &FoundSegment| directory.segment(&one.segment.file);
    let why = match contents::has_all(&path(&better), &path(&other))? {
        true => format!("{} has all its entries", better.segment.file),
        false => format!("{} has the same ids with other lines", better.segment.file),
    };
    aside.push(SetAside { file: other.segment.file, why });
    found.insert(first_id, better);
    Ok(())
}

/// The segments, oldest first. If two have common ids, only the one with more entries stays.
fn without_overlaps(
    found: BTreeMap<u64, FoundSegment>,
    aside: &mut Vec<SetAside>,
) -> Vec<FoundSegment> {
    let mut taken: Vec<FoundSegment> = Vec::new();
    for next in found.into_values() {
        let overlaps = taken.last().is_some_and(|last| end(&last.segment) >= next.segment.first_id);
        match taken.pop_if(|_| overlaps) {
            None => taken.push(next),
            Some(last) => {
                let entries = |one: &FoundSegment| end(&one.segment) + 1 - one.segment.first_id;
                let (stays, goes) =
                    if entries(&next) > entries(&last) { (next, last) } else { (last, next) };
                let why = format!("{} has entries with the same ids", stays.segment.file);
                aside.push(SetAside { file: goes.segment.file, why });
                taken.push(stays);
            }
        }
    }
    taken
}

/// The ranges of ids from `from` to the last entry that no segment has and that were not removed.
fn missing(
    taken: &[FoundSegment],
    removed: &[RangeInclusive<u64>],
    from: u64,
) -> Vec<RangeInclusive<u64>> {
    let mut missing = Vec::new();
    let mut next = from;
    for FoundSegment { segment, .. } in taken {
        while next < segment.first_id {
            let gone = removed.iter().find(|range| range.contains(&next));
            if let Some(range) = gone {
                next = range.end().saturating_add(1);
                continue;
            }
            let later = removed.iter().map(|range| *range.start()).filter(|start| *start > next);
            let end = later.min().unwrap_or(segment.first_id).min(segment.first_id);
            missing.push(next..=end - 1);
            next = end;
        }
        next = end(segment) + 1;
    }
    missing
}

fn end(segment: &Segment) -> u64 {
    segment.closed.as_ref().map_or(segment.first_id, |closed| closed.last_id)
}
