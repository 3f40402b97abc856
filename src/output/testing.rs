//! What the tests of the outputs share.

use crate::entry::record::Origin;
use crate::entry::{Fields, Format, Kind, Millis, Record};

/// The entry `id`, received at `received_at` in milliseconds.
pub(super) fn record(id: u64, received_at: i64) -> Record {
    Record {
        origin: Origin::Stored {
            id,
            input: "default".into(),
            received_at: Millis::saturating(received_at),
            delivery_count: 1,
        },
        time: None,
        format: Format::Json,
        kind: Some(Kind::Access),
        verdict: "valid".into(),
        reason: None,
        kid: None,
        warnings: vec![],
        fields: Fields::default(),
        raw: format!("line {id}").into_bytes(),
    }
}
