//! One request, and the entries that tell of it: they share its principal, its address and its
//! `trace_id`.
//!
//! Which fields a kind has, and their order, is from the vendor's page "Konnect and Dev Portal audit
//! logs".

use super::event::Event;
use super::people::Principal;
use crate::entry::words::words;
use crate::entry::{Millis, Value};

/// What the entries of one request have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    /// When it was made.
    pub(crate) at: Millis,
    /// The organization's id.
    pub(crate) org_id: &'a str,
    /// The Dev Portal that it was made to. Such a request gives authentication entries only.
    pub(crate) portal_id: Option<&'a str>,
    /// Whoever it was made as.
    pub(crate) principal: &'a Principal,
    /// Who acted as the principal, where that is another.
    pub(crate) actor_id: Option<&'a str>,
    /// The address that it came from.
    pub(crate) src: &'a str,
    /// What sent it.
    pub(crate) user_agent: &'a str,
    /// Its number.
    pub(crate) trace_id: u64,
    /// Whether Kong made it, and no user.
    pub(crate) kong_initiated: bool,
    /// Whether JSON has numbers and booleans as strings.
    pub(crate) as_strings: bool,
}

impl Request<'_> {
    /// That it was let in, or why not.
    pub(crate) fn authentication(&self, auth_type: AuthType, outcome: AuthOutcome) -> Event {
        let request = match self.portal_id {
            Some(_) => "/api/v2/developer/authenticate",
            None => "/api/v1/authenticate",
        };
        let success = Value::Boolean(outcome == AuthOutcome::Success);
        Event {
            product: if self.portal_id.is_some() { "Dev-Portal" } else { "Konnect" },
            class_id: format!("AUTHENTICATION_TYPE_{auth_type}"),
            name: format!("AUTHENTICATION_OUTCOME_{outcome}"),
            severity: outcome.severity(),
            ..self.event(vec![("request", text(request)), ("success", success)])
        }
    }

    /// That `service` was asked whether it may do `action` to `resource`, and what it answered.
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

    /// That it called the API, which answered with `status`.
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

    /// The fields of every entry, around those of its kind.
    fn event(&self, own: Vec<(&'static str, Value)>) -> Event {
        let mut extensions = Vec::with_capacity(own.len() + 9);
        extensions.push(("src", text(self.src)));
        extensions.extend(own);
        extensions.push(("org_id", text(self.org_id)));
        extensions.extend(self.portal_id.map(|portal| ("portal_id", text(portal))));
        extensions.push(("principal_id", text(&self.principal.id)));
        extensions.extend(self.principal.name.iter().map(|name| ("principal_name", text(name))));
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
            as_strings: self.as_strings,
        }
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

words! {
    /// What became of an attempt: what follows `AUTHENTICATION_OUTCOME_` in a name.
    pub(crate) enum AuthOutcome {
        /// It was let in.
        Success = "SUCCESS",
        /// There is no such account or token.
        NotFound = "NOT_FOUND",
        /// The password was wrong.
        InvalidPassword = "INVALID_PASSWORD",
        /// The token was right once.
        TokenExpired = "TOKEN_EXPIRED",
        /// There were too many wrong passwords.
        Locked = "LOCKED",
        /// The account was switched off.
        Disabled = "DISABLED",
        /// The attempt was not understood.
        Invalid = "INVALID",
    }
}

words! {
    /// By which auth_type: what follows `AUTHENTICATION_TYPE_` in an event class id.
    pub(crate) enum AuthType {
        /// None that is known.
        Invalid = "INVALID",
        /// A password.
        Basic = "BASIC",
        /// The organization's identity provider.
        Sso = "SSO",
        /// A personal access token.
        Pat = "PAT",
        /// A system account's access token.
        Spat = "SPAT",
        /// An account of Google's.
        Google = "GOOGLE",
        /// An account of GitHub's.
        Github = "GITHUB",
        /// An account of Microsoft's.
        WindowsLive = "WINDOWSLIVE",
        /// Another federated identity.
        Federated = "FEDERATED",
    }
}

impl AuthOutcome {
    /// The severity of its entries.
    pub(crate) fn severity(self) -> i64 {
        match self {
            AuthOutcome::Success => 0,
            AuthOutcome::NotFound | AuthOutcome::InvalidPassword | AuthOutcome::TokenExpired => 1,
            AuthOutcome::Locked | AuthOutcome::Disabled => 6,
            AuthOutcome::Invalid => 7,
        }
    }

    /// The auth_type that it comes with.
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
    /// Whether it is sent with every call, instead of once for a session.
    pub(crate) fn is_token(self) -> bool {
        matches!(self, AuthType::Pat | AuthType::Spat)
    }
}
