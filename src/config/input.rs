//! The sections `[[input]]`: whose deliveries are taken, at which path, with which `Authorization`.
//!
//! Without any, the flags make one called `default`.

use toml::de::DeValue;

use super::Flags;
use super::error::{ConfigError, Mismatch};
use super::file::Section;
use super::keys::{self, KeySource};
use super::secret::{LEAST_LEN, Secret};
use super::value::{list, path, secret, text, word};
use crate::entry::words::words;

/// The environment variable that holds the default input's authorization value.
pub const AUTHORIZATION_VARIABLE: &str = "VIDIMUS_AUTHORIZATION";

/// One source of deliveries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other input has it.
    pub name: String,
    /// The path of its endpoint, matched whole; no other input has it, and it is not `/healthz`.
    pub path: String,
    /// What the `Authorization` header of its deliveries must be.
    pub authorization: Authorization,
    /// The organizations whose entries belong here. None: of any.
    pub org_ids: Vec<String>,
    /// The Dev Portals whose entries belong here. None: of any.
    pub portal_ids: Vec<String>,
    /// The shape of what its senders are answered.
    pub response_profile: ResponseProfile,
    /// The key sets that its entries are verified with: its own, or else those of `[keys]`.
    pub keys: Vec<KeySource>,
}

words! {
    /// The shape of what the senders of an input are answered. Nothing else depends on it.
    pub enum ResponseProfile {
        /// Counts, and problems (RFC 9457).
        Vidimus = "vidimus",
        /// What Splunk's HTTP Event Collector answers.
        SplunkHec = "splunk-hec",
    }
}

/// What an `Authorization` header must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// One of these, of which there is at least one.
    Given(Vec<Secret>),
    /// A random value, made on first run and kept in the data directory.
    Generated,
}

/// What the inputs are made of.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The top level of the file.
    pub(super) top: &'a Section<'a>,
    /// The key sets of `[keys]`.
    pub(super) keys: &'a [KeySource],
}

impl Sources<'_> {
    /// The inputs of the file, or else the one that the flags make.
    pub(super) fn inputs(&self, warnings: &mut Vec<String>) -> Result<Vec<Input>, ConfigError> {
        let sections = self.top.tables("input")?;
        if sections.is_empty() {
            return Ok(vec![self.default_input(warnings)?]);
        }
        self.refuse_flags()?;
        let mut inputs: Vec<Input> = Vec::new();
        for section in &sections {
            let input = self.input(section, warnings)?;
            if inputs.iter().any(|other| other.name == input.name) {
                return Err(repeated(section, "name", &input.name));
            }
            if inputs.iter().any(|other| other.path == input.path) {
                return Err(repeated(section, "path", &input.path));
            }
            inputs.push(input);
        }
        self.warn_of_unused_variable(&sections, warnings)?;
        Ok(inputs)
    }

    /// The input of the flags and the environment.
    fn default_input(&self, warnings: &mut Vec<String>) -> Result<Input, ConfigError> {
        let Flags { authorization, authorization_file, .. } = self.flags;
        let secret = match (authorization, authorization_file) {
            (Some(_), Some(_)) => {
                return Err(ConfigError::Conflict {
                    setting: "--authorization".to_owned(),
                    other: "--authorization-file".to_owned(),
                    advice: "leave one of them out".to_owned(),
                });
            }
            (Some(value), None) => {
                Some(("--authorization", named("--authorization", Secret::new(value))?))
            }
            (None, Some(file)) => {
                let setting = "--authorization-file";
                Some((setting, Secret::read(setting, file, warnings)?))
            }
            (None, None) => match (self.env)(AUTHORIZATION_VARIABLE) {
                Some(value) => {
                    let setting = AUTHORIZATION_VARIABLE;
                    Some((setting, named(setting, Secret::new(&value))?))
                }
                None => None,
            },
        };
        if let Some((setting, secret)) = &secret {
            warn_if_short(setting, std::slice::from_ref(secret), warnings);
        }
        let path = self.flags.path.as_deref().unwrap_or("/audit-logs");
        Ok(Input {
            name: "default".to_owned(),
            path: named("--path", endpoint(path))?,
            authorization: secret
                .map_or(Authorization::Generated, |(_, secret)| Authorization::Given(vec![secret])),
            org_ids: Vec::new(),
            portal_ids: Vec::new(),
            response_profile: ResponseProfile::Vidimus,
            keys: self.keys.to_vec(),
        })
    }

    /// Flags that would make an input are an error where the file has some.
    fn refuse_flags(&self) -> Result<(), ConfigError> {
        let given = [
            ("--authorization", self.flags.authorization.is_some()),
            ("--authorization-file", self.flags.authorization_file.is_some()),
            ("--path", self.flags.path.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(ConfigError::Conflict {
                setting: flag.to_owned(),
                other: self.top.setting("input"),
                advice: "each [[input]] of the file says that itself".to_owned(),
            }),
        }
    }

    /// The variable is no error as the flags are: a service may set it for every program it starts.
    fn warn_of_unused_variable(
        &self,
        sections: &[Section<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let mut used = (self.env)(AUTHORIZATION_VARIABLE).is_none();
        for section in sections {
            let named = section.get("authorization_env", list(variable))?.unwrap_or_default();
            used |= named.iter().any(|name| name == AUTHORIZATION_VARIABLE);
        }
        if !used {
            warnings.push(format!(
                "{AUTHORIZATION_VARIABLE} is set and not used, since each [[input]] of the file has \
                 its own: name it in authorization_env, or unset it"
            ));
        }
        Ok(())
    }

    fn input(
        &self,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Input, ConfigError> {
        let name = section.get("name", |value| name(text(value)?))?;
        let path = section.get("path", |value| endpoint(text(value)?))?;
        let secrets = self.secrets(section, warnings)?;
        let org_ids = section.get("org_ids", list(id))?.unwrap_or_default();
        let portal_ids = section.get("portal_ids", list(id))?.unwrap_or_default();
        let response_profile =
            section.get("response_profile", word(ResponseProfile::ALL, ResponseProfile::as_str))?;
        let own = section.table("keys")?;
        let keys = match keys::sources(&own)? {
            keys if !keys.is_empty() => keys,
            _ if !own.is_present() => self.keys.to_vec(),
            _ => {
                let mismatch = Mismatch::new("empty", "jwks or region in it");
                return Err(ConfigError::value(section.setting("keys"), mismatch));
            }
        };
        Ok(Input {
            name: name
                .ok_or_else(|| missing(section, "name", "every input has a name of its own"))?,
            path: path
                .ok_or_else(|| missing(section, "path", "every input has a path of its own"))?,
            authorization: Authorization::Given(secrets),
            org_ids,
            portal_ids,
            response_profile: response_profile.unwrap_or(ResponseProfile::Vidimus),
            keys,
        })
    }

    /// The accepted values of an input, from where it says.
    fn secrets(
        &self,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Secret>, ConfigError> {
        const KEYS: [&str; 3] = ["authorization", "authorization_file", "authorization_env"];
        let values = section.get(KEYS[0], list(secret))?;
        let files = section.get(KEYS[1], list(path))?;
        let variables = section.get(KEYS[2], list(variable))?;

        let mut given = KEYS.into_iter().filter(|key| section.has(key));
        let key = given.next().ok_or_else(|| {
            missing(section, KEYS[0], "give it, or authorization_file, or authorization_env")
        })?;
        if let Some(other) = given.next() {
            return Err(ConfigError::Conflict {
                setting: section.setting(other),
                other: key.to_owned(),
                advice: "keep one of them, it can be a list".to_owned(),
            });
        }

        let setting = section.setting(key);
        let mut secrets = values.unwrap_or_default();
        for file in files.unwrap_or_default() {
            secrets.push(Secret::read(&setting, &file, warnings)?);
        }
        for variable in variables.unwrap_or_default() {
            let value = (self.env)(&variable).ok_or_else(|| ConfigError::Missing {
                setting: format!("the environment variable {variable}, named by {setting},"),
                advice: "set it, to the whole value of the header".to_owned(),
            })?;
            secrets.push(named(&format!("{variable}, named by {setting},"), Secret::new(&value))?);
        }
        if secrets.is_empty() {
            return Err(ConfigError::value(
                setting,
                Mismatch::new("an empty list", "at least one"),
            ));
        }
        warn_if_short(&setting, &secrets, warnings);
        Ok(secrets)
    }
}

/// Adds to `warnings` that a value of `secrets`, named by `setting`, can be guessed.
fn warn_if_short(setting: &str, secrets: &[Secret], warnings: &mut Vec<String>) {
    if secrets.iter().any(Secret::is_short) {
        warnings.push(format!(
            "{setting}: a value of fewer than {LEAST_LEN} characters can be guessed, and whoever \
             guesses it can deliver: take a longer one, such as \"Bearer \" and what \
             `openssl rand -hex 32` prints"
        ));
    }
}

/// A name as a section of a list has one.
pub(super) fn name(text: &str) -> Result<String, Mismatch> {
    let allowed = |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err(Mismatch::text(text, "1 to 64 of a to z, 0 to 9, _ and -"))
    }
}

/// A path as it stands in a request. Nothing is decoded when it is matched, so nothing is here.
fn endpoint(text: &str) -> Result<String, Mismatch> {
    if text == "/healthz" {
        return Err(Mismatch::text(text, "another path: load balancers ask there"));
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
    if text.starts_with('/') && plain {
        Ok(text.to_owned())
    } else {
        Err(Mismatch::text(
            text,
            "a path such as \"/audit-logs\": it begins with /, without a query, spaces or letters \
             other than ASCII",
        ))
    }
}

/// The name of a variable. Another text is not shown: it may be the secret itself.
fn variable(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    let named = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if name.is_empty() || !named {
        return Err(Mismatch::new(
            "no name of an environment variable",
            "letters, digits and _, such as \"PORTAL_AUTHORIZATION\"",
        ));
    }
    Ok(name.to_owned())
}

fn id(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let id = text(value)?;
    if id.is_empty() || id.contains(char::is_whitespace) {
        return Err(Mismatch::text(id, "an id, without spaces"));
    }
    Ok(id.to_owned())
}

fn named<T>(setting: &str, value: Result<T, Mismatch>) -> Result<T, ConfigError> {
    value.map_err(|mismatch| ConfigError::value(setting, mismatch))
}

/// The error that `section` lacks `key`.
pub(super) fn missing(section: &Section<'_>, key: &str, advice: &str) -> ConfigError {
    ConfigError::Missing { setting: section.setting(key), advice: advice.to_owned() }
}

fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an input before it has");
    ConfigError::value(section.setting(key), Mismatch::new(found, format!("another {key}")))
}
