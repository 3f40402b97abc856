//! The types of outputs, and what each says of itself.
//!
//! A type is a module with its settings and its sink, and one line of [`Destination`]. All other
//! code asks [`OutputType`] instead of matching on the type.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::activity::SharedActivity;
use super::error::OutputError;
use super::file::FileSettings;
use super::format::OutputFormat;
use super::http::HttpSettings;
use super::running::MakeStdout;
use super::sink::Sink;
use super::stdout::StdoutSettings;
use super::syslog::SyslogSettings;
use super::template::Template;
use crate::entry::Record;
use crate::entry::words::words;
use crate::net::Shutdown;
use crate::settings::{ConfigError, Section};

/// A type of outputs. Its settings implement this.
pub(super) trait OutputType {
    /// The names of its keys, besides those that every output has.
    fn keys() -> Vec<&'static str>
    where
        Self: Sized;

    /// The keys in which a secret may stand in plain.
    fn secrets() -> &'static [&'static str]
    where
        Self: Sized,
    {
        &[]
    }

    /// Whether there may be only one output of the type.
    fn is_single() -> bool
    where
        Self: Sized,
    {
        false
    }

    /// The format where none is given.
    fn default_format(_section: &Section<'_>) -> Result<OutputFormat, ConfigError>
    where
        Self: Sized,
    {
        Ok(OutputFormat::Json)
    }

    /// Reads its keys. Warnings are added to `warnings`.
    fn resolve(
        section: &Section<'_>,
        format: OutputFormat,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ConfigError>
    where
        Self: Sized;

    /// Where it writes to, without secrets.
    fn destination(&self) -> String;

    /// Creates the sink of an output.
    fn sink(&self, with: SinkOptions<'_>) -> Result<Box<dyn Sink>, OutputError>;

    /// Tries the output with one entry and its line. It does not touch what a running output has
    /// written.
    fn try_out(
        &self,
        format: OutputFormat,
        record: &Record,
        line: &[u8],
    ) -> Result<Trial, OutputError>;

    /// Whether the verdict goes out beside the line. Then an entry goes out again when its verdict
    /// changes, even in the format `raw`.
    fn sends_verdict(&self) -> bool {
        false
    }

    /// Whether the sink needs the fields of an entry in the format `raw`. If not, only the line and
    /// the fields in paths are read from the store.
    fn needs_fields(&self) -> bool {
        true
    }

    /// Whether two outputs of the type can write to the same files. Then an output starts only when
    /// the stopped ones of its type have ended.
    fn waits_for_others(&self) -> bool {
        false
    }

    /// The files that it writes to, and the key that names them.
    fn files(&self) -> Option<(&'static str, Cow<'_, Template>)> {
        None
    }

    /// The file of the dead letters, if not one in the data directory.
    fn dead_letters(&self) -> Option<&Path> {
        None
    }
}

/// The options of a sink, besides the settings of its type.
pub(super) struct SinkOptions<'a> {
    /// The name of the output.
    pub(super) name: &'a str,
    pub(super) format: OutputFormat,
    /// The file of its dead letters.
    pub(super) dead_letters: PathBuf,
    /// Ends what waits on the network.
    pub(super) shutdown: Shutdown,
    /// Where the sink says what it did last.
    pub(super) activity: SharedActivity,
    pub(super) make_stdout: &'a MakeStdout,
}

/// The result of trying an output.
#[derive(Debug)]
pub(crate) struct Trial {
    /// The lines to print.
    pub lines: Vec<String>,
    /// Whether the entry was accepted.
    pub is_taken: bool,
}

impl Trial {
    /// The entry was accepted, or would be.
    pub(super) fn taken(line: String) -> Trial {
        Trial { lines: vec![line], is_taken: true }
    }
}

/// Defines [`Destination`], and [`TypeName`] with the values of the key `type`.
macro_rules! types {
    ($($(#[$doc:meta])* $type:ident($settings:ty) = $word:literal,)+) => {
        words! {
            /// The types of outputs.
            pub(super) enum TypeName { $($(#[$doc])* $type = $word,)+ }
        }

        /// What an output writes to.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub(crate) enum Destination { $($(#[$doc])* $type(Box<$settings>),)+ }

        impl TypeName {
            /// The names of the keys of this type, besides those that every output has.
            pub(super) fn keys(self) -> Vec<&'static str> {
                match self { $(TypeName::$type => <$settings>::keys(),)+ }
            }

            /// The keys in which a secret may stand in plain.
            pub(super) fn secrets(self) -> &'static [&'static str] {
                match self { $(TypeName::$type => <$settings>::secrets(),)+ }
            }

            /// Whether there may be only one output of this type.
            pub(super) fn is_single(self) -> bool {
                match self { $(TypeName::$type => <$settings>::is_single(),)+ }
            }

            /// The format where none is given.
            pub(super) fn default_format(
                self,
                section: &Section<'_>,
            ) -> Result<OutputFormat, ConfigError> {
                match self { $(TypeName::$type => <$settings>::default_format(section),)+ }
            }

            /// Reads the keys of this type.
            pub(super) fn resolve(
                self,
                section: &Section<'_>,
                format: OutputFormat,
                warnings: &mut Vec<String>,
            ) -> Result<Destination, ConfigError> {
                Ok(match self {
                    $(TypeName::$type => {
                        let settings = <$settings>::resolve(section, format, warnings)?;
                        Destination::$type(Box::new(settings))
                    })+
                })
            }
        }

        impl Destination {
            pub(super) fn type_name(&self) -> TypeName {
                match self { $(Destination::$type(_) => TypeName::$type,)+ }
            }

            /// What its type says of itself.
            pub(super) fn of_type(&self) -> &dyn OutputType {
                match self { $(Destination::$type(settings) => &**settings,)+ }
            }
        }
    };
}

types! {
    /// Files of lines.
    File(FileSettings) = "file",
    /// Standard output.
    Stdout(StdoutSettings) = "stdout",
    /// Syslog messages over TCP or TLS.
    Syslog(SyslogSettings) = "syslog",
    /// Requests to an HTTP endpoint.
    Http(HttpSettings) = "http",
}
