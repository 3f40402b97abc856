//! The leaves that a start adds to the log.
//!
//! The log goes on after every leaf that was ever given out: those of the segments, those in the files of
//! the log, and those of its newest checkpoint. If the segments end before the others, leaves have lost
//! their entries. They stay, a leaf names them, and their ids are not given out again.

use std::fmt::Write;
use std::ops::Range;

use ring::digest::{SHA256, digest};

use crate::ingest::sha256;
use crate::private_file;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::leaves;
use crate::store::tiles;
use crate::store::write::ids::HighestIds;
use crate::tlog::leaf::Leaf;

/// Where the log goes on.
#[derive(Clone, Debug)]
pub(in crate::store) struct LogStart {
    /// The leaves that have lost their entries. The next leaf is the one after them.
    lost: Range<u64>,
    /// The highest id of an entry that they name; 0 if there is none.
    last_lost_id: u64,
}

impl LogStart {
    /// `known` is the leaf after those of the segments.
    pub(in crate::store) fn new(directory: &Directory, known: u64) -> LogStart {
        let lost = known..tiles::published(directory).max(known);
        let last_lost_id = match lost.is_empty() {
            true => 0,
            false => tiles::last_id(directory, lost.clone()).unwrap_or_else(|error| {
                tracing::error!(%error, "the ids that lost entries had are not known");
                0
            }),
        };
        LogStart { lost, last_lost_id }
    }

    /// The next leaf.
    pub(in crate::store) fn next_leaf(&self) -> u64 {
        self.lost.end
    }

    /// The highest id of an entry whose leaf was given out, and which is lost; 0 if there is none.
    pub(in crate::store) fn last_lost_id(&self) -> u64 {
        self.last_lost_id
    }

    /// The leaves to add. `last` are the highest ids of the segments.
    pub(in crate::store) fn leaves(
        &self,
        directory: &Directory,
        segments: &[Segment],
        last: HighestIds,
    ) -> Result<Vec<Leaf>, StoreError> {
        if self.lost.end == 0 {
            return Ok(vec![start(directory, segments, last.entry)?]);
        }
        if self.lost.is_empty() {
            return Ok(Vec::new());
        }
        let (first_leaf, last_leaf) = (self.lost.start, self.lost.end - 1);
        tracing::error!(
            from = first_leaf,
            to = last_leaf,
            "the log has leaves whose entries are gone; it goes on after them, and a leaf names them"
        );
        Ok(vec![Leaf::Lost { first_leaf, last_leaf }])
    }
}

/// The leaf after those of the newest of these segments that can be read; 0 if it has none.
pub(in crate::store) fn after(directory: &Directory, segments: &[Segment]) -> u64 {
    let next = |segment: &Segment| -> Result<u64, StoreError> {
        let segment = segment.open(directory)?;
        leaves::next(&segment).doing("read", segment.path())
    };
    segments.iter().rev().find_map(|segment| next(segment).ok()).unwrap_or(0)
}

/// The first leaf of a log. It commits to the sealed segments that are there, whose list is kept.
fn start(directory: &Directory, segments: &[Segment], last_id: u64) -> Result<Leaf, StoreError> {
    let (mut list, mut count) = (String::new(), 0);
    for segment in segments {
        if let Some((_, sha256)) = &segment.sealed {
            // A string takes all that is written to it.
            let _ = writeln!(list, "{} {} {sha256}", segment.first_id, segment.end());
            count += 1;
        }
    }
    let path = directory.log().join("start");
    private_file::write(&path, &list).doing("write", &path)?;
    Ok(Leaf::Start { segments: count, last_id, sha256: sha256(&digest(&SHA256, list.as_bytes())) })
}
