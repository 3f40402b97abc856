//! The id of the store, and whether it is a part that takes no entries.

use rusqlite::OptionalExtension;

use super::Catalog;
use crate::store::error::StoreError;
use crate::store::schema::CATALOG_WITH_JOURNAL;

impl Catalog {
    /// The id of the store: 32 hexadecimal digits. `None` in a catalog of an earlier version.
    pub(in crate::store) fn store_id(&self) -> Result<Option<String>, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(None);
        }
        self.read("read the id of the store", |catalog| {
            catalog.query_row("SELECT id FROM store", [], |row| row.get(0)).optional()
        })
    }

    /// Gives a new catalog the id of an old store. `is_part` is whether it has a part of that store, which
    /// takes no entries.
    pub(in crate::store) fn set_store_id(&self, id: &str, is_part: bool) -> Result<(), StoreError> {
        self.write("write the id of the store", |catalog| {
            catalog.execute("UPDATE store SET id = ?1, is_part = ?2", (id, is_part)).map(drop)
        })
    }

    /// Whether the store is a part that takes no entries.
    pub(in crate::store) fn is_part(&self) -> Result<bool, StoreError> {
        self.read("read the id of the store", |catalog| {
            catalog.query_row("SELECT EXISTS (SELECT 1 FROM store WHERE is_part)", [], |row| {
                row.get(0)
            })
        })
    }
}
