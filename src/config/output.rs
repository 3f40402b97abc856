//! The sections `[[output]]`: where entries go besides the store.
//!
//! A key of the file's that another type does not have is an error, so that nobody believes in a
//! rotation that does not happen.

use std::time::Duration;

use toml::de::DeValue;

use super::error::{ConfigError, Mismatch};
use super::file::Section;
use super::input::{missing, name};
use super::units::MAX_SIZE;
use super::value::{count, duration, parsed, size, text};
use crate::clock::now;
use crate::entry::words::words;
use crate::output::{Format, Template};
use crate::search::{self, Field, Filter, Operand, Test};
use crate::signature::VerdictName;

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
}

/// How files are written. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Which file an entry goes to.
    pub path: Template,
    /// A file is rotated before the line that would make it larger than this.
    pub rotate_size: Option<u64>,
    /// A file is rotated before the first line of the next of these spans, counted from 1970 in UTC.
    pub rotate_every: Option<Duration>,
    /// How rotated files are compressed.
    pub compress: Compress,
    /// The most rotated files that are kept of each file.
    pub keep: Option<u64>,
    /// A rotated file is deleted when it was rotated this long ago.
    pub keep_age: Option<Duration>,
    /// The most that the rotated files of each file may take.
    pub keep_size: Option<u64>,
    /// When what is written is made to reach the disk.
    pub fsync: Fsync,
    /// The permissions of a file that is made.
    pub mode: u32,
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
    /// How rotated files are compressed.
    pub enum Compress {
        /// Not at all.
        None = "none",
        /// With gzip (RFC 1952).
        Gzip = "gzip",
        /// With Zstandard (RFC 8878).
        Zstd = "zstd",
    }
}

words! {
    /// When what is written is made to reach the disk.
    pub enum Fsync {
        /// After each batch.
        Always = "always",
        /// Once a second.
        Second = "second",
        /// When the system likes.
        Never = "never",
    }
}

/// The types of outputs.
#[derive(Clone, Copy, Debug)]
enum Type {
    File,
    Stdout,
}

impl Type {
    const ALL: &[Type] = &[Type::File, Type::Stdout];

    fn as_str(self) -> &'static str {
        match self {
            Type::File => "file",
            Type::Stdout => "stdout",
        }
    }
}

/// The keys that only a file has.
const OF_A_FILE: [&str; 9] = [
    "path",
    "rotate_size",
    "rotate_every",
    "compress",
    "keep",
    "keep_age",
    "keep_size",
    "fsync",
    "mode",
];

/// The outputs of the file, each with a name and a path of its own.
pub(super) fn outputs(top: &Section<'_>) -> Result<Vec<Output>, ConfigError> {
    let mut outputs: Vec<Output> = Vec::new();
    for section in &top.tables("output")? {
        let output = output(section)?;
        if outputs.iter().any(|other| other.name == output.name) {
            return Err(repeated(section, "name", &output.name));
        }
        match &output.to {
            Destination::File(file) if outputs.iter().any(|other| other.has_path(&file.path)) => {
                return Err(repeated(section, "path", &file.path.to_string()));
            }
            Destination::Stdout if outputs.iter().any(|other| other.to == Destination::Stdout) => {
                return Err(repeated(section, "type", "stdout"));
            }
            _ => {}
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

    fn has_path(&self, path: &Template) -> bool {
        matches!(&self.to, Destination::File(file) if file.path == *path)
    }
}

fn output(section: &Section<'_>) -> Result<Output, ConfigError> {
    let own = section.get("name", |value| name(text(value)?))?;
    let kind = section.get("type", |value| word(value, Type::ALL, Type::as_str))?;
    let format = section.get("format", |value| word(value, Format::ALL, Format::as_str))?;
    let filter = section.get("filter", filter)?;
    let start = section.get("start", |value| word(value, Start::ALL, Start::as_str))?;
    let not_valid =
        section.get("not_valid", |value| word(value, NotValid::ALL, NotValid::as_str))?;
    let file = file(section)?;
    let name = own.ok_or_else(|| missing(section, "name", "every output has a name of its own"))?;
    let to =
        match kind.ok_or_else(|| missing(section, "type", "give it, file or stdout"))? {
            Type::File => Destination::File(Box::new(file.ok_or_else(|| {
                missing(section, "path", "give it, such as \"out/{date}.jsonl\"")
            })?)),
            Type::Stdout => match OF_A_FILE.into_iter().find(|key| section.has(key)) {
                None => Destination::Stdout,
                Some(key) => {
                    return Err(ConfigError::Conflict {
                        setting: section.setting(key),
                        other: "type = \"stdout\"".to_owned(),
                        advice: "only an output of the type file has it".to_owned(),
                    });
                }
            },
        };
    Ok(Output {
        name,
        to,
        format: format.unwrap_or(Format::Json),
        filter: filter.unwrap_or(Filter::All),
        start: start.unwrap_or(Start::Newest),
        not_valid: not_valid.unwrap_or(NotValid::Forward),
    })
}

/// The file's keys, if there is a path.
fn file(section: &Section<'_>) -> Result<Option<OutputFile>, ConfigError> {
    let second = Duration::from_secs(1);
    let path = section.get("path", |value| {
        let path = text(value)?;
        path.parse()
            .map_err(|error: crate::output::TemplateError| Mismatch::text(path, error.to_string()))
    })?;
    let rotate_size = section.get("rotate_size", size(1..=MAX_SIZE))?;
    let rotate_every = section.get("rotate_every", duration(second))?;
    let compress = section.get("compress", |value| word(value, Compress::ALL, Compress::as_str))?;
    let keep = section.get("keep", count(0..=1_000_000_000))?;
    let keep_age = section.get("keep_age", duration(second))?;
    let keep_size = section.get("keep_size", size(0..=MAX_SIZE))?;
    let fsync = section.get("fsync", |value| word(value, Fsync::ALL, Fsync::as_str))?;
    let mode = section.get("mode", mode)?;
    Ok(path.map(|path| OutputFile {
        path,
        rotate_size,
        rotate_every,
        compress: compress.unwrap_or(Compress::None),
        keep,
        keep_age,
        keep_size,
        fsync: fsync.unwrap_or(Fsync::Second),
        mode: mode.unwrap_or(0o600),
    }))
}

/// One of the words of an enum.
fn word<T: Copy>(
    value: &DeValue<'_>,
    all: &[T],
    as_str: impl Fn(T) -> &'static str,
) -> Result<T, Mismatch> {
    let found = text(value)?;
    all.iter().copied().find(|one| as_str(*one) == found).ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|one| as_str(*one)).collect();
        Mismatch::text(found, format!("one of {}", words.join(", ")))
    })
}

/// A query. Relative times in it count from the start of the program.
fn filter(value: &DeValue<'_>) -> Result<Filter, Mismatch> {
    let query = text(value)?;
    search::parse(query, now().get())
        .map_err(|error| Mismatch::text(query, format!("a query ({error})")))
}

/// Permissions in octal: the owner reads and writes, and nobody executes.
fn mode(value: &DeValue<'_>) -> Result<u32, Mismatch> {
    const EXPECTED: &str = "permissions in octal such as \"0640\": the owner's 6, and no execution";
    let digits: String = parsed(EXPECTED)(value)?;
    let mode = u32::from_str_radix(&digits, 8).ok();
    let fits = |mode: &u32| mode & !0o666 == 0 && mode & 0o600 == 0o600;
    let plain = digits.bytes().all(|digit| digit.is_ascii_digit());
    mode.filter(fits).filter(|_| plain).ok_or_else(|| Mismatch::text(&digits, EXPECTED))
}

fn repeated(section: &Section<'_>, key: &str, value: &str) -> ConfigError {
    let found = format!("{value:?}, which an output before it has");
    ConfigError::value(section.setting(key), Mismatch::new(found, format!("another {key}")))
}
