//! Who we are to an endpoint: a value of the header `Authorization`, other headers.
//!
//! Secrets stand in the configuration, or in files of their own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderName;
use toml::de::DeValue;

use crate::config::Secret;
use crate::config::error::{ConfigError, Mismatch};
use crate::config::file::Section;
use crate::config::input::missing;
use crate::config::value::{pairs, path, secret, text};

/// The ways to an `Authorization`, of which there is one at most.
const WAYS: [&str; 4] = ["authorization", "authorization_file", "token_file", "username"];

/// Headers that are made from what is sent, or that have a key of their own.
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

/// The value of the header `Authorization`: as it is given, or for a token (RFC 6750), or for a name
/// and a password (RFC 7617).
pub(super) fn authorization(
    section: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, ConfigError> {
    let mut given = WAYS.into_iter().filter(|key| section.has(key));
    if let (Some(one), Some(other)) = (given.next(), given.next()) {
        return Err(ConfigError::Conflict {
            setting: section.setting(other),
            other: one.to_owned(),
            advice: "keep one of them".to_owned(),
        });
    }
    let value = section.get("authorization", secret)?;
    let whole = read(section, "authorization_file", warnings)?;
    let token = read(section, "token_file", warnings)?;
    let token = token.map(|token| made(section, "token_file", "Bearer ", token.expose()));
    let password = read(section, "password_file", warnings)?;
    let basic = match (section.get("username", user)?, password) {
        (None, None) => None,
        (Some(_), None) => return Err(missing(section, "password_file", "username needs it")),
        (None, Some(_)) => return Err(missing(section, "username", "password_file needs it")),
        (Some(user), Some(password)) => {
            let both = STANDARD.encode(format!("{user}:{}", password.expose()));
            Some(made(section, "password_file", "Basic ", &both))
        }
    };
    Ok(value.or(whole).or(token.transpose()?).or(basic.transpose()?))
}

/// The headers of the tables `headers` and `header_files`.
pub(super) fn headers(
    section: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(HeaderName, Secret)>, ConfigError> {
    let mut headers: Vec<(HeaderName, Secret)> = Vec::new();
    let values = section.get("headers", pairs(secret))?.unwrap_or_default();
    for (name, value) in values {
        headers.push((header(section, "headers", &name, &headers)?, value));
    }
    for (name, file) in section.get("header_files", pairs(path))?.unwrap_or_default() {
        let name = header(section, "header_files", &name, &headers)?;
        let setting = section.setting("header_files");
        headers.push((name, Secret::read(&setting, &file, warnings)?));
    }
    Ok(headers)
}

fn read(
    section: &Section<'_>,
    key: &str,
    warnings: &mut Vec<String>,
) -> Result<Option<Secret>, ConfigError> {
    let file = section.get(key, path)?;
    file.map(|file| Secret::read(&section.setting(key), &file, warnings)).transpose()
}

/// A value made of what a file holds.
fn made(section: &Section<'_>, key: &str, scheme: &str, rest: &str) -> Result<Secret, ConfigError> {
    let made = Secret::new(&format!("{scheme}{rest}"));
    made.map_err(|mismatch| ConfigError::value(section.setting(key), mismatch))
}

/// A name to log in with. A colon would end it (RFC 7617, section 2).
fn user(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    match name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
        true => Err(Mismatch::text(name, "a name without colons")),
        false => Ok(name.to_owned()),
    }
}

/// The name of a header that may be given, once.
fn header(
    section: &Section<'_>,
    key: &str,
    name: &str,
    others: &[(HeaderName, Secret)],
) -> Result<HeaderName, ConfigError> {
    let refuse = |expected: &str| {
        Err(ConfigError::value(section.setting(key), Mismatch::text(name, expected)))
    };
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
