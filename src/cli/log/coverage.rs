//! `vidimus log coverage`: which times are proved complete.

use clap::Args;
use serde_json::json;

use crate::cli::args::{StoreArgs, TimeArgs};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::grid::{Grid, cut_to, shorten_ids, time, whole};
use crate::cli::print::{PrintFormat, Screen, ZoneArgs};
use crate::cli::terminal::{Output, tell};
use crate::config;
use crate::konnect::client::Hosts;
use crate::log::coverage::{Coverage, CoverageReport, Covered};

/// Show which times are proved complete
///
/// For each region and Dev Portal: complete (`vidimus konnect reconcile` found nothing missing, or a
/// replay brought what was), replayed (the same for a Dev Portal, whose entries cannot be listed),
/// received (there was a receiver, and nothing was compared), incomplete (entries were missing, and no
/// replay brought them), down (there was no receiver), or unknown (nothing is recorded).
///
/// Exit codes: 0 success, 1 a time is incomplete or down, or the log does not confirm a comparison, 2
/// usage error, 3 the store cannot be read.
#[derive(Args)]
pub(super) struct CoverageCommand {
    #[command(flatten)]
    time: TimeArgs,

    #[command(flatten)]
    zone: ZoneArgs,

    /// The output format; jsonl prints an object for each interval
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    store: StoreArgs,
}

impl CoverageCommand {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let range = self.time.range()?;
        let settings = config::konnect(&self.store.flags()).map_err(Failure::usage)?;
        let hosts = Hosts::chosen(settings.base_url.as_ref(), settings.region.as_ref());
        let region = hosts.map(|hosts| hosts.region().to_owned());
        let report = CoverageReport::read(&self.store.reader()?, range, region)?;
        ignore_closed(self.print(&report))?;
        for leaf in &report.unconfirmed {
            tell(format_args!(
                "warning: the leaf {leaf} of the log does not confirm the comparison that the catalog \
                 has: it does not count"
            ));
        }
        if report.coverages.is_empty() {
            tell("nothing is recorded in this time range");
        }
        let is_bad = |coverage: &Coverage| {
            let mut all = coverage.intervals.iter();
            all.any(|one| matches!(one.covered, Covered::Incomplete | Covered::Down))
        };
        match report.unconfirmed.is_empty() && !report.coverages.iter().any(is_bad) {
            true => Ok(Exit::Done),
            false => Ok(Exit::Negative),
        }
    }

    fn print(&self, report: &CoverageReport) -> Result<(), Failure> {
        let mut output = Output::new();
        if self.output == PrintFormat::Jsonl {
            for Coverage { scope, intervals } in &report.coverages {
                for one in intervals {
                    output.json(&json!({
                        "region": scope.as_ref().map(|scope| &scope.region),
                        "portal_id": scope.as_ref().and_then(|scope| scope.portal.as_ref()),
                        "since": one.since,
                        "until": one.until,
                        "state": one.covered,
                        "leaves": one.leaves,
                    }))?;
                }
            }
            return output.flush();
        }
        let (screen, zone) = (Screen::of_standard_output(), self.zone.zone());
        let mut grid =
            Grid::new([cut_to("OF", 12), whole("SINCE"), whole("UNTIL"), whole("STATE")]);
        for coverage in &report.coverages {
            for one in &coverage.intervals {
                let at = |at| time(at, zone.as_ref(), screen);
                let name = match screen.width {
                    Some(_) => shorten_ids(&coverage.name()),
                    None => coverage.name(),
                };
                grid.row([name, at(one.since), at(one.until), one.covered.to_string()]);
            }
        }
        output.grid(&grid)?;
        output.flush()?;
        for coverage in &report.coverages {
            let shares = coverage.shares();
            let shares: Vec<_> =
                shares.iter().map(|(covered, share)| format!("{share} % {covered}")).collect();
            tell(format_args!("{}: {}", coverage.name(), shares.join(", ")));
        }
        Ok(())
    }
}
