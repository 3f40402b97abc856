//! What happens in the stand-in's organization: made-up traffic, developers who log in, and the
//! calls of its own API.
//!
//! Severities and fields are those of the vendor's page "Konnect and Dev Portal audit logs".

use std::net::IpAddr;

use super::log::Scope;
use crate::entry::words::words;
use crate::entry::{Millis, Value};
use crate::konnect::event::Event;
use crate::konnect::generate::Generator;
use crate::konnect::random::Random;

words! {
    /// How a login ended.
    pub enum Outcome {
        /// The developer is in.
        Success = "success",
        /// There is no such developer.
        NotFound = "not_found",
        /// The password is wrong.
        InvalidPassword = "invalid_password",
        /// The token is too old.
        TokenExpired = "token_expired",
        /// The account is locked.
        Locked = "locked",
        /// The account is disabled.
        Disabled = "disabled",
        /// It is not known what went wrong.
        Invalid = "invalid",
    }
}

/// A call of the stand-in's API.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path.
    pub path: &'a str,
    /// Its query.
    pub query: &'a str,
    /// What was to be done: `retrieve`, `list`, `create`, `edit`, `delete`.
    pub action: &'static str,
    /// With what.
    pub resource: &'a str,
    /// Whether the token has the role.
    pub granted: bool,
    /// What it was answered with.
    pub status: u16,
    /// From where.
    pub peer: IpAddr,
    /// With which program.
    pub user_agent: &'a str,
    /// The trace id of the answer.
    pub trace_id: u64,
}

/// Makes what happens.
#[derive(Debug)]
pub struct Traffic {
    generator: Generator,
    random: Random,
    org_id: String,
    portals: Vec<String>,
    /// Who holds the token.
    principal: String,
}

/// How many entries the generator is asked for until one is of the organization's.
const TRIES: usize = 1000;

impl Traffic {
    /// Traffic of the organization `org_id` and these Dev Portals, as `seed` has it.
    pub fn new(seed: u64, org_id: &str, portals: &[String]) -> Traffic {
        let mut random = Random::new(seed);
        Traffic {
            generator: Generator::new(random.number(), Some(org_id.to_owned())),
            org_id: org_id.to_owned(),
            portals: portals.to_vec(),
            principal: random.uuid(),
            random,
        }
    }

    /// A number for a trace, which no entry has yet.
    pub fn trace_id(&mut self) -> u64 {
        self.random.number()
    }

    /// Something that happens at `at`, somewhere.
    pub fn traffic(&mut self, at: Millis) -> Vec<(Scope, Event)> {
        let mut event = self.generator.event(at);
        if event.product != DEV_PORTAL {
            return vec![(Scope::Organization, event)];
        }
        let Some(portal) = self.portals.get(self.random.below(self.portals.len().max(1))) else {
            return Vec::new();
        };
        for (name, value) in &mut event.extensions {
            if *name == "portal_id" {
                *value = text(portal);
            }
        }
        vec![(Scope::Portal(portal.clone()), event)]
    }

    /// Something that happens in the organization itself.
    pub fn organization(&mut self, at: Millis) -> Option<Event> {
        let mut events = std::iter::repeat_with(|| self.generator.event(at)).take(TRIES);
        events.find(|event| event.product != DEV_PORTAL)
    }

    /// A developer logs in to a Dev Portal.
    pub fn login(&mut self, at: Millis, portal: &str, developer: &str, outcome: Outcome) -> Event {
        let severity = match outcome {
            Outcome::Success => 0,
            Outcome::NotFound | Outcome::InvalidPassword | Outcome::TokenExpired => 1,
            Outcome::Locked | Outcome::Disabled => 6,
            Outcome::Invalid => 7,
        };
        let success = outcome == Outcome::Success;
        let extensions = vec![
            ("src", Value::Text(format!("203.0.113.{}", self.random.below(250) + 2))),
            ("request", text("/api/v2/developer/authenticate")),
            ("success", Value::Boolean(success)),
            ("org_id", text(&self.org_id)),
            ("portal_id", text(portal)),
            ("principal_id", Value::Text(if success { self.random.uuid() } else { String::new() })),
            ("principal_name", text(developer)),
            ("trace_id", Value::Text(self.trace_id().to_string())),
            ("user_agent", text("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Firefox/128.0")),
        ];
        Event {
            at,
            product: DEV_PORTAL,
            class_id: "AUTHENTICATION_TYPE_BASIC".to_owned(),
            name: format!("AUTHENTICATION_OUTCOME_{}", outcome.as_str().to_uppercase()),
            severity,
            extensions,
            as_strings: false,
        }
    }

    /// What a call of the API leaves behind: that a permission was checked, and of what may change
    /// something that it was called; both with the trace id of its answer.
    pub fn call(&self, at: Millis, call: &Call<'_>) -> Vec<Event> {
        let event = |class_id: &str, name: String, severity, own: Vec<(&'static str, Value)>| {
            let mut extensions = vec![("src", Value::Text(call.peer.to_string()))];
            extensions.extend(own);
            extensions.extend([
                ("org_id", text(&self.org_id)),
                ("principal_id", text(&self.principal)),
                ("trace_id", Value::Text(call.trace_id.to_string())),
                ("user_agent", text(call.user_agent)),
            ]);
            let class_id = class_id.to_owned();
            Event { at, product: KONNECT, class_id, name, severity, extensions, as_strings: false }
        };
        let own = vec![("action", text(call.action)), ("granted", Value::Boolean(call.granted))];
        let severity = if call.granted { 1 } else { 6 };
        let mut events = vec![event("konnect", format!("Authz.{}", call.resource), severity, own)];
        if matches!(call.method, "POST" | "PATCH" | "PUT" | "DELETE") {
            let own = vec![
                ("request", text(call.path)),
                ("query", text(call.query)),
                ("act", text(call.method)),
                ("status", Value::Integer(call.status.into())),
            ];
            let severity = match call.status {
                401 | 403 => 6,
                500 => 10,
                _ => 1,
            };
            events.push(event("KongGateway", "Ingress".to_owned(), severity, own));
        }
        events
    }
}

/// The products, as entries name them.
const KONNECT: &str = "Konnect";
const DEV_PORTAL: &str = "Dev-Portal";

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// The value of a field of an event.
pub fn field<'a>(event: &'a Event, name: &str) -> Option<&'a Value> {
    event.extensions.iter().find_map(|(known, value)| (*known == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Millis = Millis::MIN;

    #[test]
    fn traffic_is_of_the_portals_that_there_are() {
        let portals = ["p1".to_owned(), "p2".to_owned()];
        let mut traffic = Traffic::new(1, "o", &portals);
        let mut seen = std::collections::BTreeSet::new();
        for (scope, event) in (0..500).flat_map(|_| traffic.traffic(AT)) {
            assert_eq!(field(&event, "org_id"), Some(&text("o")));
            let expected = match &scope {
                Scope::Organization => None,
                Scope::Portal(id) => Some(text(id)),
            };
            assert_eq!(field(&event, "portal_id"), expected.as_ref());
            seen.insert(scope.to_string());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["organization", "p1", "p2"]);
        let own = traffic.organization(AT).unwrap();
        assert_eq!(own.product, KONNECT);
        assert!(Traffic::new(1, "o", &[]).organization(AT).is_some());
    }

    #[test]
    fn a_login_has_the_severity_of_its_outcome() {
        let mut traffic = Traffic::new(1, "o", &[]);
        let severities: Vec<_> = Outcome::ALL
            .iter()
            .map(|outcome| traffic.login(AT, "p", "ada", *outcome).severity)
            .collect();
        assert_eq!(severities, [0, 1, 1, 1, 6, 6, 7]);
        let locked = traffic.login(AT, "p", "ada", Outcome::Locked);
        assert_eq!(locked.name, "AUTHENTICATION_OUTCOME_LOCKED");
        assert_eq!(field(&locked, "principal_name"), Some(&text("ada")));
    }

    fn check(method: &str, granted: bool, status: u16, expected: &[(&str, i64)]) {
        let call = Call {
            method,
            path: "/v3/audit-log-webhook",
            query: "",
            action: "edit",
            resource: "audit-logs",
            granted,
            status,
            peer: [127, 0, 0, 1].into(),
            user_agent: "curl",
            trace_id: 7,
        };
        let events = Traffic::new(1, "o", &[]).call(AT, &call);
        let found: Vec<_> =
            events.iter().map(|event| (event.name.as_str(), event.severity)).collect();
        assert_eq!(found, expected, "{method}");
        for event in &events {
            assert_eq!(field(event, "trace_id"), Some(&text("7")));
        }
    }

    #[test]
    fn a_call_leaves_its_entries() {
        check("GET", true, 200, &[("Authz.audit-logs", 1)]);
        check("PATCH", true, 200, &[("Authz.audit-logs", 1), ("Ingress", 1)]);
        check("DELETE", false, 403, &[("Authz.audit-logs", 6), ("Ingress", 6)]);
    }
}
