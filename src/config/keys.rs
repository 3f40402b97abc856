//! The sources of verification keys: JWK sets in files or at URLs, or those of Konnect's regions.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Flags;
use crate::settings::units::SECOND;
use crate::settings::value::{duration, list, text};
use crate::settings::{ConfigError, HttpUrl, Mismatch, Section, optional, or, settings};
use crate::store::RETIRE_AFTER;

settings! {
    /// The section `[keys]`, for all inputs without key sets of their own.
    pub(crate) struct Keys {
        /// How often the sets are read again.
        pub refresh: Duration = or(Duration::from_secs(6 * 60 * 60), duration(SECOND));
        /// How long a key verifies after it was last seen in its set.
        pub retire_after: Duration = or(RETIRE_AFTER, duration(SECOND));
    } with {
        /// The key sets, without duplicates. Without any nothing can be verified.
        pub sources: Vec<KeySource>,
    }
}

settings! {
    /// The keys for key sets.
    pub(super) struct SourceKeys {
        jwks: Vec<KeySource> = or(Vec::new(), list(|value| text(value)?.parse()));
        region: Option<Region> = optional(|value| text(value)?.parse());
    }
}

impl Keys {
    /// Reads the section `[keys]`. Flags override its sources.
    pub(super) fn resolve(flags: &Flags, section: &Section<'_>) -> Result<Keys, ConfigError> {
        let given = flag_sources(flags)?;
        let in_file = SourceKeys::read(section)?.sources();
        Keys::read(section, if given.is_empty() { in_file } else { given })
    }
}

/// The source of a JWK set.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeySource {
    /// A file. A relative path is relative to the working directory.
    File(PathBuf),
    /// An `https` URL, or an `http` URL of the loopback interface. It has no credentials.
    Url(String),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeySource::File(path) => path.display().fmt(f),
            KeySource::Url(url) => f.write_str(url),
        }
    }
}

impl FromStr for KeySource {
    type Err = Mismatch;

    fn from_str(text: &str) -> Result<KeySource, Mismatch> {
        const EXPECTED: &str =
            "a file, an https URL, or an http URL to a loopback address such as 127.0.0.1";
        if !text.contains("://") {
            let file = KeySource::File(PathBuf::from(text));
            return if text.is_empty() { Err(Mismatch::text(text, EXPECTED)) } else { Ok(file) };
        }
        let url = HttpUrl::new(text, EXPECTED)?;
        // Whoever can respond instead of the source decides what is genuine.
        if url.is_https() || url.is_loopback() {
            Ok(KeySource::Url(text.to_owned()))
        } else {
            Err(Mismatch::text(text, EXPECTED))
        }
    }
}

/// A region of Konnect. Each signs with its own keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Region {
    /// The one with this name: letters, digits and hyphens. Konnect gets new ones.
    One(String),
    /// All regions in [`Region::KNOWN`].
    Auto,
}

impl Region {
    /// The regions on Kong's page "Geographic regions".
    pub(crate) const KNOWN: [&str; 6] = ["us", "eu", "au", "me", "in", "sg"];

    /// The name of the region.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Region::One(name) => name,
            Region::Auto => "auto",
        }
    }

    /// The key set of the region. For `auto`, those of all regions.
    pub(crate) fn sources(&self) -> Vec<KeySource> {
        let regions = match self {
            Region::One(name) => vec![name.as_str()],
            Region::Auto => Region::KNOWN.to_vec(),
        };
        let url = |region| {
            KeySource::Url(format!(
                "https://{region}.api.konghq.com/v2/audit-log-webhook/jwks.json"
            ))
        };
        regions.into_iter().map(url).collect()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Region {
    type Err = Mismatch;

    /// Parses the name of a region, which becomes a label of a host name (RFC 1035 section 2.3.1).
    fn from_str(text: &str) -> Result<Region, Mismatch> {
        let is_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let is_name = (1..=63).contains(&text.len())
            && text.chars().all(is_character)
            && !text.starts_with('-')
            && !text.ends_with('-');
        match text {
            "auto" => Ok(Region::Auto),
            name if is_name => Ok(Region::One(name.to_owned())),
            _ => Err(Mismatch::text(
                text,
                format!("a region such as {}, or auto", Region::KNOWN.join(", ")),
            )),
        }
    }
}

impl SourceKeys {
    /// The key sets, without duplicates.
    pub(super) fn sources(self) -> Vec<KeySource> {
        together(self.jwks, self.region)
    }
}

fn flag_sources(flags: &Flags) -> Result<Vec<KeySource>, ConfigError> {
    let jwks: Result<_, _> = flags.jwks.iter().map(|source| source.parse()).collect();
    Ok(together(
        jwks.map_err(|mismatch| ConfigError::value("--jwks", mismatch))?,
        flags.region.clone(),
    ))
}

fn together(jwks: Vec<KeySource>, region: Option<Region>) -> Vec<KeySource> {
    let mut sources = Vec::new();
    for source in jwks.into_iter().chain(region.iter().flat_map(Region::sources)) {
        if !sources.contains(&source) {
            sources.push(source);
        }
    }
    sources
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sources() {
        let file = |path: &str| Some(KeySource::File(PathBuf::from(path)));
        let url = |url: &str| Some(KeySource::Url(url.to_owned()));
        let check = |text: &str, expected: Option<KeySource>| {
            assert_eq!(text.parse().ok(), expected, "{text}");
            if let Some(source) = expected {
                assert_eq!(source.to_string(), text);
            }
        };
        check("jwks.json", file("jwks.json"));
        check("/etc/vidimus/jwks.json", file("/etc/vidimus/jwks.json"));
        check("https://keys.example/jwks.json?x=1", url("https://keys.example/jwks.json?x=1"));
        check("http://127.0.0.1:8000/jwks.json", url("http://127.0.0.1:8000/jwks.json"));
        check("http://[::1]/jwks.json", url("http://[::1]/jwks.json"));
        check("http://localhost/jwks.json", url("http://localhost/jwks.json"));
        for bad in ["", "http://keys.example/", "ftp://127.0.0.1/", "https://", "file:///x"] {
            check(bad, None);
        }
    }

    #[test]
    fn regions() {
        let one = |name: &str| Ok(Region::One(name.to_owned()));
        assert_eq!("auto".parse(), Ok(Region::Auto));
        for name in ["us", "eu", "de-central-1", "7"] {
            assert_eq!(name.parse(), one(name));
        }
        for bad in ["", "US", "-eu", "eu-", "eu.api", "eu/", &"a".repeat(64)] {
            assert!(bad.parse::<Region>().is_err(), "{bad}");
        }
        assert_eq!(
            "EU".parse::<Region>().unwrap_err().to_string(),
            "found \"EU\", expected a region such as us, eu, au, me, in, sg, or auto"
        );
        let url = "https://eu.api.konghq.com/v2/audit-log-webhook/jwks.json".to_owned();
        assert_eq!("eu".parse::<Region>().unwrap().sources(), [KeySource::Url(url)]);
        let sources = |name: &&str| name.parse::<Region>().unwrap().sources();
        let all: Vec<_> = Region::KNOWN.iter().flat_map(sources).collect();
        assert_eq!(Region::Auto.sources(), all);
    }
}
