//! The section `[log]`: what `vidimus serve` logs.

use crate::entry::words::words;
use crate::settings::value::word;
use crate::settings::{optional, settings};

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
    }
}
