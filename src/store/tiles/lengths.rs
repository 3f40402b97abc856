//! The lengths of the streams, as they are and as the file `size` says.

use super::{FULL, HASH, LEVELS, OFFSET, Tiles};
use crate::store::error::StoreError;

/// The length of a stream of the log, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLength {
    /// Its folder in the data directory.
    pub name: String,
    /// What is there, up to the first file that is missing or not full.
    pub found: u64,
    /// What the file `size` says.
    pub expected: u64,
    what: What,
}

/// What a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Records,
    Offsets,
    Hashes(u8),
}

impl What {
    /// The length of a stream of this many leaves. `records` is that of their records.
    fn length(self, leaves: u64, records: u64) -> u64 {
        match self {
            What::Records => records,
            What::Offsets => leaves.div_ceil(FULL).saturating_mul(OFFSET),
            What::Hashes(level) => (leaves >> (8 * u32::from(level))).saturating_mul(HASH),
        }
    }
}

impl StreamLength {
    /// The most that an interrupted write can have left, if this many leaves were ever committed and
    /// the records of those that the files lack have this many bytes.
    pub fn most(&self, committed: u64, pending: u64) -> u64 {
        let records = self.expected.saturating_add(pending);
        self.what.length(committed, records).max(self.expected)
    }
}

impl Tiles {
    /// The lengths of all streams.
    pub fn lengths(&self) -> Result<Vec<StreamLength>, StoreError> {
        let of = |name: &str, found: Result<u64, StoreError>, what: What| {
            let expected = what.length(self.extent.leaves, self.extent.bytes);
            Ok(StreamLength { name: format!("log/{name}"), found: found?, expected, what })
        };
        let streams = [
            of("records", self.records().length(), What::Records),
            of("offsets", self.offsets().length(), What::Offsets),
        ];
        let hashes = (0..LEVELS).map(|level| {
            of(&format!("hashes/{level}"), self.hashes(level).length(), What::Hashes(level))
        });
        streams.into_iter().chain(hashes).collect()
    }

    /// The number of leaves that can be read: no more than there are hashes of, whatever the file
    /// `size` says.
    pub fn readable(&self) -> Result<u64, StoreError> {
        Ok(self.size().min(self.hashes(0).length()? / HASH))
    }
}
