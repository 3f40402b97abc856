//! The section `[store]`: the size of segments, and how long entries are kept.

use std::time::Duration;

use crate::settings::units::{DAY, GIB, MAX_SIZE, SECOND};
use crate::settings::value::{count, duration, size};
use crate::settings::{optional, or, settings};

settings! {
    /// The keys of `[store]`. Sizes are in bytes.
    pub(crate) struct Store {
        /// The number of entries at which a segment is closed.
        pub segment_entries: u64 = or(50_000, count(1..=1_000_000_000));
        /// The age of its first entry at which a segment is closed.
        pub segment_age: Duration = or(Duration::from_secs(7 * DAY), duration(SECOND));
        /// The age of its newest entry, by the time of receipt, at which a segment is deleted.
        /// `None`: never.
        pub retention_age: Option<Duration> = optional(duration(SECOND));
        /// The size of the store above which the oldest segments are deleted. `None`: no limit.
        pub retention_size: Option<u64> = optional(size(1..=MAX_SIZE));
        /// The maximum size of the quarantine.
        pub quarantine_size: u64 = or(GIB, size(0..=MAX_SIZE));
    }
}
