//! The section `[log]`: what `vidimus serve` logs.

use crate::entry::words::words;
use crate::settings::value::word;
use crate::settings::{optional, settings};

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

settings! {
    /// What is logged.
    pub struct Log {
        /// How much. None: what the command takes for right.
        pub level: Option<Level> = optional(word(Level::ALL, Level::as_str));
    }
}
