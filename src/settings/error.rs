//! What can be wrong with the settings. All of it is the operator's to mend: exit code 2.
//!
//! Every message names the setting as the operator wrote it (`--path`, `VIDIMUS_DATA_DIR`,
//! `config.toml:12: receiver.max_body`), what was found there and what was expected. The values of
//! secrets are never part of one.

use std::io;
use std::path::PathBuf;

/// Why there is no valid configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file that a setting names cannot be read.
    #[error("cannot read {}, named by {setting}: {error}", path.display())]
    Read {
        /// The setting that names the file.
        setting: String,
        /// The file.
        path: PathBuf,
        /// What the system says. Not given as the source too: it would be printed twice.
        error: io::Error,
    },

    /// The file is no TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// File and line.
        place: String,
        /// What the parser says, without the line itself, which may hold a secret.
        message: String,
    },

    /// A key that no table, or not this one, has.
    #[error("{place}: unknown key {key:?} in {table}, the nearest known key is {nearest}")]
    UnknownKey {
        /// File and line.
        place: String,
        /// The key as written.
        key: String,
        /// The heading of its table.
        table: String,
        /// The known key that is nearest to it, with its table where that is another.
        nearest: String,
    },

    /// A value of the wrong type, in the wrong unit or out of range.
    #[error("{setting} is {found}, expected {expected}")]
    Value {
        /// The setting.
        setting: String,
        /// The value, or its type where it is a secret.
        found: String,
        /// What the setting takes.
        expected: String,
    },

    /// Something that must be there is not.
    #[error("{setting} is missing: {advice}")]
    Missing {
        /// The setting.
        setting: String,
        /// What to do.
        advice: String,
    },

    /// Two settings that exclude each other.
    #[error("{setting} cannot be used together with {other}: {advice}")]
    Conflict {
        /// The one setting.
        setting: String,
        /// The other.
        other: String,
        /// What to do.
        advice: String,
    },
}

impl ConfigError {
    /// The error that `setting` holds what it must not.
    pub(crate) fn value(setting: impl Into<String>, mismatch: Mismatch) -> ConfigError {
        ConfigError::Value {
            setting: setting.into(),
            found: mismatch.found,
            expected: mismatch.expected,
        }
    }
}

/// A value that is not what was expected, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}, expected {expected}")]
pub struct Mismatch {
    found: String,
    expected: String,
}

impl Mismatch {
    /// A value described as `found` stands where `expected` should.
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Mismatch {
        Mismatch { found: found.into(), expected: expected.into() }
    }

    /// The text `found`, quoted, stands where `expected` should.
    pub(crate) fn text(found: &str, expected: impl Into<String>) -> Mismatch {
        Mismatch::new(format!("{found:?}"), expected)
    }
}
