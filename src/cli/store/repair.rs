//! `vidimus store repair`: makes the catalog say what the segments hold.

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::OutputFormat;
use crate::cli::selection::Place;
use crate::cli::terminal::{Output, confirm, sanitise, tell};
use crate::store::repair::{Plan, Report};

/// Put a store right whose catalog and segments do not belong together
///
/// Use it when `vidimus serve` refuses to start because of files that the catalog does not name, or
/// because the catalog is missing. Every file is judged by its contents, not by its name. Segments that
/// the catalog does not know are taken up. Files that are damaged, or whose entries another file has,
/// are moved to the folder `damaged` in the data directory. Nothing is deleted.
///
/// It says what it found, and asks before it changes anything. Nobody else may be writing to the store.
///
/// Exit codes: 0 no id is missing, 1 ids are missing, 3 it could not be done.
#[derive(Args)]
pub(super) struct Repair {
    #[command(flatten)]
    place: Place,

    /// Do not ask
    #[arg(long)]
    yes: bool,

    /// Print in this format; jsonl is one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: OutputFormat,
}

impl Repair {
    /// Looks, asks, and repairs.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let plan = Plan::make(&self.place.directory()?)?;
        let report = plan.report();
        let mut output = Output::new();
        match self.output {
            OutputFormat::Jsonl => output.json(&report)?,
            OutputFormat::Text => {
                lines(&report).iter().try_for_each(|line| output.text(sanitise(line)))?;
            }
        }
        output.flush()?;
        drop(output);
        if plan.is_sound() {
            tell("the catalog and the segments belong together; there is nothing to repair");
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Repair the store like this?")? {
            tell("nothing was changed");
            return Ok(Exit::Failed);
        }
        let report = plan.carry_out()?;
        tell("repaired; `vidimus store check` verifies every entry");
        Ok(if report.missing.is_empty() { Exit::Done } else { Exit::BadNews })
    }
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if report.catalog_lost {
        lines.push("the catalog is missing or cannot be read: a new one is made".into());
    }
    let entries: u64 = report.segments.iter().map(|segment| segment.entries).sum();
    lines.push(format!("segments  {} with {entries} entries", report.segments.len()));
    for segment in report.segments.iter().filter(|segment| !segment.known) {
        let last = segment.first_id + segment.entries - 1;
        lines.push(format!("  {}  ids {} to {last}: taken up", segment.file, segment.first_id));
    }
    for one in &report.set_aside {
        lines.push(format!("set aside in damaged/  {}: {}", one.file, one.why));
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
