//! Finds the end of a series of objects that are numbered without gaps, and gaps that should not be
//! there, by reading alone.

use std::ops::Range;

use futures_util::future::try_join_all;

use super::error::JournalError;
use crate::objects::{ObjectError, Objects};

/// The first free number at or above `from` in a series that has no gaps from there on. `hint` is a
/// guess of it. A good guess costs two reads, a bad one two for each power of two that it is away.
///
/// Objects may be added while this runs. Then the number may be taken when it returns.
///
/// # Errors
/// [`JournalError::Objects`] if a call failed, [`JournalError::Full`] if every number seems taken.
pub(super) async fn first_free<O: Objects>(
    objects: &O,
    key: impl Fn(u64) -> String + Send,
    from: u64,
    hint: u64,
) -> Result<u64, JournalError> {
    // Everything in `from..low` is there, and `high` is free.
    let mut low = from;
    let mut probe = hint.max(from);
    let mut step = 1_u64;
    let mut high = loop {
        if !is_there(objects, &key(probe)).await? {
            break probe;
        }
        low = probe.saturating_add(1);
        let next = probe.checked_add(step);
        probe = next.ok_or_else(|| JournalError::Full { key: key(probe) })?;
        step = step.saturating_mul(2);
    };
    // A guess that was too high says nothing of what is below it. What was there recently is near.
    let mut step = 1_u64;
    while low == from && high > from {
        let below = high.saturating_sub(step).max(from);
        if is_there(objects, &key(below)).await? {
            low = below.saturating_add(1);
        } else {
            high = below;
        }
        step = step.saturating_mul(2);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if is_there(objects, &key(middle)).await? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Whether there is an object. One that is too large to be read is there.
///
/// # Errors
/// If a call failed.
pub(super) async fn is_there<O: Objects>(objects: &O, key: &str) -> Result<bool, ObjectError> {
    match objects.get(key).await {
        Ok(found) => Ok(found.is_some()),
        Err(ObjectError::TooLarge { .. }) => Ok(true),
        Err(error) => Err(error),
    }
}

/// The numbers of `range` that are free, in order. Everything is read at once, so the range is short.
///
/// # Errors
/// [`JournalError::Objects`] if a call failed.
pub(super) async fn gaps<O: Objects>(
    objects: &O,
    key: impl Fn(u64) -> String + Send,
    range: Range<u64>,
) -> Result<Vec<u64>, JournalError> {
    let reads = range.map(|number| {
        let key = key(number);
        async move { Ok::<_, ObjectError>((!is_there(objects, &key).await?).then_some(number)) }
    });
    Ok(try_join_all(reads).await?.into_iter().flatten().collect())
}
