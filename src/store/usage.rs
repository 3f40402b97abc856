//! What is known of a store without looking at its entries: its sizes, and what came in last.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::Catalog;
use super::error::SqliteContext;
use super::read::Reader;
use super::{Delivered, StoreError, retention, stats};
use crate::entry::Millis;

/// The most segments that are looked through for what each input received last.
const SEGMENTS: usize = 20;

/// How much a store takes.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// How many segments there are in each state.
    pub states: BTreeMap<&'static str, u64>,
    /// The segments and the catalog on the disk, in bytes.
    pub bytes: u64,
    /// What the file system has left for us, in bytes.
    pub free_bytes: u64,
    /// How many ids no segment has, though nothing says that they were removed.
    pub missing_ids: u64,
}

impl Reader {
    /// How much the store takes.
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let catalog = Catalog::open_read_only(self.directory())?;
        let mut usage = Usage {
            bytes: std::fs::metadata(&catalog.path).map_or(0, |found| found.len()),
            ..Usage::default()
        };
        for segment in catalog.segments()? {
            *usage.states.entry(segment.state.as_str()).or_default() += 1;
            usage.bytes += retention::size(self.directory(), &segment);
        }
        let gaps = self.gaps()?;
        usage.missing_ids = gaps.iter().map(|gap| gap.last_id + 1 - gap.first_id).sum();
        let system = rustix::fs::statvfs(self.directory().path())
            .map_err(std::io::Error::from)
            .doing("ask for free space", self.directory().path())?;
        usage.free_bytes = system.f_bavail.saturating_mul(system.f_frsize);
        Ok(usage)
    }

    /// When each of these inputs received an entry last, as far as the newest segments know.
    pub fn last_received(&self, inputs: &[&str]) -> Result<BTreeMap<String, Millis>, StoreError> {
        let segments = Catalog::open_read_only(self.directory())?.segments()?;
        let mut missing: BTreeSet<&str> = inputs.iter().copied().collect();
        let mut last = BTreeMap::new();
        for segment in segments.iter().rev().take(SEGMENTS) {
            if missing.is_empty() {
                break;
            }
            let found = self.visit(
                segment.first_id,
                |_, _| Ok(()),
                |connection, _, ()| {
                    let sql = "SELECT input, max(received_at) FROM deliveries WHERE received > 0
                               GROUP BY input";
                    let mut statement = connection.prepare_cached(sql)?;
                    let rows = statement.query_map([], |row| {
                        Ok((row.get::<_, String>(0)?, Millis::saturating(row.get(1)?)))
                    })?;
                    rows.collect::<rusqlite::Result<Vec<_>>>()
                },
            )?;
            for (input, time) in found.into_iter().flatten() {
                if missing.remove(input.as_str()) {
                    last.insert(input, time);
                }
            }
        }
        Ok(last)
    }

    /// The newest `limit` deliveries that were stored, newest first, of those before the number
    /// `before`.
    pub fn deliveries(
        &self,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivered>, StoreError> {
        let segments = Catalog::open_read_only(self.directory())?.segments()?;
        stats::deliveries(self, &segments, before, limit)
    }
}
