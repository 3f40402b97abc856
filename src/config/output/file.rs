//! Outputs of the type `file`: which file, and how it is kept.

use std::time::Duration;

use nix::unistd::{Group, User};
use toml::de::DeValue;

use super::word;
use crate::config::error::{ConfigError, Mismatch};
use crate::config::file::Section;
use crate::config::input::missing;
use crate::config::units::MAX_SIZE;
use crate::config::value::{count, duration, found, parsed, size, text};
use crate::entry::words::words;
use crate::output::{Template, TemplateError};

/// How files are written. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Which file an entry goes to.
    pub path: Template,
    /// The most values that senders choose for which there are files of their own.
    pub max_values: usize,
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
    /// Whose they are.
    pub access: Access,
}

/// Whose a file is that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Its permissions.
    pub mode: u32,
    /// The id of the user who has it. None: of whoever runs the program.
    pub owner: Option<u32>,
    /// The id of the group that has it.
    pub group: Option<u32>,
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

/// The keys of this type.
pub(super) const KEYS: [&str; 12] = [
    "path",
    "max_values",
    "rotate_size",
    "rotate_every",
    "compress",
    "keep",
    "keep_age",
    "keep_size",
    "fsync",
    "mode",
    "owner",
    "group",
];

impl OutputFile {
    pub(super) fn resolve(section: &Section<'_>) -> Result<OutputFile, ConfigError> {
        let second = Duration::from_secs(1);
        let path = section.get("path", template)?;
        let compress = section.get("compress", word(Compress::ALL, Compress::as_str))?;
        let fsync = section.get("fsync", word(Fsync::ALL, Fsync::as_str))?;
        Ok(OutputFile {
            path: path
                .ok_or_else(|| missing(section, "path", "give it, such as \"out/{date}.jsonl\""))?,
            max_values: section.get("max_values", count(1..=1_000_000))?.unwrap_or(1000) as usize,
            rotate_size: section.get("rotate_size", size(1..=MAX_SIZE))?,
            rotate_every: section.get("rotate_every", duration(second))?,
            compress: compress.unwrap_or(Compress::None),
            keep: section.get("keep", count(0..=1_000_000_000))?,
            keep_age: section.get("keep_age", duration(second))?,
            keep_size: section.get("keep_size", size(0..=MAX_SIZE))?,
            fsync: fsync.unwrap_or(Fsync::Second),
            access: Access {
                mode: section.get("mode", mode)?.unwrap_or(0o600),
                owner: section.get("owner", owner)?,
                group: section.get("group", group)?,
            },
        })
    }
}

fn template(value: &DeValue<'_>) -> Result<Template, Mismatch> {
    let path = text(value)?;
    path.parse().map_err(|error: TemplateError| Mismatch::text(path, error.to_string()))
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

fn owner(value: &DeValue<'_>) -> Result<u32, Mismatch> {
    id(value, "user", |name| Ok(User::from_name(name)?.map(|user| user.uid.as_raw())))
}

fn group(value: &DeValue<'_>) -> Result<u32, Mismatch> {
    id(value, "group", |name| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw())))
}

/// An id, or the id of what has that name on this machine.
fn id(
    value: &DeValue<'_>,
    what: &str,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, Mismatch> {
    // The largest number means "as it is" to the system.
    let id = |number: u64| u32::try_from(number).ok().filter(|id| *id != u32::MAX);
    let expected = || format!("the name or the id of a {what} of this machine");
    if let DeValue::Integer(_) = value {
        let number = count(0..=u64::MAX)(value)?;
        return id(number).ok_or_else(|| Mismatch::new(number.to_string(), expected()));
    }
    let name = text(value).map_err(|_| Mismatch::new(found(value), expected()))?;
    let known = match name.parse() {
        Ok(number) => id(number),
        Err(_) => find(name).map_err(|error| {
            Mismatch::text(name, format!("a {what} that can be looked up, and not: {error}"))
        })?,
    };
    known.ok_or_else(|| Mismatch::text(name, expected()))
}
