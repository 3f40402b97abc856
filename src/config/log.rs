//! The section `[log]`: what `vidimus serve` logs, and the transparency log of its store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::KeySource;
use super::receiver::address;
use crate::entry::words::words;
use crate::objects::BucketUrl;
use crate::settings::value::{duration, list, path, text, word};
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
        /// Checkpoints of this log outside of the data directory, which it must agree with before it
        /// signs.
        pub anchor: Vec<KeySource> = or(Vec::new(), list(|value| text(value)?.parse()));
        /// Where the log is published: a folder or an object store. `None`: nowhere.
        pub publish: Option<BucketUrl> = optional(place);
        /// An address on which everybody may read the log. `None`: it is served by the console alone.
        pub listen: Option<SocketAddr> = optional(address);
    }
}

/// The least time between two checkpoints: each of them is synced and kept.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);

fn origin(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let origin = text(value)?;
    let expected = "a name without spaces and without +, such as \"siem.example.com/audit\"";
    note::key_name(origin).map(str::to_owned).map_err(|_| Mismatch::text(origin, expected))
}

/// A folder, or the URL of a place in an object store.
fn place(value: &DeValue<'_>) -> Result<BucketUrl, Mismatch> {
    let place = text(value)?;
    if place.contains("://") {
        return place.parse();
    }
    let expected = "a folder, or a URL such as s3://bucket/prefix";
    let folder = std::path::absolute(place).ok();
    let url = folder.and_then(|folder| format!("file://{}", folder.display()).parse().ok());
    url.ok_or_else(|| Mismatch::text(place, expected))
}
