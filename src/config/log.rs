//! The section `[log]`: what `vidimus serve` logs, and the transparency log of its store.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::entry::words::words;
use crate::settings::value::{duration, path, text, word};
use crate::settings::{Mismatch, optional, or, settings};
use crate::tlog::note;

words! {
    /// The least severe messages that are logged.
    pub(crate) enum Level {
        /// Failures that need attention.
        Error = "error",
        /// Conditions that may need attention.
        Warn = "warn",
        /// Normal events, such as a delivery.
        Info = "info",
        /// Details for finding bugs.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

settings! {
    /// The keys of `[log]`.
    pub(crate) struct Log {
        /// The level. `None`: that of the command.
        pub level: Option<Level> = optional(word(Level::ALL, Level::as_str));
        /// The origin of the transparency log, which its checkpoints begin with. `None`: the one
        /// that it began with, or else the name of the host and the id of the store.
        pub origin: Option<String> = optional(origin);
        /// The file with the private key of the transparency log. `None`: the one that was made.
        pub key_file: Option<PathBuf> = optional(path);
        /// The shortest time between two checkpoints.
        pub checkpoint_interval: Duration = or(Duration::from_secs(10), duration(LEAST_INTERVAL));
    }
}

/// The least time between two checkpoints: each of them is a file.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

fn origin(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let origin = text(value)?;
    let expected = "a name without spaces and without +, such as \"siem.example.com/audit\"";
    note::key_name(origin).map(str::to_owned).map_err(|_| Mismatch::text(origin, expected))
}
