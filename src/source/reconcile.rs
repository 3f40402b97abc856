//! `[konnect] reconcile_every`: compares the organization's entries that Konnect lists with the store, as
//! `vidimus konnect reconcile` does, and records the result.
//!
//! A comparison goes on where the last one of the region ended, whoever made it. What was incomplete in the
//! last day is compared again, because a replay may have brought it. Nothing is replayed by itself: a replay
//! goes to the webhook, and may end at another receiver. What is missing is logged.

use std::sync::Arc;
use std::time::Duration;

use super::konnect_pull::PullError;
use crate::clock::now;
use crate::entry::time::DAY;
use crate::entry::{Format, Millis};
use crate::konnect::client::{Client, LISTED_LATE};
use crate::konnect::reconcile::{Keys, Tally, candidates, pull_parts, vouches};
use crate::log::coverage::{CoverageReport, Covered};
use crate::net::Shutdown;
use crate::store::{Directory, Reader, Scope, Store, StoreError, TimeRange};

/// The pause after a failure, if comparisons are further apart.
const RETRY: Duration = Duration::from_secs(5 * 60);

/// Compares regularly.
pub(crate) struct Reconciler {
    every: Duration,
    /// How long Konnect keeps entries. `None`: it is asked.
    retention: Option<Duration>,
    client: Client,
    store: Arc<Store>,
    reader: Reader,
    scope: Scope,
}

impl Reconciler {
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(
        every: Duration,
        retention: Option<Duration>,
        client: Client,
        store: Arc<Store>,
        directory: &Directory,
    ) -> Result<Reconciler, StoreError> {
        let scope = Scope { region: client.hosts().region().to_owned(), portal: None };
        let reader = Reader::open(directory)?;
        Ok(Reconciler { every, retention, client, store, reader, scope })
    }

    /// Compares until shutdown. An error is logged, and tried again.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        loop {
            let round = async {
                let wait = self.round().await.unwrap_or_else(|error| {
                    let region = self.scope.region.as_str();
                    tracing::warn!(region, %error, "cannot compare with Konnect; trying again later");
                    self.every.min(RETRY)
                });
                tokio::time::sleep(wait).await;
            };
            tokio::select! {
                () = round => {}
                _ = shutdown.begun() => return,
            }
        }
    }

    /// Compares, if it is time. Returns how long it is until the next time.
    async fn round(&self) -> Result<Duration, PullError> {
        let asked_at = now();
        let until = Millis::saturating(asked_at.get().saturating_sub(LISTED_LATE));
        let every = i64::try_from(self.every.as_millis()).unwrap_or(i64::MAX);
        let since =
            self.last(until)?.unwrap_or(Millis::saturating(until.get().saturating_sub(every)));
        let due_in = every.saturating_sub(until.get().saturating_sub(since.get()));
        if due_in > 0 {
            return Ok(Duration::from_millis(due_in.min(every).unsigned_abs()));
        }
        for (since, until) in self.incomplete(until)? {
            self.compare(since, until, asked_at).await?;
        }
        self.compare(since, until, asked_at).await?;
        Ok(self.every)
    }

    /// The end of the last comparison before `until`. A later end is of a clock that was ahead.
    fn last(&self, until: Millis) -> Result<Option<Millis>, StoreError> {
        let all = tokio::task::block_in_place(|| self.reader.reconciled())?;
        let own = all.into_iter().filter(|one| one.scope == self.scope && one.until <= until);
        Ok(own.map(|one| one.until).max())
    }

    /// What was incomplete in the last day before `until`.
    fn incomplete(&self, until: Millis) -> Result<Vec<(Millis, Millis)>, StoreError> {
        let since = until.get().saturating_sub(DAY);
        let range = TimeRange { since: Some(since), until: Some(until.get()) };
        let report =
            tokio::task::block_in_place(|| CoverageReport::read(&self.reader, range, None))?;
        let own =
            report.coverages.into_iter().filter(|one| one.scope.as_ref() == Some(&self.scope));
        let intervals = own.flat_map(|one| one.intervals);
        let incomplete = intervals.filter(|one| one.covered == Covered::Incomplete);
        Ok(incomplete.map(|one| (one.since, one.until)).collect())
    }

    /// The time before which Konnect gives no entries. `None`: it gives none at all.
    async fn oldest(&self, since: Millis, asked_at: Millis) -> Result<Option<Millis>, PullError> {
        let Some(keeps) = self.retention else {
            return Ok(self.client.oldest(since, asked_at).await?);
        };
        let keeps = i64::try_from(keeps.as_millis()).unwrap_or(i64::MAX);
        Ok(Some(Millis::saturating(asked_at.get().saturating_sub(keeps))))
    }

    /// Compares what is listed from `since` to just before `until`, and records the result.
    async fn compare(
        &self,
        since: Millis,
        until: Millis,
        asked_at: Millis,
    ) -> Result<(), PullError> {
        let oldest = self.oldest(since, asked_at).await?;
        let Some(mut tally) = Tally::new(since, until, oldest, asked_at) else { return Ok(()) };
        let (since, last) = (tally.since(), tally.last());
        let count = |part: Vec<_>| -> Result<(), PullError> {
            tokio::task::block_in_place(|| {
                let keys = Keys::of(&part);
                let stored = candidates(&self.reader, &part, |record, identity| {
                    record.format != Some(Format::Pulled)
                        && vouches(&keys, identity, record.verdict)
                })?;
                tally.add(&part, &stored);
                Ok(())
            })
        };
        let unread = pull_parts(&self.client, since, last, count).await?;
        tally.add_unread(unread);
        let result = tally.result(self.scope.clone(), 0);
        let leaf = tokio::task::block_in_place(|| self.store.record_reconciled(&result))?;
        let (region, compared) = (self.scope.region.as_str(), result.compared);
        match result.missing {
            0 => {
                tracing::info!(region, %since, until = %last, compared, leaf, "nothing is missing")
            }
            missing => tracing::warn!(
                region, %since, until = %last, compared, missing, leaf,
                "entries that Konnect lists are missing; vidimus konnect reconcile --replay \
                 fetches them"
            ),
        }
        Ok(())
    }
}
