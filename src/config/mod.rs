//! The configuration: `config.toml`, the environment and the flags are combined into a valid
//! [`Config`].
//!
//! [`Flags`] and the file are what the operator wrote. [`Config`] is valid, so nothing has to be
//! checked again. A flag overrides the environment, which overrides the file, which overrides the
//! default. `config.example.toml` documents the file: it has every key with its default. Relative
//! paths, in the file too, are relative to the working directory.
//!
//! This module prints and logs nothing. [`Config::warnings`] has what the operator should know. A
//! file is read only if a flag or a key names it.

mod console;
mod input;
mod journal;
mod keys;
mod konnect;
mod listen;
mod log;
mod receiver;
mod shown;
mod source;
mod store;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) use console::Console;
pub(crate) use input::{AUTHORIZATION_VARIABLE, Authorization, Input, ResponseProfile};
pub(crate) use journal::{Archive, Journal};
pub(crate) use keys::{KeySource, Keys, Region};
pub(crate) use konnect::{BaseUrl, Konnect};
pub(crate) use listen::listen_address;
pub(crate) use log::{Level, Log, Witness};
pub(crate) use receiver::{Receiver, Tls};
pub(crate) use source::{Source as FetchedSource, SourceType};
pub(crate) use store::Store;

use console::TokenKey;
use input::AuthorizationKeys;
use keys::SourceKeys;
use receiver::TlsKeys;

use crate::output::settings::{self as output, Output};
use crate::settings::{
    ConfigError, Mismatch, PairKeys, Section, Source, Table, or, settings, value,
};

/// The environment variable that names the data directory.
pub(crate) const DATA_DIR_VARIABLE: &str = "VIDIMUS_DATA_DIR";

/// The tables of the file and their keys.
fn tables() -> Vec<Table> {
    let tables: [(_, &[&[_]]); 16] = [
        ("", &[DataDirKey::KEYS]),
        ("receiver", &[Receiver::KEYS]),
        ("receiver.tls", &[TlsKeys::KEYS, PairKeys::KEYS]),
        ("input", &[Input::KEYS, AuthorizationKeys::KEYS]),
        ("input.keys", &[SourceKeys::KEYS]),
        ("keys", &[SourceKeys::KEYS, Keys::KEYS]),
        ("store", &[Store::KEYS]),
        ("console", &[Console::KEYS, TokenKey::KEYS]),
        ("console.tls", &[TlsKeys::KEYS, PairKeys::KEYS]),
        ("output", &[&output::keys()]),
        ("source", &[FetchedSource::KEYS]),
        ("journal", &[Journal::KEYS]),
        ("archive", &[Archive::KEYS]),
        ("konnect", &[Konnect::KEYS]),
        ("log", &[Log::KEYS]),
        ("log.witness", &[Witness::KEYS]),
    ];
    tables.into_iter().map(|(name, keys)| (name, keys.concat())).collect()
}

settings! {
    /// The only key of the top level that is not a table.
    struct DataDirKey {
        data_dir: PathBuf = or("vidimus-data".into(), value::path);
    }
}

/// The complete configuration.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The directory of the store, and of the certificate and the authorization value created on
    /// the first run.
    pub data_dir: PathBuf,
    /// The webhook endpoint. It is not used if `has_receiver` is false.
    pub receiver: Receiver,
    /// Whether deliveries are received. If not, entries come from the sources alone.
    pub has_receiver: bool,
    /// The inputs: at least one.
    pub inputs: Vec<Input>,
    /// The verification keys.
    pub keys: Keys,
    pub store: Store,
    /// The web page and its API.
    pub console: Console,
    pub outputs: Vec<Output>,
    /// What is fetched.
    pub sources: Vec<FetchedSource>,
    /// The journal that receivers write and stores read.
    pub journal: Journal,
    /// The archive of sealed segments.
    pub archive: Archive,
    /// How to reach Konnect's API.
    pub konnect: Konnect,
    pub log: Log,
    /// Warnings: what is allowed and should be corrected, a sentence each.
    pub warnings: Vec<String>,
}

/// The flags of the command line, not checked yet. They may contain a secret, so there is no
/// `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Flags {
    pub config: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub listen: Option<SocketAddr>,
    pub path: Option<String>,
    pub public_url: Option<String>,
    pub authorization: Option<String>,
    pub authorization_file: Option<PathBuf>,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub no_tls: bool,
    /// Take entries from the sources alone.
    pub no_receiver: bool,
    pub console: Option<SocketAddr>,
    /// In bytes. No flag: the demo sets it.
    pub keep_requests: Option<u64>,
    /// `--jwks`, every one of them. With `--region` they replace the sources of the file.
    pub jwks: Vec<String>,
    pub region: Option<Region>,
}

impl Config {
    /// Reads the file that the flags name, if they do, and combines it with the flags and the
    /// environment. `env` looks up a variable. The files of secrets are read too.
    pub(crate) fn load(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        Config::resolve(flags, env, &source(flags)?)
    }

    fn resolve(
        flags: &Flags,
        env: &dyn Fn(&str) -> Option<String>,
        source: &Source,
    ) -> Result<Config, ConfigError> {
        let table = source.parse()?;
        let top = &Section::top(source, &table)?;
        let mut warnings = Vec::new();
        let of_inputs = top.tables("input")?.iter().any(|input| input.has("authorization"));
        if of_inputs || output::hold_secrets(top)? {
            top.warn_if_exposed(&mut warnings);
        }
        let keys = Keys::resolve(flags, &top.table("keys")?)?;
        let inputs = input::Sources { flags, env, top, keys: &keys.sources };
        let receiver = Receiver::resolve(flags, &top.table("receiver")?, &mut warnings)?;
        let section = &top.table("console")?;
        let console = Console::resolve(flags, section, &receiver.tls, &mut warnings)?;
        let inputs = inputs.inputs(&mut warnings)?;
        let journal = Journal::resolve(&top.table("journal")?)?;
        let sources = source::sources(top, &inputs, &journal)?;
        if flags.no_receiver && sources.is_empty() {
            return Err(ConfigError::Missing {
                setting: top.setting("source"),
                advice: "with --no-receiver entries come from sources alone".to_owned(),
            });
        }
        let konnect = Konnect::read(&top.table("konnect")?)?;
        Ok(Config {
            data_dir: resolve_data_dir(flags, env, top)?,
            receiver,
            has_receiver: !flags.no_receiver,
            inputs,
            keys,
            store: Store::read(&top.table("store")?)?,
            console,
            outputs: output::outputs(top, &mut warnings)?,
            sources,
            journal,
            archive: Archive::read(&top.table("archive")?)?,
            konnect,
            log: Log::resolve(&top.table("log")?)?,
            warnings,
        })
    }

    /// Checks what only `vidimus receive` needs: that stores can read every object that it puts.
    ///
    /// # Errors
    /// If a body and `journal.max_size` are too large together.
    pub(crate) fn check_receive(&self) -> Result<(), ConfigError> {
        self.journal.check_objects(&self.receiver)
    }

    /// Whether `serve` calls Konnect's API.
    pub(crate) fn uses_konnect(&self) -> bool {
        let is_pull = |source: &FetchedSource| source.r#type == SourceType::KonnectPull;
        self.sources.iter().any(is_pull) || self.konnect.reconcile_every.is_some()
    }

    /// The tables that differ in `other`, without those of outputs, which can change while the
    /// program runs, and those that only other commands use.
    pub(crate) fn differences(&self, other: &Config) -> Vec<&'static str> {
        let all = [
            ("data_dir", self.data_dir == other.data_dir),
            ("[receiver]", self.receiver == other.receiver),
            ("[[input]]", self.inputs == other.inputs),
            ("[keys]", self.keys == other.keys),
            ("[store]", self.store == other.store),
            ("[console]", self.console == other.console),
            ("[[source]]", self.sources == other.sources),
            ("[journal]", self.journal == other.journal),
            ("[archive]", self.archive == other.archive),
            (
                "[konnect]",
                !self.uses_konnect() && !other.uses_konnect() || self.konnect == other.konnect,
            ),
            ("[log]", self.log == other.log),
        ];
        all.into_iter().filter(|(_, same)| !same).map(|(table, _)| table).collect()
    }
}

/// The file that the flags name, if they do.
fn source(flags: &Flags) -> Result<Source, ConfigError> {
    Source::load(flags.config.as_deref(), tables())
}

/// Reads a part of the file that the flags name. Other tables are not read.
fn part<T>(
    flags: &Flags,
    read: impl FnOnce(&Section<'_>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let source = source(flags)?;
    read(&Section::top(&source, &source.parse()?)?)
}

/// The data directory alone, for commands that only read the store: no secret is read.
pub(crate) fn data_dir(
    flags: &Flags,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<PathBuf, ConfigError> {
    part(flags, |top| resolve_data_dir(flags, env, top))
}

/// The section `[keys]` alone, for commands that only verify: no secret is read.
pub(crate) fn keys(flags: &Flags) -> Result<Keys, ConfigError> {
    part(flags, |top| Keys::resolve(flags, &top.table("keys")?))
}

/// The section `[log]` alone, for what is logged before the rest is read.
pub(crate) fn log(flags: &Flags) -> Result<Log, ConfigError> {
    part(flags, |top| Log::resolve(&top.table("log")?))
}

/// The section `[journal]` alone, for commands that look after the journal: no secret is read.
pub(crate) fn journal(flags: &Flags) -> Result<Journal, ConfigError> {
    part(flags, |top| Journal::resolve(&top.table("journal")?))
}

/// The section `[archive]` alone, for commands that read the archive: no secret is read.
pub(crate) fn archive(flags: &Flags) -> Result<Archive, ConfigError> {
    part(flags, |top| Archive::read(&top.table("archive")?))
}

/// The section `[konnect]` alone, for commands that work with Konnect: no secret is read.
pub(crate) fn konnect(flags: &Flags) -> Result<Konnect, ConfigError> {
    part(flags, |top| Konnect::read(&top.table("konnect")?))
}

/// The sections `[[output]]` alone, and what should be mended in them: for commands that look after
/// outputs, and to change them while they run. No other secrets than theirs are read.
pub(crate) fn outputs(flags: &Flags) -> Result<(Vec<Output>, Vec<String>), ConfigError> {
    part(flags, |top| {
        let mut warnings = Vec::new();
        if output::hold_secrets(top)? {
            top.warn_if_exposed(&mut warnings);
        }
        let outputs = output::outputs(top, &mut warnings)?;
        Ok((outputs, warnings))
    })
}

/// The example configuration: every key with its default.
pub(crate) fn example() -> &'static str {
    include_str!("../../config.example.toml")
}

fn resolve_data_dir(
    flags: &Flags,
    env: &dyn Fn(&str) -> Option<String>,
    top: &Section<'_>,
) -> Result<PathBuf, ConfigError> {
    let in_file = DataDirKey::read(top)?.data_dir;
    if let Some(flag) = &flags.data_dir {
        return not_empty("--data-dir", flag.clone());
    }
    if let Some(variable) = env(DATA_DIR_VARIABLE) {
        return not_empty(DATA_DIR_VARIABLE, PathBuf::from(variable));
    }
    Ok(in_file)
}

fn not_empty(setting: &str, path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(ConfigError::value(setting, Mismatch::new("empty", "a directory")));
    }
    Ok(path)
}
