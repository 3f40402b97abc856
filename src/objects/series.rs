//! Finds the end of a series of objects that are numbered without gaps, without a list.

use super::{ObjectError, Objects};

/// The first free number at or above `from` in a series that has no gaps from there on; `None` if
/// every number seems taken, which only forged objects can do. `hint` is a guess of it. A good
/// guess costs two calls, a bad one two for each power of two that it is away.
///
/// Objects may be added while this runs. Then the number may be taken when it returns.
///
/// # Errors
/// If a call failed.
pub(crate) async fn first_free<O: Objects>(
    objects: &O,
    key: impl Fn(u64) -> String + Send,
    from: u64,
    hint: u64,
) -> Result<Option<u64>, ObjectError> {
    // Everything in `from..low` is there, and `high` is free.
    let mut low = from;
    let mut probe = hint.max(from);
    let mut step = 1_u64;
    let mut high = loop {
        if !objects.exists(&key(probe)).await? {
            break probe;
        }
        low = probe.saturating_add(1);
        let Some(next) = probe.checked_add(step) else { return Ok(None) };
        probe = next;
        step = step.saturating_mul(2);
    };
    // A guess that was too high says nothing of what is below it. What was there recently is near.
    let mut step = 1_u64;
    while low == from && high > from {
        let below = high.saturating_sub(step).max(from);
        if objects.exists(&key(below)).await? {
            low = below.saturating_add(1);
        } else {
            high = below;
        }
        step = step.saturating_mul(2);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        if objects.exists(&key(middle)).await? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Memory;
    use super::*;

    #[tokio::test]
    async fn the_end_of_a_series_is_found_from_any_guess() {
        let objects = Memory::default();
        let key = |number: u64| format!("x/{number}");
        for length in 0..20 {
            for from in 0..=length {
                for hint in [0, 1, 2, 5, 18, 19, 20, 21, 1000, u64::MAX] {
                    let found = first_free(&objects, key, from, hint).await.unwrap();
                    assert_eq!(found, Some(length), "from {from} with the guess {hint}");
                }
            }
            objects.put(&key(length), "");
            if length > 3 {
                // What is below `from` may be deleted.
                objects.0.lock().unwrap().remove(&key(1));
                assert_eq!(first_free(&objects, key, 2, 9).await.unwrap(), Some(length + 1));
                objects.put(&key(1), "");
            }
        }
        for power in 0..=64 {
            objects.put(&key(u64::MAX.checked_shr(64 - power).unwrap_or(0)), "forged");
        }
        assert_eq!(first_free(&objects, key, 0, 0).await.unwrap(), None);
    }
}
