//! `vidimus log check`: compare the whole store with its tiles and checkpoints.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted, sanitise, stderr_is_terminal, tell};
use crate::log::check::{Checker, LogReport};
use crate::log::checkpoints::Checkpoints;
use crate::tlog::note::VerifierKey;

/// Compare the whole store with its tiles and checkpoints
///
/// Every hash is computed again from the records of the leaves, every entry is compared with its
/// leaf, and the store is checked as `vidimus store check` does. So a changed, removed or added
/// entry, leaf or hash is found, unless the log was made anew from there on. Only a checkpoint from
/// elsewhere tells that: use --against.
///
/// The check takes as long as it takes to read the store twice. It may run beside `vidimus serve`.
///
/// Exit codes: 0 no differences, 1 differences, 2 usage error, 3 the log cannot be checked.
#[derive(Args)]
pub(super) struct Check {
    /// A checkpoint that was kept elsewhere: the log must be the one that it covers, grown
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// The verifier key that checkpoints must be signed with, as `vidimus log key` printed it;
    /// repeat it if the log got a new key [default: those that the log has had]
    #[arg(long, value_name = "VKEY")]
    log_key: Vec<VerifierKey>,

    /// List at most N differences
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,

    /// The output format; jsonl prints an object for each difference
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    store: StoreArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let reader = self.store.reader()?;
        let folder = super::folder(&self.store)?;
        let keys = match self.log_key.is_empty() {
            true => super::open(&self.store)?.1.known(),
            false => self.log_key,
        };
        let against = match &self.against {
            Some(path) => {
                let cannot =
                    |error| Failure::failed(format!("--against {}: {error}", path.display()));
                Some((path.as_path(), fs::read(path).map_err(cannot)?))
            }
            None => None,
        };
        let checker = Checker {
            reader: &reader,
            keys: &keys,
            checkpoints: &Checkpoints::new(&folder),
            against: against.as_ref().map(|(path, note)| (*path, note.as_slice())),
            shown: self.limit,
        };
        let bar = bar();
        let report = checker.check(&|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        });
        bar.finish_and_clear();
        let report = report?;
        ignore_closed(print(&report, self.output))?;
        Ok(if report.differences == 0 { Exit::Done } else { Exit::Negative })
    }
}

fn print(report: &LogReport, format: PrintFormat) -> Result<(), Failure> {
    let mut output = Output::new();
    for difference in &report.first {
        if format == PrintFormat::Jsonl {
            output.json(difference)?;
            continue;
        }
        let leaf = difference.leaf.map_or_else(String::new, |leaf| format!("leaf {leaf}: "));
        let id = difference.id.map_or_else(String::new, |id| format!("entry {id}: "));
        let line = format!("{}: {leaf}{id}{}", difference.kind, difference.what);
        output.text(sanitise(&line))?;
    }
    output.flush()?;
    let LogReport { leaves, entries, older, changed, checkpoints, unsigned, .. } = report;
    let not_shown = match report.differences - report.first.len() as u64 {
        0 => String::new(),
        _ => format!(", of which {} are listed", report.first.len()),
    };
    tell(format_args!(
        "{leaves} leaves, {} and {}: {}{not_shown}",
        counted(*entries, "entry"),
        counted(*checkpoints, "checkpoint"),
        counted(report.differences, "difference"),
    ));
    for (count, what) in [
        (older, "entries were stored before the log began and have no leaves"),
        (changed, "entries got another verdict or input later, by the catalog"),
        (unsigned, "leaves at the end are covered by no checkpoint"),
    ] {
        if *count > 0 {
            tell(format_args!("note: {count} {what}"));
        }
    }
    Ok(())
}

fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {percent} %  {eta} left");
    ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
