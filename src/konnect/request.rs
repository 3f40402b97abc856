//! The entries of one API request. They share its principal, its source address and its
//! `trace_id`.
//!
//! The fields of each kind, and their order, are those of Kong's page "Konnect and Dev Portal audit
//! logs".

use super::event::{Event, JsonTypes};
use super::people::Principal;
use crate::entry::words::words;
use crate::entry::{Millis, Value};

/// What the entries of a request have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) at: Millis,
    pub(crate) org_id: &'a str,
    /// The Dev Portal, if the request was made to one. It makes authentication entries only.
    pub(crate) portal_id: Option<&'a str>,
    pub(crate) principal: &'a Principal,
    /// Who acted on behalf of the principal, if anyone.
    pub(crate) actor_id: Option<&'a str>,
    /// The source address.
    pub(crate) src: &'a str,
    pub(crate) user_agent: &'a str,
    pub(crate) trace_id: u64,
    /// Whether Kong made the request, not a user.
    pub(crate) kong_initiated: bool,
    pub(crate) style: EntryStyle,
}

/// What an organization can configure of its entries, and what Kong's pages disagree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryStyle {
    /// The types of the values in JSON.
    pub(crate) json_types: JsonTypes,
    /// Whether entries have a `principal_name`.
    pub(crate) principal_names: bool,
}

impl Request<'_> {
    /// The entry for the authentication.
    pub(crate) fn authentication(&self, auth_type: AuthType, outcome: AuthOutcome) -> Event {
        let request = match self.portal_id {
            Some(_) => "/api/v2/developer/authenticate",
            None => "/api/v1/authenticate",
        };
        let success = Value::Boolean(outcome == AuthOutcome::Success);
        // Kong's page lists `kong_initiated` for the other kinds only.
        let request_without = Request { kong_initiated: false, ..*self };
        Event {
            product: if self.portal_id.is_some() { "Dev-Portal" } else { "Konnect" },
            class_id: format!("AUTHENTICATION_TYPE_{auth_type}"),
            name: format!("AUTHENTICATION_OUTCOME_{outcome}"),
            severity: outcome.severity(),
            ..request_without.event(vec![("request", text(request)), ("success", success)])
        }
    }

    /// The entry for a permission: whether `action` on `resource` was granted by `service`.
    pub(crate) fn authorization(
        &self,
        service: &str,
        resource: &str,
        action: &str,
        granted: bool,
    ) -> Event {
        Event {
            class_id: service.to_owned(),
            name: format!("Authz.{resource}"),
            severity: if granted { 1 } else { 6 },
            ..self.event(vec![("action", text(action)), ("granted", Value::Boolean(granted))])
        }
    }

    /// The entry for the call of the API and the status of its response.
    pub(crate) fn access(&self, method: &str, path: &str, query: &str, status: u16) -> Event {
        let mut event = self.event(vec![
            ("request", text(path)),
            ("act", text(method)),
            ("status", Value::Integer(status.into())),
        ]);
        event.extensions.push(("query", text(query)));
        Event {
            class_id: "KongGateway".to_owned(),
            name: "Ingress".to_owned(),
            severity: match status {
                401 | 403 => 6,
                500 => 10,
                _ => 1,
            },
            ..event
        }
    }

    /// An event with the fields of every entry around `own`.
    fn event(&self, own: Vec<(&'static str, Value)>) -> Event {
        let mut extensions = Vec::with_capacity(own.len() + 9);
        extensions.push(("src", text(self.src)));
        extensions.extend(own);
        extensions.push(("org_id", text(self.org_id)));
        extensions.extend(self.portal_id.map(|portal| ("portal_id", text(portal))));
        extensions.push(("principal_id", text(&self.principal.id)));
        let name = self.principal.name.iter().filter(|_| self.style.principal_names);
        extensions.extend(name.map(|name| ("principal_name", text(name))));
        extensions.extend(self.actor_id.map(|actor| ("actor_id", text(actor))));
        if self.kong_initiated {
            extensions.push(("kong_initiated", Value::Boolean(true)));
        }
        extensions.push(("trace_id", Value::Text(self.trace_id.to_string())));
        extensions.push(("user_agent", text(self.user_agent)));
        Event {
            at: self.at,
            product: "Konnect",
            class_id: String::new(),
            name: String::new(),
            severity: 1,
            extensions,
            json_types: self.style.json_types,
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

words! {
    /// The outcome of an authentication, as in the name after `AUTHENTICATION_OUTCOME_`.
    pub(crate) enum AuthOutcome {
        /// The authentication succeeded.
        Success = "SUCCESS",
        /// There is no such account or token.
        NotFound = "NOT_FOUND",
        /// The password was wrong.
        InvalidPassword = "INVALID_PASSWORD",
        /// The token has expired.
        TokenExpired = "TOKEN_EXPIRED",
        /// There were too many wrong passwords.
        Locked = "LOCKED",
        /// The account is disabled.
        Disabled = "DISABLED",
        /// The request was malformed.
        Invalid = "INVALID",
    }
}

words! {
    /// The type of an authentication, as in the event class id after `AUTHENTICATION_TYPE_`.
    pub(crate) enum AuthType {
        /// An unknown type.
        Invalid = "INVALID",
        /// A password.
        Basic = "BASIC",
        /// The organization's identity provider.
        Sso = "SSO",
        /// A personal access token.
        Pat = "PAT",
        /// A system account's access token.
        Spat = "SPAT",
        /// A Google account.
        Google = "GOOGLE",
        /// A GitHub account.
        Github = "GITHUB",
        /// A Microsoft account.
        WindowsLive = "WINDOWSLIVE",
        /// Another federated identity.
        Federated = "FEDERATED",
    }
}

impl AuthOutcome {
    /// The severity of an entry with this outcome.
    pub(crate) fn severity(self) -> i64 {
        match self {
            AuthOutcome::Success => 0,
            AuthOutcome::NotFound | AuthOutcome::InvalidPassword | AuthOutcome::TokenExpired => 1,
            AuthOutcome::Locked | AuthOutcome::Disabled => 6,
            AuthOutcome::Invalid => 7,
        }
    }

    /// The types that can have this outcome.
    pub(crate) fn auth_type(self) -> &'static [AuthType] {
        use AuthType::{Basic, Federated, Github, Google, Invalid, Pat, Spat, Sso, WindowsLive};
        match self {
            AuthOutcome::Success => {
                &[Basic, Sso, Pat, Spat, Google, Github, WindowsLive, Federated]
            }
            AuthOutcome::NotFound => &[Basic, Pat],
            AuthOutcome::InvalidPassword | AuthOutcome::Locked => &[Basic],
            AuthOutcome::TokenExpired => &[Pat, Spat],
            AuthOutcome::Disabled => &[Basic, Sso, Federated],
            AuthOutcome::Invalid => &[Invalid],
        }
    }
}

impl AuthType {
    /// Whether it is sent with every call, not once per session.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, AuthType::Pat | AuthType::Spat)
    }
}
