//! Errors in the settings. The operator can correct all of them: exit code 2.
//!
//! Every message names the setting as the operator wrote it (`--path`, `VIDIMUS_DATA_DIR`,
//! `config.toml:12: receiver.max_body`), the value, and what was expected. No message contains a
//! secret.

use std::io;
use std::path::PathBuf;

/// Why the settings are not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A file that a setting names cannot be read.
    #[error("cannot read {}, named by {setting}: {error}", path.display())]
    Read {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// The error of the system. It is not the source too, or it would be printed twice.
        error: io::Error,
    },

    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// The file and the line.
        place: String,
        /// The message of the parser, without the line itself, which may contain a secret.
        message: String,
    },

    /// A key that its table does not have.
    #[error("{place}: unknown key {key:?} in {table}, the nearest known key is {nearest}")]
    UnknownKey {
        /// The file and the line.
        place: String,
        /// The key as written.
        key: String,
        /// The heading of its table.
        table: String,
        /// The nearest known key, with its table if that is another one.
        nearest: String,
    },

    /// A value of the wrong type, in the wrong unit or out of range.
    #[error("{setting} is {found}, expected {expected}")]
    Value {
        setting: String,
        /// The value, or its type if it is a secret.
        found: String,
        /// The expected value.
        expected: String,
    },

    /// A required setting is missing.
    #[error("{setting} is missing: {advice}")]
    Missing {
        setting: String,
        /// What to do.
        advice: String,
    },

    /// Two settings that exclude each other.
    #[error("{setting} cannot be used together with {other}: {advice}")]
    Conflict {
        /// The one setting.
        setting: String,
        other: String,
        /// What to do.
        advice: String,
    },
}

impl ConfigError {
    /// The error that the value of `setting` is wrong.
    pub(crate) fn value(setting: impl Into<String>, mismatch: Mismatch) -> ConfigError {
        ConfigError::Value {
            setting: setting.into(),
            found: mismatch.found,
            expected: mismatch.expected,
        }
    }
}

/// A value that is not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}, expected {expected}")]
pub(crate) struct Mismatch {
    found: String,
    expected: String,
}

impl Mismatch {
    /// The value is `found`, but `expected` was expected.
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Mismatch {
        Mismatch { found: found.into(), expected: expected.into() }
    }

    /// The value is the text `found`, which is quoted.
    pub(crate) fn text(found: &str, expected: impl Into<String>) -> Mismatch {
        Mismatch::new(format!("{found:?}"), expected)
    }
}
