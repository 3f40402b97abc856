//! The sections `[journal]` and `[archive]`: object storage.

use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use crate::objects::BucketUrl;
use crate::settings::units::{KIB, MIB, MILLISECOND, SECOND};
use crate::settings::value::{boolean, duration, path, size, text};
use crate::settings::{Mismatch, optional, or, settings};

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
