//! Series of objects that are numbered without gaps: where they end, and gaps that should not be
//! there.

use std::ops::Range;

use futures_util::future::try_join_all;

use super::error::JournalError;
use crate::objects::{ObjectError, Objects, series};

/// The first free number of a series, as [`series::first_free`] finds it.
///
/// # Errors
/// [`JournalError::Objects`] if a call failed, [`JournalError::Full`] if every number seems taken.
pub(super) async fn first_free<O: Objects>(
    objects: &O,
    key: impl Fn(u64) -> String + Send + Sync,
    from: u64,
    hint: u64,
) -> Result<u64, JournalError> {
    let found = series::first_free(objects, &key, from, hint).await?;
    found.ok_or_else(|| JournalError::Full { key: key(u64::MAX) })
}

/// The numbers of `range` that are free, in order. All are asked for at once, so the range is
/// short.
///
/// # Errors
/// [`JournalError::Objects`] if a call failed.
pub(super) async fn gaps<O: Objects>(
    objects: &O,
    key: impl Fn(u64) -> String + Send,
    range: Range<u64>,
) -> Result<Vec<u64>, JournalError> {
    let looks = range.map(|number| {
        let key = key(number);
        async move { Ok::<_, ObjectError>((!objects.exists(&key).await?).then_some(number)) }
    });
    Ok(try_join_all(looks).await?.into_iter().flatten().collect())
}
