//! Hides pulled entries that a delivery brought after all.
//!
//! A pulled entry is older than the delay, so only deliveries of entries that are that old can bring
//! one. A pulled entry is hidden only by a delivered
//! one that is the same in everything that is compared, and not if its signature is wrong.

use std::time::Duration;

use super::konnect_pull::PullError;
use crate::clock::now;
use crate::entry::Record;
use crate::konnect::reconcile::EntryIdentity;
use crate::search::{self, Filter};
use crate::store::{Event, Position, Reader, Store, TimeRange};

/// The filter of pulled entries.
const PULLED: &str = "format:pulled";

/// How much younger than the delay an entry may be when it is delivered, in milliseconds: clocks
/// differ.
const SLACK: i64 = 5 * 60 * 1000;

/// What may hide a pulled entry. Anybody may have sent an invalid one, and one without a key is seen
/// again when it becomes valid.
const DELIVERED: &str = "NOT format:pulled AND (verdict:valid OR verdict:unsigned)";

/// Hides the pulled entries that were delivered, or became valid, since `from`. Returns the position
/// from which to go on.
pub(super) fn hide(
    store: &Store,
    reader: &Reader,
    from: Position,
    delay: Duration,
) -> Result<Position, PullError> {
    let end = reader.newest(&Filter::All, 0)?;
    let pulled = search::parse(PULLED, 0)?;
    let mut any = reader.scan(&pulled, TimeRange::default(), 1)?;
    if any.next_slice(1)?.is_empty() {
        return Ok(end);
    }
    let delay = i64::try_from(delay.as_millis()).unwrap_or(i64::MAX);
    let until = now().get().saturating_sub(delay).saturating_add(SLACK);
    let range = TimeRange { since: None, until: Some(until) };
    let mut follow = reader.follow(&range.and(&search::parse(DELIVERED, 0)?), from);
    loop {
        let news = follow.poll()?;
        for event in &news.events {
            let (Event::New(record) | Event::Changed(record)) = event else { continue };
            if let (Some(shown), Some(hidden)) = (record.id(), same(reader, &pulled, record)?) {
                store.hide(reader, hidden, shown)?;
                tracing::debug!(hidden, shown, "a delivery brought what was pulled");
            }
        }
        if !news.more {
            return Ok(follow.position());
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
    Ok(records.iter().find(is_same).and_then(Record::id))
}
