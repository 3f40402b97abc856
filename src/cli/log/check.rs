//! `vidimus log check`: compare the whole store with its tiles and checkpoints.

use std::cell::Cell;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli::args::{GivenKeyArgs, StoreArgs};
use crate::cli::checking::{bar, listed};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted, sanitise, stderr_is_terminal, tell};
use crate::log::check::{Against, Checker, Difference, LogReport, Progress};
use crate::log::checkpoints::Checkpoints;
use crate::tlog::note::VerifierKey;

/// Compare the whole store with its tiles and checkpoints
///
/// Every hash is computed again from the records of the leaves. Every entry, every sealed segment and
/// what the catalog says is compared with the leaves, and the store is checked as `vidimus store check`
/// does. So a changed, removed or added entry, leaf or hash is found, unless the log was made anew from
/// there on. Only a checkpoint from elsewhere tells that: use --against.
///
/// Differences are printed as they are found. The check takes as long as it takes to read the store
/// twice. It may run beside `vidimus serve`. It says how far it is: --from-id N goes on there after it
/// was interrupted.
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

    /// Go on with the entry N after an interrupted check: entries before it are not read again.
    /// Everything else is checked
    #[arg(long, value_name = "N", default_value_t = 0)]
    from_id: u64,

    /// List at most N differences
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    limit: usize,

    /// The output format; jsonl prints an object for each difference
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    keys: GivenKeyArgs,

    #[command(flatten)]
    store: StoreArgs,
}

/// How often the check says how far it is, if standard error is not a terminal.
const INTERVAL: Duration = Duration::from_secs(30);

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
            log_keys: &keys,
            checkpoints: &Checkpoints::new(&folder),
            folder: &folder,
            against: against.as_ref().map(|(path, note)| (*path, note.as_slice())),
            keys: self.keys.read()?,
            from: self.from_id,
            shown: self.limit,
        };
        let (bar, told) = (bar(), Cell::new(Instant::now()));
        let (mut output, mut printed) = (Output::new(), Ok(()));
        let report = checker.check(&mut Progress {
            steps: &|done, all| {
                bar.set_length(all);
                bar.set_position(done);
            },
            next: &|id| {
                bar.set_message(format!("next: --from-id {id}"));
                if !stderr_is_terminal() && told.get().elapsed() > INTERVAL {
                    tell(format_args!(
                        "all entries before {id} are checked: --from-id {id} goes on"
                    ));
                    told.set(Instant::now());
                }
            },
            differs: &mut |difference| {
                if printed.is_ok() {
                    printed = bar.suspend(|| print(&mut output, difference, self.output));
                }
            },
        });
        bar.finish_and_clear();
        ignore_closed(printed)?;
        let report = report?;
        summary(&report);
        Ok(if report.differences == 0 { Exit::Done } else { Exit::Negative })
    }
}

fn print(output: &mut Output, found: &Difference, format: PrintFormat) -> Result<(), Failure> {
    if format == PrintFormat::Jsonl {
        output.json(found)?;
        return output.flush();
    }
    let mut line = found.kind.to_string();
    let file = found.file.clone();
    let leaf = found.leaf.map(|leaf| format!("leaf {leaf}"));
    let id = found.id.map(|id| format!("entry {id}"));
    for part in [file, leaf, id, Some(found.what.clone())].into_iter().flatten() {
        line = format!("{line}: {part}");
    }
    if let (Some(found), Some(expected)) = (&found.found, &found.expected) {
        line = format!("{line}: found {found}, expected {expected}");
    }
    output.text(sanitise(&line))?;
    output.flush()
}

fn summary(report: &LogReport) {
    let LogReport { leaves, compared, gone, checkpoints, unsigned, differences, .. } = report;
    tell(format_args!(
        "{leaves} leaves, {} and {}: {}{}",
        counted(compared.entries, "entry"),
        counted(*checkpoints, "checkpoint"),
        counted(*differences, "difference"),
        listed(*differences, report.listed),
    ));
    if let Some(Against { checkpoint, stored_at, agrees }) = &report.against {
        let how = if *agrees { "the tree has" } else { "the tree does not have" };
        let at = stored_at.map_or_else(String::new, |at| format!(", the last stored at {at}"));
        tell(format_args!(
            "--against: {how} the root {} at {} leaves{at}; {} came since",
            checkpoint.root(),
            checkpoint.size(),
            leaves.saturating_sub(checkpoint.size()),
        ));
    }
    for (count, what) in [
        (gone.retention, "entries were dropped by retention, as the log says"),
        (gone.prune, "entries were dropped by `vidimus store prune`, as the log says"),
        (gone.lost, "entries were lost, as the log says"),
        (compared.older, "entries were stored before the log began and have no leaves"),
        (compared.changed, "entries got another verdict or input later, as the log says"),
        (*unsigned, "leaves at the end are covered by no checkpoint"),
    ] {
        if count > 0 {
            tell(format_args!("note: {count} {what}"));
        }
    }
}
