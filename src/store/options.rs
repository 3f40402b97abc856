//! The options of a store.

use std::time::Duration;

/// The options of a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is closed when it has this many entries.
    pub segment_entries: u64,
    /// A segment is closed when it is this old.
    pub segment_age: Duration,
    /// When segments are deleted.
    pub retention: Retention,
    /// Whether retention keeps a segment until it is in the archive and was read back. Then it begins
    /// with [`Store::trust_archive`](super::Store::trust_archive). `store prune` does not wait.
    pub retention_needs_archive: bool,
    /// The maximum size of the quarantine, in bytes.
    pub quarantine_size: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_entries: 50_000,
            segment_age: Duration::from_secs(7 * 24 * 60 * 60),
            retention: Retention::default(),
            retention_needs_archive: false,
            quarantine_size: 1 << 30,
        }
    }
}

/// When segments are deleted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Delete a segment when all its entries were stored longer ago than this.
    pub age: Option<Duration>,
    /// Delete the oldest segments while the total size is larger than this, in bytes.
    pub size: Option<u64>,
}
