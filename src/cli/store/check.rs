//! `vidimus store check`: read and verify every stored entry again.

use clap::Args;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, counted, sanitise, stderr_is_terminal, tell};
use crate::store::{CheckOptions, CheckReport};

/// Read and verify every stored entry, and compare the results with the recorded ones.
///
/// When a key has just arrived and `vidimus serve` is verifying entries again, the check may report
/// differences that disappear a moment later.
///
/// Exit codes: 0 no differences, 1 differences or a damaged file, 3 the store cannot be opened.
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
    store: StoreArgs,
}

impl Check {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let reader = self.store.reader()?;
        let bar = bar();
        let options = CheckOptions { shown: self.limit, strict: self.strict, gaps: true };
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
    let not_shown = |count: u64, listed: usize| match count - listed as u64 {
        0 => String::new(),
        _ => format!(", of which {listed} are listed"),
    };
    tell(format_args!(
        "{} in {}: {}{}",
        counted(*entries, "entry"),
        counted(*segments, "segment"),
        counted(*differences, "difference"),
        not_shown(*differences, first.len())
    ));
    if let Some(odd) = odd_signatures.filter(|odd| *odd > 0) {
        tell(format_args!(
            "warning: {}{}",
            counted(odd, "odd signature"),
            not_shown(odd, first_odd.len())
        ));
    }
    Ok(())
}

fn bar() -> ProgressBar {
    if !stderr_is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} entries  {rate}  {eta} left");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.with_key("rate", whole_rate))
}

/// The rate as a whole number, because fractions change too fast to read.
fn whole_rate(state: &ProgressState, text: &mut dyn std::fmt::Write) {
    // Writing to a string cannot fail.
    let _ = write!(text, "{:.0}/s", state.per_sec());
}
