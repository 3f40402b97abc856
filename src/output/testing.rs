//! Helpers for the tests of outputs.

use std::path::Path;

use super::file::{Access, Compress, FileSettings, Fsync};
use super::settings::{self, Output};
use crate::entry::record::Origin;
use crate::entry::{Fields, Format, Kind, Millis, Record, VerdictName};
use crate::settings::{ConfigError, Section, Source};

/// The example configuration, which has every key.
pub(super) const EXAMPLE: &str = include_str!("../../config.example.toml");

/// Reads the outputs of a file `c.toml` with this text. Returns them and the warnings.
pub(super) fn load(toml: &str) -> Result<(Vec<Output>, Vec<String>), ConfigError> {
    let tables = vec![("", Vec::new()), ("output", settings::keys())];
    let source = Source::new(Path::new("c.toml"), toml.to_owned(), tables);
    let mut warnings = Vec::new();
    let outputs = settings::outputs(&Section::top(&source, &source.parse()?)?, &mut warnings)?;
    Ok((outputs, warnings))
}

/// The outputs of such a file.
pub(super) fn outputs(toml: &str) -> Vec<Output> {
    load(toml).unwrap().0
}

/// Checks that such a file is refused, with an error that starts with `expected`.
pub(super) fn check_refused(toml: &str, expected: &str) {
    let error = load(toml).map(|_| toml).unwrap_err().to_string();
    assert!(error.starts_with(expected), "{toml}\n{error}\n{expected}");
}

/// Settings of a file that is never rotated or synced.
pub(super) fn file_settings() -> FileSettings {
    FileSettings {
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

/// The entry `id`, received at `received_at` in milliseconds since 1970.
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
