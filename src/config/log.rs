//! The section `[log]`: what `vidimus serve` logs.

use super::error::ConfigError;
use super::file::Section;
use super::value::word;
use crate::entry::words::words;

words! {
    /// How much is logged: this and what is more serious.
    pub enum Level {
        /// What failed and has to be looked at.
        Error = "error",
        /// What may have to be looked at.
        Warn = "warn",
        /// What happens, a delivery each.
        Info = "info",
        /// What helps to find a bug.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How much. None: what the command takes for right.
    pub level: Option<Level>,
}

impl Log {
    /// The section `[log]`.
    pub(super) fn resolve(section: &Section<'_>) -> Result<Log, ConfigError> {
        Ok(Log { level: section.get("level", word(Level::ALL, Level::as_str))? })
    }
}
