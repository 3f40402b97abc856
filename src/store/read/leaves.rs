//! The leaves of entries in the log, and the files of the log.

use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::segment::leaves;
use crate::store::tiles::Tiles;
use crate::tlog::leaf::Salt;

impl Reader {
    /// The leaf of an entry in the log, and its salt. `None` if there is no such entry, or if it was stored
    /// before the log began.
    pub fn leaf_of(&self, id: u64) -> Result<Option<(u64, Salt)>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        Ok(self.read_segment(first_id, |segment| leaves::of(segment, id))?.flatten())
    }

    /// The files of the log as they are now. They have the leaves up to the last
    /// [`write_tiles`](crate::store::Store::write_tiles), and not every leaf of an entry.
    pub fn tiles(&self) -> Result<Tiles, StoreError> {
        Tiles::open(self.directory())
    }
}
