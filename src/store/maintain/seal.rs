//! Sealing: a closed segment becomes an indexed file that never changes again.
//!
//! A new file is written next to the old one, under a temporary name. When it is on disk and every
//! line of the old file was found in it, it gets its final name, which no file had before. Then the
//! catalog is switched, and only then the old file is deleted. (A database that replaces another
//! one while the old `-wal` remains silently loses rows.) The overlay of the entries is merged into
//! the new file. A sealed segment with many changes is rewritten by the same steps.
//!
//! The records of leaves are left out if the files of the log have the same: see `maintain::tiles`.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::ingest::Fingerprint;
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::Merged;
use crate::store::catalog::segments::Segment;
use crate::store::directory::{Directory, create_private, remove_database, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::SEGMENT_WITH_SPELLINGS;
use crate::store::segment::packed::{self, Packer};
use crate::store::segment::{self, Closed, contents, file_name};
use crate::store::sqlite::{self, Database};
use crate::store::tiles::Tiles;
use crate::store::write::duplicates::Fingerprints;

/// Seals a closed segment, or rewrites a sealed one. `switched` is called after the catalog lists
/// the new file and before the old one is deleted. The writer must then use the new file, or it
/// would not find duplicates.
pub(in crate::store) fn seal(
    directory: &Directory,
    catalog: &Catalog,
    segment: &Segment,
    switched: &dyn Fn(),
) -> Result<(), StoreError> {
    let Some(before) = &segment.closed else { return Ok(()) };
    let prepared = prepare(directory, catalog, segment, before)?;
    publish(directory, catalog, segment, &prepared, switched)
}

/// Whether an error is of the segment, so that others may be sealed nevertheless.
pub(in crate::store) fn is_of_segment(error: &StoreError) -> bool {
    match error {
        StoreError::Sqlite { source, .. } => {
            source.sqlite_error_code() != Some(ErrorCode::DiskFull)
        }
        StoreError::BadCopy { .. } | StoreError::Changed(_) => true,
        _ => false,
    }
}

/// A sealed file without its final name.
struct Prepared {
    path: PathBuf,
    closed: Closed,
    merged: Merged,
}

/// Writes the sealed file, and checks that it has every line of the old file.
fn prepare(
    directory: &Directory,
    catalog: &Catalog,
    segment: &Segment,
    before: &Closed,
) -> Result<Prepared, StoreError> {
    let old = directory.segment(&segment.file);
    let path = directory.segment(&file_name::temporary(segment.first_id));
    clear(&path, &old, segment.first_id..=before.last_id)?;
    // A failed copy is deleted. Its source was just read, and stays.
    let (closed, merged) = pack(directory, catalog, segment, before, &path)
        .inspect_err(|_| drop(remove_database(&path)))?;
    sync(&path)?;
    if !contents::has_all(&path, &old)? {
        return Err(StoreError::BadCopy { from: old, to: path });
    }
    Ok(Prepared { path, closed, merged })
}

/// Renames the file, switches the catalog to it, and deletes the old one.
fn publish(
    directory: &Directory,
    catalog: &Catalog,
    segment: &Segment,
    prepared: &Prepared,
    switched: &dyn Fn(),
) -> Result<(), StoreError> {
    let (bytes, sha256) = contents::hash(&prepared.path)?;
    let (file, path) = unused(directory, segment);
    fs::rename(&prepared.path, &path).doing("rename", &prepared.path)?;
    sync(&directory.segments())?;

    let Prepared { closed, merged, .. } = prepared;
    catalog.enter_sealed(segment.first_id, closed, (&file, bytes, &sha256), merged)?;
    switched();
    // Every entry of it was found in the new file, which is on disk.
    remove_database(&directory.segment(&segment.file))?;
    tracing::debug!(segment = segment.first_id, bytes, "sealed");
    Ok(())
}

/// An unused name for the sealed file.
fn unused(directory: &Directory, segment: &Segment) -> (String, PathBuf) {
    let mut generation = file_name::generation_after(&segment.file);
    loop {
        let file = file_name::sealed(segment.first_id, generation);
        let path = directory.segment(&file);
        if !path.exists() {
            return (file, path);
        }
        generation = generation.saturating_add(1);
    }
}

/// Deletes the copy that an earlier attempt left at `path`, if its source has every entry.
fn clear(path: &Path, old: &Path, ids: RangeInclusive<u64>) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    // After a repair, the copy may be all that is left of a segment.
    if path == old || !contents::is_dense(old, *ids.start(), *ids.end())? {
        return Err(StoreError::BadCopy { from: old.to_owned(), to: path.to_owned() });
    }
    remove_database(path)
}

/// Packs a segment into a new file.
fn pack(
    directory: &Directory,
    catalog: &Catalog,
    segment: &Segment,
    before: &Closed,
    path: &Path,
) -> Result<(Closed, Merged), StoreError> {
    let (old, ids) = (segment.open(directory)?, segment.first_id..=before.last_id);
    let tiles = Tiles::open(directory).ok();
    if old.version() >= SEGMENT_WITH_SPELLINGS {
        return write(path, &old, segment, catalog, (ids, tiles.as_ref()));
    }
    let copy = directory.segment(&file_name::migrated(segment.first_id));
    clear(&copy, old.path(), ids.clone())?;
    let packed = migrated(&old, &copy)
        .and_then(|copy| write(path, &copy, segment, catalog, (ids, tiles.as_ref())));
    remove_database(&copy)?;
    packed
}

/// Writes the packed file: the entries as they are shown now, their lines, the indexes, the summaries
/// and the filter.
fn write(
    path: &Path,
    old: &Database,
    segment: &Segment,
    catalog: &Catalog,
    (ids, tiles): (RangeInclusive<u64>, Option<&Tiles>),
) -> Result<(Closed, Merged), StoreError> {
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let run = || -> rusqlite::Result<(Closed, Merged)> {
        let mut new = Connection::open_with_flags(path, flags)?;
        new.set_prepared_statement_cache_capacity(64);
        // Nobody uses the file before it is complete. If this is interrupted, it starts again.
        new.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;",
        )?;
        let transaction = new.transaction()?;
        // Sealing must keep pace with the receiver. Rewriting a sealed segment need not.
        let backfills = catalog.overlay().backfills(&ids)?;
        let leaves = (tiles, backfills.as_slice());
        let mut packer = Packer::new(old, &transaction, segment.is_sealed(), leaves)?;
        packer.lines(old, *ids.start())?;
        let merged = catalog.overlay().pack(old, ids, &mut packer)?;
        packer.finish()?;
        if let Some(filter) = filter(&transaction)? {
            filter.store(&transaction)?;
        }
        transaction.commit()?;
        let closed = Closed::of(&new, packed::VERSION)?;
        new.execute_batch("PRAGMA journal_mode = DELETE")?;
        new.close().map_err(|(_, error)| error)?;
        Ok((closed, merged))
    };
    run().doing("write", path)
}

/// Version 1 lacks what a packed segment has. It is copied and brought to the newest version first.
fn migrated(old: &Database, path: &Path) -> Result<Database, StoreError> {
    create_private(path)?;
    old.execute("VACUUM INTO ?1", [path.to_string_lossy()]).doing("copy", old.path())?;
    sqlite::open(path, &segment::SCHEMA)
}

fn filter(connection: &Connection) -> rusqlite::Result<Option<Fingerprints>> {
    let fingerprints = connection
        .prepare(
            "SELECT fingerprint FROM packed
             UNION ALL SELECT signed FROM packed WHERE signed IS NOT NULL",
        )?
        .query_map([], |row| Ok(Fingerprint(row.get(0)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Fingerprints::of(fingerprints.into_iter()))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;

    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::segment::row::{self, EntryMetadata, Ids};
    use crate::store::write::live::Live;

    #[test]
    fn changes_made_while_a_file_is_written_stay() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let catalog = Catalog::open(&directory).unwrap();
        let live = Live::create(&directory, (1, 1, Some(0)), Millis::MIN).unwrap();
        catalog.rotate(None, &live.segment, None).unwrap();
        let entry = |id: u64, input: &'static str| {
            let line = Bytes::from(format!("{{\"rt\":{id}}}"));
            let examined = CheckedLine::new(&line, &KeySet::default(), 100);
            let now = Millis::saturating(5);
            let stored =
                EntryMetadata { id, received_at: now, delivery: 1, input, delivery_count: 1 };
            (examined.read(line, &ExpectedIds::default(), now), stored)
        };
        for id in 1..=3 {
            let (entry, stored) = entry(id, "first");
            assert!(row::insert(&live.connection, &entry, &stored).unwrap());
        }
        let closed = live.closed().unwrap();
        let next = Live::create(&directory, (4, 2, Some(0)), Millis::MIN).unwrap();
        catalog.rotate(Some((1, &closed, &[])), &next.segment, None).unwrap();
        drop(live);
        let learn = |catalog: &Catalog, id| {
            let (entry, stored) = entry(id, "later");
            catalog.overlay().put(&entry, &stored).unwrap();
        };
        let overlaid = |catalog: &Catalog| catalog.overlay().overlaid(&Ids::Range(0..=9)).unwrap();
        learn(&catalog, 1);
        learn(&catalog, 2);
        let segment = catalog.segments().unwrap().remove(0);
        let prepared = prepare(&directory, &catalog, &segment, &closed).unwrap();
        learn(&catalog, 2);
        learn(&catalog, 3);
        // Whoever reads the old file can go on with the new one before the old one goes.
        let (old, is_switched) = (directory.segment(&segment.file), Cell::new(false));
        let switched = || {
            let now = Catalog::open_read_only(&directory).unwrap().segments().unwrap().remove(0);
            is_switched.set(old.exists() && now.is_sealed());
        };
        publish(&directory, &catalog, &segment, &prepared, &switched).unwrap();
        assert!(is_switched.get() && !old.exists());
        assert_eq!(overlaid(&catalog), [2, 3]);
        let segment = catalog.segments().unwrap().remove(0);
        seal(&directory, &catalog, &segment, &|| ()).unwrap();
        assert!(overlaid(&catalog).is_empty());
    }
}
