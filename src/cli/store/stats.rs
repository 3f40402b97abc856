//! `vidimus store stats`: statistics, the newest deliveries and refused requests.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::grid::{Grid, cut_to, number, time, whole};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, counted, sanitise};
use crate::entry::Millis;
use crate::store::{self, Refused, StoredDelivery};

/// Show statistics of the store, and the newest deliveries and refused requests.
///
/// When nothing arrives, the refused requests show the reason.
#[derive(Args)]
pub(super) struct Stats {
    /// List the N newest deliveries and refused requests
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,

    /// The output format; jsonl prints one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    store: StoreArgs,
}

impl Stats {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let stats = self.store.reader()?.stats(self.limit)?;
        let mut output = Output::new();
        match self.output {
            PrintFormat::Jsonl => output.json(&stats)?,
            PrintFormat::Text => {
                lines(&stats, Screen::of_standard_output())
                    .iter()
                    .try_for_each(|line| output.text(sanitise(line)))?;
            }
        }
        output.flush()?;
        Ok(Exit::Done)
    }
}

fn lines(stats: &store::Stats, screen: Screen) -> Vec<String> {
    let mut lines = vec![
        format!("store        {}", stats.store_id.as_deref().unwrap_or("has no id yet")),
        format!("entries      {}{}", stats.entries, counts(&stats.verdicts)),
        format!("kinds        {}", counts(&stats.kinds).trim_start_matches(": ")),
        format!("time         {}", range(stats.time)),
        format!("received     {}", range(stats.received_at)),
        format!(
            "segments     {}{}",
            stats.segments.len(),
            counts(&stats.states.iter().map(|(state, count)| ((*state).into(), *count)).collect())
        ),
        format!("on the disk  {}", HumanBytes(stats.bytes)),
        format!("schema       {}", versions(stats)),
    ];
    let bytes = stats.quarantine.iter().map(|body| body.bytes).sum();
    let bodies = counted(stats.quarantine.len() as u64, "body");
    lines.push(format!("quarantine   {bodies}, {}", HumanBytes(bytes)));
    lines.push(format!("keys         {} seen", stats.keys));
    for gap in &stats.gaps {
        lines.push(format!("missing      ids {} to {}: {}", gap.first_id, gap.last_id, gap.reason));
    }
    for source in &stats.sources {
        let read =
            source.succeeded_at.map_or_else(|| "never read".into(), |at| format!("read {at}"));
        let error = source
            .error
            .as_ref()
            .map_or_else(String::new, |error| format!("; failed {}: {error}", source.attempted_at));
        lines.push(format!("  {}: {read}{error}", source.source));
    }
    section(&mut lines, "newest deliveries", deliveries(&stats.deliveries, screen).lines(screen));
    section(&mut lines, "newest refused requests", refused(&stats.refused, screen).lines(screen));
    lines
}

/// The schema versions in use. Segments keep the version they were written in.
fn versions(stats: &store::Stats) -> String {
    let segments = stats.versions.iter().map(|(version, count)| format!("{version} ({count})"));
    let segments = segments.collect::<Vec<_>>().join(", ");
    format!("catalog version {}; segments by version: {segments}", stats.catalog_version)
}

fn section(lines: &mut Vec<String>, title: &str, of: Vec<String>) {
    lines.push(if of.is_empty() { format!("{title}: none") } else { format!("{title}:") });
    lines.extend(of);
}

fn deliveries(all: &[StoredDelivery], screen: Screen) -> Grid<8> {
    let mut grid = Grid::new([
        whole("TIME"),
        cut_to("INPUT", 5),
        cut_to("PEER", 8),
        number("RECEIVED"),
        number("STORED"),
        number("DUPLICATES"),
        cut_to("VERDICTS", 10),
        number("MS"),
    ]);
    for one in all {
        let verdicts = [
            ("valid", one.valid),
            ("invalid", one.invalid),
            ("unsigned", one.unsigned),
            ("no_key", one.no_key),
            ("malformed", one.malformed),
        ];
        let verdicts = verdicts.iter().map(|(name, count)| ((*name).into(), *count)).collect();
        grid.row([
            time(one.received_at, None, screen),
            one.input.clone(),
            one.peer.clone(),
            one.received.to_string(),
            one.stored.to_string(),
            one.duplicates.to_string(),
            counts(&verdicts).trim_start_matches(": ").to_owned(),
            (one.duration_us / 1000).to_string(),
        ]);
    }
    grid
}

fn refused(all: &[Refused], screen: Screen) -> Grid<5> {
    let mut grid = Grid::new([
        whole("TIME"),
        cut_to("PEER", 8),
        whole("STATUS"),
        whole("SCHEME"),
        cut_to("REASON", 16),
    ]);
    for one in all {
        let status = one.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let scheme = one.scheme.clone().unwrap_or_else(|| "-".to_owned());
        let at = time(one.time, None, screen);
        grid.row([at, one.peer.clone(), status, scheme, one.reason.clone()]);
    }
    grid
}

/// The counts that are not zero, after a colon.
fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().filter(|(_, count)| **count > 0);
    let counts: Vec<_> = counts.map(|(name, count)| format!("{count} {name}")).collect();
    match counts.is_empty() {
        true => String::new(),
        false => format!(": {}", counts.join(", ")),
    }
}

fn range(range: Option<(Millis, Millis)>) -> String {
    range.map_or_else(|| "none".into(), |(from, to)| format!("{from} to {to}"))
}
