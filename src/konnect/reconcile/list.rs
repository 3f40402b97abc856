//! Pulls the entries of a range, part by part.

use serde_json::value::RawValue;

use super::{PartError, Parts, Pulled};
use crate::entry::Millis;
use crate::konnect::client::{ApiError, Client, PULL_PAGE, Pages, PullFilter};

/// Pulls the entries from `since` to `until`, both included, and hands over each part that can be
/// compared by itself. Returns the number of entries that have no time and cannot be compared.
pub(crate) async fn pull_parts<E: From<ApiError> + From<PartError>>(
    client: &Client,
    since: Millis,
    until: Millis,
    mut each: impl FnMut(Vec<Pulled>) -> Result<(), E>,
) -> Result<usize, E> {
    let filter = PullFilter { since, until, kind: None, page: PULL_PAGE };
    let (mut pages, mut parts, mut after) = (Pages::default(), Parts::default(), None);
    let mut unread = 0;
    loop {
        let (page, next): (Vec<Box<RawValue>>, _) =
            client.pull(&filter, after.as_deref(), &mut pages).await?;
        let read: Vec<_> = page.iter().filter_map(|entry| Pulled::read(entry.get())).collect();
        unread += page.len() - read.len();
        each(parts.add(read, next.is_none())?)?;
        match next {
            Some(next) => after = Some(next),
            None => return Ok(unread),
        }
    }
}
