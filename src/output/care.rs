//! What an operator does to outputs: test, retry and reset. The commands and the console use it.

use std::path::PathBuf;

use super::activity::Activity;
use super::destination::Trial;
use super::error::OutputError;
use super::settings::Output;
use super::{Outputs, synthetic};
use crate::clock::now;
use crate::entry::Millis;
use crate::search::Filter;
use crate::store::{Directory, OutputCursors, Position, Reader, StoreError};

/// What is known of a running output, without secrets.
#[derive(Clone, Debug)]
pub(crate) struct RunningOutput {
    pub(crate) name: String,
    /// The value of the key `type`.
    pub(crate) type_name: &'static str,
    /// Where it writes to.
    pub(crate) destination: String,
    /// The value of the key `format`.
    pub(crate) format: &'static str,
    /// The file of its dead letters. It may not exist.
    pub(crate) dead_letters: PathBuf,
    pub(crate) activity: Activity,
}

/// Where a reset output goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResetTo {
    /// With the oldest entry of the store.
    Oldest,
    /// With the entries received from this time on.
    Since(Millis),
    /// With the next entry that is received.
    Newest,
}

/// The result of testing an output.
#[derive(Debug)]
pub(crate) struct Tested {
    /// The line of the made-up entry, with its line end.
    pub(crate) line: Vec<u8>,
    /// Whether `filter` or `not_valid` may exclude an entry like this. The test ignores both.
    pub(crate) ignores_filter: bool,
    pub(crate) trial: Result<Trial, OutputError>,
}

impl Output {
    /// Tries the output out with a made-up entry. It blocks until there is an answer: an HTTP
    /// endpoint and a syslog receiver are sent the entry. Files of entries are not touched.
    pub(crate) fn test(&self) -> Tested {
        let record = synthetic(now());
        let mut line = Vec::new();
        self.format.write_line(&record, self.not_valid, &mut line);
        Tested {
            trial: self.to.of_type().try_out(self.format, &record, &line),
            ignores_filter: self.wanted() != Filter::All,
            line,
        }
    }
}

/// Moves the output `name` to another position, whether it runs or not. Returns the position, or
/// `None` if the store has no such output. The output still sees the late verdicts that it has not
/// seen.
///
/// # Errors
/// When the store cannot be read, or the position cannot be saved.
pub(crate) fn reset(
    directory: &Directory,
    name: &str,
    to: ResetTo,
) -> Result<Option<Position>, StoreError> {
    let reader = Reader::open(directory)?;
    let position = match to {
        ResetTo::Oldest => reader.position_since(Millis::MIN)?,
        ResetTo::Since(time) => reader.position_since(time)?,
        ResetTo::Newest => reader.newest(&Filter::All, 0)?,
    };
    let is_known = OutputCursors::open(directory)?.reset(name, position, now())?;
    Ok(is_known.then_some(position))
}

impl Outputs {
    /// Moves an output to another position. It goes on from there at once.
    ///
    /// # Errors
    /// As for [`reset`].
    pub(crate) fn reset(&self, name: &str, to: ResetTo) -> Result<Option<Position>, StoreError> {
        let position = reset(self.directory(), name, to)?;
        // It may wait after a failure.
        self.retry(name);
        Ok(position)
    }
}
