//! Hides pulled entries that a delivery brought after all.
//!
//! A pulled entry is older than the delay. So only deliveries of entries that are that old can bring
//! one: these are few, and they are found by their times. A pulled entry is hidden only by a delivered
//! one that is the same in everything that is compared, and not if its signature is wrong.

use std::time::Duration;

use super::konnect_pull::PullError;
use crate::clock::now;
use crate::entry::record::Origin;
use crate::entry::{Record, VerdictName};
use crate::konnect::reconcile::EntryIdentity;
use crate::search::{self, Filter};
use crate::store::{Reader, Store, TimeRange};

/// The filter of pulled entries.
const PULLED: &str = "format:pulled";

/// How much younger than the delay an entry may be when it is delivered, in milliseconds: clocks
/// differ.
const SLACK: i64 = 5 * 60 * 1000;

/// Hides the pulled entries that deliveries from the id `next_id` on brought. Returns the id from
/// which to go on.
pub(super) fn hide(
    store: &Store,
    reader: &Reader,
    next_id: u64,
    delay: Duration,
) -> Result<u64, PullError> {
    let end = reader.newest(&Filter::All, 0)?.next_id;
    let pulled = search::parse(PULLED, 0)?;
    let mut any = reader.scan(&pulled, TimeRange::default(), 1)?;
    if any.next_slice(1)?.is_empty() {
        return Ok(end);
    }
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let until = now().get().saturating_sub(delay).saturating_add(SLACK);
    let delivered = format!("id:>={next_id} AND NOT {PULLED}");
    let delivered = search::parse(&delivered, 0)?;
    let range = TimeRange { since: None, until: Some(until) };
    let mut scan = reader.scan(&delivered, range, usize::MAX)?;
    let mut next = end;
    loop {
        let records = scan.next_slice(1000)?;
        if records.is_empty() {
            return Ok(next);
        }
        for record in &records {
            match record.verdict {
                VerdictName::Valid | VerdictName::Unsigned => {
                    if let Some(hidden) = same(reader, &pulled, record)? {
                        let shown = id(record);
                        store.hide(reader, hidden, shown)?;
                        tracing::debug!(hidden, shown, "a delivery brought what was pulled");
                    }
                }
                // It may become valid. Then it is looked at again.
                VerdictName::NoKey => next = next.min(id(record)),
                // Anybody may have sent it.
                VerdictName::Invalid | VerdictName::Malformed => {}
            }
        }
    }
}

/// The pulled entry that is the same as a delivered one.
fn same(reader: &Reader, pulled: &Filter, delivered: &Record) -> Result<Option<u64>, PullError> {
    let Some(identity) = EntryIdentity::of_record(delivered) else { return Ok(None) };
    let at = identity.at.get();
    // The time of the delivered one may be rounded up.
    let range = TimeRange { since: Some(at - 1), until: Some(at + 1) };
    let mut scan = reader.scan(pulled, range, usize::MAX)?;
    let records = scan.next_slice(usize::MAX)?;
    let is_same = |record: &&Record| {
        EntryIdentity::of_record(record).is_some_and(|one| one.is_same_as(&identity))
    };
    Ok(records.iter().find(is_same).map(id))
}

fn id(record: &Record) -> u64 {
    match record.origin {
        Origin::Stored { id, .. } => id,
        Origin::File { .. } => 0,
    }
}
