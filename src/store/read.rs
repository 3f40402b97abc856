//! Reading beside a process that writes, and without one.
//!
//! A reader takes no lock. It asks the catalog what there is, and opens the files that it names. A
//! file that is gone when it is opened was sealed or given up by retention meanwhile: then the
//! catalog is asked again. Snapshots are short, for a long one lets the writer's log grow.
//!
//! What became of an entry later stands in the catalog. What it says of a segment and the name of
//! the segment's file are read in one snapshot of the catalog, so that they belong together.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row};

use super::StoreError;
use super::catalog::{State, state};
use super::directory::Directory;
use super::error::SqliteContext;
use super::filter;
use super::schema::{CATALOG, SEGMENT, Schema};
use super::sqlite::{self, Access, Database};

/// Reads a store. It may be shared by threads.
#[derive(Debug)]
pub struct Reader {
    directory: Directory,
    idle: Mutex<Vec<(PathBuf, Database)>>,
}

/// The most connections that are kept open while they are not used. Those used last are kept.
const IDLE: usize = 32;

/// How often the catalog is asked for a file that is gone before it is taken for lost.
const ATTEMPTS: usize = 100;

/// A segment, as far as reading needs it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) first_id: u64,
    /// `None` while it takes appends.
    pub(super) last_id: Option<u64>,
    pub(super) state: State,
    pub(super) file: String,
    /// The least and the greatest time of its entries, once it takes no more.
    pub(super) time: Option<(i64, i64)>,
}

impl Place {
    /// The greatest id that it may have.
    pub(super) fn end(&self) -> u64 {
        self.last_id.unwrap_or(MAX_ID)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.state == State::Sealed
    }
}

/// The greatest id that SQLite can hold.
pub(super) const MAX_ID: u64 = i64::MAX as u64;

impl Reader {
    /// Opens the store in `directory`.
    pub fn open(directory: &Directory) -> Result<Reader, StoreError> {
        if !directory.catalog().exists() {
            let what = "holds no store, for there is no catalog.db; is it the right --data-dir?";
            return Err(StoreError::Directory {
                path: directory.path().to_owned(),
                what: what.into(),
            });
        }
        let reader = Reader { directory: directory.clone(), idle: Mutex::new(Vec::new()) };
        reader.catalog("read", |_| Ok(()))?;
        Ok(reader)
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Reads from the catalog, in one snapshot.
    pub(super) fn catalog<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.directory.catalog();
        self.snapshot(&path, &CATALOG, Access::Shared, doing, work)
    }

    /// Reads from the segment that begins with `first_id`; `None` if it is there no more.
    ///
    /// First `gather` reads what the catalog says of it, then `work` reads the segment itself, each
    /// in one snapshot. Both are called again when the file was sealed in between.
    pub(super) fn visit<G, T>(
        &self,
        first_id: u64,
        gather: impl Fn(&Database, &Place) -> rusqlite::Result<G>,
        work: impl Fn(&Database, &Place, G) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        let mut path = PathBuf::new();
        for _ in 0..ATTEMPTS {
            let found = self.catalog("find a segment", |catalog| {
                let Some(place) = place(catalog, first_id)? else { return Ok(None) };
                let gathered = gather(catalog, &place)?;
                Ok(Some((place, gathered)))
            })?;
            let Some((place, gathered)) = found else { return Ok(None) };
            path = self.directory.segment(&place.file);
            let access = if place.is_sealed() { Access::Immutable } else { Access::Shared };
            let done = self.snapshot(&path, &SEGMENT, access, "read", |connection| {
                work(connection, &place, gathered)
            });
            match done {
                // An unsealed segment may lose its log before it was opened, but not its file.
                Ok(done) if place.is_sealed() || path.exists() => return Ok(Some(done)),
                Err(error) if path.exists() => return Err(error),
                _ => {}
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
            .doing("find a segment that the catalog names", &path)
    }

    /// The segments, oldest first.
    pub(super) fn places(&self) -> Result<Vec<Place>, StoreError> {
        self.catalog("list the segments", |connection| {
            // A verdict that changed late may bring another time with it.
            let sql = "
                SELECT first_id, last_id, state, file,
                       min(min_time, coalesce((SELECT min(time) FROM entries WHERE id BETWEEN
                           first_id AND last_id), min_time)),
                       max(max_time, coalesce((SELECT max(time) FROM entries WHERE id BETWEEN
                           first_id AND last_id), max_time))
                FROM segments WHERE state <> 'dropped' ORDER BY first_id";
            connection.prepare_cached(sql)?.query_map([], read_place)?.collect()
        })
    }

    /// The greatest id that there is, 0 if there is none.
    pub(super) fn greatest_id(&self) -> Result<u64, StoreError> {
        let newest = self.catalog("find the newest segment", |connection| {
            let sql = "SELECT max(first_id) FROM segments WHERE state <> 'dropped'";
            connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, Option<u64>>(0))
        })?;
        let Some(first_id) = newest else { return Ok(0) };
        let greatest = self.visit(
            first_id,
            |_, _| Ok(()),
            |connection, place, ()| match place.last_id {
                Some(last_id) => Ok(Some(last_id)),
                None => connection
                    .prepare_cached("SELECT max(id) FROM entries")?
                    .query_row([], |row| row.get(0)),
            },
        )?;
        Ok(greatest.flatten().unwrap_or(first_id.saturating_sub(1)))
    }

    pub(super) fn snapshot<T>(
        &self,
        path: &Path,
        schema: &Schema,
        access: Access,
        doing: &'static str,
        work: impl FnOnce(&Database) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = self.take(path, schema, access)?;
        let run = || {
            let _snapshot = connection.unchecked_transaction()?;
            work(&connection)
        };
        let done = run().doing(doing, path)?;
        self.give_back(path, connection);
        Ok(done)
    }

    fn take(&self, path: &Path, schema: &Schema, access: Access) -> Result<Database, StoreError> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = idle.iter().rposition(|(one, _)| one == path) {
            return Ok(idle.remove(at).1);
        }
        drop(idle);
        let connection = sqlite::open_read_only(path, schema, access)?;
        filter::register(&connection).doing("add functions to", path)?;
        Ok(connection)
    }

    fn give_back(&self, path: &Path, connection: Database) {
        // An open file that was removed would still take its room on the disk.
        if !path.exists() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((path.to_owned(), connection));
        if idle.len() > IDLE {
            drop(idle.remove(0));
        }
    }

    /// Closes idle connections to files that were removed.
    pub(super) fn close_removed(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(path, _)| path.exists());
    }
}

fn place(catalog: &Connection, first_id: u64) -> rusqlite::Result<Option<Place>> {
    catalog
        .prepare_cached(
            "SELECT first_id, last_id, state, file, min_time, max_time FROM segments
             WHERE first_id = ?1 AND state <> 'dropped'",
        )?
        .query_row([first_id], read_place)
        .optional()
}

fn read_place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let time: (Option<i64>, Option<i64>) = (row.get(4)?, row.get(5)?);
    Ok(Place {
        first_id: row.get(0)?,
        last_id: row.get(1)?,
        state: state(row, 2)?,
        file: row.get(3)?,
        time: time.0.zip(time.1),
    })
}
