//! Reads the stored entries that may match pulled ones.

use super::{EntryIdentity, Pulled, StoredEntry};
use crate::entry::Record;
use crate::entry::record::Origin;
use crate::search::Filter;
use crate::store::{Reader, StoreError, TimeRange};

/// The stored entries in the time of these, as far as `is_one` accepts them.
pub(crate) fn candidates(
    reader: &Reader,
    pulled: &[Pulled],
    is_one: impl Fn(&Record, &EntryIdentity) -> bool,
) -> Result<Vec<StoredEntry>, StoreError> {
    let times = || pulled.iter().map(|one| one.identity.at.get());
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(vec![]) };
    // A stored time may be rounded up.
    let range = TimeRange { since: Some(first), until: Some(last.saturating_add(2)) };
    let mut scan = reader.scan(&Filter::All, range, usize::MAX)?;
    let mut all = Vec::new();
    loop {
        let records = scan.next_slice(1000)?;
        if records.is_empty() {
            return Ok(all);
        }
        for record in &records {
            if let (Some(identity), Origin::Stored { delivery_count, .. }) =
                (EntryIdentity::of_record(record), &record.origin)
                && is_one(record, &identity)
            {
                let (delivery_count, verdict) = (*delivery_count, record.verdict);
                all.push(StoredEntry { identity, delivery_count, verdict });
            }
        }
    }
}
