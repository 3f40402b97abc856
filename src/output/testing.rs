//! What the tests of the outputs share.

use crate::config::{Access, Compress, Fsync, OutputFile};
use crate::entry::record::Origin;
use crate::entry::{Fields, Format, Kind, Millis, Record, VerdictName};

/// A file that is never rotated or synced.
pub(super) fn settings() -> OutputFile {
    OutputFile {
        path: "x".parse().unwrap(),
        max_values: 1000,
        rotate_size: None,
        rotate_every: None,
        compress: Compress::None,
        keep: None,
        keep_age: None,
        keep_size: None,
        fsync: Fsync::Never,
        access: Access { mode: 0o600, owner: None, group: None },
    }
}

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
        format: Some(Format::Json),
        kind: Some(Kind::Access),
        verdict: VerdictName::Valid,
        reason: None,
        kid: None,
        warnings: vec![],
        fields: Fields::default(),
        raw: format!("line {id}").into_bytes(),
        whole: None,
    }
}
