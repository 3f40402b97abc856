//! Reconciles the organization: its entries are pulled and compared with the store, part by part.

use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::progress::Progress;
use super::record::record;
use super::{Range, Reconcile, report_old_range};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::konnect::pull;
use crate::cli::konnect::waiting::{LOOK, wait_for_replay, word};
use crate::cli::print::{PrintFormat, Screen};
use crate::cli::terminal::{Output, counting_bar, tell};
use crate::clock::now;
use crate::entry::{Format, Millis, Record, VerdictName};
use crate::konnect::api::{ReplayRange, ReplayStatus, WebhookScope};
use crate::konnect::client::{Client, PULL_PAGE, Pages, PullFilter};
use crate::konnect::reconcile::{
    EntryIdentity, Keys, Pulled, StoredEntry, Tally, candidates, compare,
};
use crate::search::Filter;
use crate::store::{Reader, Scope};

/// The age in milliseconds below which an entry may still arrive.
const ON_ITS_WAY: i64 = 30_000;

/// A replay is over when the number of missing entries has not changed in this many consecutive
/// checks. Some entries never arrive unchanged, such as those that are tampered with in transit.
const QUIET: usize = 20;

/// When so many pulled entries are kept to see whether a replay brings them, no more are added.
const MAX_AWAITED: usize = 200_000;

pub(super) async fn reconcile(
    wanted: &Reconcile,
    client: &Client,
    reader: &Reader,
    (since, until): (Millis, Millis),
) -> Result<Exit, Failure> {
    let api = client.hosts().regional();
    let resumed = match &wanted.cursor_file {
        Some(path) => Progress::read(path, api)?,
        None => None,
    };
    if let (Some(progress), Some(path)) = (&resumed, &wanted.cursor_file) {
        tell(format_args!(
            "continuing from {}: {} to {}, {} entries were pulled",
            path.display(),
            Millis::saturating(progress.since),
            Millis::saturating(progress.until),
            progress.pulled
        ));
    }
    let (is_resumed, asked_at) = (resumed.is_some(), now());
    let mut progress = resumed.unwrap_or_else(|| Progress::new(api, since, until));
    let since = Millis::saturating(progress.since);
    let horizon = wanted.horizon(client, &WebhookScope::Organization, since).await?;
    let range = Range { since, until: Millis::saturating(progress.until), horizon };
    if !is_resumed {
        let oldest = horizon.is_known.then_some(horizon.at);
        progress.tally = Tally::new(since, range.until, oldest, asked_at);
    }
    let comparison = Walk { wanted, client, reader, range };
    comparison.run(&mut progress).await?;
    comparison.conclude(&progress).await
}

/// A comparison of the pulled entries with the store.
struct Walk<'a> {
    wanted: &'a Reconcile,
    client: &'a Client,
    reader: &'a Reader,
    range: Range,
}

impl Walk<'_> {
    /// Pulls and compares, page by page, to the end of the list.
    async fn run(&self, progress: &mut Progress) -> Result<(), Failure> {
        let filter = PullFilter {
            since: self.range.since,
            until: self.range.until,
            kind: None,
            page: PULL_PAGE,
        };
        let bar = counting_bar("entries compared");
        let mut pages = Pages::default();
        loop {
            let after = progress.after.clone();
            let (page, next): (Vec<Box<RawValue>>, _) =
                self.client.pull(&filter, after.as_deref(), &mut pages).await?;
            let count = page.len();
            let read: Vec<_> = page.iter().filter_map(|one| Pulled::read(one.get())).collect();
            progress.unread += count - read.len();
            if let Some(tally) = &mut progress.tally {
                tally.add_unread(count - read.len());
            }
            progress.pulled += read.len();
            let part = progress.parts.add(read, next.is_none())?;
            let is_part = !part.is_empty();
            self.compare(part, progress)?;
            progress.after = next;
            bar.set_position(progress.pulled as u64);
            match (&wanted_file(self.wanted), &progress.after) {
                (Some(path), Some(_)) if is_part => progress.write(path)?,
                (_, Some(_)) => {}
                (_, None) => break,
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Compares a part with the store, and lists what is missing.
    fn compare(&self, part: Vec<Pulled>, progress: &mut Progress) -> Result<(), Failure> {
        if part.is_empty() {
            return Ok(());
        }
        let stored = self.stored(&part)?;
        if let Some(tally) = &mut progress.tally {
            tally.add(&part, &stored);
        }
        let all = if self.wanted.replay { part.clone() } else { Vec::new() };
        let found = compare(part, &stored);
        let horizon = self.range.horizon.at;
        progress.add(&found, horizon, now().get() - ON_ITS_WAY);
        let missing = Keys::of(&found.missing);
        if progress.awaited.len() < MAX_AWAITED {
            progress.awaited.extend(all.into_iter().filter(|one| missing.touch(one)));
            progress.followed += found.missing.len();
        }
        ignore_closed(self.list(&found.missing, progress))
    }

    /// The stored entries that may match these.
    fn stored(&self, pulled: &[Pulled]) -> Result<Vec<StoredEntry>, Failure> {
        let keys = Keys::of(pulled);
        // What was pulled was not delivered. An invalid one tells whether a missing one was altered.
        let may_match = |record: &Record, identity: &EntryIdentity| {
            record.format != Some(Format::Pulled)
                && (record.verdict == VerdictName::Invalid || keys.has(identity))
        };
        Ok(candidates(self.reader, pulled, may_match)?)
    }

    /// Lists missing entries, as many as the limit leaves.
    fn list(&self, missing: &[Pulled], progress: &mut Progress) -> Result<(), Failure> {
        let limit = self.limit();
        let left = limit.saturating_sub(progress.listed);
        let (listed, horizon) = (missing.iter().take(left), self.range.horizon.at);
        progress.listed += listed.len();
        let is_old = |one: &Pulled| one.identity.at < horizon;
        let mut output = Output::new();
        match self.wanted.output {
            PrintFormat::Jsonl => {
                listed.map(|one| (one, is_old(one))).try_for_each(|(one, old)| {
                    output.json(&json!({
                        "time": one.identity.at,
                        "kind": one.identity.kind,
                        "trace_id": one.identity.trace_id,
                        // The name is older than the words for it.
                        "lost": old,
                        "entry": one.json(),
                    }))
                })?
            }
            PrintFormat::Text => {
                let remark = |one| if is_old(one) { "too old" } else { "" };
                let rows: Vec<_> = listed.map(|one| (one.json(), remark(one))).collect();
                let rows = rows.iter().map(|(json, remark)| (json, *remark));
                output.grid(&pull::grid(rows, Screen::of_standard_output()))?;
            }
        }
        output.flush()
    }

    fn limit(&self) -> usize {
        let is_text = self.wanted.output == PrintFormat::Text;
        match self.wanted.limit.unwrap_or(if is_text { 100 } else { 0 }) {
            0 => usize::MAX,
            limit => limit,
        }
    }

    /// Tells the result, and replays what is missing if that is wanted.
    async fn conclude(&self, progress: &Progress) -> Result<Exit, Failure> {
        self.summarise(progress);
        let is_gap = report_old_range(self.reader, &self.range, &Filter::All)?;
        if progress.old > 0 {
            tell(format_args!(
                "{} of them are older than what Konnect gives now, which begins at {}",
                progress.old, self.range.horizon.at
            ));
        }
        let is_whole = progress.old == 0 && !is_gap;
        let mut fetched = 0;
        let exit = match progress.replayable {
            None if is_whole => Exit::Done,
            None => Exit::Negative,
            Some((first, last)) => {
                let (first, last) = (Millis::saturating(first), Millis::saturating(last));
                let replay = self.range.covering_replay(first, last, now());
                match self.wanted.replay {
                    true => {
                        let left = self.fetch(&replay, progress, &mut fetched).await?;
                        if left == 0 && is_whole { Exit::Done } else { Exit::Negative }
                    }
                    false => {
                        tell("to fetch the missing entries:");
                        tell(format_args!("    {}", self.command(&replay)));
                        Exit::Negative
                    }
                }
            }
        };
        let scope = Scope { region: self.client.hosts().region().to_owned(), portal: None };
        let result = progress.tally.as_ref().map(|tally| tally.result(scope, fetched));
        record(&self.wanted.access, result);
        if let Some(path) = wanted_file(self.wanted) {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Failure::failed(format!(
                        "cannot remove {}: {error}",
                        path.display()
                    )));
                }
                _ => {}
            }
        }
        Ok(exit)
    }

    fn summarise(&self, progress: &Progress) {
        let (missing, total) = (progress.missing(), progress.pulled);
        if progress.unread > 0 {
            tell(format_args!(
                "warning: {} pulled entries have no time and are not compared",
                progress.unread
            ));
        }
        if total == 0 {
            tell("Konnect lists no entries in this time range");
            return;
        }
        if missing == 0 {
            tell(format_args!("all {total} entries that Konnect lists are in the store"));
            return;
        }
        if missing > progress.listed {
            tell(format_args!(
                "showing the first {} of {missing}; use --limit 0 to list all",
                progress.listed
            ));
        }
        let kinds = progress.missing.iter();
        let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{count} {kind}")).collect();
        tell(format_args!(
            "{missing} of {total} entries that Konnect lists are not in the store: {}",
            kinds.join(", ")
        ));
        if progress.altered > 0 {
            tell(format_args!(
                "for {} of them the store has an entry with a different outcome and an invalid \
                 signature: they may have been tampered with in transit",
                progress.altered
            ));
        }
        if progress.young > 0 {
            tell(format_args!(
                "{} of them are younger than 30 s and may still arrive",
                progress.young
            ));
        }
    }

    /// Starts the replay, waits for the missing entries, and tells the result. Returns the number of
    /// entries that are still missing. `fetched` becomes the number of those that count for the proof.
    async fn fetch(
        &self,
        replay: &ReplayRange,
        progress: &Progress,
        fetched: &mut u64,
    ) -> Result<usize, Failure> {
        let scope = WebhookScope::Organization;
        let deadline = Instant::now() + self.wanted.wait;
        let awaited = &progress.awaited;
        let before = self.still_missing(awaited)?;
        let unproved = self.unproved(progress)?;
        self.client.start_replay(&scope, replay).await?;
        let job = wait_for_replay(self.client, &scope, deadline).await?;
        // Entries that the job has sent may be in a delivery that is still running.
        let mut left = self.still_missing(awaited)?;
        let mut rest = Rest::default();
        while !rest.is_all(left)
            && job.status != Some(ReplayStatus::Failed)
            && Instant::now() + LOOK < deadline
        {
            tokio::time::sleep(LOOK).await;
            left = self.still_missing(awaited)?;
        }
        *fetched = unproved.saturating_sub(self.unproved(progress)?);
        tell(format_args!(
            "replay {}: {} of {before} arrived, {left} are still missing",
            word(job.status),
            before.saturating_sub(left)
        ));
        if progress.followed < progress.missing() {
            tell(
                "not all missing entries were followed: run the command again to see what is left",
            );
            return Ok(left.max(1));
        }
        match job.status {
            Some(ReplayStatus::Completed) => {}
            Some(ReplayStatus::Failed) => {
                tell("the replay failed: check vidimus konnect status, and try again");
            }
            _ => tell("the replay is still running: see vidimus konnect replay show --wait"),
        }
        Ok(left)
    }

    /// The number of awaited entries that can be replayed and are not in the store.
    fn still_missing(&self, awaited: &[Pulled]) -> Result<usize, Failure> {
        let stored = self.stored(awaited)?;
        let found = compare(awaited.to_vec(), &stored).missing;
        Ok(found.iter().filter(|one| one.identity.at >= self.range.horizon.at).count())
    }

    /// The number of awaited entries that are missing for the proof.
    fn unproved(&self, progress: &Progress) -> Result<u64, Failure> {
        let Some(tally) = &progress.tally else { return Ok(0) };
        Ok(tally.missing_of(&progress.awaited, &self.stored(&progress.awaited)?))
    }

    fn command(&self, replay: &ReplayRange) -> String {
        format!(
            "vidimus konnect replay start --since {} --until {}{}",
            replay.start_at,
            replay.end_at,
            self.wanted.access.repeated()
        )
    }
}

fn wanted_file(wanted: &Reconcile) -> Option<&std::path::Path> {
    wanted.cursor_file.as_deref()
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
}
