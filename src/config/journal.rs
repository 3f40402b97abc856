//! The sections `[journal]` and `[archive]`: object storage.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::Receiver;
use crate::objects::{BucketUrl, MOST_READ};
use crate::settings::units::{KIB, MIB, MILLISECOND, SECOND, show_size};
use crate::settings::value::{boolean, duration, path, size, text};
use crate::settings::{ConfigError, Mismatch, Section, optional, or, settings};

settings! {
    /// The keys of `[journal]`. Sizes are in bytes.
    pub(crate) struct Journal {
        /// Where the journal is. `None`: there is none.
        pub url: Option<BucketUrl> = optional(url);
        /// The file with the key that encrypts the objects.
        pub key_file: Option<PathBuf> = optional(path);
        /// How long a delivery waits for others that go into the same object.
        pub max_wait: Duration = or(Duration::from_millis(250), duration(MILLISECOND));
        /// The size of the waiting deliveries at which an object is written.
        pub max_size: u64 = or(8 * MIB, size(64 * KIB..=256 * MIB));
        /// How long a delivery that was read may wait until it is in the journal, before it is answered
        /// 500.
        pub put_timeout: Duration = or(8 * SECOND, duration(MILLISECOND));
        /// How often a store asks for new objects.
        pub poll_interval: Duration = or(SECOND, duration(MILLISECOND));
        /// How long an epoch may have no new object before a store seals it.
        pub seal_after: Duration = or(15 * 60 * SECOND, duration(MILLISECOND));
    }
}

/// The most that the bodies in an object may have, in bytes. What is left of an object is for the texts
/// beside each body, and for what compression adds to bodies that cannot be made smaller.
const MOST_BODIES: u64 = MOST_READ as u64 - 72 * MIB;

impl Journal {
    /// Reads the section `[journal]`.
    pub(super) fn resolve(section: &Section<'_>) -> Result<Journal, ConfigError> {
        let journal = Journal::read(section)?;
        // Otherwise deliveries are answered 500 while they still wait for others.
        if journal.max_wait >= journal.put_timeout {
            let found = format!("{:?}", journal.max_wait);
            let expected = format!("less than put_timeout, which is {:?}", journal.put_timeout);
            return Err(section.wrong("max_wait", Mismatch::new(found, expected)));
        }
        Ok(journal)
    }

    /// Checks that every object that a receiver with these limits puts can be read: `max_size` and one
    /// body more.
    pub(super) fn check_objects(&self, receiver: &Receiver) -> Result<(), ConfigError> {
        // A body that cannot be decoded is put as sent.
        let (key, body) = match receiver.max_decoded >= receiver.max_body {
            true => ("receiver.max_decoded", receiver.max_decoded),
            false => ("receiver.max_body", receiver.max_body),
        };
        let most = MOST_BODIES.saturating_sub(self.max_size);
        if body <= most {
            return Ok(());
        }
        let expected = format!(
            "at most {} with journal.max_size = {}, because an object with more cannot be read",
            show_size(most),
            show_size(self.max_size),
        );
        Err(ConfigError::value(key, Mismatch::new(show_size(body), expected)))
    }
}

settings! {
    /// The keys of `[archive]`.
    pub(crate) struct Archive {
        /// Where the archive is. `None`: there is none.
        pub url: Option<BucketUrl> = optional(url);
        /// The age of its first entry at which a segment is closed, so that little is missing.
        pub max_delay: Duration = or(60 * 60 * SECOND, duration(SECOND));
        /// Whether retention keeps a segment until it is in the archive and was read back.
        pub retention_needs_archive: bool = or(true, boolean);
    }
}

fn url(value: &DeValue<'_>) -> Result<BucketUrl, Mismatch> {
    text(value)?.parse()
}
