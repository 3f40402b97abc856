//! Sealing: a closed segment becomes a file that is indexed and never changes again.
//!
//! A new file is written beside the old one, under a temporary name, and gets its final name, which
//! never existed before, when it is on the disk and every line of the old file was read in it. Then
//! the catalog is switched, and only then the old file is removed. (A database put in the place of another while its old `-wal`
//! remains loses rows in silence.) What was learned later about the entries is merged on the way, so
//! a sealed segment of which much has changed is written anew by the same steps.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use ring::digest;
use rusqlite::{Connection, OpenFlags};

use super::catalog::{Catalog, Closed, Segment, State, file_name};
use super::directory::{Directory, create_private, remove_database, sync};
use super::error::SqliteContext;
use super::older::Fingerprints;
use super::schema::{SEALED, SEGMENT};
use super::sqlite::{self, Access};
use super::{StoreError, copies, overlay, redeliveries, row, signed, whole};
use crate::ingest::Fingerprint;

/// Seals a segment that takes no more appends, or writes a sealed one anew.
pub(super) fn seal(
    directory: &Directory,
    catalog: &mut Catalog,
    segment: &Segment,
) -> Result<(), StoreError> {
    let Some(before) = &segment.closed else { return Ok(()) };
    let old = directory.segment(&segment.file);
    let temporary = directory.segment(&file_name::temporary(segment.first_id));
    if temporary.exists() {
        // An attempt before that failed left it; what it was made from has to be whole.
        if !copies::is_dense(&old, segment.first_id, before.last_id)? {
            return Err(StoreError::BadCopy { from: old, to: temporary });
        }
        remove_database(&temporary)?;
    }

    let merged = redeliveries::of(&catalog.connection, segment.first_id, before.last_id)
        .doing("read the counts of deliveries", &catalog.path)?;
    // A copy that failed is removed: what it was made from was just read, and stays.
    let closed = copy(&old, &temporary, segment.state)
        .and_then(|()| finish(&temporary, catalog, segment, before, &merged))
        .inspect_err(|_| drop(remove_database(&temporary)))?;
    sync(&temporary)?;
    if !copies::has_all(&temporary, &old)? {
        return Err(StoreError::BadCopy { from: old, to: temporary });
    }
    let (bytes, sha256) = hash(&temporary)?;
    let (file, path) = unused(directory, segment);
    fs::rename(&temporary, &path).doing("rename", &temporary)?;
    sync(&directory.segments())?;

    switch(catalog, segment, &closed, (&file, bytes, &sha256), &merged)?;
    // Every entry of it was read in the new file, which is on the disk.
    remove_database(&old)?;
    tracing::debug!(segment = segment.first_id, bytes, "sealed");
    Ok(())
}

/// A name for the sealed file that no file has.
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
fn copy(old: &Path, new: &Path, state: State) -> Result<(), StoreError> {
    create_private(new)?;
    let access = if state == State::Sealed { Access::Immutable } else { Access::Shared };
    let source = sqlite::open_read_only(old, &SEGMENT, access)?;
    source.execute("VACUUM INTO ?1", [new.to_string_lossy()]).map(drop).doing("copy", old)
}

/// Merges what was learned later, and builds indexes, summaries and the filter.
fn finish(
    path: &Path,
    catalog: &Catalog,
    segment: &Segment,
    before: &Closed,
    merged: &BTreeMap<u64, u64>,
) -> Result<Closed, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let migrated = || -> Result<Connection, StoreError> {
        let connection = Connection::open_with_flags(path, flags).doing("open", path)?;
        // Nobody sees the file before it is whole: if this is cut short, it starts again.
        connection
            .execute_batch(
                "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY;",
            )
            .doing("write", path)?;
        // Whatever version the old file is of, the new one is of the newest.
        sqlite::migrate(&connection, path, &SEGMENT)?;
        signed::record(&connection).doing("record what is signed", path)?;
        Ok(connection)
    };
    let mut connection = migrated()?;
    let run = || -> rusqlite::Result<Closed> {
        let transaction = connection.transaction()?;
        whole::cut(&transaction)?;
        row::merge(&catalog.connection, &transaction, segment.first_id, before.last_id)?;
        for (entry, count) in merged {
            transaction
                .prepare_cached(
                    "UPDATE entries SET delivery_count = delivery_count + ?2 WHERE id = ?1",
                )?
                .execute((entry, count))?;
        }
        transaction.execute_batch(SEALED)?;
        if let Some(filter) = filter(&transaction)? {
            filter.store(&transaction)?;
        }
        transaction.commit()?;
        let closed = Closed::of(&connection)?;
        connection.execute_batch("PRAGMA journal_mode = DELETE")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(closed)
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

/// The size of a file, and its SHA-256 in hexadecimal.
pub(super) fn hash(path: &Path) -> Result<(u64, String), StoreError> {
    let run = || -> std::io::Result<(u64, String)> {
        let mut file = File::open(path)?;
        let mut context = digest::Context::new(&digest::SHA256);
        let (mut buffer, mut bytes) = (vec![0; 1 << 16], 0);
        loop {
            let read = file.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            bytes += read as u64;
            context.update(buffer.get(..read).unwrap_or_default());
        }
        let hex = context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok((bytes, hex))
    };
    run().doing("hash", path)
}

/// Makes the new file the segment's, and forgets what was merged into it.
fn switch(
    catalog: &mut Catalog,
    segment: &Segment,
    closed: &Closed,
    (file, bytes, sha256): (&str, u64, &str),
    merged: &BTreeMap<u64, u64>,
) -> Result<(), StoreError> {
    let Catalog { connection, path } = catalog;
    let mut run = || {
        let transaction = connection.transaction()?;
        super::catalog::close(&transaction, segment.first_id, closed)?;
        transaction.execute(
            "UPDATE segments SET state = 'sealed', file = ?2, bytes = ?3, sha256 = ?4
             WHERE first_id = ?1",
            (segment.first_id, file, bytes, sha256),
        )?;
        overlay::forget(&transaction, segment.first_id, closed.last_id)?;
        redeliveries::subtract(&transaction, merged)?;
        transaction.commit()
    };
    run().doing("enter the sealed segment", path)
}
