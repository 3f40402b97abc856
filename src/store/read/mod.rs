//! Reads a store, while another process writes to it or not.
//!
//! A reader takes no lock. It reads the list of segments from the catalog and opens their files. If
//! a file no longer exists, it was sealed or deleted meanwhile, and the list is read again.
//! Snapshots are short, because the writer's log grows during a long one.
//!
//! The overlay of a segment and the name of its file are read in one snapshot of the catalog, so that
//! they match.

pub(in crate::store) mod archive;
pub mod counts;
mod coverage;
mod damaged;
mod extension_names;
pub(in crate::store) mod follow;
pub(in crate::store) mod leaves;
mod lines;
pub(in crate::store) mod listed;
pub(in crate::store) mod logged;
mod merge;
mod neighbours;
pub(in crate::store) mod newest;
pub(in crate::store) mod outputs;
pub(in crate::store) mod page;
pub(in crate::store) mod provenance;
pub(in crate::store) mod query;
pub(in crate::store) mod received;
pub(in crate::store) mod records;
pub(in crate::store) mod stats;
pub(in crate::store) mod usage;
pub(in crate::store) mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::counts::KeptCounts;
use self::damaged::LeftOut;
use self::extension_names::KeptNames;
use crate::store::catalog::Catalog;
use crate::store::catalog::overlay::Overlay;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::interrupt::Interrupt;
use crate::store::schema::Schema;
use crate::store::segment::{self, condition};
use crate::store::sqlite::{self, Access, Database};

/// Reads a store. Threads may share it.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    /// Ends its queries.
    interrupt: Option<Arc<Interrupt>>,
    /// The segments that could not be read. `None` if such a segment is an error.
    left_out: Option<LeftOut>,
}

#[derive(Debug)]
struct Shared {
    directory: Directory,
    idle: Mutex<Idle>,
    /// The maximum number of idle databases.
    most_idle: usize,
    kept: KeptCounts,
    names: KeptNames,
}

/// Open connections that are not in use, the last used at the end.
#[derive(Debug, Default)]
struct Idle {
    /// Connections to the catalog.
    catalogs: Vec<Catalog>,
    /// Connections to segments and to the file of refused requests.
    databases: Vec<Database>,
}

/// The maximum numbers of idle connections to the catalog and to other databases. It takes longer to
/// open a segment than to find an entry in it by an index. A follower reads one segment after the other.
const IDLE_CATALOGS: usize = 32;
const IDLE_DATABASES: usize = 256;
const IDLE_OF_FOLLOWER: usize = 4;

/// How often the catalog is read again before a missing file is an error.
const ATTEMPTS: usize = 100;

impl Reader {
    /// Opens the store in `directory`.
    pub fn open(directory: &Directory) -> Result<Reader, StoreError> {
        Reader::with_idle(directory, IDLE_DATABASES)
    }

    /// Opens the store in `directory`, to follow it.
    pub fn open_to_follow(directory: &Directory) -> Result<Reader, StoreError> {
        Reader::with_idle(directory, IDLE_OF_FOLLOWER)
    }

    fn with_idle(directory: &Directory, most_idle: usize) -> Result<Reader, StoreError> {
        if !directory.catalog().exists() {
            let what = "holds no store, for there is no catalog.db; is it the right --data-dir?";
            return Err(StoreError::Directory {
                path: directory.path().to_owned(),
                what: what.into(),
            });
        }
        let shared = Shared {
            directory: directory.clone(),
            idle: Mutex::default(),
            most_idle,
            kept: KeptCounts::default(),
            names: KeptNames::default(),
        };
        let reader = Reader { shared: Arc::new(shared), interrupt: None, left_out: None };
        reader.catalog(|_| Ok(()))?;
        Ok(reader)
    }

    /// A reader whose queries end with `interrupt`, with [`StoreError::TimedOut`] or
    /// [`StoreError::Cancelled`].
    pub fn until(&self, interrupt: Arc<Interrupt>) -> Reader {
        Reader { shared: Arc::clone(&self.shared), interrupt: Some(interrupt), left_out: None }
    }

    /// A reader that skips damaged and missing segments: see [`left_out`](Reader::left_out).
    pub fn leaving_out_damaged(self) -> Reader {
        Reader { left_out: Some(LeftOut::default()), ..self }
    }

    /// What is wrong with each segment that was skipped so far.
    pub fn left_out(&self) -> Vec<String> {
        self.left_out.as_ref().map_or_else(Vec::new, LeftOut::reasons)
    }

    /// Whether the segment that starts with `first_id` was skipped.
    pub(in crate::store) fn leaves_out(&self, first_id: u64) -> bool {
        self.left_out.as_ref().is_some_and(|left_out| left_out.contains(first_id))
    }

    /// The data directory.
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
            let mut idle = self.idle();
            idle.catalogs.push(catalog);
            idle.catalogs.truncate(IDLE_CATALOGS);
        }
        done
    }

    /// Reads from the segment that starts with `first_id`. `None` if it no longer exists or is
    /// skipped.
    ///
    /// First `gather` reads the overlay, then `work` reads the segment itself, each in one snapshot.
    /// Both are called again if the file was sealed in between.
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
                // The log of an unsealed segment may have been deleted before it was opened, the
                // file was not.
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

    /// Reads from the segment that starts with `first_id`, without the overlay.
    pub(in crate::store) fn read_segment<T>(
        &self,
        first_id: u64,
        work: impl Fn(&Database) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, StoreError> {
        self.visit(first_id, |_, _| Ok(()), |segment, _, ()| work(segment))
    }

    /// The segments, oldest first. Their times include those of changed entries.
    pub(in crate::store) fn segments(&self) -> Result<Vec<Segment>, StoreError> {
        let segments = self.segments_with(|_, _| Ok(()))?;
        Ok(segments.into_iter().map(|(segment, ())| segment).collect())
    }

    /// The same, each with what `gather` reads of its overlay, in one snapshot.
    pub(in crate::store) fn segments_with<T>(
        &self,
        gather: impl Fn(&Overlay<'_>, &Segment) -> rusqlite::Result<T>,
    ) -> Result<Vec<(Segment, T)>, StoreError> {
        self.close_removed();
        self.catalog(|catalog| {
            let overlay = catalog.overlay();
            let with_overlay = |mut segment: Segment| {
                let ids = segment.first_id..=segment.end();
                if let Some(closed) = &mut segment.closed {
                    closed.time = segment::union(closed.time, overlay.times(&ids)?);
                }
                let gathered = gather(&overlay, &segment)?;
                Ok((segment, gathered))
            };
            let all: rusqlite::Result<_> =
                catalog.segments()?.into_iter().map(with_overlay).collect();
            all.doing("read what was learned later", catalog.path())
        })
    }

    /// The first id of the segment that may have the entry `id`.
    pub(in crate::store) fn segment_of(&self, id: u64) -> Result<Option<u64>, StoreError> {
        // SQLite has no ids above the largest signed integer.
        if i64::try_from(id).is_err() {
            return Ok(None);
        }
        self.catalog(|catalog| catalog.segment_of(id))
    }

    /// The largest id in the store, 0 if it is empty.
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
        // A deleted file takes space on disk as long as it is open.
        if !database.path().exists() {
            return;
        }
        // The system keeps its pages, and many connections are idle.
        if database.release_memory().is_err() {
            return;
        }
        let mut idle = self.idle();
        idle.databases.push(database);
        if idle.databases.len() > self.shared.most_idle {
            drop(idle.databases.remove(0));
        }
    }

    /// Closes idle connections to deleted files.
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
