//! Opens SQLite databases: settings and schema versions.
//!
//! A database with a newer schema is refused, with the version of the program that wrote it.

use std::fs::{self, DirBuilder};
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use crate::store::directory::{companion, create_private};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::interrupt::{Interrupt, STEPS};
use crate::store::schema::{Columns, Schema};

/// A database that is open, and the version of its schema.
#[derive(Debug)]
pub(in crate::store) struct Database {
    connection: Connection,
    path: PathBuf,
    version: usize,
    columns: Columns,
    interrupt: Option<Arc<Interrupt>>,
    /// Kept until the connection is closed.
    _copy: Option<PrivateCopy>,
}

impl Database {
    fn new(connection: Connection, path: &Path, schema: &Schema, version: usize) -> Database {
        let (path, columns) = (path.to_owned(), (schema.columns)(version));
        Database { connection, path, version, columns, interrupt: None, _copy: None }
    }

    /// The file.
    pub(in crate::store) fn path(&self) -> &Path {
        &self.path
    }

    /// The version of its schema.
    pub(in crate::store) fn version(&self) -> usize {
        self.version
    }

    /// The columns of its table `entries`.
    pub(in crate::store) fn columns(&self) -> Columns {
        self.columns
    }

    /// Lets `interrupt` end the queries that follow.
    pub(in crate::store) fn set_interrupt(
        &mut self,
        interrupt: Option<Arc<Interrupt>>,
    ) -> Result<(), StoreError> {
        let look = interrupt.clone().map(|interrupt| move || interrupt.is_over());
        self.connection.progress_handler(STEPS, look).doing("read", &self.path)?;
        self.interrupt = interrupt;
        Ok(())
    }

    /// Runs `work` in one snapshot of the database.
    ///
    /// # Errors
    /// [`StoreError::TimedOut`] or [`StoreError::Cancelled`] if the interrupt ended it.
    pub(in crate::store) fn snapshot<T>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let check = || self.interrupt.as_ref().map_or(Ok(()), |interrupt| interrupt.check());
        check()?;
        let run = || {
            let _snapshot = self.unchecked_transaction().doing("read", &self.path)?;
            work()
        };
        match run() {
            Err(StoreError::Sqlite { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
            {
                check()?;
                Err(StoreError::Cancelled)
            }
            done => done,
        }
    }
}

impl Deref for Database {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl DerefMut for Database {
    fn deref_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }
}

/// The largest id that SQLite can store.
pub(in crate::store) const MAX_ID: u64 = i64::MAX as u64;

/// This program's version, which every file names.
pub(in crate::store) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Opens a database for writing, and creates it if it does not exist.
pub(in crate::store) fn open(path: &Path, schema: &Schema) -> Result<Database, StoreError> {
    create_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).doing("open", path)?;
    configure(&connection).doing("open", path)?;
    // A transaction that reads before it writes fails at once while another process writes: SQLite
    // waits only where there can be no deadlock.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
             PRAGMA journal_size_limit = 67108864;",
        )
        .doing("open", path)?;
    migrate(&connection, path, schema)?;
    Ok(Database::new(connection, path, schema, schema.newest()))
}

/// How a database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Access {
    /// Another process may write to it.
    Shared,
    /// It never changes, so no locks are needed.
    Immutable,
}

/// Opens a database for reading.
///
/// On a read-only file system or in another user's folder, SQLite cannot share the log with other
/// processes. Then nobody must write to the database. It is opened as it is, or as a private copy
/// if it has a log.
pub(in crate::store) fn open_read_only(
    path: &Path,
    schema: &Schema,
    access: Access,
) -> Result<Database, StoreError> {
    match try_open_read_only(path, schema, access) {
        Err(StoreError::Sqlite { source, .. })
            if access == Access::Shared
                && matches!(
                    source.sqlite_error_code(),
                    Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
                )
                && !can_write_beside(path) =>
        {
            match PrivateCopy::of(path)? {
                None => try_open_read_only(path, schema, Access::Immutable),
                Some(copy) => {
                    let opened = try_open_read_only(&copy.database(), schema, Access::Shared);
                    opened.map(|database| Database {
                        path: path.to_owned(),
                        _copy: Some(copy),
                        ..database
                    })
                }
            }
        }
        opened => opened,
    }
}

fn can_write_beside(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(path);
    rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok()
}

/// A copy of a database and its log in a folder of its own, which is deleted on drop.
#[derive(Debug)]
struct PrivateCopy(PathBuf);

impl PrivateCopy {
    /// Copies a database that has a log; `None` if it has none.
    fn of(path: &Path) -> Result<Option<PrivateCopy>, StoreError> {
        let log = companion(path, "-wal");
        if !fs::metadata(&log).is_ok_and(|found| found.len() > 0) {
            return Ok(None);
        }
        let folder = std::env::temp_dir().join(format!("vidimus-{:032x}", fastrand::u128(..)));
        DirBuilder::new().mode(0o700).create(&folder).doing("make the directory", &folder)?;
        let copy = PrivateCopy(folder);
        for (from, name) in [(path, "copy.db"), (&log, "copy.db-wal")] {
            fs::copy(from, copy.0.join(name)).doing("copy", from)?;
        }
        Ok(Some(copy))
    }

    fn database(&self) -> PathBuf {
        self.0.join("copy.db")
    }
}

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        // The original has all that is in it.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn try_open_read_only(
    path: &Path,
    schema: &Schema,
    access: Access,
) -> Result<Database, StoreError> {
    // A path may hold any byte; in a URI three characters mean something.
    let escaped =
        path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let immutable = if access == Access::Immutable { "&immutable=1" } else { "" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection =
        Connection::open_with_flags(format!("file:{escaped}?mode=ro{immutable}"), flags)
            .doing("open", path)?;
    configure(&connection).doing("open", path)?;
    let version = check_version(&connection, path, schema)?;
    (schema.prepare)(&connection, version).doing("open", path)?;
    Ok(Database::new(connection, path, schema, version))
}

fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(64);
    // Sorting a segment's worth of keys needs a few megabytes.
    connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")
}

/// The highest number that a table with AUTOINCREMENT has given; 0 if it has given none.
pub(in crate::store) fn last_number(database: &Connection, table: &str) -> rusqlite::Result<u64> {
    let sql = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = ?1";
    database.query_row(sql, [table], |row| row.get(0))
}

/// Makes the numbers of new rows of a table with AUTOINCREMENT higher than `number`.
pub(in crate::store) fn number_after(
    connection: &Connection,
    table: &str,
    number: u64,
) -> rusqlite::Result<()> {
    let raise = "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1";
    if connection.execute(raise, (table, number))? == 0 {
        connection
            .execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)", (table, number))?;
    }
    Ok(())
}

/// The problems that SQLite finds in a file.
pub(in crate::store) fn quick_check(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let found: Vec<String> = connection
        .prepare("PRAGMA quick_check(10)")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|one| one != "ok").collect())
}

/// Brings a database to the newest version of its schema, in one transaction.
pub(in crate::store) fn migrate(
    connection: &Connection,
    path: &Path,
    schema: &Schema,
) -> Result<(), StoreError> {
    let version = check_version(connection, path, schema)?;
    if version == schema.newest() {
        return Ok(());
    }
    if schema.made_otherwise.contains(&version) {
        // Nothing is written to a file of such a version.
        return Err(StoreError::Foreign(path.to_owned()));
    }
    let run = || {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for (_, migration) in schema.versions.iter().filter(|(made, _)| *made > version) {
            connection.execute_batch(migration)?;
        }
        (schema.fill)(connection, version)?;
        connection.execute("UPDATE program SET version = ?1", [PROGRAM])?;
        connection.pragma_update(None, "application_id", schema.application_id)?;
        connection.pragma_update(None, "user_version", schema.newest() as i64)?;
        connection.execute_batch("COMMIT")
    };
    run().inspect_err(|_| drop(connection.execute_batch("ROLLBACK"))).doing("make the schema", path)
}

/// The version of the schema, 0 if the database is empty.
fn check_version(
    connection: &Connection,
    path: &Path,
    schema: &Schema,
) -> Result<usize, StoreError> {
    let pragma = |name: &str| -> rusqlite::Result<i64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let version = pragma("user_version").doing("read", path)?;
    let id = pragma("application_id").doing("read", path)?;
    let known = schema.known() as i64;
    if version != 0 && id != i64::from(schema.application_id) {
        return Err(StoreError::Foreign(path.to_owned()));
    }
    if version > known {
        let program = connection
            .query_row("SELECT version FROM program", [], |row| row.get(0))
            .unwrap_or_else(|_| "of an unknown version".to_owned());
        return Err(StoreError::Newer { path: path.to_owned(), found: version, known, program });
    }
    usize::try_from(version).map_err(|_| StoreError::Foreign(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: Schema = Schema {
        application_id: 7,
        versions: &[(1, "CREATE TABLE program (version TEXT); INSERT INTO program VALUES ('')")],
        made_otherwise: &[],
        prepare: |_, _| Ok(()),
        columns: Columns::of_segment,
        fill: |_, _| Ok(()),
    };

    #[test]
    fn a_newer_schema_is_refused_with_the_version_that_wrote_it() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("100% #1?.db");
        let connection = open(&path, &SCHEMA).unwrap();
        open_read_only(&path, &SCHEMA, Access::Shared).unwrap();
        connection
            .execute_batch("PRAGMA user_version = 2; UPDATE program SET version = '9.9'")
            .unwrap();
        let error = open(&path, &SCHEMA).unwrap_err().to_string();
        assert!(error.contains("schema 2, written by vidimus 9.9"), "{error}");
    }

    #[test]
    fn a_file_of_another_program_is_refused() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 1").unwrap();
        assert!(matches!(open(&path, &SCHEMA), Err(StoreError::Foreign(_))));
    }
}
