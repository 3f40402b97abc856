//! The sections `[[input]]`: whose deliveries are taken, at which path, with which `Authorization`.
//!
//! Without any, the flags make one called `default`.

use std::path::PathBuf;

use toml::de::DeValue;

use super::Flags;
use super::keys::{KeySource, SourceKeys};
use crate::entry::words::words;
use crate::settings::value::{list, name, path, secret, text, word};
use crate::settings::{
    ConfigError, LEAST_LEN, Mismatch, Secret, Section, optional, or, required, settings,
};

/// The environment variable that holds the default input's authorization value.
pub const AUTHORIZATION_VARIABLE: &str = "VIDIMUS_AUTHORIZATION";

settings! {
    /// One source of deliveries.
    pub struct Input {
        /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other input has it.
        pub name: String = required("every input has a name of its own", name);
        /// The path of its endpoint, matched whole; no other input has it, and it is not `/healthz`.
        pub path: String =
            required("every input has a path of its own", |value| endpoint(text(value)?));
        /// The organizations whose entries belong here. None: of any.
        pub org_ids: Vec<String> = or(Vec::new(), list(id));
        /// The Dev Portals whose entries belong here. None: of any.
        pub portal_ids: Vec<String> = or(Vec::new(), list(id));
        /// The shape of what its senders are answered.
        pub response_profile: ResponseProfile =
            or(ResponseProfile::Vidimus, word(ResponseProfile::ALL, ResponseProfile::as_str));
    } with {
        /// What the `Authorization` header of its deliveries must be.
        pub authorization: Authorization,
        /// The key sets that its entries are verified with: its own, or else those of `[keys]`.
        pub keys: Vec<KeySource>,
    }
}

settings! {
    /// The ways to the accepted values of `Authorization`, of which an input has one.
    pub(super) struct AuthorizationKeys {
        authorization: Option<Vec<Secret>> = optional(list(secret));
        authorization_file: Option<Vec<PathBuf>> = optional(list(path));
        authorization_env: Option<Vec<String>> = optional(list(variable));
    }
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
        input.authorization = Authorization::Given(self.secrets(section, warnings)?);
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

    /// The accepted values of an input, from where it says.
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

/// The error that an input before `section` has the same value of `key`.
fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an input before it has");
    section.wrong(key, Mismatch::new(found, format!("another {key}")))
}
