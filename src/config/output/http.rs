//! Outputs of the type `http`: which endpoint, what a request looks like, who we are to it.

mod credentials;

use std::path::PathBuf;
use std::time::Duration;

use hyper::header::HeaderName;
use toml::de::DeValue;

use super::{Compress, certificate, word};
use crate::config::Secret;
use crate::config::error::{ConfigError, Mismatch};
use crate::config::file::Section;
use crate::config::input::missing;
use crate::config::units::MIB;
use crate::config::url::HttpUrl;
use crate::config::value::{boolean, count, duration, path, size, text};
use crate::entry::words::words;
use crate::net::PairFiles;
use crate::output::Format;

/// How batches are sent. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputHttp {
    /// Where to.
    pub url: HttpUrl,
    /// Whether plain http may be spoken beyond the loopback address.
    pub allow_plain_http: bool,
    /// The shape of a request.
    pub body: Body,
    /// Which index entries go to: Splunk's, or Elasticsearch's.
    pub index: Option<String>,
    /// What is done with a document.
    pub action: Action,
    /// Splunk's `source`.
    pub source: Option<String>,
    /// Splunk's `sourcetype`.
    pub sourcetype: Option<String>,
    /// Splunk's `host`.
    pub host: Option<String>,
    /// The most entries of a batch.
    pub batch_entries: usize,
    /// The most of a batch before it is compressed. An entry that is larger goes alone.
    pub batch_size: usize,
    /// How long a batch waits for more entries.
    pub batch_every: Duration,
    /// Whether requests are compressed with gzip.
    pub compress: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The value of the header `Authorization`.
    pub authorization: Option<Secret>,
    /// Other headers, by name.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Certificates that are trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to an endpoint that asks for one.
    pub certificate: Option<PairFiles>,
    /// Where entries go that the endpoint refuses for good, if not into the data directory.
    pub dead_letters: Option<PathBuf>,
}

words! {
    /// The shape of a request.
    pub enum Body {
        /// Lines.
        Lines = "lines",
        /// A JSON array.
        Array = "array",
        /// Splunk's HTTP Event Collector, `/services/collector/event`.
        HecEvent = "hec_event",
        /// Splunk's HTTP Event Collector, `/services/collector/raw`.
        HecRaw = "hec_raw",
        /// Elasticsearch's and OpenSearch's `_bulk`.
        Bulk = "bulk",
    }
}

words! {
    /// What `_bulk` does with a document.
    pub enum Action {
        /// Writes it, over one with the same id.
        Index = "index",
        /// Writes it unless there is one with the same id: what data streams take.
        Create = "create",
    }
}

/// The keys of this type.
pub(super) const KEYS: [&str; 24] = [
    "url",
    "allow_plain_http",
    "body",
    "index",
    "action",
    "source",
    "sourcetype",
    "host",
    "batch_entries",
    "batch_size",
    "batch_every",
    "compress",
    "timeout",
    "authorization",
    "authorization_file",
    "token_file",
    "username",
    "password_file",
    "headers",
    "header_files",
    "ca_file",
    "cert_file",
    "key_file",
    "dead_letters",
];

/// The keys in which a secret may stand in plain.
pub(super) const SECRETS: [&str; 2] = ["authorization", "headers"];

impl OutputHttp {
    pub(super) fn resolve(
        section: &Section<'_>,
        format: Format,
        warnings: &mut Vec<String>,
    ) -> Result<OutputHttp, ConfigError> {
        let allow_plain_http = section.get("allow_plain_http", boolean)?.unwrap_or(false);
        let url = section.get("url", url(allow_plain_http))?.ok_or_else(|| {
            missing(section, "url", "give it, such as \"https://siem.example.com/audit-logs\"")
        })?;
        let body = body(section)?;
        body.refuse_foreign_keys(section)?;
        let index = section.get("index", name)?;
        if body == Body::Bulk {
            check_bulk(section, format, &url, index.is_none())?;
        }
        let action = section.get("action", word(Action::ALL, Action::as_str))?;
        let batch_entries = section.get("batch_entries", count(1..=10_000))?.unwrap_or(500);
        let batch_size = section.get("batch_size", size(1..=64 * MIB))?.unwrap_or(MIB);
        let least = Duration::from_millis(100);
        Ok(OutputHttp {
            url,
            allow_plain_http,
            body,
            index,
            action: action.unwrap_or(Action::Index),
            source: section.get("source", name)?,
            sourcetype: section.get("sourcetype", name)?,
            host: section.get("host", name)?,
            batch_entries: usize::try_from(batch_entries).unwrap_or(usize::MAX),
            batch_size: usize::try_from(batch_size).unwrap_or(usize::MAX),
            batch_every: section.get("batch_every", duration(least))?.unwrap_or(10 * least),
            compress: section.get("compress", compress)?.unwrap_or(true),
            timeout: section.get("timeout", duration(least))?.unwrap_or(Duration::from_secs(30)),
            authorization: credentials::authorization(section, warnings)?,
            headers: credentials::headers(section, warnings)?,
            ca_file: section.get("ca_file", path)?,
            certificate: certificate(section, warnings)?,
            dead_letters: section.get("dead_letters", path)?,
        })
    }
}

/// The format where none is given.
pub(super) fn format(section: &Section<'_>) -> Result<Format, ConfigError> {
    Ok(if body(section)? == Body::HecRaw { Format::Raw } else { Format::Json })
}

fn body(section: &Section<'_>) -> Result<Body, ConfigError> {
    let body = section.get("body", word(Body::ALL, Body::as_str))?;
    Ok(body.unwrap_or(Body::Lines))
}

impl Body {
    /// The keys that not every shape has.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Body::Lines | Body::Array => &[],
            Body::HecEvent | Body::HecRaw => &["index", "source", "sourcetype", "host"],
            Body::Bulk => &["index", "action"],
        }
    }

    /// A key that only another shape has would do nothing.
    fn refuse_foreign_keys(self, section: &Section<'_>) -> Result<(), ConfigError> {
        for other in Body::ALL {
            let foreign = |key: &&&str| section.has(key) && !self.keys().contains(*key);
            if let Some(key) = other.keys().iter().find(foreign) {
                return Err(ConfigError::Conflict {
                    setting: section.setting(key),
                    other: format!("body = \"{self}\""),
                    advice: format!("it is for requests such as body = \"{other}\""),
                });
            }
        }
        Ok(())
    }
}

fn check_bulk(
    section: &Section<'_>,
    format: Format,
    url: &HttpUrl,
    lacks_index: bool,
) -> Result<(), ConfigError> {
    if format == Format::Raw {
        return Err(ConfigError::Conflict {
            setting: section.setting("body"),
            other: "format = \"raw\"".to_owned(),
            advice: "documents are JSON: format = \"ecs\" suits an index best".to_owned(),
        });
    }
    // It may stand in the URL: /index/_bulk.
    let names_index = url.uri().path().trim_matches('/').contains('/');
    if lacks_index && !names_index {
        let advice = "name the index or the data stream that documents go to";
        return Err(missing(section, "index", advice));
    }
    Ok(())
}

fn url(allow_plain_http: bool) -> impl Fn(&DeValue<'_>) -> Result<HttpUrl, Mismatch> {
    move |value| {
        const EXPECTED: &str = "an https URL, without credentials or #";
        let url = HttpUrl::new(text(value)?, EXPECTED)?;
        if url.is_https() || url.is_loopback() || allow_plain_http {
            return Ok(url);
        }
        let expected = "https; http is for this machine, or for those who set allow_plain_http";
        Err(Mismatch::text(&url.shown(), expected))
    }
}

/// A name that others gave something.
fn name(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(Mismatch::text(name, "a name")),
        false => Ok(name.to_owned()),
    }
}

/// Whether requests are compressed. Files have the same key, and a word more.
fn compress(value: &DeValue<'_>) -> Result<bool, Mismatch> {
    match word(Compress::ALL, Compress::as_str)(value)? {
        Compress::None => Ok(false),
        Compress::Gzip => Ok(true),
        Compress::Zstd => {
            Err(Mismatch::text("zstd", "none or gzip for an output of the type http"))
        }
    }
}
