//! The sections `[[output]]`: where entries go besides the store.
//!
//! What every output has is here, what one type has in a file of its own. A key that the type does not
//! have is an error, so that nobody believes in a rotation that does not happen.

mod file;
mod http;
mod syslog;

use std::borrow::Cow;
use std::fs::File;
use std::sync::LazyLock;

pub use file::{Access, Compress, Fsync, OutputFile};
pub use http::{Action, Body, OutputHttp};
pub use syslog::{Address, Facility, OutputSyslog, SyslogTls, Transport};
use toml::de::DeValue;

use super::error::{ConfigError, Mismatch};
use super::file::Section;
use super::input::{missing, name};
use super::secret::warn_if_exposed;
use super::value::{path, text, word};
use crate::clock::now;
use crate::entry::VerdictName;
use crate::entry::words::words;
use crate::net::PairFiles;
use crate::output::{Format, Template};
use crate::search::{self, Field, Filter, Operand, Test};

/// Where entries go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its name: 1 to 64 of `a` to `z`, digits, `_` and `-`; no other output has it.
    pub name: String,
    /// What it writes to.
    pub to: Destination,
    /// How an entry is written.
    pub format: Format,
    /// Which entries go out.
    pub filter: Filter,
    /// Where it begins when its name is new.
    pub start: Start,
    /// What becomes of entries that are not valid.
    pub not_valid: NotValid,
}

/// What an output writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Files.
    File(Box<OutputFile>),
    /// Standard output.
    Stdout,
    /// A receiver of syslog messages.
    Syslog(Box<OutputSyslog>),
    /// An endpoint of HTTP.
    Http(Box<OutputHttp>),
}

words! {
    /// Where an output begins when its name is new.
    pub enum Start {
        /// With what comes from now on.
        Newest = "newest",
        /// With the oldest entry of the store.
        Oldest = "oldest",
    }
}

words! {
    /// What becomes of entries that are not valid.
    pub enum NotValid {
        /// They go out as the others do.
        Forward = "forward",
        /// They go out, and are recognisable: a raw line has its verdict before it.
        Mark = "mark",
        /// They do not go out, unless they become valid later.
        Withhold = "withhold",
    }
}

words! {
    /// The types of outputs.
    enum Type {
        /// Files of lines.
        File = "file",
        /// Standard output.
        Stdout = "stdout",
        /// Syslog messages over TCP or TLS.
        Syslog = "syslog",
        /// Requests to an endpoint.
        Http = "http",
    }
}

/// The keys of every output.
const COMMON: [&str; 6] = ["name", "type", "format", "filter", "start", "not_valid"];

/// The keys of all types; some types share a key.
pub(super) const KEYS: [&str; COMMON.len() + OWN] =
    joined([&COMMON, &file::KEYS, &syslog::KEYS, &http::KEYS]);

const OWN: usize = file::KEYS.len() + syslog::KEYS.len() + http::KEYS.len();

const fn joined<const N: usize>(lists: [&[&'static str]; 4]) -> [&'static str; N] {
    let (mut all, mut at, mut list) = ([""; N], 0, 0);
    while list < lists.len() {
        let mut i = 0;
        while i < lists[list].len() {
            all[at] = lists[list][i];
            (at, i) = (at + 1, i + 1);
        }
        list += 1;
    }
    all
}

impl Type {
    /// The keys of this type beside those that every output has.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Type::File => &file::KEYS,
            Type::Stdout => &[],
            Type::Syslog => &syslog::KEYS,
            Type::Http => &http::KEYS,
        }
    }

    /// The format where none is given: what receives syslog, or lines for Splunk, knows the line as
    /// Konnect sends it.
    fn format(self, section: &Section<'_>) -> Result<Format, ConfigError> {
        match self {
            Type::File | Type::Stdout => Ok(Format::Json),
            Type::Syslog => Ok(Format::Raw),
            Type::Http => http::format(section),
        }
    }
}

/// Whether one of the outputs has a secret in the configuration itself.
pub(super) fn hold_secrets(top: &Section<'_>) -> Result<bool, ConfigError> {
    let holds = |section: &Section<'_>| http::SECRETS.iter().any(|key| section.has(key));
    Ok(top.tables("output")?.iter().any(holds))
}

/// The outputs of the file, each with a name and a path of its own.
pub(super) fn outputs(
    top: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Output>, ConfigError> {
    let mut outputs: Vec<Output> = Vec::new();
    for section in &top.tables("output")? {
        let output = output(section, warnings)?;
        if outputs.iter().any(|other| other.name == output.name) {
            return Err(repeated(section, "name", &output.name));
        }
        if output.to == Destination::Stdout && outputs.iter().any(|other| other.to == output.to) {
            return Err(repeated(section, "type", "stdout"));
        }
        if let Some((key, path)) = output.files() {
            let mut expected = outputs.iter().filter_map(|other| other.apart_from(&path));
            if let Some(expected) = expected.next() {
                let mismatch = Mismatch::text(&path.to_string(), expected);
                return Err(ConfigError::value(section.setting(key), mismatch));
            }
        }
        outputs.push(output);
    }
    Ok(outputs)
}

impl Output {
    /// What is asked of the store: the filter, and validity where nothing else may go out.
    pub fn wanted(&self) -> Filter {
        if self.not_valid != NotValid::Withhold {
            return self.filter.clone();
        }
        let word = Operand::Text(VerdictName::Valid.as_str().to_owned());
        let valid = Filter::Field(Field::Verdict, Test::Equals(word));
        match &self.filter {
            Filter::All => valid,
            filter => Filter::And(vec![filter.clone(), valid]),
        }
    }

    /// The files that it writes to, and the key that says so. Dead letters that are not given a file
    /// have one that nobody else has.
    fn files(&self) -> Option<(&'static str, Cow<'_, Template>)> {
        match &self.to {
            Destination::File(file) => Some(("path", Cow::Borrowed(&file.path))),
            Destination::Http(http) => {
                let path = http.dead_letters.as_deref()?;
                Some(("dead_letters", Cow::Owned(Template::literal(path))))
            }
            Destination::Stdout | Destination::Syslog(_) => None,
        }
    }

    /// What a path must be to stay apart from the files of this output, if it may get in their way.
    fn apart_from(&self, path: &Template) -> Option<String> {
        let (_, own) = self.files()?;
        if own.may_meet(path) {
            return Some(format!("a path that no entry shares with the output {:?}", self.name));
        }
        // An entry that makes a file of what has to be a folder would stop the other output.
        if own.may_be_folder_of(path) || path.may_be_folder_of(&own) {
            return Some(format!(
                "a path of which no file can have the name of a folder of the output {:?}, or the \
                 other way round: put them into folders apart",
                self.name
            ));
        }
        None
    }
}

fn output(section: &Section<'_>, warnings: &mut Vec<String>) -> Result<Output, ConfigError> {
    let own = section.get("name", |value| name(text(value)?))?;
    let name = own.ok_or_else(|| missing(section, "name", "every output has a name of its own"))?;
    let kind = section.get("type", word(Type::ALL, Type::as_str))?;
    let kind = kind.ok_or_else(|| missing(section, "type", "give it, such as \"file\""))?;
    refuse_foreign_keys(section, kind)?;
    let format = match section.get("format", word(Format::ALL, Format::as_str))? {
        Some(format) => format,
        None => kind.format(section)?,
    };
    let to = match kind {
        Type::File => Destination::File(Box::new(OutputFile::resolve(section)?)),
        Type::Stdout => Destination::Stdout,
        Type::Syslog => Destination::Syslog(Box::new(OutputSyslog::resolve(section, warnings)?)),
        Type::Http => Destination::Http(Box::new(OutputHttp::resolve(section, format, warnings)?)),
    };
    let filter = section.get("filter", filter)?;
    let start = section.get("start", word(Start::ALL, Start::as_str))?;
    let not_valid = section.get("not_valid", word(NotValid::ALL, NotValid::as_str))?;
    Ok(Output {
        name,
        to,
        format,
        filter: filter.unwrap_or(Filter::All),
        start: start.unwrap_or(Start::Newest),
        not_valid: not_valid.unwrap_or(NotValid::Forward),
    })
}

/// A key that only other types have would do nothing.
fn refuse_foreign_keys(section: &Section<'_>, own: Type) -> Result<(), ConfigError> {
    for other in Type::ALL {
        let foreign = |key: &&&str| section.has(key) && !own.keys().contains(*key);
        if let Some(key) = other.keys().iter().find(foreign) {
            return Err(ConfigError::Conflict {
                setting: section.setting(key),
                other: format!("type = \"{}\"", own.as_str()),
                advice: format!("only an output of the type {} has it", other.as_str()),
            });
        }
    }
    Ok(())
}

/// The certificate to show, and its key: both or neither.
fn certificate(
    section: &Section<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<PairFiles>, ConfigError> {
    match (section.get("cert_file", path)?, section.get("key_file", path)?) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing(section, "key_file", "a certificate alone is no use")),
        (None, Some(_)) => Err(missing(section, "cert_file", "a key alone is no use")),
        (Some(certificate), Some(key)) => {
            // Whether it can be read, and is a key, is found when it is used.
            if let Ok(file) = File::open(&key) {
                warn_if_exposed(&section.setting("key_file"), &key, &file, warnings);
            }
            Ok(Some(PairFiles { certificate, key }))
        }
    }
}

/// When the program started, in milliseconds: the same however often the configuration is read.
static STARTED: LazyLock<i64> = LazyLock::new(|| now().get());

/// A query. Relative times in it count from the start of the program.
fn filter(value: &DeValue<'_>) -> Result<Filter, Mismatch> {
    let query = text(value)?;
    search::parse(query, *STARTED)
        .map_err(|error| Mismatch::text(query, format!("a query ({error})")))
}

fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an output before it has");
    ConfigError::value(section.setting(key), Mismatch::new(found, format!("another {key}")))
}
