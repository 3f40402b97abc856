//! The settings of outputs of the type `file`: which file, and how it is kept.

use std::borrow::Cow;
use std::time::Duration;

use nix::unistd::{Group, User};
use toml::de::DeValue;

use super::{Cleanup, FileSink, try_path};
use crate::entry::Record;
use crate::entry::words::words;
use crate::output::destination::{OutputType, SinkOptions, Trial};
use crate::output::error::{IoContext, OutputError};
use crate::output::format::OutputFormat;
use crate::output::sink::Sink;
use crate::output::template::{Template, TemplateError};
use crate::settings::units::{MAX_SIZE, SECOND};
use crate::settings::value::{count, duration, found, parsed, size, text, word};
use crate::settings::{ConfigError, Mismatch, Section, optional, or, required, settings};

settings! {
    /// How files are written. Sizes are in bytes.
    pub struct FileSettings {
        /// Which file an entry goes to.
        pub path: Template = required("give it, such as \"out/{date}.jsonl\"", template);
        /// The most values that senders choose for which there are files of their own.
        pub max_values: usize = or(1000, count(1..=1_000_000));
        /// A file is rotated before the line that would make it larger than this.
        pub rotate_size: Option<u64> = optional(size(1..=MAX_SIZE));
        /// A file is rotated before the first line of the next of these spans, counted from 1970 in
        /// UTC.
        pub rotate_every: Option<Duration> = optional(duration(SECOND));
        /// How rotated files are compressed.
        pub compress: Compress = or(Compress::None, word(Compress::ALL, Compress::as_str));
        /// The most rotated files that are kept of each file.
        pub keep: Option<u64> = optional(count(0..=1_000_000_000));
        /// A rotated file is deleted when it was rotated this long ago.
        pub keep_age: Option<Duration> = optional(duration(SECOND));
        /// The most that the rotated files of each file may take.
        pub keep_size: Option<u64> = optional(size(0..=MAX_SIZE));
        /// When what is written is made to reach the disk.
        pub fsync: Fsync = or(Fsync::Second, word(Fsync::ALL, Fsync::as_str));
    } with {
        /// Who may read and write them.
        pub access: Access,
    }
}

settings! {
    /// Who may read and write a file that is made.
    #[derive(Copy)]
    pub struct Access {
        /// Its permissions.
        pub mode: u32 = or(0o600, mode);
        /// The id of the user who has it. None: of whoever runs the program.
        pub owner: Option<u32> = optional(owner);
        /// The id of the group that has it.
        pub group: Option<u32> = optional(group);
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

impl OutputType for FileSettings {
    fn keys() -> Vec<&'static str> {
        [FileSettings::KEYS, Access::KEYS].concat()
    }

    fn resolve(
        section: &Section<'_>,
        _format: OutputFormat,
        _warnings: &mut Vec<String>,
    ) -> Result<FileSettings, ConfigError> {
        FileSettings::read(section, Access::read(section)?)
    }

    fn sink(&self, with: SinkOptions<'_>) -> Result<Box<dyn Sink>, OutputError> {
        let cleanup = Cleanup::start(self.clone()).doing("start a thread", with.name.as_ref())?;
        Ok(Box::new(FileSink::new(self.clone(), cleanup)))
    }

    fn try_out(
        &self,
        _format: OutputFormat,
        record: &Record,
        _line: &[u8],
    ) -> Result<Trial, OutputError> {
        let path = self.path.path(record);
        try_path(&path, self)?;
        Ok(Trial::taken(format!("this line can be written to {}", path.display())))
    }

    fn needs_fields(&self) -> bool {
        false
    }

    fn waits_for_others(&self) -> bool {
        true
    }

    fn files(&self) -> Option<(&'static str, Cow<'_, Template>)> {
        Some(("path", Cow::Borrowed(&self.path)))
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
