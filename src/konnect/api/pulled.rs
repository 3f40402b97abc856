//! Entries as `GET /v3/audit-logs` shows them.
//!
//! They have another shape than delivered ones: `ts` for `rt`, `client_ip` for `src`, `uri` for
//! `request`, `signature` for `sig`. Only the organization's are there, not a Dev Portal's.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// An entry (`AuditLog`), told apart by its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum PulledEntry {
    /// A permission was checked.
    Authorization(Authorization),
    /// The API was called.
    GatewayAccess(GatewayAccess),
    /// Somebody logged in, or failed to.
    Authentication(Authentication),
    /// A type that the documents do not have.
    #[serde(other)]
    Other,
}

/// A permission was checked (`AuthorizationLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authorization {
    /// Of this entity, in base64url.
    pub(crate) signature: String,
    /// Which service checked.
    pub(crate) service: String,
    /// The resource's KRN.
    pub(crate) resource: String,
    /// What was to be done with it.
    pub(crate) action: String,
    /// Whether that was granted.
    pub(crate) granted: bool,
    /// The organization.
    pub(crate) org_id: String,
    /// When it happened.
    pub(crate) ts: Time,
    /// Who.
    pub(crate) principal_id: String,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor_id: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_ip: Option<String>,
    /// Which URI was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<String>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    /// The digits of a 64-bit number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}

/// The API was called (`GatewayAccessLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayAccess {
    /// When it happened.
    pub(crate) ts: Time,
    /// The organization.
    pub(crate) org_id: String,
    /// Who.
    pub(crate) principal_id: String,
    /// On whose behalf.
    #[serde(default)]
    pub(crate) actor_id: String,
    /// From where.
    pub(crate) client_ip: String,
    /// The digits of a 64-bit number.
    pub(crate) trace_id: String,
    /// With what.
    pub(crate) user_agent: String,
    /// The method.
    pub(crate) method: String,
    /// The path.
    pub(crate) uri: String,
    /// The query.
    #[serde(default)]
    pub(crate) query: String,
    /// The answer's status.
    pub(crate) status_code: i32,
    /// Of this entity, in base64url.
    pub(crate) signature: String,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}

/// Somebody logged in, or failed to (`AuthenticationLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authentication {
    /// Whether it worked.
    pub(crate) successful: bool,
    /// Who, if it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) principal_id: Option<String>,
    /// Of this entity, in base64url.
    pub(crate) signature: String,
    /// The organization, if it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org_id: Option<String>,
    /// `success`, `not_found`, …: the end of `AUTHENTICATION_OUTCOME_*`, in lower case.
    pub(crate) outcome: String,
    /// `basic`, `sso`, …: the end of `AUTHENTICATION_TYPE_*`, in lower case.
    pub(crate) authentication_type: String,
    /// When it happened.
    pub(crate) ts: Time,
    /// From where.
    pub(crate) client_ip: String,
    /// Which URI was asked.
    pub(crate) uri: String,
    /// With what.
    pub(crate) user_agent: String,
    /// The digits of a 64-bit number.
    pub(crate) trace_id: String,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}
