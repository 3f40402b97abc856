//! Reading beside a process that writes, and without one.
//!
//! A reader takes no lock. It asks the catalog what there is, and opens the files that it names. A
//! file that is gone when it is opened was sealed or given up by retention meanwhile: then the
//! catalog is asked again. Snapshots are short, for a long one lets the writer's log grow.
//!
//! What became of an entry later stands in the catalog. What it says of a segment and the name of
//! the segment's file are read in one snapshot of the catalog, so that they belong together.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};

use super::StoreError;
use super::catalog::{State, state};
use super::damaged::LeftOut;
use super::directory::Directory;
use super::error::SqliteContext;
use super::filter;
use super::interrupt::{Interrupt, STEPS};
use super::schema::{CATALOG, SEGMENT, Schema};
use super::sqlite::{self, Access, Database};

/// Reads a store. It may be shared by threads.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    /// Ends what it is asked.
    interrupt: Option<Arc<Interrupt>>,
    /// Segments that cannot be read; without it that is an error.
    left_out: Option<LeftOut>,
}

#[derive(Debug)]
struct Shared {
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
    pub(super) first_delivery: u64,
    /// `None` while it takes appends.
    pub(super) last_delivery: Option<u64>,
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
        let shared = Shared { directory: directory.clone(), idle: Mutex::new(Vec::new()) };
        let reader = Reader { shared: Arc::new(shared), interrupt: None, left_out: None };
        reader.catalog("read", |_| Ok(()))?;
        Ok(reader)
    }

    /// The same, for questions that `interrupt` ends: then the answer is
    /// [`StoreError::TimedOut`] or [`StoreError::Cancelled`].
    pub fn until(&self, interrupt: Arc<Interrupt>) -> Reader {
        Reader { shared: Arc::clone(&self.shared), interrupt: Some(interrupt), left_out: None }
    }

    /// The same, which leaves out segments that are damaged or missing: see
    /// [`left_out`](Reader::left_out).
    pub fn leaving_out_damaged(self) -> Reader {
        Reader { left_out: Some(LeftOut::default()), ..self }
    }

    /// What is wrong with each segment that was left out so far.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.as_ref().map_or_else(Vec::new, LeftOut::reasons)
    }

    /// Whether the segment that begins with `first_id` was left out.
    pub(super) fn leaves_out(&self, first_id: u64) -> bool {
        self.left_out.as_ref().is_some_and(|left_out| left_out.contains(first_id))
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Reads from the catalog, in one snapshot.
    pub(super) fn catalog<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let path = self.shared.directory.catalog();
        self.snapshot(&path, &CATALOG, Access::Shared, doing, work)
    }

    /// Reads from the segment that begins with `first_id`; `None` if it is there no more, or is left
    /// out.
    ///
    /// First `gather` reads what the catalog says of it, then `work` reads the segment itself, each
    /// in one snapshot. Both are called again when the file was sealed in between.
    pub(super) fn visit<G, T>(
        &self,
        first_id: u64,
        gather: impl Fn(&Database, &Place) -> rusqlite::Result<G>,
        work: impl Fn(&Database, &Place, G) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        if self.leaves_out(first_id) {
            return Ok(None);
        }
        let left_out = |error| match &self.left_out {
            Some(left_out) => left_out.add(first_id, error).map(|()| None),
            None => Err(error),
        };
        let mut path = PathBuf::new();
        for _ in 0..ATTEMPTS {
            let found = self.catalog("find a segment", |catalog| {
                let Some(place) = place(catalog, first_id)? else { return Ok(None) };
                let gathered = gather(catalog, &place)?;
                Ok(Some((place, gathered)))
            })?;
            let Some((place, gathered)) = found else { return Ok(None) };
            path = self.shared.directory.segment(&place.file);
            let access = if place.is_sealed() { Access::Immutable } else { Access::Shared };
            let done = self.snapshot(&path, &SEGMENT, access, "read", |connection| {
                work(connection, &place, gathered)
            });
            match done {
                // An unsealed segment may lose its log before it was opened, but not its file.
                Ok(done) if place.is_sealed() || path.exists() => return Ok(Some(done)),
                Err(error) if path.exists() => return left_out(error),
                Err(error @ (StoreError::TimedOut | StoreError::Cancelled)) => return Err(error),
                _ => {}
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
            .doing("find a segment that the catalog names", &path)
            .or_else(left_out)
    }

    /// The segments, oldest first.
    pub(super) fn places(&self) -> Result<Vec<Place>, StoreError> {
        self.catalog("list the segments", |connection| {
            // A verdict that changed late may bring another time with it.
            let sql = "
                SELECT first_id, last_id, first_delivery, last_delivery, state, file,
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
        if let Some(interrupt) = &self.interrupt {
            interrupt.check()?;
        }
        let mut connection = self.take(path, schema, access)?;
        if let Some(interrupt) = &self.interrupt {
            let interrupt = Arc::clone(interrupt);
            let look = Some(move || interrupt.is_over());
            connection.progress_handler(STEPS, look).doing(doing, path)?;
        }
        let run = || {
            let _snapshot = connection.unchecked_transaction()?;
            work(&connection)
        };
        let done = run();
        if let Some(interrupt) = &self.interrupt {
            connection.progress_handler(0, None::<fn() -> bool>).doing(doing, path)?;
            if done.as_ref().is_err_and(is_interrupted) {
                self.give_back(path, connection);
                interrupt.check()?;
                return Err(StoreError::Cancelled);
            }
        }
        let done = done.doing(doing, path)?;
        self.give_back(path, connection);
        Ok(done)
    }

    fn take(&self, path: &Path, schema: &Schema, access: Access) -> Result<Database, StoreError> {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((path.to_owned(), connection));
        if idle.len() > IDLE {
            drop(idle.remove(0));
        }
    }

    /// Closes idle connections to files that were removed.
    pub(super) fn close_removed(&self) {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(path, _)| path.exists());
    }
}

fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

fn place(catalog: &Connection, first_id: u64) -> rusqlite::Result<Option<Place>> {
    catalog
        .prepare_cached(
            "SELECT first_id, last_id, first_delivery, last_delivery, state, file, min_time, max_time
             FROM segments
             WHERE first_id = ?1 AND state <> 'dropped'",
        )?
        .query_row([first_id], read_place)
        .optional()
}

fn read_place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let time: (Option<i64>, Option<i64>) = (row.get(6)?, row.get(7)?);
    Ok(Place {
        first_id: row.get(0)?,
        last_id: row.get(1)?,
        first_delivery: row.get(2)?,
        last_delivery: row.get(3)?,
        state: state(row, 4)?,
        file: row.get(5)?,
        time: time.0.zip(time.1),
    })
}
