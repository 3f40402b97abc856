//! `vidimus konnect reconcile`: find entries that the webhook never delivered.
//!
//! - `organization`: its entries are pulled and compared with the store. `progress` is how far that
//!   got, so that it can be resumed.
//! - `portal`: the entries of a Dev Portal cannot be pulled, so the range is replayed. New entries
//!   from the replay were missing.
//! - `record`: the result is recorded for `vidimus log coverage`.

mod organization;
mod portal;
mod progress;
mod record;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::access::{Access, RangeArgs, WebhooksArgs};
use super::waiting::run;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::tell;
use crate::clock::now;
use crate::entry::Millis;
use crate::konnect::api::{ReplayRange, WebhookScope};
use crate::konnect::client::Client;
use crate::search::Filter;
use crate::settings::units;
use crate::store::{Reader, TimeRange};

/// Find entries that the webhook never delivered, by comparing Konnect's entries with the store.
///
/// The command lists the missing entries and prints the replay command that fetches them. --replay
/// starts the replay at once. Entries that are older than what Konnect gives now cannot be fetched.
/// With --portal or --all-portals the range is replayed at once and the new entries are counted,
/// because the entries of a Dev Portal cannot be pulled.
///
/// If `vidimus serve` runs on the store, it records the result for `vidimus log coverage`.
///
/// Exit codes: 0 nothing is missing (any more), 1 entries are missing.
#[derive(Args)]
pub(super) struct Reconcile {
    #[command(flatten)]
    span: RangeArgs,

    #[command(flatten)]
    whose: WebhooksArgs,

    /// Replay the missing entries at once, and report the result
    #[arg(long)]
    replay: bool,

    /// How long to wait for the replay and its entries
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = units::duration)]
    wait: Duration,

    /// How long Konnect keeps entries [default: konnect.retention in the configuration; otherwise
    /// Konnect is asked for its oldest entry]
    #[arg(long, value_name = "DURATION", value_parser = units::duration)]
    retention: Option<Duration>,

    /// List at most N missing entries; 0 means all [default: 100 as text, all as jsonl]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Save the progress in this file, and continue from it if the command was interrupted
    #[arg(long, value_name = "FILE", conflicts_with_all = ["portal", "all_portals"])]
    cursor_file: Option<PathBuf>,

    /// The output format; jsonl prints one missing entry per line
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: PrintFormat,

    #[command(flatten)]
    access: Access,
}

impl Reconcile {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let (since, until) = self.span.ends()?;
        let client = self.access.client()?;
        let reader = self.access.store.reader()?;
        run(self.whose.each(&client, async |scope| match scope {
            WebhookScope::Organization => {
                organization::reconcile(&self, &client, &reader, (since, until)).await
            }
            scope => {
                let horizon = self.horizon(&client, scope, since).await?;
                let range = Range { since, until, horizon };
                portal::reconcile(&self, &client, scope, &reader, &range).await
            }
        }))
    }

    /// The time before which Konnect keeps no entries: as configured, or as Konnect says.
    async fn horizon(
        &self,
        client: &Client,
        scope: &WebhookScope,
        since: Millis,
    ) -> Result<Horizon, Failure> {
        if let Some(keeps) = self.retention.or(self.access.settings()?.retention) {
            let keeps = i64::try_from(keeps.as_millis()).unwrap_or(i64::MAX);
            let at = Millis::saturating(now().get().saturating_sub(keeps));
            return Ok(Horizon { at, is_known: true, is_configured: true });
        }
        // The pull has the organization's entries only.
        let oldest = match scope {
            WebhookScope::Organization => client.oldest(since, now()).await?,
            WebhookScope::Portal(_) => None,
        };
        let is_known = oldest.is_some();
        Ok(Horizon { at: oldest.unwrap_or(since), is_known, is_configured: false })
    }
}

/// The time before which Konnect gives no entries.
#[derive(Clone, Copy, Debug)]
struct Horizon {
    at: Millis,
    /// Whether it was found at all.
    is_known: bool,
    /// Whether the user says so. Otherwise it is the time of the oldest entry that Konnect gives, and
    /// there may have been none before it.
    is_configured: bool,
}

/// The time range to compare, with both ends included.
#[derive(Clone, Copy, Debug)]
struct Range {
    since: Millis,
    until: Millis,
    horizon: Horizon,
}

impl Range {
    /// The replay that covers the times from `first` to `last`, in whole seconds.
    fn covering_replay(&self, first: Millis, last: Millis, now: Millis) -> ReplayRange {
        let start = first.get().div_euclid(1000) * 1000;
        let end = (last.get().div_euclid(1000) + 1) * 1000;
        // Konnect refuses times older than its retention, or in the future.
        let start = Millis::saturating(start.max(self.horizon.at.get().min(first.get())));
        let end = Millis::saturating(end.min(now.get().max(last.get() + 1)));
        ReplayRange { start_at: start.into(), end_at: end.into() }
    }

    fn in_store(&self) -> TimeRange {
        TimeRange { since: Some(self.since.get()), until: Some(self.until.get().saturating_add(1)) }
    }
}

/// Tells what of the range Konnect does not give. Returns whether that is certainly a gap: Konnect does
/// not keep that time, and nothing of it is stored.
fn report_old_range(reader: &Reader, range: &Range, filter: &Filter) -> Result<bool, Failure> {
    let end = range.horizon.at.min(range.until);
    if range.since >= end {
        return Ok(false);
    }
    let past = TimeRange { since: Some(range.since.get()), until: Some(end.get()) };
    let mut scan = reader.scan(filter, past, 1)?;
    let is_empty = scan.next_slice(1)?.is_empty();
    let what = match is_empty {
        true => "nothing of it is stored",
        false => "what is stored of it cannot be compared",
    };
    tell(format_args!("{} to {end} is older than what Konnect gives now: {what}", range.since));
    Ok(is_empty && range.horizon.is_configured)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_has_whole_seconds_within_the_retention() {
        let at = |millis: i64| Millis::saturating(1_747_426_194_000 + millis);
        let horizon = Horizon { at: at(1_500), is_known: true, is_configured: true };
        let check = |first: i64, last: i64, now: i64, (start, end): (i64, i64)| {
            let range = Range { since: at(0), until: at(99_000), horizon };
            let found = range.covering_replay(at(first), at(last), at(now));
            let expected = ReplayRange { start_at: at(start).into(), end_at: at(end).into() };
            assert_eq!(found, expected, "{first} to {last}");
        };
        check(5_250, 7_000, 90_000, (5_000, 8_000));
        check(1_600, 1_600, 90_000, (1_500, 2_000));
        check(5_250, 5_250, 5_300, (5_000, 5_300));
    }
}
