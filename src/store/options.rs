//! How a store is kept: when segments are closed, and when they are removed.

use std::time::Duration;

/// How the store is kept.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// A segment is closed when it has this many entries.
    pub segment_entries: u64,
    /// A segment is closed when it is this old.
    pub segment_age: Duration,
    /// When segments are given up.
    pub retention: Retention,
    /// The most that the quarantine may hold, in bytes.
    pub quarantine_size: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_entries: 50_000,
            segment_age: Duration::from_secs(7 * 24 * 60 * 60),
            retention: Retention::default(),
            quarantine_size: 1 << 30,
        }
    }
}

/// When segments are given up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Once everything in them was received longer ago than this.
    pub age: Option<Duration>,
    /// While all of them together are larger than this many bytes, the oldest first.
    pub size: Option<u64>,
}
