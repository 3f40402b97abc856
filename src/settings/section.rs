//! A configuration file, its tables, and where in the file each key is.
//!
//! The format is TOML 1.1 (<https://toml.io>). A key that its table does not have is an error.
//! [`Section::get`] is given a reader for the value (`value`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Mismatch};
use super::secret::warn_if_exposed;
use super::value::found;

/// The full name of a table, such as `receiver.tls`, and its keys. The top level has the name "".
pub(crate) type Table = (&'static str, Vec<&'static str>);

/// The maximum size of a file in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The text of a file, or no text, and the tables that the file may have.
pub(crate) struct Source {
    path: Option<PathBuf>,
    text: String,
    tables: Vec<Table>,
}

impl Source {
    /// Reads the file `path`. Without a path the source is empty. `tables` are all tables; each is
    /// a key of the table that holds it.
    pub(crate) fn load(path: Option<&Path>, tables: Vec<Table>) -> Result<Source, ConfigError> {
        let Some(path) = path else {
            return Ok(Source { path: None, text: String::new(), tables });
        };
        let mut bytes = Vec::new();
        let read = |error| ConfigError::Read {
            setting: "--config".to_owned(),
            path: path.to_owned(),
            error,
        };
        let file = File::open(path).map_err(read)?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(read(io::Error::other("larger than 1 MiB")));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            read(io::Error::other(format!("no UTF-8 at byte {}", error.utf8_error().valid_up_to())))
        })?;
        Ok(Source::new(path, text, tables))
    }

    /// A source with the text `text`, for the file `path`.
    pub(crate) fn new(path: &Path, text: String, tables: Vec<Table>) -> Source {
        Source { path: Some(path.to_owned()), text, tables }
    }

    /// The keys of the table `name`: its own, and its tables.
    fn keys(&self, name: &str) -> Vec<&'static str> {
        let own = self.tables.iter().filter(|(table, _)| *table == name);
        let inner = self.tables.iter().filter_map(|(table, _)| {
            let (outer, key) = table.rsplit_once('.').unwrap_or(("", table));
            (outer == name && !key.is_empty()).then_some(key)
        });
        own.flat_map(|(_, keys)| keys.iter().copied()).chain(inner).collect()
    }

    /// Parses the TOML.
    pub(crate) fn parse(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(&self.text).map_err(|error| ConfigError::Syntax {
            place: self.place(error.span().map(|span| span.start)),
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        })
    }

    /// The file, and the line of the byte `offset`.
    fn place(&self, offset: Option<usize>) -> String {
        let path = self.path.as_deref().unwrap_or(Path::new("")).display();
        let before = offset.and_then(|offset| self.text.as_bytes().get(..offset));
        match before {
            Some(before) => {
                format!("{path}:{}", before.iter().filter(|byte| **byte == b'\n').count() + 1)
            }
            None => path.to_string(),
        }
    }
}

/// A table of the file, which may be missing.
pub(crate) struct Section<'a> {
    source: &'a Source,
    name: String,
    table: Option<&'a DeTable<'a>>,
    offset: Option<usize>,
}

impl<'a> Section<'a> {
    /// The top level. An unknown key is an error.
    pub(crate) fn top(
        source: &'a Source,
        table: &'a Spanned<DeTable<'a>>,
    ) -> Result<Section<'a>, ConfigError> {
        Section::new(source, String::new(), Some(table.get_ref()), None)
    }

    fn new(
        source: &'a Source,
        name: String,
        table: Option<&'a DeTable<'a>>,
        offset: Option<usize>,
    ) -> Result<Section<'a>, ConfigError> {
        let keys = source.keys(&name);
        let unknown = table
            .into_iter()
            .flat_map(DeTable::keys)
            .filter(|key| !keys.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            None => Ok(Section { source, name, table, offset }),
            Some(key) => Err(ConfigError::UnknownKey {
                place: source.place(Some(key.span().start)),
                key: key.get_ref().to_string(),
                table: heading(&name),
                nearest: nearest(source, &name, &keys, key.get_ref()),
            }),
        }
    }

    /// Adds to `warnings` that others can read the secrets in the file.
    pub(crate) fn warn_if_exposed(&self, warnings: &mut Vec<String>) {
        if let Some(path) = &self.source.path
            && let Ok(file) = File::open(path)
        {
            warn_if_exposed("--config", path, &file, warnings);
        }
    }

    /// Whether the table is in the file.
    pub(crate) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the table has `key`.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The value of `key`, read with `read`. `None` if the key is missing.
    pub(crate) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Mismatch>,
    ) -> Result<Option<T>, ConfigError> {
        self.value(key)
            .map(|value| read(value.get_ref()))
            .transpose()
            .map_err(|mismatch| self.wrong(key, mismatch))
    }

    /// The error that the value of `key` is wrong.
    pub(crate) fn wrong(&self, key: &str, mismatch: Mismatch) -> ConfigError {
        ConfigError::value(self.setting(key), mismatch)
    }

    /// The error that `key` is missing. `advice` says what to do.
    pub(crate) fn missing(&self, key: &str, advice: &str) -> ConfigError {
        ConfigError::Missing { setting: self.setting(key), advice: advice.to_owned() }
    }

    /// The error that `key` cannot be used together with `other`. `advice` says what to do.
    pub(crate) fn conflict(
        &self,
        key: &str,
        other: impl Into<String>,
        advice: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Conflict {
            setting: self.setting(key),
            other: other.into(),
            advice: advice.into(),
        }
    }

    /// The table `key`. It may be missing.
    pub(crate) fn table(&self, key: &str) -> Result<Section<'a>, ConfigError> {
        let name = self.full_name(key);
        match self.value(key).map(|value| (value.get_ref(), value.span().start)) {
            None => Section::new(self.source, name, None, None),
            Some((DeValue::Table(table), at)) => {
                Section::new(self.source, name, Some(table), Some(at))
            }
            Some((other, _)) => Err(self.no_table(key, other, format!("a table, [{name}]"))),
        }
    }

    /// The tables of the list `key`. Empty if it is missing.
    pub(crate) fn tables(&self, key: &str) -> Result<Vec<Section<'a>>, ConfigError> {
        let name = self.full_name(key);
        let no_list = |other| self.no_table(key, other, format!("a list of tables, [[{name}]]"));
        let list = match self.value(key).map(Spanned::get_ref) {
            None => return Ok(Vec::new()),
            Some(DeValue::Array(list)) => list,
            Some(other) => return Err(no_list(other)),
        };
        list.iter()
            .map(|element| match element.get_ref() {
                DeValue::Table(table) => {
                    Section::new(self.source, name.clone(), Some(table), Some(element.span().start))
                }
                other => Err(no_list(other)),
            })
            .collect()
    }

    /// The name of `key` in messages: with the file and the line of the key, or of its table.
    pub(crate) fn setting(&self, key: &str) -> String {
        let at = self.table.and_then(|table| table.get_key_value(key)).map(|(key, _)| key.span());
        let place = self.source.place(at.map(|span| span.start).or(self.offset));
        let name = self.full_name(key);
        if place.is_empty() { name } else { format!("{place}: {name}") }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(
            self.source.keys(&self.name).contains(&key),
            "{key} is not listed for [{}]",
            self.name
        );
        self.table?.get(key)
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn no_table(&self, key: &str, other: &DeValue<'_>, expected: String) -> ConfigError {
        self.wrong(key, Mismatch::new(found(other), expected))
    }
}

/// The heading of a table, as it is written.
fn heading(name: &str) -> String {
    match name {
        "" => "the top level".to_owned(),
        "input" => "[[input]]".to_owned(),
        name => format!("[{name}]"),
    }
}

/// The known key that is nearest to `key`: the same word in another table, or the key of this table
/// with the smallest edit distance.
fn nearest(source: &Source, table: &str, keys: &[&str], key: &str) -> String {
    let mut tables = source.tables.iter().map(|(other, _)| *other);
    let elsewhere = tables.find(|other| *other != table && source.keys(other).contains(&key));
    match elsewhere {
        Some(other) => format!("{key:?} in {}", heading(other)),
        None => {
            let nearest = keys.iter().min_by_key(|known| strsim::damerau_levenshtein(known, key));
            format!("{:?}", nearest.copied().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syntax_error_does_not_show_its_line() {
        let source = "[[input]]\nauthorization = \"Splunk 0123\nname = 'x'";
        let source = Source::new(Path::new("config.toml"), source.to_owned(), Vec::new());
        let error = source.parse().unwrap_err().to_string();
        assert!(error.starts_with("config.toml:2: "), "{error}");
        assert!(!error.contains("0123") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expected: &str| {
            let error = Source::load(Some(path), Vec::new()).err().unwrap().to_string();
            let start = format!("cannot read {}, named by --config: {expected}", path.display());
            assert!(error.starts_with(&start), "{error}");
        };
        check(&folder.path().join("none"), "No such file");
        let file = folder.path().join("config.toml");
        std::fs::write(&file, b"# caf\xe9").unwrap();
        check(&file, "no UTF-8 at byte 5");
        std::fs::write(&file, " ".repeat(MAX_FILE as usize + 1)).unwrap();
        check(&file, "larger than 1 MiB");
    }
}
