//! `vidimus store repair`: make the catalog match the segments.

use clap::Args;

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, confirm, sanitise, tell};
use crate::store::repair::{Plan, Report};

/// Repair a store whose catalog and segments do not match
///
/// Use this command when `vidimus serve` refuses to start because the catalog is missing or does
/// not list a file. It examines the contents of every file and ignores the names. Segments that are
/// not in the catalog are added to it. Damaged files, and files whose entries are also in another
/// file, are moved to the directory `damaged` in the data directory. Nothing is deleted.
///
/// The command reports what it found and asks for confirmation before it changes anything. Stop
/// `vidimus serve` first.
///
/// Exit codes: 0 no id is missing, 1 ids are missing, 3 failure.
#[derive(Args)]
pub(super) struct Repair {
    #[command(flatten)]
    store: StoreArgs,

    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,

    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,
}

impl Repair {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let plan = Plan::make(&self.store.directory()?)?;
        let report = plan.report();
        let mut output = Output::new();
        match self.output {
            PrintFormat::Jsonl => output.json(&report)?,
            PrintFormat::Text => {
                lines(&report).iter().try_for_each(|line| output.text(sanitise(line)))?;
            }
        }
        output.flush()?;
        drop(output);
        if plan.is_sound() {
            tell("the catalog and the segments match; there is nothing to repair");
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Repair the store?")? {
            tell("nothing was changed");
            return Ok(Exit::Failed);
        }
        let report = plan.carry_out()?;
        tell("repaired; `vidimus store check` verifies every entry");
        Ok(if report.missing.is_empty() { Exit::Done } else { Exit::Negative })
    }
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.catalog_lost {
        lines.push("the catalog is missing or cannot be read: a new one is created".into());
    }
    let entries: u64 = report.segments.iter().map(|segment| segment.entries).sum();
    lines.push(format!("segments  {} with {entries} entries", report.segments.len()));
    for segment in report.segments.iter().filter(|segment| !segment.known) {
        let last = segment.first_id + segment.entries - 1;
        lines.push(format!(
            "  {}  ids {} to {last}: added to the catalog",
            segment.file, segment.first_id
        ));
    }
    for one in &report.set_aside {
        lines.push(format!("moved to damaged/  {}: {}", one.file, one.why));
    }
    for (first, last) in &report.missing {
        lines.push(format!("missing  ids {first} to {last}"));
    }
    if !report.lost.is_empty() {
        lines.push("cannot be restored:".into());
    }
    lines.extend(report.lost.iter().map(|what| format!("  {what}")));
    lines
}
