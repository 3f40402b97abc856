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
use crate::settings::{ConfigError, HttpUrl, Mismatch, Section, optional, or, required, settings};
use crate::tlog::note::{self, KeyType, VerifierKey};

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
        /// The time-stamping authority that is asked for a time stamp once a day.
        pub tsa: Option<HttpUrl> = optional(tsa);
    } with {
        /// The witnesses that are asked for cosignatures.
        pub witnesses: Vec<Witness>,
    }
}

settings! {
    /// A witness: the keys of `[[log.witness]]`.
    pub(crate) struct Witness {
        /// The submission prefix (C2SP tlog-witness): where its calls begin.
        pub url: HttpUrl = required("where the witness is asked", witness_url);
        /// Its verifier key, which signs cosignatures.
        pub key: VerifierKey = required("the verifier key of the witness", witness_key);
    }
}

impl Log {
    /// Reads the section `[log]`. Each witness has a name and a key of its own.
    pub(super) fn resolve(section: &Section<'_>) -> Result<Log, ConfigError> {
        let mut witnesses: Vec<Witness> = Vec::new();
        for section in section.tables("witness")? {
            let witness = Witness::read(&section)?;
            let is_taken = |one: &Witness| {
                one.key.public() == witness.key.public() || one.key.name() == witness.key.name()
            };
            if witnesses.iter().any(is_taken) {
                let expected = "a name and a key that no witness before has";
                return Err(
                    section.wrong("key", Mismatch::text(&witness.key.to_string(), expected))
                );
            }
            witnesses.push(witness);
        }
        Log::read(section, witnesses)
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

/// What a witness says over plain http could be forged, and it can stop the log.
fn witness_url(value: &DeValue<'_>) -> Result<HttpUrl, Mismatch> {
    const EXPECTED: &str = "an https URL without a query, or an http one to a loopback address, such \
                            as \"https://witness.example.com\"";
    let url = HttpUrl::new(text(value)?, EXPECTED)?;
    match url.uri().query().is_none() && (url.is_https() || url.is_loopback()) {
        true => Ok(url),
        false => Err(Mismatch::text(&url.shown(), EXPECTED)),
    }
}

fn witness_key(value: &DeValue<'_>) -> Result<VerifierKey, Mismatch> {
    let vkey = text(value)?;
    let key: VerifierKey = vkey
        .parse()
        .map_err(|why| Mismatch::text(vkey, format!("the verifier key of a witness ({why})")))?;
    match key.kind() {
        KeyType::Cosignature => Ok(key),
        KeyType::Note => {
            Err(Mismatch::text(vkey, "the key of a witness, with the signature type 0x04"))
        }
    }
}

/// A time stamp is signed, so plain http will do.
fn tsa(value: &DeValue<'_>) -> Result<HttpUrl, Mismatch> {
    HttpUrl::new(text(value)?, "an https or http URL, such as \"https://tsa.example.com/\"")
}
