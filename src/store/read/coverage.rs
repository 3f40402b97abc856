//! When `serve` ran, and what was compared with Konnect.

use crate::store::catalog::Catalog;
use crate::store::catalog::coverage::{ReconciledRange, Uptime};
use crate::store::error::StoreError;
use crate::store::read::Reader;

impl Reader {
    /// The runs of `serve`, in the order in which they began.
    pub fn uptimes(&self) -> Result<Vec<Uptime>, StoreError> {
        self.catalog(Catalog::uptimes)
    }

    /// The ranges that were compared with Konnect, in the order of their leaves.
    pub fn reconciled(&self) -> Result<Vec<ReconciledRange>, StoreError> {
        self.catalog(Catalog::reconciled)
    }

    /// The records of leaves, from the files of the log or from the segments that still have them. `None`
    /// for a leaf that does not exist.
    pub fn leaf_records(&self, leaves: &[u64]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        let tiles = self.tiles()?;
        let record = |leaf: &u64| match *leaf < tiles.size() {
            true => tiles.record(*leaf).map(Some),
            false => self.new_record(*leaf),
        };
        leaves.iter().map(record).collect()
    }

    /// The record of a leaf that the files of the log did not have a moment ago.
    fn new_record(&self, leaf: u64) -> Result<Option<Vec<u8>>, StoreError> {
        for segment in self.segments()?.iter().rev() {
            if let Some(record) = self.pending_record(segment.first_id, leaf)? {
                return Ok(Some(record));
            }
        }
        // It leaves its segment when the files have it.
        let tiles = self.tiles()?;
        if leaf < tiles.size() { tiles.record(leaf).map(Some) } else { Ok(None) }
    }
}
