//! `vidimus konnect reconcile`: find entries that the webhook never delivered.
//!
//! For the organization, the range is pulled and compared with the store. The entries of a Dev
//! Portal cannot be pulled, so the range is replayed. New entries from the replay were missing.

mod portal;

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;

use super::access::{Access, RangeArgs, WebhookArgs};
use super::pull;
use super::waiting::{LOOK, run, wait_for_replay, word};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, tell};
use crate::clock::now;
use crate::entry::record::Origin;
use crate::entry::{Millis, VerdictName};
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{ReplayRange, ReplayStatus};
use crate::konnect::client::{Client, Pages, PullFilter};
use crate::konnect::reconcile::{Comparison, EntryIdentity, Pulled, StoredEntry, by_kind, compare};
use crate::search::Filter;
use crate::settings::units;
use crate::store::{Reader, TimeRange};

/// Find entries that the webhook never delivered, by comparing Konnect's entries with the store.
///
/// The command lists the missing entries and prints the replay command that fetches them. --replay
/// starts the replay at once. Missing entries that are older than Konnect's retention are lost.
/// With --portal the range is replayed at once and the new entries are counted, because the entries
/// of a Dev Portal cannot be pulled.
///
/// Exit codes: 0 nothing is missing (any more), 1 entries are missing or lost.
#[derive(Args)]
pub(super) struct Reconcile {
    #[command(flatten)]
    span: RangeArgs,

    #[command(flatten)]
    whose: WebhookArgs,

    /// Replay the missing entries at once, and report the result
    #[arg(long)]
    replay: bool,

    /// How long to wait for the replay and its entries
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = units::duration)]
    wait: Duration,

    /// How long Konnect keeps entries [default: 7d, or konnect.retention in the configuration]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    retention: Option<Duration>,

    /// List at most N missing entries; 0 means all [default: 100 as text, all as jsonl]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// The output format; jsonl prints one missing entry per line
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

/// The age in milliseconds below which an entry may still arrive.
const ON_ITS_WAY: i64 = 30_000;

/// A replay is over when the number of missing entries has not changed in this many consecutive
/// checks. Some entries never arrive unchanged, such as those that are tampered with in transit.
const QUIET: usize = 20;

/// The maximum number of pulled entries, because they are all in memory.
const MAX_PULLED: usize = 1_000_000;

impl Reconcile {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let (since, until) = self.span.ends()?;
        let client = self.access.client()?;
        let reader = self.access.store.reader()?;
        let keeps = match self.retention {
            Some(keeps) => keeps,
            None => self.access.settings()?.retention,
        };
        let keeps = i64::try_from(keeps.as_millis()).unwrap_or(i64::MAX);
        let horizon = Millis::saturating(now().get().saturating_sub(keeps));
        let range = Range { since, until, horizon };
        run(async {
            match self.whose.scope() {
                WebhookScope::Organization => self.organization(&client, &reader, &range).await,
                scope => portal::reconcile(&self, &client, &scope, &reader, &range).await,
            }
        })
    }

    async fn organization(
        &self,
        client: &Client,
        reader: &Reader,
        range: &Range,
    ) -> Result<Exit, Failure> {
        let pulled = pull_all(client, range).await?;
        let total = pulled.len();
        let again = if self.replay { pulled.clone() } else { Vec::new() };
        let found = compare(pulled, &stored(reader, range)?);
        ignore_closed(self.print(&found.missing, range.horizon))?;
        self.summarise(total, &found);
        let nothing_is_known = report_lost_range(reader, range, &Filter::All)?;
        let (lost, gone): (Vec<_>, Vec<_>) =
            found.missing.into_iter().partition(|one| one.identity.at < range.horizon);
        if !lost.is_empty() {
            tell(format_args!(
                "{} of them are lost: they are from before {}, older than Konnect's retention",
                lost.len(),
                range.horizon
            ));
        }
        let is_whole = lost.is_empty() && !nothing_is_known;
        let Some(replay) = range.covering_replay(&gone, now()) else {
            return Ok(if is_whole { Exit::Done } else { Exit::Negative });
        };
        if !self.replay {
            tell("to fetch the missing entries:");
            tell(format_args!("    {}", self.command(&replay)));
            return Ok(Exit::Negative);
        }
        let left = self.fetch(client, reader, range, &replay, again).await?;
        Ok(if left == 0 && is_whole { Exit::Done } else { Exit::Negative })
    }

    /// Starts the replay, waits for the missing entries, and prints the result. Returns the number
    /// of entries that are still missing.
    async fn fetch(
        &self,
        client: &Client,
        reader: &Reader,
        range: &Range,
        replay: &ReplayRange,
        pulled: Vec<Pulled>,
    ) -> Result<usize, Failure> {
        let scope = WebhookScope::Organization;
        let deadline = Instant::now() + self.wait;
        let missing = || -> Result<usize, Failure> {
            let found = compare(pulled.clone(), &stored(reader, range)?).missing;
            Ok(found.iter().filter(|one| one.identity.at >= range.horizon).count())
        };
        let before = missing()?;
        client.start_replay(&scope, replay).await?;
        let job = wait_for_replay(client, &scope, deadline).await?;
        // Entries that the job has sent may be in a delivery that is still running.
        let mut left = missing()?;
        let mut rest = Rest::default();
        while !rest.is_all(left)
            && job.status != Some(ReplayStatus::Failed)
            && Instant::now() + LOOK < deadline
        {
            tokio::time::sleep(LOOK).await;
            left = missing()?;
        }
        tell(format_args!(
            "replay {}: {} of {before} arrived, {left} are still missing",
            word(job.status),
            before.saturating_sub(left)
        ));
        match job.status {
            Some(ReplayStatus::Completed) => {}
            Some(ReplayStatus::Failed) => {
                tell("the replay failed: check vidimus konnect status, and try again");
            }
            _ => tell("the replay is still running: see vidimus konnect replay show"),
        }
        Ok(left)
    }

    fn print(&self, missing: &[Pulled], horizon: Millis) -> Result<(), Failure> {
        let limit = self.limit.unwrap_or(if self.output == PrintFormat::Text { 100 } else { 0 });
        let limit = if limit == 0 { usize::MAX } else { limit };
        let listed = missing.iter().take(limit);
        let lost = |one: &Pulled| one.identity.at < horizon;
        let mut output = Output::new();
        match self.output {
            PrintFormat::Jsonl => {
                listed.map(|one| (one, lost(one))).try_for_each(|(one, lost)| {
                    output.json(&json!({
                        "time": one.identity.at,
                        "kind": one.identity.kind,
                        "trace_id": one.identity.trace_id,
                        "lost": lost,
                        "entry": one.json,
                    }))
                })?
            }
            PrintFormat::Text => {
                let rows = listed.map(|one| (&one.json, if lost(one) { "lost" } else { "" }));
                output.grid(&pull::grid(rows, Screen::of_standard_output()))?;
            }
        }
        output.flush()?;
        if missing.len() > limit {
            tell(format_args!(
                "showing the first {limit} of {}; use --limit 0 to list all",
                missing.len()
            ));
        }
        Ok(())
    }

    fn summarise(&self, total: usize, found: &Comparison) {
        let missing = found.missing.len();
        if total == 0 {
            tell("Konnect lists no entries in this time range");
            return;
        }
        if missing == 0 {
            tell(format_args!("all {total} entries that Konnect lists are in the store"));
            return;
        }
        let kinds = by_kind(&found.missing);
        let kinds: Vec<_> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        tell(format_args!(
            "{missing} of {total} entries that Konnect lists are not in the store: {}",
            kinds.join(", ")
        ));
        if found.altered > 0 {
            tell(format_args!(
                "for {} of them the store has an entry with a different outcome and an invalid \
                 signature: they may have been tampered with in transit",
                found.altered
            ));
        }
        let young = |one: &&Pulled| one.identity.at.get() > now().get() - ON_ITS_WAY;
        let young = found.missing.iter().filter(young).count();
        if young > 0 {
            tell(format_args!("{young} of them are younger than 30 s and may still arrive"));
        }
    }

    fn command(&self, replay: &ReplayRange) -> String {
        format!(
            "vidimus konnect replay start --since {} --until {}{}",
            replay.start_at,
            replay.end_at,
            self.access.repeated()
        )
    }
}

/// The number of missing entries in consecutive checks after a replay.
#[derive(Debug, Default)]
struct Rest {
    left: usize,
    same: usize,
}

impl Rest {
    /// Whether `left` is final: zero, or the same number as in the [`QUIET`] checks before.
    fn is_all(&mut self, left: usize) -> bool {
        self.same = if left == self.left { self.same + 1 } else { 0 };
        self.left = left;
        left == 0 || self.same >= QUIET
    }
}

/// The time range to compare, with both ends included.
struct Range {
    since: Millis,
    until: Millis,
    /// Konnect does not keep older entries.
    horizon: Millis,
}

impl Range {
    /// The replay that covers these entries, in whole seconds; `None` if there are none.
    fn covering_replay(&self, missing: &[Pulled], now: Millis) -> Option<ReplayRange> {
        let first = missing.iter().map(|one| one.identity.at).min()?;
        let last = missing.iter().map(|one| one.identity.at).max()?;
        let start = first.get().div_euclid(1000) * 1000;
        let end = (last.get().div_euclid(1000) + 1) * 1000;
        // Konnect refuses times older than its retention, or in the future.
        let start = Millis::saturating(start.max(self.horizon.get().min(first.get())));
        let end = Millis::saturating(end.min(now.get().max(last.get() + 1)));
        Some(ReplayRange { start_at: start.into(), end_at: end.into() })
    }

    fn in_store(&self, margin: i64) -> TimeRange {
        TimeRange {
            since: Some(self.since.get().saturating_sub(margin)),
            until: Some(self.until.get().saturating_add(1 + margin)),
        }
    }
}

/// Pulls all entries of a range.
async fn pull_all(client: &Client, range: &Range) -> Result<Vec<Pulled>, Failure> {
    let filter = PullFilter { since: range.since, until: range.until, kind: None };
    let (mut all, mut unread, mut after) = (Vec::new(), 0, None);
    let mut pages = Pages::default();
    loop {
        let page = client.pull(&filter, after.as_deref(), &mut pages).await;
        let page = page?;
        for entry in page.0 {
            match Pulled::read(entry) {
                Some(entry) => all.push(entry),
                None => unread += 1,
            }
        }
        if all.len() > MAX_PULLED {
            return Err(Failure::failed(format!(
                "Konnect lists more than {MAX_PULLED} entries in this time range, too many to \
                 compare at once: use a shorter range with --since and --until"
            )));
        }
        after = page.1;
        if after.is_none() {
            break;
        }
    }
    if unread > 0 {
        tell(format_args!("warning: {unread} pulled entries have no time and are not compared"));
    }
    Ok(all)
}

/// The stored entries of a range, extended a little because times are rounded.
fn stored(reader: &Reader, range: &Range) -> Result<Vec<StoredEntry>, Failure> {
    let mut scan = reader.scan(&Filter::All, range.in_store(2), usize::MAX)?;
    let mut all = Vec::new();
    loop {
        let records = scan.next_slice(1000)?;
        if records.is_empty() {
            return Ok(all);
        }
        for record in records {
            if let (Some(kind), Some(at), Origin::Stored { delivery_count, .. }) =
                (record.kind, record.time, &record.origin)
            {
                let identity = EntryIdentity::of(kind, at, &record.fields);
                let invalid = record.verdict == VerdictName::Invalid;
                all.push(StoredEntry { identity, delivery_count: *delivery_count, invalid });
            }
        }
    }
}

/// Reports that missing entries before the horizon are lost. Returns whether nothing is stored of
/// that time, which is certainly a gap.
fn report_lost_range(reader: &Reader, range: &Range, filter: &Filter) -> Result<bool, Failure> {
    let end = range.horizon.min(range.until);
    if range.since >= end {
        return Ok(false);
    }
    let past = TimeRange { since: Some(range.since.get()), until: Some(end.get()) };
    let mut scan = reader.scan(filter, past, 1)?;
    let is_empty = scan.next_slice(1)?.is_empty();
    let what = match is_empty {
        true => "nothing of it is stored, so it is lost",
        false => "entries missing from it are lost",
    };
    tell(format_args!("{} to {end} is older than Konnect's retention: {what}", range.since));
    Ok(is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_that_never_arrive_are_not_waited_for() {
        let check = |looks: &[usize], expected: bool| {
            let mut rest = Rest::default();
            let last = looks.iter().fold(false, |_, left| rest.is_all(*left));
            assert_eq!(last, expected, "{looks:?}");
        };
        check(&[3], false);
        check(&[3, 2, 0], true);
        check(&[3; QUIET], false);
        check(&[3; QUIET + 1], true);
        check(&[&[3; QUIET][..], &[2; QUIET]].concat(), false);
    }

    #[test]
    fn a_replay_has_whole_seconds_within_the_retention() {
        let at = |millis: i64| Millis::saturating(1_747_426_194_000 + millis);
        let entry = |at: Millis| Pulled::read(json!({"ts": at.to_string()})).unwrap();
        let check = |times: &[i64], now: i64, expected: Option<(i64, i64)>| {
            let range = Range { since: at(0), until: at(99_000), horizon: at(1_500) };
            let missing: Vec<_> = times.iter().map(|time| entry(at(*time))).collect();
            let found = range.covering_replay(&missing, at(now));
            let expected = expected.map(|(start, end)| ReplayRange {
                start_at: at(start).into(),
                end_at: at(end).into(),
            });
            assert_eq!(found, expected, "{times:?}");
        };
        check(&[], 90_000, None);
        check(&[5_250, 7_000, 6_999], 90_000, Some((5_000, 8_000)));
        check(&[1_600], 90_000, Some((1_500, 2_000)));
        check(&[5_250], 5_300, Some((5_000, 5_300)));
    }
}
