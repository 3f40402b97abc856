//! `vidimus verify`: verify entries in files against a key set. Nothing is stored.
//!
//! `archived` reads lines from the archive. `work` reads, verifies and writes in parallel, `check`
//! checks a line, and `tally` counts the results.

mod archived;
mod check;
mod tally;
mod work;

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;

use super::archived::{ArchiveArgs, Archived};
use super::args::{KeyArgs, TimeArgs};
use super::exit::{Exit, Failure};
use super::input::Input;
use super::print::PrintFormat;
use super::terminal::{progress, tell};
use crate::clock;
use crate::ingest::ExpectedIds;
use crate::random;
use crate::search::Filter;
use crate::store::TimeRange;
use check::Check;
use work::{Outcome, Verification};

/// Verify entries in files against a JWK set
///
/// The files contain lines as Konnect sends them and may be compressed with gzip or Zstandard. Text
/// output lists the entries that are not valid, as `file:line verdict reason`, and a summary on
/// standard error. `jsonl` output has a record for every line that is not blank.
///
/// A line longer than 1 MiB is malformed. Its record has the first 1 MiB in `raw`, and
/// `raw_truncated` is set.
///
/// With `--archive`, the lines of the entries in the archive are verified, and `line` is the id of the
/// entry. The verdicts in the archive are not used. `vidimus archive check` also checks the files.
///
/// Exit codes: 0 all entries are valid, 1 some are not, or standard output was closed before all
/// were checked, 2 usage error, 3 there is no key or a file could not be read.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The files to verify; `-` is standard input [default: -]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    archive: ArchiveArgs,
    #[command(flatten)]
    range: TimeArgs,
    #[command(flatten)]
    keys: KeyArgs,
    /// Do not report unsigned entries, and do not count them as failures
    #[arg(long)]
    allow_unsigned: bool,
    /// Verify each valid signature with ring too, one by one, and warn with odd_signature where ring
    /// refuses it
    ///
    /// Vidimus verifies with the cofactor, as RFC 8032 section 5.1.7 says. ring and openssl verify
    /// without it. They refuse a signature only if the owner of the key made it odd on purpose. Such
    /// an entry is valid: nobody else could have signed it. The exit code does not change.
    #[arg(long)]
    strict: bool,
    /// An expected organization; entries of other organizations get the warning foreign_org. Can be
    /// repeated
    #[arg(long, value_name = "ID")]
    org_id: Vec<String>,
    /// An expected Dev Portal; entries of other portals get the warning foreign_portal. Can be
    /// repeated
    #[arg(long, value_name = "ID")]
    portal_id: Vec<String>,
    /// Read the lines from this field of JSON lines, or from this column of a CSV file
    ///
    /// Use this flag for files that other programs exported, with `_raw` or `event.original`. JSON
    /// lines and CSV written by `export`, `query` and `tail` are recognised without it.
    #[arg(long, value_name = "NAME")]
    field: Option<String>,
    /// The output format
    #[arg(short, long, value_enum, default_value_t)]
    output: PrintFormat,
    /// The number of threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let start = Instant::now();
        let archived = self.archived()?;
        let keys = self.keys.read()?;
        let no_key = keys.is_empty();
        let files = match archived {
            None if self.files.is_empty() => vec!["-".into()],
            _ => self.files,
        };
        let inputs: Vec<_> = files.into_iter().map(Input::new).collect();
        // The total is unknown if one size is unknown.
        let size = match archived {
            None => inputs.iter().map(Input::size).sum(),
            Some(_) => None,
        };
        let check = Check {
            keys,
            expected: ExpectedIds { org_ids: self.org_id, portal_ids: self.portal_id },
            output: self.output,
            allow_unsigned: self.allow_unsigned,
            strict: self.strict,
            field: self.field,
            now: clock::now(),
            seed: random::seed()?,
        };
        let progress = progress(size);
        let archived = archived.as_ref().map(|(archived, filter)| (archived, filter));
        let work = Verification { inputs: &inputs, archived, check: &check, progress: &progress };
        let done = work.run(self.threads.unwrap_or(0).into());
        progress.finish_and_clear();
        let Outcome { tally, all_read, complete } = done?;
        match tally.is_empty() {
            true => tell("note: there are no entries"),
            false => tell(tally.summary(start.elapsed())),
        }
        if !complete {
            tell("note: standard output was closed, and the rest was not checked");
        }
        if no_key {
            tell("error: no keys to verify with: the key set has no usable key");
        }
        Ok(match () {
            () if no_key || !all_read => Exit::Failed,
            () if tally.is_negative() || !complete => Exit::Negative,
            () => Exit::Done,
        })
    }

    /// The archive, and the filter for the entries to verify, if they are in an archive.
    fn archived(&self) -> Result<Option<(Archived, Filter)>, Failure> {
        let range = self.range.range()?;
        let Some(archived) = self.archive.open(&self.keys.clone().into_flags())? else {
            return match range == TimeRange::default() {
                true => Ok(None),
                false => Err(Failure::usage("--since and --until: use them with --archive")),
            };
        };
        match self.files.is_empty() && self.field.is_none() {
            true => Ok(Some((archived, range.and(&Filter::All)))),
            false => Err(Failure::usage("--archive: use it without files and without --field")),
        }
    }
}
