//! One webhook: what it is set to, what it has to send, and how that goes.
//!
//! It sends along two lanes, what happens and what is replayed, a batch at a time in each. The rules
//! are those of the vendor's page "Konnect and Dev Portal audit logs": after a connection error, a
//! 429 or a 500 a batch is sent again, four times at most; any other failure loses it. When the
//! retries are used up, or as many attempts in a row have failed for whatever reason, the webhook
//! is turned off. What turns it on again the vendor does not say: here it is any change to the
//! webhook or its destination, and a replay that gets through, for a replay is sent all the same.
//!
//! Nothing is sent here: [`Webhook::take`] says what is to be sent, and [`Webhook::settle`] is told
//! what came of it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::lane::{Due, Lane, LaneName, Pending, Taken, Work};
use super::log::{Log, Scope};
use crate::entry::Millis;
use crate::konnect::api::{
    Activity, ReplayJob, ReplayRange, ReplayStatus, Time, UpdateWebhook, WebhookStatus,
};
use crate::konnect::deliver::Retry;

/// A webhook.
#[derive(Debug, Default)]
pub(super) struct Webhook {
    destination: Option<String>,
    enabled: bool,
    /// Turned off after attempts that failed.
    inactive: bool,
    updated_at: Option<Millis>,
    last: Option<Last>,
    /// The attempts that failed since the last that did not.
    failures: usize,
    live: Lane,
    replay: Option<Replay>,
    /// The number of the next batch.
    batches: u64,
}

/// The last attempt.
#[derive(Debug)]
struct Last {
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
    lane: Lane,
}

/// What came of an attempt.
#[derive(Clone, Debug)]
pub(super) struct Answered {
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
pub(super) enum Outcome {
    /// It was taken.
    Delivered,
    /// It is sent again.
    Retried,
    /// It is not sent again.
    Lost,
}

/// What an attempt came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// What becomes of the batch.
    pub(super) outcome: Outcome,
    /// Which attempt at it this was, from 1.
    pub(super) attempt: usize,
    /// How long until the next.
    pub(super) wait: Option<Duration>,
}

impl Webhook {
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
            self.live = Lane::at(end);
        }
        self.reactivate(end);
    }

    /// Unsets it.
    pub(super) fn remove(&mut self, now: Millis, end: u64) {
        *self = Webhook {
            updated_at: Some(now),
            last: self.last.take(),
            replay: self.replay.take(),
            batches: self.batches,
            live: Lane::at(end),
            ..Webhook::default()
        };
    }

    /// Turns it on again, if failures turned it off. What happens from `end` on is sent.
    pub(super) fn reactivate(&mut self, end: u64) {
        self.failures = 0;
        if std::mem::take(&mut self.inactive) {
            self.live = Lane::at(end);
        }
    }

    /// How it goes.
    pub(super) fn status(&self) -> WebhookStatus {
        let last = self.last.as_ref();
        WebhookStatus {
            webhook_status: Some(if self.inactive { Activity::Inactive } else { Activity::Active }),
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
    pub(super) fn start_replay(&mut self, range: ReplayRange, log: &Log, now: Millis) -> bool {
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
            lane: Lane::at(log.number_at(start)),
        });
        true
    }

    /// The next batch that is due of the entries of `scope` in `log`. It stays so until it is settled.
    pub(super) fn take(&mut self, log: &Log, scope: &Scope, due: Due) -> Option<Work> {
        let can_send = self.enabled && self.destination.is_some();
        if let Some(replay) = self.replay.as_mut().filter(|replay| replay.status.is_running()) {
            let work = match can_send {
                true => {
                    let until = Due { until: replay.end, ..due };
                    replay.lane.take(log, scope, until, &mut self.batches)
                }
                false => Taken::Nothing,
            };
            match work {
                Taken::Batch(pending) => {
                    replay.status = ReplayStatus::Running;
                    return Some(pending.work(LaneName::Replay));
                }
                Taken::Waits => {}
                Taken::Nothing => {
                    let failed = replay.lost || !can_send;
                    replay.end_with(failed, due.now);
                }
            }
        }
        if !can_send || self.inactive {
            return None;
        }
        match self.live.take(log, scope, due, &mut self.batches) {
            Taken::Batch(pending) => Some(pending.work(LaneName::Live)),
            Taken::Waits | Taken::Nothing => None,
        }
    }

    /// Keeps the body of a batch for its other attempts.
    pub(super) fn keep(&mut self, work: &Work, body: &Bytes) {
        if let Some(pending) = self.pending(work) {
            pending.body = Some(body.clone());
        }
    }

    /// Notes what came of an attempt at `now`. `None` if the webhook was changed meanwhile, so that
    /// nothing becomes of the batch.
    pub(super) fn settle(
        &mut self,
        work: &Work,
        answered: Answered,
        retry: Retry,
        now: Millis,
        end: u64,
    ) -> Option<Settled> {
        let Answered { status, message, acknowledged, temporary } = answered;
        self.last = Some(Last { at: now, code: status, message });
        self.failures = if acknowledged { 0 } else { self.failures + 1 };
        let pending = self.pending(work)?;
        pending.attempts += 1;
        let attempt = pending.attempts;
        let wait = (temporary && !acknowledged).then(|| retry.waits().nth(attempt - 1)).flatten();
        if let Some(wait) = wait {
            let wait_millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            pending.due = Millis::saturating(now.get().saturating_add(wait_millis));
            return Some(Settled { outcome: Outcome::Retried, attempt, wait: Some(wait) });
        }
        self.lane(work.lane)?.finish();
        if acknowledged {
            // Only a replay is sent while the webhook is off.
            self.reactivate(end);
            return Some(Settled { outcome: Outcome::Delivered, attempt, wait: None });
        }
        let used_up = temporary || self.failures > retry.most;
        self.inactive |= used_up;
        if let (LaneName::Replay, Some(replay)) = (work.lane, &mut self.replay) {
            replay.lost = true;
            if used_up {
                replay.end_with(true, now);
            }
        }
        Some(Settled { outcome: Outcome::Lost, attempt, wait: None })
    }

    fn lane(&mut self, name: LaneName) -> Option<&mut Lane> {
        match name {
            LaneName::Live => Some(&mut self.live),
            LaneName::Replay => self.replay.as_mut().map(|replay| &mut replay.lane),
        }
    }

    fn pending(&mut self, work: &Work) -> Option<&mut Pending> {
        let pending = self.lane(work.lane)?.pending.as_mut()?;
        (pending.batch == work.batch).then_some(pending)
    }
}

impl Replay {
    fn end_with(&mut self, failed: bool, now: Millis) {
        self.status = if failed { ReplayStatus::Failed } else { ReplayStatus::Completed };
        self.updated_at = now;
        self.lane.pending = None;
    }
}
