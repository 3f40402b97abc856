//! Webhooks: which destination entries are sent to, and how that goes.
//!
//! The organization has one in each region, and each Dev Portal has one. Version 2 of the API knows
//! the organization's without a destination: endpoint and format stand in the webhook itself.

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
    /// The Dev Portal's, if there is an id.
    pub(crate) fn of(portal: Option<&str>) -> WebhookScope {
        portal.map_or(WebhookScope::Organization, |id| WebhookScope::Portal(id.to_owned()))
    }

    /// The id of the Dev Portal.
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

/// A webhook as it is shown: `get-audit-logs-webhook` (v3), `get-portal-audit-log-webhook` (v2, v3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Webhook {
    /// The destination; `None`, which is the empty string on the wire, where none is set.
    #[serde(default, deserialize_with = "empty_is_none", serialize_with = "none_is_empty")]
    pub(crate) audit_log_destination_id: Option<String>,
    /// Whether entries are to be sent.
    #[serde(default)]
    pub(crate) enabled: bool,
}

/// The organization's webhook as version 2 shows it: `get-audit-log-webhook`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookV2 {
    /// The URL that entries are posted to; empty where none is set.
    #[serde(default)]
    pub(crate) endpoint: String,
    /// Whether entries are to be sent.
    #[serde(default)]
    pub(crate) enabled: bool,
    /// How entries are written.
    pub(crate) log_format: Format,
    /// Whether the endpoint's certificate is not checked.
    #[serde(default)]
    pub(crate) skip_ssl_verification: bool,
    /// When it was changed last; [`Time::INITIAL`] if never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

/// The body of `update-audit-logs-webhook` (v3) and `update-portal-audit-log-webhook`: what is `None`
/// stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UpdateWebhook {
    /// The destination.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) audit_log_destination_id: Option<String>,
    /// Whether entries are to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
}

/// The body of `update-audit-log-webhook` (v2): what is `None` stays as it is.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct UpdateWebhookV2 {
    /// The URL to post entries to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// What the header `Authorization` is to have, whole.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed_if_there")]
    pub(crate) authorization: Option<Secret>,
    /// Whether entries are to be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) enabled: Option<bool>,
    /// How to write entries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<Format>,
    /// Whether not to check the endpoint's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skip_ssl_verification: Option<bool>,
}

/// How the deliveries of a webhook go: `get-audit-log-webhook-status` (v2),
/// `get-audit-logs-webhook-status` (v3), `get-portal-audit-log-webhook-status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WebhookStatus {
    /// Whether it works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_status: Option<WebhookActivity>,
    /// Whether it is enabled.
    #[serde(default)]
    pub(crate) webhook_enabled: bool,
    /// When a request was made last, whatever came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_attempt_at: Option<Time>,
    /// The status of the last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_response_code: Option<u16>,
    /// What the last answer, or the failure to get one, said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_response_message: Option<String>,
}

/// Whether a webhook works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WebhookActivity {
    /// It sends, or is ready to.
    Active,
    /// It was turned off after attempts that failed.
    Inactive,
    /// A status that the documents do not have.
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
    /// Its start. Not older than what Konnect keeps, seven days.
    pub(crate) start_at: Time,
    /// Its end.
    pub(crate) end_at: Time,
}

/// The job as it is shown: `get-audit-log-replay-job`, `get-portal-audit-log-replay-job`, and the
/// answer 202 to a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayJob {
    /// The start of the range; [`Time::INITIAL`] if there was no job yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) start_at: Option<Time>,
    /// The end of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end_at: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<ReplayStatus>,
    /// When it changed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updated_at: Option<Time>,
}

/// How far a replay job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReplayStatus {
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
    pub(crate) fn is_running(self) -> bool {
        matches!(self, ReplayStatus::Accepted | ReplayStatus::Pending | ReplayStatus::Running)
    }
}
