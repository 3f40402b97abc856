//! Webhooks: their destination, their delivery status, and their replay jobs.
//!
//! The organization has one webhook in each region, and each Dev Portal has one. In version 2 of the
//! API, the organization's webhook has no destination, but an endpoint and a format of its own.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::destination::exposed_if_there;
use super::time::Time;
use crate::entry::Format;
use crate::settings::Secret;

/// Whose webhook: the organization's in the region, or a Dev Portal's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WebhookScope {
    /// The organization's.
    Organization,
    /// That of the Dev Portal with this id.
    Portal(String),
}

impl WebhookScope {
    pub(crate) fn portal(&self) -> Option<&str> {
        match self {
            WebhookScope::Organization => None,
            WebhookScope::Portal(id) => Some(id),
        }
    }
}

impl fmt::Display for WebhookScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.portal().unwrap_or("organization"))
    }
}

/// A webhook in a response: `get-audit-logs-webhook` (v3), `get-portal-audit-log-webhook` (v2, v3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    /// The destination. No destination is an empty string in JSON.
    #[serde(default, deserialize_with = "empty_is_none", serialize_with = "none_is_empty")]
    pub(crate) audit_log_destination_id: Option<String>,
    #[serde(default)]
    pub(crate) enabled: bool,
}

/// The organization's webhook in version 2: `get-audit-log-webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookV2 {
    /// `unconfigured`, or empty, if none is set.
    #[serde(default)]
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) enabled: bool,
    pub(crate) log_format: Format,
    #[serde(default)]
    pub(crate) skip_ssl_verification: bool,
    /// [`Time::INITIAL`] if it was never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

/// The body of `update-audit-logs-webhook` (v3) and `update-portal-audit-log-webhook`. `None` leaves a
/// value unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpdateWebhook {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audit_log_destination_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
}

/// The body of `update-audit-log-webhook` (v2). `None` leaves a value unchanged.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UpdateWebhookV2 {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The whole value of the header `Authorization`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_there")]
    pub(crate) authorization: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<Format>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skip_ssl_verification: Option<bool>,
}

/// The delivery status of a webhook: `get-audit-log-webhook-status` (v2),
/// `get-audit-logs-webhook-status` (v3), `get-portal-audit-log-webhook-status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_status: Option<WebhookActivity>,
    #[serde(default)]
    pub(crate) webhook_enabled: bool,
    /// The time of the last attempt, successful or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_attempt_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_response_code: Option<u16>,
    /// The text of the last response, or of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_response_message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebhookActivity {
    Active,
    /// Konnect turned it off after failed attempts.
    Inactive,
    /// It has no destination. The documents lack this status.
    Unconfigured,
    /// An undocumented status.
    #[serde(other)]
    Other,
}

fn empty_is_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|id| !id.is_empty()))
}

fn none_is_empty<S: Serializer>(id: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(id.as_deref().unwrap_or_default())
}

/// The body of `update-audit-log-replay-job` and `update-portal-audit-log-replay-job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayRange {
    /// Within the time that Konnect keeps entries.
    pub(crate) start_at: Time,
    pub(crate) end_at: Time,
}

/// A replay job in a response: `get-audit-log-replay-job`, `get-portal-audit-log-replay-job`, and the
/// response 202 to a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayJob {
    /// [`Time::INITIAL`] if there was no job yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end_at: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<ReplayStatus>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplayStatus {
    /// There was no job yet.
    Unconfigured,
    Accepted,
    Pending,
    Running,
    Completed,
    Failed,
    /// An undocumented status.
    #[serde(other)]
    Other,
}

impl ReplayStatus {
    /// Whether the job is running. Then a new one is refused with 409.
    pub(crate) fn is_running(self) -> bool {
        matches!(self, ReplayStatus::Accepted | ReplayStatus::Pending | ReplayStatus::Running)
    }
}
