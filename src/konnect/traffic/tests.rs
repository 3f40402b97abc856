//! What holds of all traffic, whatever the seed.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::entry::Format;
use crate::entry::{Kind, Value};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::konnect::event::JsonTypes;
use crate::konnect::people::{LOCKED_FOR, WRONG_PASSWORDS};
use crate::konnect::sign::place;
use crate::signature::KeySet;

const STYLE: EntryStyle = EntryStyle { json_types: JsonTypes::Examples, principal_names: true };
const PORTAL: &str = "9cb77dc2-ff99-4d47-84ab-7c5c1b3ef939";
/// Between two requests, in milliseconds.
const STEP: i64 = 700;

fn at(n: i64) -> Millis {
    Millis::saturating(1_750_280_466_889 + n * STEP)
}

fn traffic(seed: u64) -> Traffic {
    Traffic::new(seed, "org".to_owned(), vec![PORTAL.to_owned()], STYLE)
}

fn requests(seed: u64) -> Vec<Vec<Event>> {
    let mut traffic = traffic(seed);
    (0..5000).map(|n| traffic.request(at(n))).collect()
}

fn field<'a>(event: &'a Event, name: &str) -> Option<&'a Value> {
    event.extensions.iter().find(|(one, _)| *one == name).map(|(_, value)| value)
}

fn kind(event: &Event) -> Kind {
    Kind::of(Some(&event.name))
}

fn outcome(event: &Event) -> Option<&str> {
    event.name.strip_prefix("AUTHENTICATION_OUTCOME_")
}

#[test]
fn a_seed_repeats_the_requests_and_another_gives_others() {
    assert_eq!(requests(1), requests(1));
    assert_ne!(requests(1), requests(2));
}

#[test]
fn the_entries_of_a_request_share_what_is_the_requests() {
    let mut trace_ids = BTreeSet::new();
    let requests = requests(3);
    for request in &requests {
        let shared = |event: &Event| {
            let names = ["trace_id", "org_id", "principal_id", "principal_name", "actor_id", "src"];
            let fields = names.iter().chain(&["user_agent", "kong_initiated", "portal_id"]);
            (event.at, fields.map(|name| field(event, name).cloned()).collect::<Vec<_>>())
        };
        let first = request.first().expect("a request has an entry");
        assert!(request.iter().all(|event| shared(event) == shared(first)), "{request:#?}");
        assert!(trace_ids.insert(field(first, "trace_id").unwrap().as_text().into_owned()));
        assert_eq!(field(first, "org_id"), Some(&Value::Text("org".to_owned())));
    }
    assert!(requests.iter().any(|request| request.len() == 4), "token, two permissions, access");
}

#[test]
fn what_is_denied_ends_a_request_with_403() {
    let (mut denied, mut unauthenticated) = (0, 0);
    for request in requests(4) {
        let checks: Vec<_> = request.iter().filter(|e| kind(e) == Kind::Authorization).collect();
        let refused = |event: &&Event| field(event, "granted") == Some(&Value::Boolean(false));
        for check in &checks {
            assert_eq!(check.severity, if refused(check) { 6 } else { 1 });
        }
        let access: Vec<_> = request.iter().filter(|e| kind(e) == Kind::Access).collect();
        assert!(access.len() <= 1);
        let status = access.first().map(|event| field(event, "status").unwrap().clone());
        let failed =
            request.iter().any(|event| outcome(event).is_some_and(|outcome| outcome != "SUCCESS"));
        match checks.iter().position(refused) {
            Some(place) => {
                denied += 1;
                assert_eq!(place, checks.len() - 1, "nothing is asked after a denial");
                assert!(status.is_none_or(|status| status == Value::Integer(403)));
                assert!(access.iter().all(|event| event.severity == 6));
            }
            None => assert_ne!(status, Some(Value::Integer(403)), "{request:#?}"),
        }
        if failed || checks.is_empty() && !access.is_empty() {
            unauthenticated += 1;
            assert!(checks.is_empty(), "{request:#?}");
            assert!(access.iter().all(|e| field(e, "status") == Some(&Value::Integer(401))));
        }
    }
    assert!(denied > 50 && unauthenticated > 50, "{denied} {unauthenticated}");
}

#[test]
fn a_lock_out_follows_wrong_passwords_and_comes_to_an_end() {
    // Of each principal: how many wrong passwords in a row, and when the last was.
    let mut wrong: BTreeMap<String, (u32, i64)> = BTreeMap::new();
    let mut locked = 0;
    for seed in 0..4 {
        wrong.clear();
        for event in requests(seed).into_iter().flatten() {
            let who = field(&event, "principal_id").unwrap().as_text().into_owned();
            let (count, last) = wrong.entry(who).or_default();
            let since = event.at.get() - *last;
            match outcome(&event) {
                Some("INVALID_PASSWORD") => {
                    let before = if *count == WRONG_PASSWORDS { 0 } else { *count };
                    assert!(*count < WRONG_PASSWORDS || since >= LOCKED_FOR, "{event:#?}");
                    (*count, *last) = (before + 1, event.at.get());
                }
                Some("LOCKED") => {
                    locked += 1;
                    assert_eq!(*count, WRONG_PASSWORDS, "{event:#?}");
                    assert!(since < LOCKED_FOR, "{event:#?}");
                }
                Some("SUCCESS") => {
                    assert!(*count < WRONG_PASSWORDS || since >= LOCKED_FOR, "{event:#?}");
                    *count = 0;
                }
                _ => {}
            }
        }
    }
    assert!(locked > 20, "{locked}");
}

#[test]
fn a_call_needs_a_session() {
    let mut sessions = BTreeSet::new();
    for request in requests(5) {
        let first = &request[0];
        let who = field(first, "principal_id").unwrap().as_text().into_owned();
        if outcome(first) == Some("SUCCESS") {
            sessions.insert(who);
        } else if outcome(first).is_none() && field(first, "kong_initiated").is_none() {
            assert!(sessions.contains(&who), "{request:#?}");
        }
    }
}

#[test]
fn a_portal_gives_authentication_entries_only() {
    let mut seen = 0;
    for event in requests(6).into_iter().flatten() {
        let of_a_portal = event.product == "Dev-Portal";
        let id = field(&event, "portal_id").map(Value::as_text);
        assert_eq!(id.as_deref(), of_a_portal.then_some(PORTAL));
        assert!(!of_a_portal || kind(&event) == Kind::Authentication, "{event:#?}");
        seen += usize::from(of_a_portal);
    }
    assert!(seen > 100, "{seen}");
    let mut without = Traffic::new(6, "org".to_owned(), vec![], STYLE);
    assert!((0..500).flat_map(|n| without.request(at(n))).all(|e| e.product == "Konnect"));
    let mut organization = traffic(6);
    let requests = (0..500).flat_map(|n| organization.organization_request(at(n)));
    assert!({ requests }.all(|event| event.product == "Konnect"));
}

#[test]
fn every_outcome_means_status_and_severity_occurs() {
    let events: Vec<_> = requests(7).into_iter().flatten().collect();
    let names: BTreeSet<_> = events.iter().filter_map(outcome).collect();
    assert_eq!(names, AuthOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect());
    let types = events.iter().filter_map(|e| e.class_id.strip_prefix("AUTHENTICATION_TYPE_"));
    assert_eq!(types.collect::<BTreeSet<_>>(), AuthType::ALL.iter().map(|m| m.as_str()).collect());
    let statuses: BTreeSet<_> =
        events.iter().filter_map(|event| field(event, "status")?.as_text().parse().ok()).collect();
    assert_eq!(statuses, BTreeSet::from([200, 201, 202, 204, 400, 401, 403, 404, 409, 500]));
    let severities: BTreeSet<_> = events.iter().map(|event| event.severity).collect();
    assert_eq!(severities, BTreeSet::from([0, 1, 6, 7, 10]));
    for name in ["kong_initiated", "actor_id", "principal_name"] {
        let with = events.iter().filter(|event| field(event, name).is_some()).count();
        assert!(with > 20 && with < events.len() * 3 / 4, "{name}: {with}");
    }
    for kind_expected in [Kind::Authentication, Kind::Authorization, Kind::Access] {
        let share = events.iter().filter(|event| kind(event) == kind_expected).count();
        assert!(share > events.len() / 10, "{kind_expected}: {share} of {}", events.len());
    }
}

#[test]
fn a_receiver_reads_the_fields_that_were_written() {
    for event in requests(10).into_iter().flatten().take(1500) {
        for format in &Format::DELIVERED {
            let line = place(*format, &event.text(*format), None);
            let examined = CheckedLine::new(line.as_bytes(), &KeySet::default(), 1 << 20);
            let read = examined.read(Bytes::from(line), &ExpectedIds::default(), Millis::MIN);
            let mut expected = crate::entry::Fields::default();
            event.fields().into_iter().for_each(|(name, value)| expected.restore(name, value));
            assert_eq!((read.fields, read.warnings), (expected, vec![]), "{:?}", read.raw);
        }
    }
}

#[test]
fn a_login_comes_out_as_asked() {
    let mut traffic = traffic(8);
    for n in 0..200 {
        for portal in [None, Some(PORTAL), Some("a new one")] {
            for asked in AuthOutcome::ALL {
                let event = traffic.login(at(n), portal, None, *asked);
                assert_eq!(outcome(&event), Some(asked.as_str()));
                assert_eq!(event.severity, asked.severity());
                let success = Value::Boolean(*asked == AuthOutcome::Success);
                assert_eq!(field(&event, "success"), Some(&success));
                assert_eq!(field(&event, "portal_id").map(Value::as_text).as_deref(), portal);
                let known = !field(&event, "principal_id").unwrap().as_text().is_empty();
                assert_eq!(known, !matches!(asked, AuthOutcome::NotFound | AuthOutcome::Invalid));
            }
        }
    }
}

#[test]
fn a_named_developer_stays_the_same() {
    let mut traffic = traffic(9);
    let mut login = |name, outcome| {
        let event = traffic.login(at(0), Some(PORTAL), Some(name), outcome);
        assert_eq!(field(&event, "principal_name"), Some(&Value::Text(name.to_owned())));
        ["principal_id", "src", "user_agent"].map(|name| field(&event, name).cloned())
    };
    let ada = login("ada@example.com", AuthOutcome::InvalidPassword);
    assert_eq!(login("ada@example.com", AuthOutcome::Success), ada);
    assert_ne!(login("bob@example.com", AuthOutcome::Success), ada);
    assert_eq!(
        login("eve@example.com", AuthOutcome::NotFound)[0],
        Some(Value::Text(String::new()))
    );
}

/// That a call of the simulator gives these entries: kind and severity of each.
fn check_call(method: &str, status: u16, known: bool, expected: &[(Kind, i64)]) {
    let mut traffic = Traffic::new(9, "org".to_owned(), vec![], STYLE);
    let owner = traffic.owner().clone();
    let call = ApiCall {
        method,
        path: "/v3/audit-log-webhook",
        query: "",
        status,
        principal: known.then_some(&owner),
        auth_type: AuthType::Pat,
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
fn a_call_of_the_simulator_gives_its_entries() {
    use Kind::{Access, Authentication, Authorization};
    check_call("GET", 200, true, &[(Authentication, 0), (Authorization, 1)]);
    check_call("PATCH", 200, true, &[(Authentication, 0), (Authorization, 1), (Access, 1)]);
    check_call("PATCH", 403, true, &[(Authentication, 0), (Authorization, 6), (Access, 6)]);
    check_call("PATCH", 500, true, &[(Authentication, 0), (Authorization, 1), (Access, 10)]);
    check_call("DELETE", 401, true, &[(Authentication, 1), (Access, 6)]);
    check_call("GET", 401, false, &[(Authentication, 1)]);
}
