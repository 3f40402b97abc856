//! Entries as `GET /v3/audit-logs` shows them.
//!
//! They have another shape than delivered ones: `ts` for `rt`, `client_ip` for `src`, `uri` for
//! `request`, `signature` for `sig`. Only the organization's are there, not a Dev Portal's.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// An entry (`AuditLog`), told apart by its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PulledEntry {
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
pub struct Authorization {
    /// Of this entity, in base64url.
    pub signature: String,
    /// Which service checked.
    pub service: String,
    /// The resource's KRN.
    pub resource: String,
    /// What was to be done with it.
    pub action: String,
    /// Whether that was granted.
    pub granted: bool,
    /// The organization.
    pub org_id: String,
    /// When it happened.
    pub ts: Time,
    /// Who.
    pub principal_id: String,
    /// On whose behalf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<String>,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ip: Option<String>,
    /// Which URI was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The digits of a 64-bit number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_id: Option<String>,
}

/// The API was called (`GatewayAccessLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayAccess {
    /// When it happened.
    pub ts: Time,
    /// The organization.
    pub org_id: String,
    /// Who.
    pub principal_id: String,
    /// On whose behalf.
    #[serde(default)]
    pub actor_id: String,
    /// From where.
    pub client_ip: String,
    /// The digits of a 64-bit number.
    pub trace_id: String,
    /// With what.
    pub user_agent: String,
    /// The method.
    pub method: String,
    /// The path.
    pub uri: String,
    /// The query.
    #[serde(default)]
    pub query: String,
    /// The answer's status.
    pub status_code: i32,
    /// Of this entity, in base64url.
    pub signature: String,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_id: Option<String>,
}

/// Somebody logged in, or failed to (`AuthenticationLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// Whether it worked.
    pub successful: bool,
    /// Who, if it worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal_id: Option<String>,
    /// Of this entity, in base64url.
    pub signature: String,
    /// The organization, if it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_id: Option<String>,
    /// `success`, `not_found`, …: the end of `AUTHENTICATION_OUTCOME_*`, in lower case.
    pub outcome: String,
    /// `basic`, `sso`, …: the end of `AUTHENTICATION_TYPE_*`, in lower case.
    pub authentication_type: String,
    /// When it happened.
    pub ts: Time,
    /// From where.
    pub client_ip: String,
    /// Which URI was asked.
    pub uri: String,
    /// With what.
    pub user_agent: String,
    /// The digits of a 64-bit number.
    pub trace_id: String,
    /// The Dev Portal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal_id: Option<String>,
}
