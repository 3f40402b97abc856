//! One webhook: what it is set to, what it has to send, and how that goes.
//!
//! It sends along two lanes, what happens and what is replayed, a batch at a time in each. The rules
//! are those of the vendor's page "Konnect and Dev Portal audit logs": after a connection error, a
//! 429 or a 500 a batch is sent again, four times at most; any other failure loses it. When the
//! retries are used up, or as many attempts in a row have failed for whatever reason, the webhook
//! is turned off. What turns it on again the vendor does not say: here it is any change to the
//! webhook or its destination, and a replay that gets through, for a replay is sent all the same.
//!
//! Nothing is sent here: [`WebhookState::take`] says what is to be sent, and [`WebhookState::settle`] is told
//! what came of it.

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

/// A webhook.
#[derive(Debug, Default)]
pub(super) struct WebhookState {
    destination: Option<String>,
    enabled: bool,
    /// Turned off after attempts that failed.
    inactive: bool,
    updated_at: Option<Millis>,
    last: Option<LastAttempt>,
    /// The attempts that failed since the last that did not.
    failures: usize,
    live: DeliveryQueue,
    replay: Option<Replay>,
    /// The number of the next batch.
    batches: u64,
}

/// The last attempt.
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

/// What came of an attempt.
#[derive(Clone, Debug)]
pub(super) struct AttemptResult {
    /// The status, if there was an answer.
    pub(super) status: Option<u16>,
    /// What was said: the end of the answer, or why there was none.
    pub(super) message: String,
    /// Whether the batch was taken.
    pub(super) acknowledged: bool,
    /// Whether it is worth another attempt.
    pub(super) temporary: bool,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum BatchOutcome {
    /// It was taken.
    Delivered,
    /// It is sent again.
    Retried,
    /// It is not sent again.
    Lost,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SettledAttempt {
    /// What becomes of the batch.
    pub(super) outcome: BatchOutcome,
    /// Which attempt at it this was, from 1.
    pub(super) attempt: usize,
    /// How long until the next.
    pub(super) wait: Option<Duration>,
}

impl WebhookState {
    /// The destination's id.
    pub(super) fn destination(&self) -> Option<&str> {
        self.destination.as_deref()
    }

    /// Whether it is to send.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// When it was changed last.
    pub(super) fn updated_at(&self) -> Time {
        self.updated_at.map_or(Time::INITIAL, Time::from)
    }

    /// Whether a replay is at work.
    pub(super) fn is_replaying(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.status.is_running())
    }

    /// Changes it. What happens from `end` on is sent, if it sent nothing before.
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

    /// Unsets it.
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

    /// Turns it on again, if failures turned it off. What happens from `end` on is sent.
    pub(super) fn reactivate(&mut self, end: u64) {
        self.failures = 0;
        if std::mem::take(&mut self.inactive) {
            self.live = DeliveryQueue::at(end);
        }
    }

    /// How it goes.
    pub(super) fn status(&self) -> WebhookStatus {
        let last = self.last.as_ref();
        WebhookStatus {
            webhook_status: Some(if self.inactive {
                WebhookActivity::Inactive
            } else {
                WebhookActivity::Active
            }),
            webhook_enabled: self.enabled,
            last_attempt_at: last.map(|last| last.at.into()),
            last_response_code: last.and_then(|last| last.code),
            last_response_message: last.map(|last| last.message.clone()),
        }
    }

    /// The replay job.
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

    /// Takes a replay job for the entries of `log` in `range`; `false` if one is at work.
    pub(super) fn start_replay(&mut self, range: ReplayRange, log: &EntryLog, now: Millis) -> bool {
        if self.is_replaying() {
            return false;
        }
        let start = range.start_at.millis().unwrap_or(Millis::MIN);
        let end = range.end_at.millis().unwrap_or(Millis::MAX);
        // The range has both its ends.
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

    /// The next batch that is due of the entries of `scope` in `log`. It stays so until it is settled.
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

    /// Keeps the body of a batch for its other attempts.
    pub(super) fn keep(&mut self, work: &DueBatch, body: &Bytes) {
        if let Some(pending) = self.pending(work) {
            pending.body = Some(body.clone());
        }
    }

    /// Notes what came of an attempt at `now`. `None` if the webhook was changed meanwhile, so that
    /// nothing becomes of the batch.
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
            // Only a replay is sent while the webhook is off.
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

/// Along which queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueName {
    /// What happens.
    Live,
    /// What is replayed.
    Replay,
}

/// A batch that is to be sent now.
#[derive(Clone, Debug)]
pub(super) struct DueBatch {
    /// Along which queue.
    pub(super) queue: QueueName,
    /// Its number.
    pub(super) batch: u64,
    /// Its entries.
    pub(super) entries: Vec<Arc<LoggedEntry>>,
    /// Its body, if it was made for an attempt before this one.
    pub(super) body: Option<Bytes>,
}

/// When batches are due.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueLimits {
    /// The time.
    pub(super) now: Millis,
    /// Whether retries are due before their time.
    pub(super) at_once: bool,
    /// Only entries before this number are.
    pub(super) until: u64,
    /// How many entries a batch has at most.
    pub(super) batch: usize,
}

/// What is to be sent in order.
#[derive(Debug, Default)]
pub(super) struct DeliveryQueue {
    /// The number of the entry after those that were sent or lost.
    pub(super) next: u64,
    /// The batch that is being sent.
    pub(super) pending: Option<PendingBatch>,
}

/// A batch on its way.
#[derive(Debug)]
pub(super) struct PendingBatch {
    pub(super) batch: u64,
    pub(super) entries: Vec<Arc<LoggedEntry>>,
    pub(super) body: Option<Bytes>,
    pub(super) attempts: usize,
    pub(super) due: Millis,
}

/// What a queue has to send.
pub(super) enum NextBatch<'a> {
    /// A batch.
    Batch(&'a PendingBatch),
    /// A retry whose time has not come.
    Waits,
    /// Nothing.
    Nothing,
}

impl DeliveryQueue {
    /// Starts at `next` with nothing on its way.
    pub(super) fn at(next: u64) -> DeliveryQueue {
        DeliveryQueue { next, pending: None }
    }

    /// The batch on its way, or else the next of the entries of `scope`, which is counted in `batches`.
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
                // What belongs to others need not be looked at again.
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

    /// Goes on after the batch.
    pub(super) fn finish(&mut self) {
        let last = self.pending.take().and_then(|pending| Some(pending.entries.last()?.number));
        self.next = last.map_or(self.next, |last| last + 1);
    }
}

impl PendingBatch {
    /// What there is to do for it.
    pub(super) fn work(&self, queue: QueueName) -> DueBatch {
        let (entries, body) = (self.entries.clone(), self.body.clone());
        DueBatch { queue, batch: self.batch, entries, body }
    }
}
