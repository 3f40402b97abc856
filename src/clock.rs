//! The time, for those who may ask for it.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::entry::Millis;

/// The time now.
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis::saturating(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
