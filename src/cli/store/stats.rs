//! `vidimus store stats`: what the store holds, and what came or was turned away.

use std::collections::BTreeMap;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Format;
use crate::cli::selection::Place;
use crate::cli::terminal::{Output, sanitise};
use crate::entry::Millis;
use crate::store::{self, Delivered, Refused};

/// Count what the store holds, and list the newest deliveries and refused requests.
///
/// When nothing arrives, the refused requests say why.
#[derive(Args)]
pub(super) struct Stats {
    /// List this many of the newest deliveries and refused requests
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,

    /// Print in this format; jsonl is one object
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,

    #[command(flatten)]
    place: Place,
}

impl Stats {
    /// Prints the figures.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let stats = self.place.reader()?.stats(self.limit).map_err(Failure::failed)?;
        let mut output = Output::new();
        match self.output {
            Format::Jsonl => output.json(&stats)?,
            Format::Text => {
                lines(&stats).iter().try_for_each(|line| output.text(sanitise(line)))?;
            }
        }
        output.flush()?;
        Ok(Exit::Done)
    }
}

fn lines(stats: &store::Stats) -> Vec<String> {
    let mut lines = vec![
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
    lines.push(format!("quarantine   {} bodies, {}", stats.quarantine.len(), HumanBytes(bytes)));
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
    section(&mut lines, "newest deliveries", stats.deliveries.iter().map(delivery));
    section(&mut lines, "newest refused requests", stats.refused.iter().map(refused));
    lines
}

/// The versions of the schema that there are: segments stay in the one that they were written in.
fn versions(stats: &store::Stats) -> String {
    let segments = stats.versions.iter().map(|(version, count)| format!("{version} ({count})"));
    let segments = segments.collect::<Vec<_>>().join(", ");
    format!("catalog version {}; segments by version: {segments}", stats.catalog_version)
}

fn section(lines: &mut Vec<String>, title: &str, of: impl Iterator<Item = String>) {
    let mut of = of.peekable();
    match of.peek() {
        None => lines.push(format!("{title}: none")),
        Some(_) => {
            lines.push(format!("{title}:"));
            lines.extend(of.map(|line| format!("  {line}")));
        }
    }
}

fn delivery(delivery: &Delivered) -> String {
    let Delivered { received_at, input, peer, received, stored, duplicates, .. } = delivery;
    let verdicts = [
        ("valid", delivery.valid),
        ("invalid", delivery.invalid),
        ("unsigned", delivery.unsigned),
        ("no_key", delivery.no_key),
        ("malformed", delivery.malformed),
    ];
    let verdicts = verdicts.iter().map(|(name, count)| ((*name).into(), *count)).collect();
    format!(
        "{received_at}  {input}  {peer}  {received} received, {stored} stored, {duplicates} \
         duplicates{}  {} ms",
        counts(&verdicts),
        delivery.duration_us / 1000
    )
}

fn refused(refused: &Refused) -> String {
    let Refused { time, peer, status, reason, scheme } = refused;
    let status = status.map_or_else(|| "no request".into(), |status| status.to_string());
    let scheme = scheme.as_ref().map_or_else(String::new, |s| format!(" (authorization: {s})"));
    format!("{time}  {peer}  {status}  {reason}{scheme}")
}

/// Counts that are not zero, after a colon.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_request_is_told_in_a_line() {
        let mut one = Refused {
            time: Millis::MIN,
            peer: "127.0.0.1:5".into(),
            status: Some(401),
            reason: "the authorization is wrong".into(),
            scheme: Some("Bearer".into()),
        };
        assert_eq!(
            refused(&one),
            "1970-01-01T00:00:00.000Z  127.0.0.1:5  401  the authorization is wrong \
             (authorization: Bearer)"
        );
        (one.status, one.scheme) = (None, None);
        assert!(refused(&one).ends_with("no request  the authorization is wrong"));
    }
}
