//! The section `[konnect]`: how to reach Konnect's API.
//!
//! The token is never in the configuration, only the name of its file. Commands that need the token
//! read it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::keys::Region;
use crate::settings::units::SECOND;
use crate::settings::value::{duration, path, text};
use crate::settings::{ConfigError, HttpUrl, Mismatch, Secret, optional, settings};

/// The environment variable with the token.
const TOKEN_VARIABLE: &str = "KONNECT_TOKEN";

settings! {
    /// The keys of `[konnect]`.
    pub(crate) struct Konnect {
        /// The file with the access token.
        pub token_file: Option<PathBuf> = optional(path);
        /// The region of the organization's webhook.
        pub region: Option<Region> = optional(one_region);
        /// The URL of the API, if it is not Konnect's own: that of a simulator.
        pub base_url: Option<BaseUrl> = optional(|value| text(value)?.parse());
        /// How long Konnect keeps entries for replay and pull. Without it, Konnect is asked.
        pub retention: Option<Duration> = optional(duration(SECOND));
        /// How often `serve` compares the organization's entries with the store. `None`: never.
        pub reconcile_every: Option<Duration> = optional(duration(SECOND));
    }
}

impl Konnect {
    /// The token of the environment, or else of the file; `None` if there is neither. The file may add
    /// to `warnings`.
    pub(crate) fn token(
        &self,
        env: &dyn Fn(&str) -> Option<String>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<Secret>, ConfigError> {
        if let Some(token) = env(TOKEN_VARIABLE).filter(|token| !token.is_empty()) {
            let wrong = |why: Mismatch| ConfigError::value(TOKEN_VARIABLE, why);
            return Secret::new(&token).map(Some).map_err(wrong);
        }
        let read = |file: &PathBuf| Secret::read("konnect.token_file", file, warnings);
        self.token_file.as_ref().map(read).transpose()
    }
}

/// A single region, not `auto`.
fn one_region(value: &DeValue<'_>) -> Result<Region, Mismatch> {
    let word = text(value)?;
    word.parse().ok().filter(|region| *region != Region::Auto).ok_or_else(|| {
        Mismatch::text(word, format!("one region, such as {}", Region::KNOWN.join(", ")))
    })
}

/// The scheme, host and port of an API, without a slash at the end: `https`, or `http` to this
/// machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BaseUrl(String);

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BaseUrl {
    type Err = Mismatch;

    fn from_str(url: &str) -> Result<BaseUrl, Mismatch> {
        const EXPECTED: &str = "an https URL without a path, or an http one to a loopback address, \
                                such as \"http://127.0.0.1:8490\"";
        let found = HttpUrl::new(url, EXPECTED)?;
        // The token is sent there.
        if !found.is_https() && !found.is_loopback() {
            return Err(Mismatch::text(url, EXPECTED));
        }
        found.origin().map(BaseUrl).ok_or_else(|| Mismatch::text(url, EXPECTED))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Option<&str>) {
        let found: Result<BaseUrl, _> = url.parse();
        assert_eq!(found.as_ref().ok().map(|url| url.0.as_str()), expected, "{url}: {found:?}");
    }

    #[test]
    fn a_token_is_sent_only_over_https_or_to_this_machine() {
        check("https://eu.api.konghq.com", Some("https://eu.api.konghq.com"));
        check("https://eu.api.konghq.com/", Some("https://eu.api.konghq.com"));
        check("http://127.0.0.1:8490", Some("http://127.0.0.1:8490"));
        check("http://localhost:1", Some("http://localhost:1"));
        check("http://192.0.2.1", None);
        check("http://eu.api.konghq.com", None);
        check("https://eu.api.konghq.com/v3", None);
        check("https://me:secret@eu.api.konghq.com", None);
        check("", None);
    }
}
