//! Reading beside a process that writes, and without one.
//!
//! A reader takes no lock. It asks the catalog what there is, and opens the files that it names. A
//! file that is gone when it is opened was sealed or given up by retention meanwhile: then the
//! catalog is asked again. Snapshots are short, for a long one lets the writer's log grow.
//!
//! What became of an entry later stands in the catalog. What it says of a segment and the name of
//! the segment's file are read in one snapshot of the catalog, so that they belong together.

pub mod counts;
mod damaged;
mod extension_names;
pub(in crate::store) mod follow;
mod lines;
mod merge;
pub(in crate::store) mod newest;
pub(in crate::store) mod outputs;
pub(in crate::store) mod page;
pub(in crate::store) mod provenance;
pub(in crate::store) mod query;
pub(in crate::store) mod records;
pub(in crate::store) mod stats;
pub(in crate::store) mod usage;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::damaged::LeftOut;
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::Overlay;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::interrupt::Interrupt;
use crate::store::schema::Schema;
use crate::store::segment::{self, condition};
use crate::store::sqlite::{self, Access, Database};

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
    idle: Mutex<Idle>,
}

/// Connections that are open and not used, those used last at the end.
#[derive(Debug, Default)]
struct Idle {
    /// To the catalog: as many as were used at once.
    catalogs: Vec<Catalog>,
    /// To segments and the file of refused requests.
    databases: Vec<Database>,
}

/// The most connections to segments that are kept open while they are not used.
const IDLE: usize = 32;

/// How often the catalog is asked for a file that is gone before it is taken for lost.
const ATTEMPTS: usize = 100;

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
        let shared = Shared { directory: directory.clone(), idle: Mutex::default() };
        let reader = Reader { shared: Arc::new(shared), interrupt: None, left_out: None };
        reader.catalog(|_| Ok(()))?;
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
    pub(in crate::store) fn leaves_out(&self, first_id: u64) -> bool {
        self.left_out.as_ref().is_some_and(|left_out| left_out.contains(first_id))
    }

    /// The directory.
    pub(in crate::store) fn directory(&self) -> &Directory {
        &self.shared.directory
    }

    /// Reads from the catalog, in one snapshot.
    pub(in crate::store) fn catalog<T>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle().catalogs.pop();
        let mut catalog = match idle {
            Some(catalog) => catalog,
            None => Catalog::open_read_only(self.directory())?,
        };
        catalog.set_interrupt(self.interrupt.clone())?;
        let done = catalog.snapshot(work);
        if is_sound(&done) && catalog.path().exists() {
            self.idle().catalogs.push(catalog);
        }
        done
    }

    /// Reads from the segment that begins with `first_id`; `None` if it is there no more, or is left
    /// out.
    ///
    /// First `gather` reads what was learned of its entries later, then `work` reads the segment
    /// itself, each in one snapshot. Both are called again when the file was sealed in between.
    pub(in crate::store) fn visit<G, T>(
        &self,
        first_id: u64,
        gather: impl Fn(&Overlay<'_>, &Segment) -> rusqlite::Result<G>,
        work: impl Fn(&Database, &Segment, G) -> rusqlite::Result<T>,
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
            let found = self.catalog(|catalog| {
                let Some(segment) = catalog.segment(first_id)? else { return Ok(None) };
                let gathered = gather(&catalog.overlay(), &segment);
                let gathered = gathered.doing("read what was learned later", catalog.path())?;
                Ok(Some((segment, gathered)))
            })?;
            let Some((segment, gathered)) = found else { return Ok(None) };
            path = self.directory().segment(&segment.file);
            let access = segment.access();
            let done = self.snapshot(&path, &segment::SCHEMA, access, |database| {
                work(database, &segment, gathered).doing("read", database.path())
            });
            match done {
                // An unsealed segment may lose its log before it was opened, but not its file.
                Ok(done) if segment.is_sealed() || path.exists() => return Ok(Some(done)),
                Err(error) if path.exists() => return left_out(error),
                Err(error @ (StoreError::TimedOut | StoreError::Cancelled)) => return Err(error),
                _ => {}
            }
        }
        Err(std::io::Error::from(std::io::ErrorKind::NotFound))
            .doing("find a segment that the catalog names", &path)
            .or_else(left_out)
    }

    /// Reads from the segment that begins with `first_id`, and from it alone.
    pub(in crate::store) fn read_segment<T>(
        &self,
        first_id: u64,
        work: impl Fn(&Database) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.visit(first_id, |_, _| Ok(()), |segment, _, ()| work(segment))
    }

    /// The segments, oldest first. Their times cover those of entries that changed.
    pub(in crate::store) fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        self.catalog(|catalog| {
            let mut segments = catalog.segments()?;
            for segment in &mut segments {
                let ids = segment.first_id..=segment.end();
                let Some(closed) = &mut segment.closed else { continue };
                let changed = catalog.overlay().times(&ids);
                let changed = changed.doing("read what was learned later", catalog.path())?;
                closed.time = match (closed.time, changed) {
                    (Some(one), Some(other)) => Some((one.0.min(other.0), one.1.max(other.1))),
                    (time, _) => time,
                };
            }
            Ok(segments)
        })
    }

    /// The segment that may have the entry `id`, by its first id.
    pub(in crate::store) fn segment_of(&self, id: u64) -> Result<Option<u64>, StoreError> {
        self.catalog(|catalog| catalog.segment_of(id))
    }

    /// The greatest id that there is, 0 if there is none.
    pub(in crate::store) fn greatest_id(&self) -> Result<u64, StoreError> {
        let newest = self.catalog(|catalog| catalog.newest())?;
        let Some(first_id) = newest else { return Ok(0) };
        let greatest = self.visit(
            first_id,
            |_, _| Ok(()),
            |database, segment, ()| match &segment.closed {
                Some(closed) => Ok(Some(closed.last_id)),
                None => database
                    .prepare_cached("SELECT max(id) FROM entries")?
                    .query_row([], |row| row.get(0)),
            },
        )?;
        Ok(greatest.flatten().unwrap_or(first_id.saturating_sub(1)))
    }

    /// Reads from a database in one snapshot.
    pub(in crate::store) fn snapshot<T>(
        &self,
        path: &Path,
        schema: &Schema,
        access: Access,
        work: impl FnOnce(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut database = self.take(path, schema, access)?;
        database.set_interrupt(self.interrupt.clone())?;
        let done = database.snapshot(|| work(&database));
        if is_sound(&done) {
            self.give_back(database);
        }
        done
    }

    fn take(&self, path: &Path, schema: &Schema, access: Access) -> Result<Database, StoreError> {
        let mut idle = self.idle();
        if let Some(at) = idle.databases.iter().rposition(|one| one.path() == path) {
            return Ok(idle.databases.remove(at));
        }
        drop(idle);
        let database = sqlite::open_read_only(path, schema, access)?;
        condition::register(&database).doing("add functions to", path)?;
        Ok(database)
    }

    fn give_back(&self, database: Database) {
        // An open file that was removed would still take its room on the disk.
        if !database.path().exists() {
            return;
        }
        let mut idle = self.idle();
        idle.databases.push(database);
        if idle.databases.len() > IDLE {
            drop(idle.databases.remove(0));
        }
    }

    /// Closes idle connections to files that were removed.
    pub(in crate::store) fn close_removed(&self) {
        self.idle().databases.retain(|one| one.path().exists());
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a connection can be used again after this.
fn is_sound<T>(done: &Result<T, StoreError>) -> bool {
    matches!(done, Ok(_) | Err(StoreError::TimedOut | StoreError::Cancelled))
}
