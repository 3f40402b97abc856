//! How many entries were received lately, by the clock of the receiver.

use super::StoreError;
use super::catalog::{Catalog, Segment};
use super::read::Reader;

impl Reader {
    /// How many entries that were new were received since each of these times, in milliseconds since
    /// the epoch. A segment is read only if such a time lies within it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn received_since(&self, times: &[i64]) -> Result<Vec<u64>, StoreError> {
        let mut counts = vec![0; times.len()];
        for segment in Catalog::open_read_only(self.directory())?.segments()? {
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
        let found = self.visit(
            segment.first_id,
            |_, _| Ok(()),
            |connection, _, ()| {
                connection.prepare_cached(sql)?.query_row([since], |row| row.get(0))
            },
        )?;
        Ok(found.unwrap_or(0))
    }
}

/// How many entries of a segment were received since then, if that is all or none of them.
fn whole(segment: &Segment, since: i64) -> Option<u64> {
    let closed = segment.closed.as_ref()?;
    match closed.received_at {
        None => Some(0),
        Some((_, last)) if last < since => Some(0),
        Some((first, _)) if since <= first => Some(closed.last_id + 1 - segment.first_id),
        Some(_) => None,
    }
}
