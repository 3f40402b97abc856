//! The section `[store]`: how large segments become, and how long entries are kept.

use std::time::Duration;

use super::error::ConfigError;
use super::file::Section;
use super::units::{DAY, GIB, MAX_SIZE};
use super::value::{count, duration, size};

/// The store's settings. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// A segment is closed when it has this many entries.
    pub segment_entries: u64,
    /// A segment is closed when its first entry is this old.
    pub segment_age: Duration,
    /// A segment is deleted when its newest entry was received this long ago. None: never.
    pub retention_age: Option<Duration>,
    /// The oldest segments are deleted when all are larger than this. None: never.
    pub retention_size: Option<u64>,
    /// The most that quarantine keeps.
    pub quarantine_size: u64,
}

impl Store {
    /// The section `[store]`.
    pub(super) fn resolve(section: &Section<'_>) -> Result<Store, ConfigError> {
        let second = Duration::from_secs(1);
        Ok(Store {
            segment_entries: section
                .get("segment_entries", count(1..=1_000_000_000))?
                .unwrap_or(50_000),
            segment_age: section
                .get("segment_age", duration(second))?
                .unwrap_or(Duration::from_secs(7 * DAY)),
            retention_age: section.get("retention_age", duration(second))?,
            retention_size: section.get("retention_size", size(1..=MAX_SIZE))?,
            quarantine_size: section.get("quarantine_size", size(0..=MAX_SIZE))?.unwrap_or(GIB),
        })
    }
}
