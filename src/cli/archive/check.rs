//! `vidimus archive check`: read the archive, and verify every signature in it.

use clap::Args;

use super::Opened;
use crate::archive::check::{CheckReport, Checker};
use crate::cli::archived::PlaceArgs;
use crate::cli::args::KeyArgs;
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted, progress, sanitise, tell};
use crate::random;

/// Read the whole archive, and verify every signature in it with keys that are fetched anew
///
/// The manifest, the size and the SHA-256 of each file, and the numbers of rows are checked too. The
/// keys that the archive itself has are not used. To verify entries whose keys are no longer published,
/// keep those key sets and give them with --jwks.
///
/// Exit codes: 0 no differences, 1 differences, or entries whose key is not among the keys, 2 usage
/// error, 3 there is no key or the archive cannot be read.
#[derive(Args)]
pub(super) struct Check {
    /// List at most N differences
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    keys: KeyArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let opened = Opened::new(&self.place, &self.keys.clone().into_flags())?;
        let keys = self.keys.read()?;
        if keys.is_empty() {
            return Err(Failure::failed("no keys to verify with: the key set has no usable key"));
        }
        let store = opened.place.choose(self.place.store())?;
        let bar = progress(Some(0));
        let checker =
            Checker { place: &opened.place, keys: &keys, seed: random::seed()?, shown: self.limit };
        let report = checker.check(&store, &|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let report = report?;
        ignore_closed(print(&report, self.output))?;
        Ok(match report.differences + report.without_key {
            0 => Exit::Done,
            _ => Exit::Negative,
        })
    }
}

fn print(report: &CheckReport, format: PrintFormat) -> Result<(), Failure> {
    let mut output = Output::new();
    if format == PrintFormat::Jsonl {
        output.json(report)?;
        return output.flush();
    }
    for one in &report.first {
        let entry = one.id.map_or_else(String::new, |id| format!(" entry {id}:"));
        output.text(sanitise(&format!("{}:{entry} {}", one.object, one.what)))?;
    }
    for (kid, entries) in &report.missing_keys {
        let entries = counted(*entries, "entry");
        let text = format!("the key {kid:?} verified {entries}, and is not among the keys");
        output.text(sanitise(&text))?;
    }
    output.flush()?;
    for object in report.unlisted.iter().take(report.first.len().max(10)) {
        tell(format_args!("note: {object} is not in the manifest"));
    }
    tell(format_args!(
        "{} in {} and {}: {} valid, {}",
        counted(report.entries, "entry"),
        counted(report.segments, "segment"),
        counted(report.files, "file"),
        report.valid,
        counted(report.differences, "difference")
    ));
    if report.valid_now > 0 {
        let entries = counted(report.valid_now, "entry");
        tell(format_args!("note: {entries} recorded as not valid would be valid with these keys"));
    }
    Ok(())
}
