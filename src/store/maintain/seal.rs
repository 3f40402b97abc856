//! Sealing: a closed segment becomes an indexed file that never changes again.
//!
//! A new file is written next to the old one, under a temporary name. When it is on disk and every
//! line of the old file was found in it, it gets its final name, which no file had before. Then the
//! catalog is switched, and only then the old file is deleted. (A database that replaces another
//! one while the old `-wal` remains silently loses rows.) The overlay of the entries is merged into
//! the new file. A sealed segment with many changes is rewritten by the same steps.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::ingest::Fingerprint;
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::Merged;
use crate::store::catalog::segments::Segment;
use crate::store::directory::{Directory, create_private, remove_database, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::{self, Closed, SEALED, contents, file_name};
use crate::store::sqlite;
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
    if path.exists() {
        // An earlier attempt failed and left it. Its source must be complete.
        if !contents::is_dense(&old, segment.first_id, before.last_id)? {
            return Err(StoreError::BadCopy { from: old, to: path });
        }
        remove_database(&path)?;
    }
    // A failed copy is deleted. Its source was just read, and stays.
    let (closed, merged) = copy(directory, segment, &path)
        .and_then(|()| finish(&path, catalog, segment, before))
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

/// Copies a segment into a new file.
fn copy(directory: &Directory, segment: &Segment, new: &Path) -> Result<(), StoreError> {
    create_private(new)?;
    let source = segment.open(directory)?;
    source.execute("VACUUM INTO ?1", [new.to_string_lossy()]).map(drop).doing("copy", source.path())
}

/// Merges the overlay, and builds the indexes, the summaries and the filter.
fn finish(
    path: &Path,
    catalog: &Catalog,
    segment: &Segment,
    before: &Closed,
) -> Result<(Closed, Merged), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let migrated = || -> Result<Connection, StoreError> {
        let connection = Connection::open_with_flags(path, flags).doing("open", path)?;
        // Nobody uses the file before it is complete. If this is interrupted, it starts again.
        connection
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;",
            )
            .doing("write", path)?;
        // The new file has the newest version.
        sqlite::migrate(&connection, path, &segment::SCHEMA)?;
        Ok(connection)
    };
    let mut connection = migrated()?;
    let (first, last) = (segment.first_id, before.last_id);
    let run = || -> rusqlite::Result<(Closed, Merged)> {
        let transaction = connection.transaction()?;
        let merged = catalog.overlay().merge_into(&transaction, first..=last)?;
        transaction.execute_batch(SEALED)?;
        if let Some(filter) = filter(&transaction)? {
            filter.store(&transaction)?;
        }
        transaction.commit()?;
        let closed = Closed::of(&connection)?;
        connection.execute_batch("PRAGMA journal_mode = DELETE")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok((closed, merged))
    };
    run().doing("build the indexes", path)
}

fn filter(connection: &Connection) -> rusqlite::Result<Option<Fingerprints>> {
    let fingerprints = connection
        .prepare(
            "SELECT fingerprint FROM entries
             UNION ALL SELECT signed FROM entries WHERE signed IS NOT NULL",
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
        let live = Live::create(&directory, 1, 1, Millis::MIN).unwrap();
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
        let next = Live::create(&directory, 4, 2, Millis::MIN).unwrap();
        catalog.rotate(Some((1, &closed)), &next.segment, None).unwrap();
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
