//! Every answer of the simulator conforms to the documented schemas, errors included.

use serde_json::{Value, json};

use super::schemas::{Operation, conforms, operations, requests};
use crate::harness::{Answer, Simulator};

/// A simulator with a destination.
struct DocumentedApi {
    simulator: Simulator,
    destination: String,
}

impl DocumentedApi {
    fn new() -> DocumentedApi {
        let simulator = Simulator::start(&["--seed", "7"]);
        let made = simulator.call("POST", "/v3/audit-log-destinations", destination("first"), 201);
        let destination = made.json()["id"].as_str().unwrap().to_owned();
        DocumentedApi { simulator, destination }
    }

    fn path(&self, version: &str, operation: &Operation) -> String {
        let path = operation.path.replace("{auditLogDestinationId}", &self.destination);
        format!("/{version}{}", path.replace("{portalId}", &self.simulator.portal))
    }

    /// Makes a call and checks the answer against its schema. Returns the status and the body.
    #[track_caller]
    fn check(&self, operation: &Operation, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.simulator.ask(&operation.method, path, body);
        let reply = json_or_null(&answer);
        conforms(&operation.operation, answer.status, &reply);
        (answer.status, reply)
    }
}

fn destination(name: &str) -> Value {
    json!({
        "name": name, "endpoint": "https://127.0.0.1:9/audit-logs", "authorization": "Splunk 0123",
        "log_format": "cef", "skip_ssl_verification": true,
    })
}

fn json_or_null(answer: &Answer) -> Value {
    if answer.body.is_empty() { Value::Null } else { answer.json() }
}

/// A documented body with an existing destination and a recent range.
fn with_current_values(world: &DocumentedApi, mut body: Value) -> Value {
    let now =
        world.simulator.call("GET", "/simulate/clock", Value::Null, 200).json()["now"].clone();
    let start: jiff::Timestamp = now.as_str().unwrap().parse().unwrap();
    let start = start - jiff::SignedDuration::from_mins(30);
    let values = [
        ("audit_log_destination_id", json!(world.destination)),
        ("start_at", json!(start.to_string())),
        ("end_at", now),
    ];
    for (name, value) in values {
        if let Some(member) = body.get_mut(name) {
            *member = value;
        }
    }
    body
}

#[test]
fn every_documented_body_is_accepted_and_each_answer_conforms() {
    let documented = requests(false);
    let mut answered = 0;
    for version in ["v2", "v3"] {
        let mut world = DocumentedApi::new();
        // Deletions come last.
        let mut operations = operations();
        operations.retain(|one| one.versions.iter().any(|other| other == version));
        operations.sort_by_key(|one| one.method == "DELETE");
        for operation in &operations {
            let bodies: Vec<_> = documented
                .iter()
                .filter(|(name, _)| name[0] == operation.operation)
                .map(|(_, body)| with_current_values(&world, body.clone()))
                .collect();
            let bodies = if bodies.is_empty() { vec![Value::Null] } else { bodies };
            for body in bodies {
                // Finishes a running replay, which would be a conflict.
                world.simulator.simulate("deliver", Value::Null);
                if operation.operation == "delete-audit-log-destination" {
                    let made = destination("to be deleted");
                    let path = format!("/{version}/audit-log-destinations");
                    let made = world.simulator.call("POST", &path, made, 201).json();
                    world.destination = made["id"].as_str().unwrap().to_owned();
                }
                let path = world.path(version, operation);
                let (status, reply) = world.check(operation, &path, &body);
                assert!(status < 300, "{} {path} {body}: {status} {reply}", operation.method);
                assert!(!reply.to_string().contains("Splunk 0123"), "{reply}");
                answered += 1;
            }
        }
    }
    assert!(answered >= 35, "{answered}");
}

#[test]
fn a_bad_body_is_answered_400_and_names_the_field() {
    let world = DocumentedApi::new();
    let operations = operations();
    for (name, body) in requests(true) {
        let [operation, field, why] = name.as_slice() else { panic!("{name:?}") };
        let operation = operations.iter().find(|one| one.operation == *operation).unwrap();
        for version in &operation.versions {
            let path = world.path(version, operation);
            let (status, reply) = world.check(operation, &path, &body);
            assert_eq!(status, 400, "{} {why}: {reply}", operation.operation);
            let wrong = reply["invalid_parameters"].as_array().unwrap();
            let named = wrong.iter().any(|one| one["field"] == field.as_str());
            assert!(named, "{} {field} {why}: {reply}", operation.operation);
        }
    }
}

#[test]
fn wrong_tokens_missing_roles_and_unknown_ids_get_documented_problems() {
    let world = DocumentedApi::new();
    let weak = world.simulator.simulate("tokens", Value::Null)["token"].clone();
    let weak = format!("Bearer {}", weak.as_str().unwrap());
    for operation in operations() {
        for version in &operation.versions {
            let path = world.path(version, &operation);
            for (bearer, status) in [("Bearer kpat_nobody", 401), (weak.as_str(), 403)] {
                if !operation.answers.contains_key(&status) {
                    continue;
                }
                let body = Value::Null;
                let answer = world.simulator.ask_as(bearer, &operation.method, &path, &body);
                assert_eq!(answer.status, status, "{path}");
                assert_eq!(answer.header("content-type"), Some("application/problem+json"));
                conforms(&operation.operation, status, &json_or_null(&answer));
            }
            let lost = path
                .replace(&world.destination, "00000000-0000-4000-8000-000000000000")
                .replace(&world.simulator.portal, "00000000-0000-4000-8000-000000000000");
            if lost != path && operation.answers.contains_key(&404) {
                let (status, reply) = world.check(&operation, &lost, &json!({}));
                assert_eq!(status, 404, "{lost}: {reply}");
            }
        }
    }
}

#[test]
fn a_destination_in_use_and_a_running_replay_are_conflicts() {
    let world = DocumentedApi::new();
    let find = |name: &str| operations().into_iter().find(|one| one.operation == name).unwrap();
    let webhook = json!({"audit_log_destination_id": world.destination, "enabled": true});
    world.simulator.call("PATCH", "/v3/audit-log-webhook", webhook, 200);
    let delete = find("delete-audit-log-destination");
    let (status, _) = world.check(&delete, &world.path("v3", &delete), &Value::Null);
    assert_eq!(status, 409);
    // The destination does not listen, so the job waits between retries.
    world.simulator.simulate("entries", json!({"count": 10}));
    let replay = find("update-audit-log-replay-job");
    let range = with_current_values(&world, json!({"start_at": "", "end_at": ""}));
    let path = world.path("v2", &replay);
    assert_eq!(world.check(&replay, &path, &range).0, 202);
    assert_eq!(world.check(&replay, &path, &range).0, 409);
}
