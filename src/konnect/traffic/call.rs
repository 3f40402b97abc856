//! The entries that a call of the stand-in's own API gives.

use super::Traffic;
use crate::entry::Millis;
use crate::konnect::authentication::{Means, Outcome};
use crate::konnect::endpoints::{is_change, of_audit_logs};
use crate::konnect::event::Event;
use crate::konnect::people::Principal;
use crate::konnect::request::Request;

/// A call of the stand-in's API.
#[derive(Clone, Copy, Debug)]
pub struct ApiCall<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its path, with the version.
    pub path: &'a str,
    /// What follows the `?`.
    pub query: &'a str,
    /// What it was answered with.
    pub status: u16,
    /// Whose token it came with; `None`: one that nobody has.
    pub principal: Option<&'a Principal>,
    /// Which sort of token.
    pub means: Means,
    /// The address that it came from.
    pub src: &'a str,
    /// Its `User-Agent`.
    pub user_agent: &'a str,
    /// Its number, from [`Traffic::trace_id`]. The API's errors have it in their `instance`.
    pub trace_id: u64,
}

impl Traffic {
    /// The entries of a call of the stand-in's own API at `at`: that its token was recognised or
    /// not, the permission, and the access if it would have changed something.
    pub fn call(&mut self, at: Millis, call: &ApiCall<'_>) -> Vec<Event> {
        let nobody = Principal { id: String::new(), name: None };
        let request = Request {
            at,
            org_id: &self.org_id,
            portal_id: None,
            principal: call.principal.unwrap_or(&nobody),
            actor_id: None,
            src: call.src,
            user_agent: call.user_agent,
            trace_id: call.trace_id,
            kong_initiated: false,
            as_strings: self.random.f64() < 0.5,
        };
        let outcome = match (call.principal, call.status) {
            (None, _) => Outcome::NotFound,
            (Some(_), 401) => Outcome::TokenExpired,
            (Some(_), _) => Outcome::Success,
        };
        let mut events = vec![request.authentication(call.means, outcome)];
        if outcome == Outcome::Success {
            let (resource, action) = of_audit_logs(call.method, call.path);
            let granted = call.status != 403;
            events.push(request.authorization("konnect", &resource, action, granted));
        }
        if is_change(call.method) {
            events.push(request.access(call.method, call.path, call.query, call.status));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Kind, Value};

    fn field<'a>(event: &'a Event, name: &str) -> Option<&'a Value> {
        event.extensions.iter().find(|(one, _)| *one == name).map(|(_, value)| value)
    }

    /// That a call of the stand-in gives these entries: kind and severity of each.
    fn check_call(method: &str, status: u16, known: bool, expected: &[(Kind, i64)]) {
        let mut traffic = Traffic::new(9, "org".to_owned(), vec![]);
        let owner = traffic.owner().clone();
        let call = ApiCall {
            method,
            path: "/v3/audit-log-webhook",
            query: "",
            status,
            principal: known.then_some(&owner),
            means: Means::Pat,
            src: "127.0.0.1",
            user_agent: "curl/8.5.0",
            trace_id: traffic.trace_id(),
        };
        let events = traffic.call(Millis::MIN, &call);
        let found: Vec<_> =
            events.iter().map(|event| (Kind::of(Some(&event.name)), event.severity)).collect();
        assert_eq!(found, expected, "{method} {status}");
        for event in events {
            let trace_id = Value::Text(call.trace_id.to_string());
            assert_eq!(field(&event, "trace_id"), Some(&trace_id));
            let who = Value::Text(if known { owner.id.clone() } else { String::new() });
            assert_eq!(field(&event, "principal_id"), Some(&who));
        }
    }

    #[test]
    fn a_call_of_the_stand_in_gives_its_entries() {
        use Kind::{Access, Authentication, Authorization};
        check_call("GET", 200, true, &[(Authentication, 0), (Authorization, 1)]);
        check_call("PATCH", 200, true, &[(Authentication, 0), (Authorization, 1), (Access, 1)]);
        check_call("PATCH", 403, true, &[(Authentication, 0), (Authorization, 6), (Access, 6)]);
        check_call("PATCH", 500, true, &[(Authentication, 0), (Authorization, 1), (Access, 10)]);
        check_call("DELETE", 401, true, &[(Authentication, 1), (Access, 6)]);
        check_call("GET", 401, false, &[(Authentication, 1)]);
    }
}
