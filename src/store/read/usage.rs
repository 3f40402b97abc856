//! What is known of a store without reading its entries: sizes, and recent deliveries.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::Millis;
use crate::store::catalog::Catalog;
use crate::store::catalog::segments::Segment;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;

/// The maximum number of segments that are searched for the last delivery of each input.
const SEGMENTS: usize = 20;

/// The space that a store uses.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// The number of segments in each state.
    pub states: BTreeMap<&'static str, u64>,
    /// The size of the segments and the catalog, in bytes.
    pub bytes: u64,
    /// The free space of the file system, in bytes.
    pub free_bytes: u64,
    /// The number of ids that no segment has although they were not removed.
    pub missing_ids: u64,
}

impl Reader {
    /// The space that the store uses.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut usage = Usage { bytes: self.catalog_bytes(), ..Usage::default() };
        for segment in self.catalog(Catalog::segments)? {
            *usage.states.entry(segment.state.as_str()).or_default() += 1;
            usage.bytes += segment.bytes(self.directory());
        }
        let gaps = self.gaps()?;
        usage.missing_ids = gaps.iter().map(|gap| gap.last_id + 1 - gap.first_id).sum();
        let system = rustix::fs::statvfs(self.directory().path())
            .map_err(std::io::Error::from)
            .doing("ask for free space", self.directory().path())?;
        usage.free_bytes = system.f_bavail.saturating_mul(system.f_frsize);
        Ok(usage)
    }

    /// When each of these inputs last received an entry, according to the newest segments.
    pub fn last_received(&self, inputs: &[&str]) -> Result<BTreeMap<String, Millis>, StoreError> {
        let segments = self.catalog(Catalog::segments)?;
        let mut missing: BTreeSet<&str> = inputs.iter().copied().collect();
        let mut last = BTreeMap::new();
        for segment in segments.iter().rev().take(SEGMENTS) {
            if missing.is_empty() {
                break;
            }
            let found = self.read_segment(segment.first_id, |database| {
                let sql = "SELECT input, max(received_at) FROM deliveries WHERE received > 0
                           GROUP BY input";
                let mut statement = database.prepare_cached(sql)?;
                let rows = statement.query_map([], |row| {
                    Ok((row.get::<_, String>(0)?, Millis::saturating(row.get(1)?)))
                })?;
                rows.collect::<rusqlite::Result<Vec<_>>>()
            })?;
            for (input, time) in found.into_iter().flatten() {
                if missing.remove(input.as_str()) {
                    last.insert(input, time);
                }
            }
        }
        Ok(last)
    }

    /// The number of new entries received since each of these times, in milliseconds since the
    /// epoch. A segment is read only if one of the times is within it.
    pub fn received_since(&self, times: &[i64]) -> Result<Vec<u64>, StoreError> {
        let mut counts = vec![0; times.len()];
        for segment in self.catalog(Catalog::segments)? {
            for (count, since) in counts.iter_mut().zip(times) {
                *count += match whole(&segment, *since) {
                    Some(entries) => entries,
                    None => self.received_in(&segment, *since)?,
                };
            }
        }
        Ok(counts)
    }

    fn received_in(&self, segment: &Segment, since: i64) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(stored), 0) FROM deliveries WHERE received_at >= ?1";
        let found = self.read_segment(segment.first_id, |database| {
            database.prepare_cached(sql)?.query_row([since], |row| row.get(0))
        })?;
        Ok(found.unwrap_or(0))
    }

    /// The size of the catalog, in bytes.
    pub(in crate::store) fn catalog_bytes(&self) -> u64 {
        std::fs::metadata(self.directory().catalog()).map_or(0, |found| found.len())
    }
}

/// The number of entries of a segment received since then, if that is all or none.
fn whole(segment: &Segment, since: i64) -> Option<u64> {
    let closed = segment.closed.as_ref()?;
    match closed.received_at {
        None => Some(0),
        Some((_, last)) if last < since => Some(0),
        Some((first, _)) if since <= first => Some(closed.last_id + 1 - segment.first_id),
        Some(_) => None,
    }
}
