//! The leaves that a start adds to the log.
//!
//! The log goes on after every leaf that was ever given out: those of the segments, those in the files of
//! the log, and those of its newest checkpoint. If the segments end before the others, leaves have lost
//! their entries. They stay, and a leaf names them.

use std::ops::Range;

use data_encoding::HEXLOWER;
use ring::digest::{Context, SHA256};

use crate::store::catalog::gaps::Gap;
use crate::store::catalog::segments::Segment;
use crate::store::directory::Directory;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::segment::leaves;
use crate::store::tiles;
use crate::store::write::ids::HighestIds;
use crate::tlog::leaf::{Leaf, Sha256};

/// Where the log goes on.
#[derive(Clone, Debug)]
pub(in crate::store) struct LogStart {
    /// The leaves that have lost their entries. The next leaf is the one after them.
    lost: Range<u64>,
}

impl LogStart {
    /// `known` is the leaf after those of the segments.
    pub(in crate::store) fn new(directory: &Directory, known: u64) -> LogStart {
        LogStart { lost: known..tiles::published(directory).max(known) }
    }

    /// The next leaf.
    pub(in crate::store) fn next_leaf(&self) -> u64 {
        self.lost.end
    }

    /// The leaves to add. `last` are the highest ids of the segments.
    pub(in crate::store) fn leaves(
        &self,
        segments: &[Segment],
        last: HighestIds,
        gap: Option<&Gap>,
    ) -> Vec<Leaf> {
        let mut leaves = Vec::new();
        if self.lost.end == 0 {
            leaves.push(start(segments, last.entry));
        }
        if !self.lost.is_empty() {
            let (first_leaf, last_leaf) = (self.lost.start, self.lost.end - 1);
            tracing::error!(
                from = first_leaf,
                to = last_leaf,
                "the log has leaves whose entries are gone; it goes on after them, and a leaf names them"
            );
            leaves.push(Leaf::Lost { first_leaf, last_leaf });
        }
        leaves.extend(
            gap.filter(|gap| gap.first_id <= gap.last_id)
                .map(|gap| Leaf::Gap { first_id: gap.first_id, last_id: gap.last_id }),
        );
        leaves
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

/// The first leaf of a log: it commits to the sealed files that are there.
fn start(segments: &[Segment], last_id: u64) -> Leaf {
    let (mut context, mut count) = (Context::new(&SHA256), 0);
    for (_, sha256) in segments.iter().filter_map(|segment| segment.sealed.as_ref()) {
        context.update(&HEXLOWER.decode(sha256.as_bytes()).unwrap_or_default());
        count += 1;
    }
    let mut sha256 = Sha256::default();
    sha256.copy_from_slice(context.finish().as_ref());
    Leaf::Start { segments: count, last_id, sha256 }
}
