//! The state of one webhook: its settings, its queues, and its delivery status.
//!
//! It has two queues, one for new entries and one for a replay, and each sends one batch at a time.
//! The rules are those of Kong's page "Konnect and Dev Portal audit logs". After a connection error, a
//! 429 or a 500, a batch is retried at most four times. After any other failure it is lost. When the
//! retries are used up, or as many attempts in a row have failed for any reason, the webhook becomes
//! inactive. Kong does not say how it becomes active again. Here it does after any change to the
//! webhook or its destination, and after a successful replay, because a replay is sent anyway.
//!
//! Nothing is sent here. [`WebhookState::take`] returns what is to be sent, and
//! [`WebhookState::settle`] takes the result.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::log::{EntryLog, LoggedEntry};
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{
    ReplayJob, ReplayRange, ReplayStatus, Time, UpdateWebhook, WebhookActivity, WebhookStatus,
};
use crate::konnect::deliver::RetryPolicy;

#[derive(Debug, Default)]
pub(super) struct WebhookState {
    destination: Option<String>,
    enabled: bool,
    /// Turned off after failed attempts.
    inactive: bool,
    updated_at: Option<Millis>,
    last: Option<LastAttempt>,
    /// The number of consecutive failed attempts.
    failures: usize,
    live: DeliveryQueue,
    replay: Option<Replay>,
    /// The number of the next batch.
    batches: u64,
}

#[derive(Debug)]
struct LastAttempt {
    at: Millis,
    code: Option<u16>,
    message: String,
}

#[derive(Debug)]
struct Replay {
    range: ReplayRange,
    status: ReplayStatus,
    updated_at: Millis,
    /// The number of the entry after the last of the range.
    end: u64,
    /// Whether a batch was lost.
    lost: bool,
    queue: DeliveryQueue,
}

#[derive(Clone, Debug)]
pub(super) struct AttemptResult {
    /// The status of the response, if there was one.
    pub(super) status: Option<u16>,
    /// The text of the response, or the error.
    pub(super) message: String,
    /// Whether the batch was accepted.
    pub(super) acknowledged: bool,
    /// Whether another attempt may succeed.
    pub(super) temporary: bool,
}

/// The outcome for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchOutcome {
    Delivered,
    Retried,
    Lost,
}

/// An attempt whose result was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SettledAttempt {
    pub(super) outcome: BatchOutcome,
    /// The number of the attempt, from 1.
    pub(super) attempt: usize,
    /// The wait before the next attempt.
    pub(super) wait: Option<Duration>,
}

impl WebhookState {
    /// The id of the destination.
    pub(super) fn destination(&self) -> Option<&str> {
        self.destination.as_deref()
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    pub(super) fn updated_at(&self) -> Time {
        self.updated_at.map_or(Time::INITIAL, Time::from)
    }

    pub(super) fn is_replaying(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.status.is_running())
    }

    /// Changes the settings. A webhook that was disabled sends the entries from `end` on.
    pub(super) fn update(&mut self, update: UpdateWebhook, now: Millis, end: u64) {
        let was_enabled = self.enabled;
        self.destination = update.audit_log_destination_id.or(self.destination.take());
        self.enabled = update.enabled.unwrap_or(self.enabled);
        self.updated_at = Some(now);
        if !was_enabled || !self.enabled {
            self.live = DeliveryQueue::at(end);
        }
        self.reactivate(end);
    }

    /// Removes the settings.
    pub(super) fn remove(&mut self, now: Millis, end: u64) {
        *self = WebhookState {
            updated_at: Some(now),
            last: self.last.take(),
            replay: self.replay.take(),
            batches: self.batches,
            live: DeliveryQueue::at(end),
            ..WebhookState::default()
        };
    }

    /// Activates an inactive webhook. It sends the entries from `end` on.
    pub(super) fn reactivate(&mut self, end: u64) {
        self.failures = 0;
        if std::mem::take(&mut self.inactive) {
            self.live = DeliveryQueue::at(end);
        }
    }

    pub(super) fn status(&self) -> WebhookStatus {
        let last = self.last.as_ref();
        WebhookStatus {
            webhook_status: Some(match (&self.destination, self.inactive) {
                (None, _) => WebhookActivity::Unconfigured,
                (Some(_), true) => WebhookActivity::Inactive,
                (Some(_), false) => WebhookActivity::Active,
            }),
            webhook_enabled: self.enabled,
            last_attempt_at: last.map(|last| last.at.into()),
            last_response_code: last.and_then(|last| last.code),
            last_response_message: last.map(|last| last.message.clone()),
        }
    }

    pub(super) fn replay_job(&self) -> ReplayJob {
        let replay = self.replay.as_ref();
        let time = |of: fn(&Replay) -> Time| Some(replay.map_or(Time::INITIAL, of));
        ReplayJob {
            start_at: time(|replay| replay.range.start_at),
            end_at: time(|replay| replay.range.end_at),
            status: Some(replay.map_or(ReplayStatus::Unconfigured, |replay| replay.status)),
            updated_at: time(|replay| replay.updated_at.into()),
        }
    }

    /// Starts a replay of the entries of `log` in `range`; `false` if one is running.
    pub(super) fn start_replay(&mut self, range: ReplayRange, log: &EntryLog, now: Millis) -> bool {
        if self.is_replaying() {
            return false;
        }
        let start = range.start_at.millis().unwrap_or(Millis::MIN);
        let end = range.end_at.millis().unwrap_or(Millis::MAX);
        // The range includes both ends.
        let after = Millis::saturating(end.get() + 1);
        self.replay = Some(Replay {
            range,
            status: ReplayStatus::Accepted,
            updated_at: now,
            end: log.number_at(after),
            lost: false,
            queue: DeliveryQueue::at(log.number_at(start)),
        });
        true
    }

    /// The next batch of entries of `scope` that is due. It stays the next until it is settled.
    pub(super) fn take(
        &mut self,
        log: &EntryLog,
        scope: &WebhookScope,
        due: DueLimits,
    ) -> Option<DueBatch> {
        let can_send = self.enabled && self.destination.is_some();
        if let Some(replay) = self.replay.as_mut().filter(|replay| replay.status.is_running()) {
            let work = match can_send {
                true => {
                    let until = DueLimits { until: replay.end, ..due };
                    replay.queue.take(log, scope, until, &mut self.batches)
                }
                false => NextBatch::Nothing,
            };
            match work {
                NextBatch::Batch(pending) => {
                    replay.status = ReplayStatus::Running;
                    return Some(pending.work(QueueName::Replay));
                }
                NextBatch::Waits => {}
                NextBatch::Nothing => {
                    let failed = replay.lost || !can_send;
                    replay.end_with(failed, due.now);
                }
            }
        }
        if !can_send || self.inactive {
            return None;
        }
        match self.live.take(log, scope, due, &mut self.batches) {
            NextBatch::Batch(pending) => Some(pending.work(QueueName::Live)),
            NextBatch::Waits | NextBatch::Nothing => None,
        }
    }

    /// Keeps the body of a batch for later attempts.
    pub(super) fn keep(&mut self, work: &DueBatch, body: &Bytes) {
        if let Some(pending) = self.pending(work) {
            pending.body = Some(body.clone());
        }
    }

    /// Records the result of an attempt at `now`. `None` if the webhook was changed meanwhile, and the
    /// batch is gone.
    pub(super) fn settle(
        &mut self,
        work: &DueBatch,
        result: AttemptResult,
        retry: RetryPolicy,
        now: Millis,
        end: u64,
    ) -> Option<SettledAttempt> {
        let AttemptResult { status, message, acknowledged, temporary } = result;
        self.last = Some(LastAttempt { at: now, code: status, message });
        self.failures = if acknowledged { 0 } else { self.failures + 1 };
        let pending = self.pending(work)?;
        pending.attempts += 1;
        let attempt = pending.attempts;
        let wait = (temporary && !acknowledged).then(|| retry.waits().nth(attempt - 1)).flatten();
        if let Some(wait) = wait {
            let wait_millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            pending.due = Millis::saturating(now.get().saturating_add(wait_millis));
            return Some(SettledAttempt {
                outcome: BatchOutcome::Retried,
                attempt,
                wait: Some(wait),
            });
        }
        self.queue(work.queue)?.finish();
        if acknowledged {
            // Only a replay is sent while the webhook is inactive.
            self.reactivate(end);
            return Some(SettledAttempt { outcome: BatchOutcome::Delivered, attempt, wait: None });
        }
        let used_up = temporary || self.failures > retry.most;
        self.inactive |= used_up;
        if let (QueueName::Replay, Some(replay)) = (work.queue, &mut self.replay) {
            replay.lost = true;
            if used_up {
                replay.end_with(true, now);
            }
        }
        Some(SettledAttempt { outcome: BatchOutcome::Lost, attempt, wait: None })
    }

    fn queue(&mut self, name: QueueName) -> Option<&mut DeliveryQueue> {
        match name {
            QueueName::Live => Some(&mut self.live),
            QueueName::Replay => self.replay.as_mut().map(|replay| &mut replay.queue),
        }
    }

    fn pending(&mut self, work: &DueBatch) -> Option<&mut PendingBatch> {
        let pending = self.queue(work.queue)?.pending.as_mut()?;
        (pending.batch == work.batch).then_some(pending)
    }
}

impl Replay {
    fn end_with(&mut self, failed: bool, now: Millis) {
        self.status = if failed { ReplayStatus::Failed } else { ReplayStatus::Completed };
        self.updated_at = now;
        self.queue.pending = None;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueName {
    /// New entries.
    Live,
    /// Replayed entries.
    Replay,
}

#[derive(Clone, Debug)]
pub(super) struct DueBatch {
    pub(super) queue: QueueName,
    pub(super) batch: u64,
    pub(super) entries: Vec<Arc<LoggedEntry>>,
    /// The body, if an earlier attempt has made it.
    pub(super) body: Option<Bytes>,
}

/// What may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueLimits {
    pub(super) now: Millis,
    /// Whether retries do not wait.
    pub(super) at_once: bool,
    /// Only entries before this number are sent.
    pub(super) until: u64,
    /// The maximum number of entries per batch.
    pub(super) batch: usize,
}

/// Entries that are sent in order, a batch at a time.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue {
    /// The number of the entry after those that were sent or lost.
    pub(super) next: u64,
    /// The batch that is being sent.
    pub(super) pending: Option<PendingBatch>,
}

/// A batch that is being sent.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) batch: u64,
    pub(super) entries: Vec<Arc<LoggedEntry>>,
    pub(super) body: Option<Bytes>,
    pub(super) attempts: usize,
    pub(super) due: Millis,
}

pub(super) enum NextBatch<'a> {
    Batch(&'a PendingBatch),
    /// A retry that is not due yet.
    Waits,
    Nothing,
}

impl DeliveryQueue {
    /// An empty queue that starts at `next`.
    pub(super) fn at(next: u64) -> DeliveryQueue {
        DeliveryQueue { next, pending: None }
    }

    /// The batch that is being sent, or else the next one of `scope`, which is numbered by `batches`.
    pub(super) fn take(
        &mut self,
        log: &EntryLog,
        scope: &WebhookScope,
        due: DueLimits,
        batches: &mut u64,
    ) -> NextBatch<'_> {
        if self.pending.is_none() {
            let entries: Vec<_> = log
                .from(self.next)
                .take_while(|entry| entry.number < due.until)
                .filter(|entry| entry.scope == *scope)
                .take(due.batch)
                .cloned()
                .collect();
            if entries.is_empty() {
                // Entries of other webhooks need not be read again.
                self.next = self.next.max(due.until);
                return NextBatch::Nothing;
            }
            *batches += 1;
            let batch = *batches;
            self.pending =
                Some(PendingBatch { batch, entries, body: None, attempts: 0, due: due.now });
        }
        match &self.pending {
            Some(pending) if pending.due <= due.now || due.at_once => NextBatch::Batch(pending),
            Some(_) => NextBatch::Waits,
            None => NextBatch::Nothing,
        }
    }

    /// Continues after the batch.
    pub(super) fn finish(&mut self) {
        let last = self.pending.take().and_then(|pending| Some(pending.entries.last()?.number));
        self.next = last.map_or(self.next, |last| last + 1);
    }
}

impl PendingBatch {
    pub(super) fn work(&self, queue: QueueName) -> DueBatch {
        let (entries, body) = (self.entries.clone(), self.body.clone());
        DueBatch { queue, batch: self.batch, entries, body }
    }
}
