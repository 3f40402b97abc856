//! The credentials for an endpoint: the header `Authorization`, and other headers.
//!
//! Secrets are in the configuration, or in files of their own.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderName;
use toml::de::DeValue;

use crate::settings::value::{pairs, path, secret, text};
use crate::settings::{ConfigError, Mismatch, Secret, Section, optional, or, settings};

settings! {
    pub(super) struct CredentialKeys {
        authorization: Option<Secret> = optional(secret);
        authorization_file: Option<PathBuf> = optional(path);
        token_file: Option<PathBuf> = optional(path);
        username: Option<String> = optional(user);
        password_file: Option<PathBuf> = optional(path);
        headers: Vec<(String, Secret)> = or(Vec::new(), pairs(secret));
        header_files: Vec<(String, PathBuf)> = or(Vec::new(), pairs(path));
    }
}

/// The keys that make an `Authorization` header. At most one of them may be used.
const WAYS: [&str; 5] =
    ["authorization", "authorization_file", "token_file", "username", "client_id"];

/// Headers that this program sets, or that have a key of their own.
const RESERVED: [&str; 9] = [
    "authorization",
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The value of the header `Authorization`: as configured, for a token (RFC 6750), or for a name
/// and a password (RFC 7617).
pub(super) fn authorization(
    section: &Section<'_>,
    keys: &CredentialKeys,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, ConfigError> {
    let mut given = WAYS.into_iter().filter(|key| section.has(key));
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(section.conflict(other, one, "keep one of them"));
    }
    let mut read = |key: &str, file: &Option<PathBuf>| {
        let file = file.as_ref();
        file.map(|file| Secret::read(&section.setting(key), file, warnings)).transpose()
    };
    let whole = read("authorization_file", &keys.authorization_file)?;
    let token = read("token_file", &keys.token_file)?;
    let token = token.map(|token| made(section, "token_file", "Bearer ", token.expose()));
    let password = read("password_file", &keys.password_file)?;
    let basic = match (&keys.username, password) {
        (None, None) => None,
        (Some(_), None) => return Err(section.missing("password_file", "username needs it")),
        (None, Some(_)) => return Err(section.missing("username", "password_file needs it")),
        (Some(user), Some(password)) => {
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            Some(made(section, "password_file", "Basic ", &both))
        }
    };
    Ok(keys.authorization.clone().or(whole).or(token.transpose()?).or(basic.transpose()?))
}

/// The headers in the tables `headers` and `header_files`.
pub(super) fn headers(
    section: &Section<'_>,
    keys: &CredentialKeys,
    warnings: &mut Vec<String>,
) -> Result<Vec<(HeaderName, Secret)>, ConfigError> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    for (name, value) in &keys.headers {
        headers.push((header(section, "headers", name, &headers)?, value.clone()));
    }
    for (name, file) in &keys.header_files {
        let name = header(section, "header_files", name, &headers)?;
        let setting = section.setting("header_files");
        headers.push((name, Secret::read(&setting, file, warnings)?));
    }
    Ok(headers)
}

/// A header value with the contents of a file.
fn made(section: &Section<'_>, key: &str, scheme: &str, rest: &str) -> Result<Secret, ConfigError> {
    let made = Secret::new(&format!("{scheme}{rest}"));
    made.map_err(|mismatch| section.wrong(key, mismatch))
}

/// A user name. It cannot contain a colon (RFC 7617, section 2).
fn user(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    match name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
        true => Err(Mismatch::text(name, "a name without colons")),
        false => Ok(name.to_owned()),
    }
}

/// The name of a header that may be configured, and is not there yet.
fn header(
    section: &Section<'_>,
    key: &str,
    name: &str,
    others: &[(HeaderName, Secret)],
) -> Result<HeaderName, ConfigError> {
    let refuse = |expected: &str| Err(section.wrong(key, Mismatch::text(name, expected)));
    let Ok(parsed) = name.parse::<HeaderName>() else {
        return refuse("names of headers, such as X-Scope-OrgID");
    };
    if parsed.as_str() == "authorization" {
        return refuse("other headers: this one has keys of its own, such as authorization_file");
    }
    if RESERVED.contains(&parsed.as_str()) {
        return refuse("other headers: this one is made from what is sent");
    }
    if others.iter().any(|(other, _)| *other == parsed) {
        return refuse("each header once");
    }
    Ok(parsed)
}
