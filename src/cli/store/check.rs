//! `vidimus store check`: read and verify every stored entry again.

use clap::Args;

use crate::cli::args::{GivenKeyArgs, StoreArgs};
use crate::cli::checking::{bar, listed};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted, sanitise, tell};
use crate::store::{CheckOptions, CheckReport};

/// Read and verify every stored entry, and compare the results with the recorded ones.
///
/// When a key has just arrived and `vidimus serve` is verifying entries again, the check may report
/// differences that disappear a moment later.
///
/// Signatures are verified with the keys that the store has seen. With --jwks or --region, each is
/// verified with these keys instead, whatever the store says of keys.
///
/// Exit codes: 0 no differences, 1 differences or a damaged file, 2 usage error, 3 the store or a key set
/// cannot be read.
#[derive(Args)]
pub(super) struct Check {
    /// List at most N differences
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,

    /// Verify each valid signature with ring too, one by one, and list the entries where ring refuses
    /// it, with the warning odd_signature
    ///
    /// Such an entry is valid, and no difference: `vidimus verify --help` explains it. The exit code
    /// does not change.
    #[arg(long)]
    strict: bool,

    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    keys: GivenKeyArgs,

    #[command(flatten)]
    store: StoreArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let reader = self.store.reader()?;
        let bar = bar();
        let keys = self.keys.read()?;
        let options = CheckOptions { shown: self.limit, strict: self.strict, gaps: true, keys };
        let report = reader.check(options, &|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        ignore_closed(print(&report, self.output))?;
        Ok(if report.differences == 0 { Exit::Done } else { Exit::Negative })
    }
}

fn print(report: &CheckReport, format: PrintFormat) -> Result<(), Failure> {
    let mut output = Output::new();
    if format == PrintFormat::Jsonl {
        output.json(report)?;
        return output.flush();
    }
    for difference in report.first.iter().chain(&report.first_odd) {
        let entry = difference.id.map_or_else(String::new, |id| format!(" entry {id}:"));
        let line = format!("{}:{entry} {}", difference.file, difference.what);
        output.text(sanitise(&line))?;
    }
    output.flush()?;
    let CheckReport { segments, entries, differences, first, odd_signatures, first_odd } = report;
    tell(format_args!(
        "{} in {}: {}{}",
        counted(*entries, "entry"),
        counted(*segments, "segment"),
        counted(*differences, "difference"),
        listed(*differences, first.len() as u64)
    ));
    if let Some(odd) = odd_signatures.filter(|odd| *odd > 0) {
        tell(format_args!(
            "warning: {}{}",
            counted(odd, "odd signature"),
            listed(odd, first_odd.len() as u64)
        ));
    }
    Ok(())
}
