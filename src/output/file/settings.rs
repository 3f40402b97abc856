//! The settings of outputs of the type `file`: where files are, how they are rotated, and how long
//! they are kept.

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
    /// The keys of the type `file`. Sizes are in bytes.
    pub(crate) struct FileSettings {
        /// The path of the file of an entry.
        pub path: Template = required("give it, such as \"out/{date}.jsonl\"", template);
        /// The maximum number of values chosen by senders that have files of their own.
        pub max_values: usize = or(1000, count(1..=1_000_000));
        /// A file is rotated before it would become larger than this.
        pub rotate_size: Option<u64> = optional(size(1..=MAX_SIZE));
        /// A file is rotated at the end of each such time span, counted from 1970 in UTC.
        pub rotate_every: Option<Duration> = optional(duration(SECOND));
        /// How rotated files are compressed.
        pub compress: Compress = or(Compress::None, word(Compress::ALL, Compress::as_str));
        /// How many rotated files of each file are kept.
        pub keep: Option<u64> = optional(count(0..=1_000_000_000));
        /// How long a rotated file is kept after its rotation.
        pub keep_age: Option<Duration> = optional(duration(SECOND));
        /// The maximum size of all rotated files of one file.
        pub keep_size: Option<u64> = optional(size(0..=MAX_SIZE));
        /// When lines are synced to the disk.
        pub fsync: Fsync = or(Fsync::Second, word(Fsync::ALL, Fsync::as_str));
    } with {
        /// The permissions and the owner of files.
        pub access: Access,
    }
}

settings! {
    /// The permissions and the owner of a new file.
    #[derive(Copy)]
    pub(crate) struct Access {
        /// The permission bits.
        pub mode: u32 = or(0o600, mode);
        /// The id of the owner, or that of this process.
        pub owner: Option<u32> = optional(owner);
        /// The id of the group, or that of this process.
        pub group: Option<u32> = optional(group);
    }
}

words! {
    /// How rotated files are compressed.
    pub(crate) enum Compress {
        /// No compression.
        None = "none",
        /// gzip (RFC 1952).
        Gzip = "gzip",
        /// Zstandard (RFC 8878).
        Zstd = "zstd",
    }
}

words! {
    /// When lines are synced to the disk.
    pub(crate) enum Fsync {
        /// After each batch.
        Always = "always",
        /// Once a second.
        Second = "second",
        /// Never by this program: the system decides.
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

    fn destination(&self) -> String {
        self.path.to_string()
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

/// Permissions in octal. The owner can read and write, and nobody can execute.
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

/// A numeric id, or the id of the user or group with that name.
fn id(
    value: &DeValue<'_>,
    what: &str,
    find: impl Fn(&str) -> nix::Result<Option<u32>>,
) -> Result<u32, Mismatch> {
    // To the system the largest number means "do not change".
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
