//! What the catalog lists of segments and ids, for the check of the log.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::store::catalog::Catalog;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::sqlite::MAX_ID;

/// The lists of the catalog, in one snapshot.
#[derive(Clone, Debug)]
pub struct CatalogLists {
    /// The segments, oldest first.
    pub segments: Vec<ListedSegment>,
    /// The ids that retention and `store prune` removed.
    pub removed: Vec<RangeInclusive<u64>>,
    /// The ids that were never assigned to an entry that is there.
    pub gaps: Vec<RangeInclusive<u64>>,
    /// The number of the last change of each entry that ever changed, by its id.
    pub changes: HashMap<u64, u64>,
}

/// A segment.
#[derive(Clone, Debug)]
pub struct ListedSegment {
    /// The id of its first entry.
    pub first_id: u64,
    /// The id of its last entry. `None` if it takes appends.
    pub last_id: Option<u64>,
    /// Whether it is sealed.
    pub is_sealed: bool,
    /// Its file in the folder of the segments.
    pub file: String,
}

impl Reader {
    /// Reads the lists of the catalog.
    pub fn catalog_lists(&self) -> Result<CatalogLists, StoreError> {
        self.catalog(|catalog: &Catalog| {
            let segments = catalog.segments()?.into_iter().map(|segment| ListedSegment {
                first_id: segment.first_id,
                last_id: segment.closed.as_ref().map(|closed| closed.last_id),
                is_sealed: segment.is_sealed(),
                file: segment.file,
            });
            let gaps = catalog.gaps()?.into_iter().map(|gap| gap.first_id..=gap.last_id);
            let changes = catalog.overlay().last_changes(&(0..=MAX_ID));
            Ok(CatalogLists {
                segments: segments.collect(),
                removed: catalog.removed()?,
                gaps: gaps.collect(),
                changes: changes.doing("read the changes", catalog.path())?,
            })
        })
    }

    /// Whether another process has the store open to write to it.
    pub fn is_being_written(&self) -> bool {
        matches!(self.directory().lock(), Err(StoreError::Locked(_)))
    }
}
