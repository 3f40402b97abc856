//! A certificate and its key, as two files: both or neither.

use std::fs::File;
use std::path::PathBuf;

use super::secret::warn_if_exposed;
use super::value::path;
use super::{ConfigError, Section, optional, settings};
use crate::net::PairFiles;

settings! {
    /// The keys of the two files.
    pub(crate) struct PairKeys {
        /// The certificate in PEM, with the intermediate certificates.
        cert_file: Option<PathBuf> = optional(path);
        /// Its private key in PEM.
        key_file: Option<PathBuf> = optional(path);
    }
}

impl PairKeys {
    /// Reads the pair. One file without the other is an error, whose message ends with `neither`.
    pub(crate) fn pair(
        section: &Section<'_>,
        neither: &str,
    ) -> Result<Option<PairFiles>, ConfigError> {
        let PairKeys { cert_file, key_file } = PairKeys::read(section)?;
        let (cert_name, key_name) = (section.setting("cert_file"), section.setting("key_file"));
        pair((&cert_name, cert_file), (&key_name, key_file), neither)
    }

    /// Reads the pair of a client. A key that others can read is added to `warnings`.
    pub(crate) fn of_client(
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Option<PairFiles>, ConfigError> {
        let pair = PairKeys::pair(section, "")?;
        if let Some(pair) = &pair {
            warn_if_key_exposed(&section.setting("key_file"), pair, warnings);
        }
        Ok(pair)
    }
}

/// Combines a certificate and a key, each with the name of its setting.
pub(crate) fn pair(
    (cert_name, cert): (&str, Option<PathBuf>),
    (key_name, key): (&str, Option<PathBuf>),
    neither: &str,
) -> Result<Option<PairFiles>, ConfigError> {
    let (missing, given) = match (cert, key) {
        (Some(certificate), Some(key)) => return Ok(Some(PairFiles { certificate, key })),
        (None, None) => return Ok(None),
        (Some(_), None) => (key_name, "certificate"),
        (None, Some(_)) => (cert_name, "key"),
    };
    Err(ConfigError::Missing {
        setting: missing.to_owned(),
        advice: format!("a {given} alone is no use{neither}"),
    })
}

/// Adds to `warnings` that others can read the key that `setting` names.
pub(crate) fn warn_if_key_exposed(setting: &str, pair: &PairFiles, warnings: &mut Vec<String>) {
    // That the key can be read, and is one, is checked when it is used.
    if let Ok(file) = File::open(&pair.key) {
        warn_if_exposed(setting, &pair.key, &file, warnings);
    }
}
