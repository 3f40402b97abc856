//! The file's shape: which tables and keys there are, and where in the file each stands.
//!
//! The format is TOML 1.1 (<https://toml.io>). A key that is not listed here is an error. What a value
//! means is not decided here: [`Section::get`] is given a reader for it (`value`).

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Mismatch};
use super::output;
use super::secret::warn_if_exposed;
use super::value::found;

/// Every table and its keys.
pub(super) const TABLES: [(&str, &[&str]); 12] = [
    (
        "",
        &["data_dir", "receiver", "input", "keys", "store", "console", "output", "konnect", "log"],
    ),
    (
        "receiver",
        &[
            "listen",
            "public_url",
            "max_body",
            "max_decoded",
            "max_line",
            "max_lines",
            "max_in_flight",
            "max_connections",
            "max_connections_per_address",
            "max_header_bytes",
            "handshake_timeout",
            "header_timeout",
            "body_timeout",
            "idle_timeout",
            "queue_timeout",
            "trusted_proxies",
            "tls",
        ],
    ),
    ("receiver.tls", &["enabled", "cert_file", "key_file"]),
    (
        "input",
        &[
            "name",
            "path",
            "authorization",
            "authorization_file",
            "authorization_env",
            "org_ids",
            "portal_ids",
            "response_profile",
            "keys",
        ],
    ),
    ("input.keys", &["jwks", "region"]),
    ("keys", &["jwks", "region", "refresh", "retire_after"]),
    (
        "store",
        &["segment_entries", "segment_age", "retention_age", "retention_size", "quarantine_size"],
    ),
    ("console", &["listen", "hosts", "token_file", "tls"]),
    ("console.tls", &["enabled", "cert_file", "key_file"]),
    ("output", &output::KEYS),
    ("konnect", &["token_file", "region", "base_url", "retention"]),
    ("log", &["level"]),
];

/// The largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// The text of the file, or of none.
pub(super) struct Source {
    path: Option<PathBuf>,
    text: String,
}

impl Source {
    /// Reads the file `path`; without one there are no settings in it.
    pub(super) fn load(path: Option<&Path>) -> Result<Source, ConfigError> {
        let Some(path) = path else { return Ok(Source { path: None, text: String::new() }) };
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
        Ok(Source::new(path, text))
    }

    /// The file `path` with the contents `text`.
    pub(super) fn new(path: &Path, text: String) -> Source {
        Source { path: Some(path.to_owned()), text }
    }

    /// Reads the TOML.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'_>>, ConfigError> {
        DeTable::parse(&self.text).map_err(|error| ConfigError::Syntax {
            place: self.place(error.span().map(|span| span.start)),
            message: error.message().lines().collect::<Vec<_>>().join(", "),
        })
    }

    /// Adds to `warnings` that others can read the secrets in the file.
    pub(super) fn warn_if_exposed(&self, warnings: &mut Vec<String>) {
        if let Some((path, file)) = self.path.as_ref().and_then(|p| Some((p, File::open(p).ok()?)))
        {
            warn_if_exposed("--config", path, &file, warnings);
        }
    }

    /// The file and the line in which the byte `offset` is.
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

/// One table of the file, or its absence.
pub(super) struct Section<'a> {
    source: &'a Source,
    name: &'static str,
    keys: &'static [&'static str],
    table: Option<&'a DeTable<'a>>,
    offset: Option<usize>,
}

impl<'a> Section<'a> {
    /// The top level. A key that it does not have is an error.
    pub(super) fn top(
        source: &'a Source,
        table: &'a Spanned<DeTable<'a>>,
    ) -> Result<Section<'a>, ConfigError> {
        Section::new(source, "", Some(table.get_ref()), None)
    }

    fn new(
        source: &'a Source,
        name: &str,
        table: Option<&'a DeTable<'a>>,
        offset: Option<usize>,
    ) -> Result<Section<'a>, ConfigError> {
        let known = TABLES.into_iter().find(|(known, _)| *known == name);
        let (name, keys) = known.unwrap_or_default();
        let unknown = table
            .into_iter()
            .flat_map(DeTable::keys)
            .filter(|key| !keys.contains(&key.get_ref().as_ref()))
            .min_by_key(|key| key.span().start);
        match unknown {
            None => Ok(Section { source, name, keys, table, offset }),
            Some(key) => Err(ConfigError::UnknownKey {
                place: source.place(Some(key.span().start)),
                key: key.get_ref().to_string(),
                table: heading(name),
                nearest: nearest(name, keys, key.get_ref()),
            }),
        }
    }

    /// Whether the table is in the file.
    pub(super) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Whether the table has `key`.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// The value of `key`, if it has one, as `read` makes it.
    pub(super) fn get<T>(
        &self,
        key: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, Mismatch>,
    ) -> Result<Option<T>, ConfigError> {
        self.value(key)
            .map(|value| read(value.get_ref()))
            .transpose()
            .map_err(|mismatch| ConfigError::value(self.setting(key), mismatch))
    }

    /// The table `key`, present or not.
    pub(super) fn table(&self, key: &str) -> Result<Section<'a>, ConfigError> {
        let name = self.full_name(key);
        match self.value(key).map(|value| (value.get_ref(), value.span().start)) {
            None => Section::new(self.source, &name, None, None),
            Some((DeValue::Table(table), at)) => {
                Section::new(self.source, &name, Some(table), Some(at))
            }
            Some((other, _)) => Err(self.no_table(key, other, format!("a table, [{name}]"))),
        }
    }

    /// The tables of the list `key`, none if it is not there.
    pub(super) fn tables(&self, key: &str) -> Result<Vec<Section<'a>>, ConfigError> {
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
                    Section::new(self.source, &name, Some(table), Some(element.span().start))
                }
                other => Err(no_list(other)),
            })
            .collect()
    }

    /// How messages name `key`: with the file and the line of the key, or of its table.
    pub(super) fn setting(&self, key: &str) -> String {
        let at = self.table.and_then(|table| table.get_key_value(key)).map(|(key, _)| key.span());
        let place = self.source.place(at.map(|span| span.start).or(self.offset));
        let name = self.full_name(key);
        if place.is_empty() { name } else { format!("{place}: {name}") }
    }

    fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        debug_assert!(self.keys.contains(&key), "{key} is not listed for [{}]", self.name);
        self.table?.get(key)
    }

    fn full_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn no_table(&self, key: &str, other: &DeValue<'_>, expected: String) -> ConfigError {
        ConfigError::value(self.setting(key), Mismatch::new(found(other), expected))
    }
}

/// A table as its heading is written.
fn heading(name: &str) -> String {
    match name {
        "" => "the top level".to_owned(),
        "input" => "[[input]]".to_owned(),
        name => format!("[{name}]"),
    }
}

/// The known key that is nearest to `key`: the same word in another table, or one of this table's
/// own `keys` that the fewest edits lead to.
fn nearest(table: &str, keys: &[&str], key: &str) -> String {
    let elsewhere = TABLES.iter().find(|(other, keys)| *other != table && keys.contains(&key));
    match elsewhere {
        Some((other, _)) => format!("{key:?} in {}", heading(other)),
        None => {
            let nearest = keys.iter().min_by_key(|known| strsim::damerau_levenshtein(known, key));
            format!("{:?}", nearest.copied().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let source = Source::new(Path::new("config.toml"), text.to_owned());
        let error = source.parse().and_then(|table| {
            let top = Section::top(&source, &table)?;
            top.table("receiver")?.table("tls")?;
            top.tables("input")?;
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), expected, "{text}");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        check(
            "data_dir = 'x'\n[receiver]\nmax_bdy = 1",
            "config.toml:3: unknown key \"max_bdy\" in [receiver], the nearest known key is \
             \"max_body\"",
        );
        check(
            "datadir = 'x'",
            "config.toml:1: unknown key \"datadir\" in the top level, the nearest known key is \
             \"data_dir\"",
        );
        check(
            "\n\nmax_body = 1",
            "config.toml:3: unknown key \"max_body\" in the top level, the nearest known key is \
             \"max_body\" in [receiver]",
        );
        check(
            "[receiver.tls]\n'cert file' = 1",
            "config.toml:2: unknown key \"cert file\" in [receiver.tls], the nearest known key is \
             \"cert_file\"",
        );
        check(
            "[[input]]\nname = 'a'\n[[input]]\nnames = 'b'",
            "config.toml:4: unknown key \"names\" in [[input]], the nearest known key is \"name\"",
        );
        check(
            "[[outputs]]\nname = 'siem'",
            "config.toml:1: unknown key \"outputs\" in the top level, the nearest known key is \
             \"output\"",
        );
        // The first in the file, not in the alphabet.
        check(
            "[receiver]\nzzz = 1\naaa = 1\nlisten.port = 1",
            "config.toml:2: unknown key \"zzz\" in [receiver], the nearest known key is \"tls\"",
        );
    }

    #[test]
    fn a_table_must_be_one() {
        check("receiver = 1", "config.toml:1: receiver is 1, expected a table, [receiver]");
        check(
            "receiver.tls = true",
            "config.toml:1: receiver.tls is true, expected a table, [receiver.tls]",
        );
        check(
            "[input]\nname = 'a'",
            "config.toml:1: input is a table, expected a list of tables, [[input]]",
        );
        check("input = [1]", "config.toml:1: input is 1, expected a list of tables, [[input]]");
    }

    #[test]
    fn a_syntax_error_does_not_show_its_line() {
        let source = "[[input]]\nauthorization = \"Splunk 0123\nname = 'x'";
        let source = Source::new(Path::new("config.toml"), source.to_owned());
        let error = source.parse().unwrap_err().to_string();
        assert!(error.starts_with("config.toml:2: "), "{error}");
        assert!(!error.contains("0123") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn files_that_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let check = |path: &Path, expected: &str| {
            let error = Source::load(Some(path)).err().unwrap().to_string();
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
