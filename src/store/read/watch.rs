//! Tells whether the catalog has changed, so that who looks again and again need not read it.

use crate::store::catalog::Catalog;
use crate::store::error::StoreError;
use crate::store::read::Reader;

/// A watch on the catalog. It has a connection of its own.
#[derive(Debug)]
pub struct CatalogWatch(Catalog);

impl Reader {
    /// Watches the catalog.
    pub fn watch(&self) -> Result<CatalogWatch, StoreError> {
        Ok(CatalogWatch(Catalog::open_read_only(self.directory())?))
    }
}

impl CatalogWatch {
    /// A number that is another one after the catalog was changed, by this or another process. It says
    /// nothing of what the live segment takes.
    pub fn version(&self) -> Result<i64, StoreError> {
        self.0.data_version()
    }
}
