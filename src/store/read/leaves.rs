//! The leaves of entries in the log, and the files of the log.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::segment::leaves;
use crate::store::tiles::Tiles;
use crate::tlog::leaf::{Salt, Sha256};

/// The 32 bytes of an RFC 7638 thumbprint. What is none is that of no key.
pub(in crate::store) fn thumbprint(text: &str) -> Sha256 {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.unwrap_or_default()
}

impl Reader {
    /// The leaf of an entry in the log, and its salt. `None` if there is no such entry, or if it was stored
    /// before the log began.
    pub fn leaf_of(&self, id: u64) -> Result<Option<(u64, Salt)>, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let found = self.visit(
            first_id,
            |overlay, _| overlay.backfills(&(id..=id)),
            |segment, _, backfills| match backfills.iter().find_map(|one| one.of(id)) {
                Some(found) => Ok(Some(found)),
                None => leaves::of(segment, id),
            },
        )?;
        Ok(found.flatten())
    }

    /// The last id that the segment of the entry `id` may have; `id` if there is none.
    pub(in crate::store) fn end_of_segment(&self, id: u64) -> Result<u64, StoreError> {
        let Some(first_id) = self.segment_of(id)? else { return Ok(id) };
        let segment = self.catalog(|catalog| catalog.segment(first_id))?;
        Ok(segment.map_or(id, |segment| segment.end()))
    }

    /// The files of the log as they are now. They have the leaves up to the last
    /// [`write_tiles`](crate::store::Store::write_tiles), and not every leaf of an entry.
    pub fn tiles(&self) -> Result<Tiles, StoreError> {
        Tiles::open(self.directory())
    }
}
