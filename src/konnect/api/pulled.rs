//! Entries of `GET /v3/audit-logs`.
//!
//! Their fields have other names than those of delivered entries: `ts` for `rt`, `client_ip` for
//! `src`, `uri` for `request`, `signature` for `sig`. Entries of Dev Portals are not listed.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// An entry (`AuditLog`), by its `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum PulledEntry {
    Authorization(Authorization),
    GatewayAccess(GatewayAccess),
    Authentication(Authentication),
    /// A type that the documents do not have.
    #[serde(other)]
    Other,
}

/// A permission was checked (`AuthorizationLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authorization {
    /// The signature over this object, in base64url.
    pub(crate) signature: String,
    pub(crate) service: String,
    /// The resource's KRN.
    pub(crate) resource: String,
    pub(crate) action: String,
    pub(crate) granted: bool,
    pub(crate) org_id: String,
    pub(crate) ts: Time,
    pub(crate) principal_id: String,
    /// Who acted on behalf of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) actor_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) uri: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_agent: Option<String>,
    /// The digits of a 64-bit number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}

/// The API was called (`GatewayAccessLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GatewayAccess {
    pub(crate) ts: Time,
    pub(crate) org_id: String,
    pub(crate) principal_id: String,
    /// Who acted on behalf of the principal.
    #[serde(default)]
    pub(crate) actor_id: String,
    pub(crate) client_ip: String,
    /// The digits of a 64-bit number.
    pub(crate) trace_id: String,
    pub(crate) user_agent: String,
    pub(crate) method: String,
    pub(crate) uri: String,
    #[serde(default)]
    pub(crate) query: String,
    pub(crate) status_code: i32,
    /// The signature over this object, in base64url.
    pub(crate) signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}

/// A login, or a failed one (`AuthenticationLog`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Authentication {
    pub(crate) successful: bool,
    /// The principal of a successful authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) principal_id: Option<String>,
    /// The signature over this object, in base64url.
    pub(crate) signature: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) org_id: Option<String>,
    /// `success`, `not_found`, …: the end of `AUTHENTICATION_OUTCOME_*`, in lower case.
    pub(crate) outcome: String,
    /// `basic`, `sso`, …: the end of `AUTHENTICATION_TYPE_*`, in lower case.
    pub(crate) authentication_type: String,
    pub(crate) ts: Time,
    pub(crate) client_ip: String,
    pub(crate) uri: String,
    pub(crate) user_agent: String,
    /// The digits of a 64-bit number.
    pub(crate) trace_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) portal_id: Option<String>,
}
