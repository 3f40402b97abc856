//! The catalog: the list of segments, and everything else that concerns the whole store.
//!
//! Every process and thread that writes opens its own connection and keeps its transactions short.
//! Only the files in this folder run SQL on the catalog:
//!
//! - [`segments`]: the segments, and those that were removed. [`gaps`]: ids that no segment has.
//! - [`overlay`]: what was learned of entries after they were stored. [`logged`]: what of it the log has.
//! - [`sightings`]: keys. [`retirements`]: how long they verify.
//! - [`quarantine`]: bodies that could not be decoded. [`outputs`]: the position of each output.
//!   [`repairs`]: what `store repair` did.
//! - [`journal`]: how far a journal was read, and the id of the store. [`archived`]: which segments are
//!   in the archive.
//! - [`coverage`]: when `serve` ran, and what was compared with Konnect.

pub(in crate::store) mod archived;
pub(in crate::store) mod coverage;
pub(in crate::store) mod gaps;
pub(in crate::store) mod journal;
pub(in crate::store) mod logged;
pub(in crate::store) mod outputs;
pub(in crate::store) mod overlay;
pub(in crate::store) mod quarantine;
pub(in crate::store) mod repairs;
pub(in crate::store) mod retirements;
pub(in crate::store) mod segments;
pub mod sightings;
mod store_id;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::overlay::Overlay;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::interrupt::Interrupt;
use crate::store::refused::{self, Refused};
use crate::store::schema::{CATALOG_WITH_SPELLINGS, Columns, Schema};
use crate::store::segment::{condition, identity};
use crate::store::sqlite::{self, Access, Database};

/// The catalog. `application_id` is "Vidc" in ASCII.
pub(in crate::store) const SCHEMA: Schema = Schema {
    application_id: 0x5669_6463,
    versions: &[
        (1, include_str!("../schema/catalog/0001.sql")),
        (2, include_str!("../schema/catalog/0002.sql")),
        (3, include_str!("../schema/catalog/0003.sql")),
        (4, include_str!("../schema/catalog/0004.sql")),
        (5, include_str!("../schema/catalog/0005.sql")),
        (6, include_str!("../schema/catalog/0006.sql")),
        (7, include_str!("../schema/catalog/0007.sql")),
        (8, include_str!("../schema/catalog/0008.sql")),
        (9, include_str!("../schema/catalog/0009.sql")),
        (10, include_str!("../schema/catalog/0010.sql")),
        (11, include_str!("../schema/catalog/0011.sql")),
        (12, include_str!("../schema/catalog/0012.sql")),
    ],
    made_otherwise: &[],
    prepare: |_, _| Ok(()),
    columns: Columns::of_catalog,
    fill: |catalog, from| match from {
        1..CATALOG_WITH_SPELLINGS => identity::record_signed(catalog),
        _ => Ok(()),
    },
};

/// A connection to the catalog.
#[derive(Debug)]
pub(in crate::store) struct Catalog {
    database: Database,
}

impl Catalog {
    /// Opens the catalog for writing, and creates it if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::NoCatalog`] if it does not exist although there are segments.
    pub(in crate::store) fn open(directory: &Directory) -> Result<Catalog, StoreError> {
        if !directory.has_catalog() && !directory.databases()?.is_empty() {
            return Err(StoreError::NoCatalog(directory.catalog()));
        }
        Catalog::make(directory)
    }

    /// Opens the catalog for writing, and creates it if it does not exist, even if there are
    /// segments.
    pub(in crate::store) fn make(directory: &Directory) -> Result<Catalog, StoreError> {
        Ok(Catalog { database: sqlite::open(&directory.catalog(), &SCHEMA)? })
    }

    /// Opens the catalog for reading.
    pub(in crate::store) fn open_read_only(directory: &Directory) -> Result<Catalog, StoreError> {
        let database = sqlite::open_read_only(&directory.catalog(), &SCHEMA, Access::Shared)?;
        // Queries for entries also look at the changed entries in the overlay.
        condition::register(&database).doing("add functions to", database.path())?;
        Ok(Catalog { database })
    }

    /// Opens a copy of a catalog, which must not be written to.
    pub(in crate::store) fn open_copy(path: &Path) -> Result<Catalog, StoreError> {
        Ok(Catalog { database: sqlite::open_read_only(path, &SCHEMA, Access::Immutable)? })
    }

    /// Its file.
    pub(in crate::store) fn path(&self) -> &Path {
        self.database.path()
    }

    /// The version of its schema.
    pub(in crate::store) fn version(&self) -> usize {
        self.database.version()
    }

    /// A number that is another one after another connection has changed the catalog. Only numbers of
    /// the same connection can be compared.
    pub(in crate::store) fn data_version(&self) -> Result<i64, StoreError> {
        self.read("find out whether it has changed", |catalog| {
            catalog.pragma_query_value(None, "data_version", |row| row.get(0))
        })
    }

    /// What was learned of entries after they were stored.
    pub(in crate::store) fn overlay(&self) -> Overlay<'_> {
        Overlay::new(&self.database)
    }

    /// Lets `interrupt` end the queries that follow.
    pub(in crate::store) fn set_interrupt(
        &mut self,
        interrupt: Option<Arc<Interrupt>>,
    ) -> Result<(), StoreError> {
        self.database.set_interrupt(interrupt)
    }

    /// Runs `work` in one snapshot.
    pub(in crate::store) fn snapshot<T>(
        &self,
        work: impl FnOnce(&Catalog) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.database.snapshot(|| work(self))
    }

    /// Runs `work` in one transaction, which is rolled back if `work` fails.
    pub(in crate::store) fn transaction<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Catalog) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let transaction =
            Transaction::new_unchecked(&self.database, TransactionBehavior::Immediate);
        let transaction = transaction.doing(doing, self.path())?;
        let done = work(self)?;
        transaction.commit().doing(doing, self.path())?;
        Ok(done)
    }

    /// The problems that SQLite finds in the file.
    pub(in crate::store) fn quick_check(&self) -> Result<Vec<String>, StoreError> {
        self.read("check", |catalog| sqlite::quick_check(catalog))
    }

    /// The newest `limit` refused requests, newest first, that versions before 4 wrote to the
    /// catalog.
    pub(in crate::store) fn refused(&self, limit: usize) -> Result<Vec<Refused>, StoreError> {
        self.read("read what was refused", |catalog| refused::newest(catalog, limit))
    }

    /// Turns off syncing to disk.
    #[cfg(test)]
    pub(in crate::store) fn do_not_sync(&self) {
        self.database.execute_batch("PRAGMA synchronous = OFF").unwrap();
    }

    fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Database) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        work(&self.database).doing(doing, self.path())
    }

    fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        self.transaction(doing, |catalog| catalog.read(doing, |database| work(database)))
    }
}
