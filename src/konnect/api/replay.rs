//! The replay job of a webhook, of which there is one at a time.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// The body of `update-audit-log-replay-job` and `update-portal-audit-log-replay-job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// Its start. Not older than what Konnect keeps, seven days.
    pub start_at: Time,
    /// Its end.
    pub end_at: Time,
}

/// The job as it is shown: `get-audit-log-replay-job`, `get-portal-audit-log-replay-job`, and the
/// answer 202 to a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayJob {
    /// The start of the range; [`Time::INITIAL`] if there was no job yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Time>,
    /// The end of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_at: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ReplayStatus>,
    /// When it changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Time>,
}

/// How far a replay job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayStatus {
    /// There was none yet.
    Unconfigured,
    /// It was taken.
    Accepted,
    /// It waits for its turn.
    Pending,
    /// It sends.
    Running,
    /// All was sent.
    Completed,
    /// Not all could be sent.
    Failed,
    /// A status that the documents do not have.
    #[serde(other)]
    Other,
}

impl ReplayStatus {
    /// Whether the job is at work: a new one is refused with 409.
    pub fn is_running(self) -> bool {
        matches!(self, ReplayStatus::Accepted | ReplayStatus::Pending | ReplayStatus::Running)
    }
}
