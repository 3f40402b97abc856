//! The sections `[[input]]`: the paths that accept deliveries, and the `Authorization` of each.
//!
//! Without such a section the flags make an input called `default`.

use std::path::PathBuf;

use toml::de::DeValue;

use super::Flags;
use super::keys::{KeySource, SourceKeys};
use crate::entry::words::words;
use crate::settings::value::{list, name, path, secret, text, word};
use crate::settings::{
    ConfigError, LEAST_LEN, Mismatch, Secret, Section, optional, or, required, settings,
};

/// The environment variable with the authorization value of the default input.
pub(crate) const AUTHORIZATION_VARIABLE: &str = "VIDIMUS_AUTHORIZATION";

settings! {
    /// An input: a source of deliveries.
    pub(crate) struct Input {
        /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other input has it.
        pub name: String = required("every input has a name of its own", name);
        /// The path of its endpoint, which must match completely. No other input has it, and it is
        /// not `/healthz`.
        pub path: String =
            required("every input has a path of its own", |value| endpoint(text(value)?));
        /// The organizations whose entries are expected. Empty: any.
        pub org_ids: Vec<String> = or(Vec::new(), list(id));
        /// The Dev Portals whose entries are expected. Empty: any.
        pub portal_ids: Vec<String> = or(Vec::new(), list(id));
        /// The format of its responses.
        pub response_profile: ResponseProfile =
            or(ResponseProfile::Vidimus, word(ResponseProfile::ALL, ResponseProfile::as_str));
    } with {
        /// The accepted values of `Authorization`.
        pub authorization: Authorization,
        /// The key sets for its entries: its own, or those of `[keys]`.
        pub keys: Vec<KeySource>,
    }
}

settings! {
    /// The keys for the accepted values of `Authorization`. An input has one of them.
    pub(super) struct AuthorizationKeys {
        authorization: Option<Vec<Secret>> = optional(list(secret));
        authorization_file: Option<Vec<PathBuf>> = optional(list(path));
        authorization_env: Option<Vec<String>> = optional(list(variable));
    }
}

words! {
    /// The format of the responses to senders. It changes nothing else.
    pub(crate) enum ResponseProfile {
        /// Counts, and problem details (RFC 9457).
        Vidimus = "vidimus",
        /// The responses of Splunk's HTTP Event Collector.
        SplunkHec = "splunk-hec",
    }
}

/// The accepted values of `Authorization`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Authorization {
    /// At least one value.
    Given(Vec<Secret>),
    /// There is no receiver, so no value is read or made.
    Unused,
    /// A random value, created on the first run and kept in the data directory.
    Generated,
}

/// The sources of the inputs.
pub(super) struct Sources<'a> {
    pub(super) flags: &'a Flags,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    /// The top level of the file.
    pub(super) top: &'a Section<'a>,
    /// The key sets of `[keys]`.
    pub(super) keys: &'a [KeySource],
}

impl Sources<'_> {
    /// The inputs of the file, or the default input.
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
        if !self.flags.no_receiver {
            self.warn_of_unused_variable(&sections, warnings)?;
        }
        Ok(inputs)
    }

    /// The default input, from the flags and the environment.
    fn default_input(&self, warnings: &mut Vec<String>) -> Result<Input, ConfigError> {
        let Flags { authorization, authorization_file, .. } = self.flags;
        let secret = match (authorization, authorization_file) {
            _ if self.flags.no_receiver => None,
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
            authorization: match secret {
                Some((_, secret)) => Authorization::Given(vec![secret]),
                None if self.flags.no_receiver => Authorization::Unused,
                None => Authorization::Generated,
            },
            org_ids: Vec::new(),
            portal_ids: Vec::new(),
            response_profile: ResponseProfile::Vidimus,
            keys: self.keys.to_vec(),
        })
    }

    /// Refuses the flags of the default input if the file has inputs.
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

    /// Warns if the variable is not used. It is no error, as a service manager may set it for every
    /// program.
    fn warn_of_unused_variable(
        &self,
        sections: &[Section<'_>],
        warnings: &mut Vec<String>,
    ) -> Result<(), ConfigError> {
        let mut used = (self.env)(AUTHORIZATION_VARIABLE).is_none();
        for section in sections {
            let named = AuthorizationKeys::read(section)?.authorization_env;
            used |= named.iter().flatten().any(|name| name == AUTHORIZATION_VARIABLE);
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
        let mut input = Input::read(section, Authorization::Generated, self.keys.to_vec())?;
        input.authorization = match self.flags.no_receiver {
            true => Authorization::Unused,
            false => Authorization::Given(self.secrets(section, warnings)?),
        };
        let own = section.table("keys")?;
        let sources = SourceKeys::read(&own)?.sources();
        if own.is_present() && sources.is_empty() {
            return Err(section.wrong("keys", Mismatch::new("empty", "jwks or region in it")));
        }
        if !sources.is_empty() {
            input.keys = sources;
        }
        Ok(input)
    }

    /// Reads the accepted values of an input.
    fn secrets(
        &self,
        section: &Section<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Secret>, ConfigError> {
        let AuthorizationKeys { authorization, authorization_file, authorization_env } =
            AuthorizationKeys::read(section)?;
        let mut given = AuthorizationKeys::KEYS.iter().filter(|key| section.has(key));
        let key = given.next().ok_or_else(|| {
            let advice = "give it, or authorization_file, or authorization_env";
            section.missing("authorization", advice)
        })?;
        if let Some(other) = given.next() {
            return Err(section.conflict(other, *key, "keep one of them, it can be a list"));
        }

        let setting = section.setting(key);
        let mut secrets = authorization.unwrap_or_default();
        for file in authorization_file.unwrap_or_default() {
            secrets.push(Secret::read(&setting, &file, warnings)?);
        }
        for variable in authorization_env.unwrap_or_default() {
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

/// The path of a request. It is compared without decoding.
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

/// The name of an environment variable. Other text is not shown, since it may be the secret itself.
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

/// The error for a value of `key` that an earlier input has.
fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an input before it has");
    section.wrong(key, Mismatch::new(found, format!("another {key}")))
}
