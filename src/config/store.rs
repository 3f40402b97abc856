//! The section `[store]`: how large segments become, and how long entries are kept.

use std::time::Duration;

use crate::settings::units::{DAY, GIB, MAX_SIZE, SECOND};
use crate::settings::value::{count, duration, size};
use crate::settings::{optional, or, settings};

settings! {
    /// The store's settings. Sizes are in bytes.
    pub struct Store {
        /// A segment is closed when it has this many entries.
        pub segment_entries: u64 = or(50_000, count(1..=1_000_000_000));
        /// A segment is closed when its first entry is this old.
        pub segment_age: Duration = or(Duration::from_secs(7 * DAY), duration(SECOND));
        /// A segment is deleted when its newest entry was received this long ago. None: never.
        pub retention_age: Option<Duration> = optional(duration(SECOND));
        /// The oldest segments are deleted when all are larger than this. None: never.
        pub retention_size: Option<u64> = optional(size(1..=MAX_SIZE));
        /// The most that quarantine keeps.
        pub quarantine_size: u64 = or(GIB, size(0..=MAX_SIZE));
    }
}
