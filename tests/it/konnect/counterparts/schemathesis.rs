//! schemathesis calls the simulator as Kong's documents allow, and finds no answer that they do not.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::{counterpart, document};
use crate::harness::Simulator;
use crate::program::Run;

/// The amendments to the documents.
const HOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/konnect/counterparts/amend.py");

/// What the documents cannot say: a range of a replay must be within the time that entries are
/// kept, and a bad request of a list of destinations has no documented answer, so that it is
/// answered with a list.
const CONFIG: &str = r#"
[[operations]]
include-path = "/audit-log-destinations"
include-method = "GET"
[operations.checks]
negative_data_rejection.enabled = false

[[operations]]
include-path-regex = "/audit-log-replay-job$"
include-method = "PUT"
[operations.checks]
positive_data_acceptance.enabled = false

[parameters]
"#;

/// Runs schemathesis with a document against the simulator. Returns false if something is missing.
fn check(simulator: &Simulator, version: &str, name: &str) -> bool {
    let (Some(program), Some(document)) = (counterpart("schemathesis"), document(name)) else {
        return false;
    };
    let hooks = format!("hooks = {HOOKS:?}\n");
    let config = format!("{hooks}{CONFIG}\"path.portalId\" = {:?}\n", simulator.portal);
    let file = simulator.home().join("schemathesis.toml");
    fs::write(&file, config).unwrap();
    let mut run = Command::new(program);
    run.arg("--config-file").arg(file).arg("run").arg(document);
    run.args(["--url", &format!("{}/{version}", simulator.api)]);
    run.args(["--header", &format!("Authorization: Bearer {}", simulator.token)]);
    run.args(["--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "25"]);
    run.args(["--seed", "1", "--request-timeout", "20", "--no-color"]);
    let ran = Run::of(run.current_dir(simulator.home()).env("HOME", simulator.home())).expect(0);
    assert!(ran.stdout.contains("API Operations"), "{ran}");
    true
}

const DOCUMENTS: [(&str, &str); 4] = [
    ("v2", "audit-logs-v2.yaml"),
    ("v3", "audit-logs-v3.yaml"),
    ("v2", "portal-audit-logs-v2.yaml"),
    ("v3", "portal-audit-logs-v3.yaml"),
];

#[test]
fn a_new_simulator_answers_as_documented() {
    for (version, name) in DOCUMENTS {
        if !check(&Simulator::start(&["--seed", "1"]), version, name) {
            return;
        }
    }
}

#[test]
fn a_simulator_in_use_answers_as_documented() {
    for (version, name) in DOCUMENTS {
        let simulator = Simulator::start(&["--seed", "1"]);
        let destination = json!({"name": "a", "endpoint": "http://127.0.0.1:9/",
            "authorization": "Splunk 0123", "log_format": "json"});
        let made = simulator.call("POST", "/v3/audit-log-destinations", destination, 201).json();
        let webhook = json!({"enabled": true, "audit_log_destination_id": made["id"]});
        let portal = format!("/v3/portals/{}/audit-log-webhook", simulator.portal);
        for path in ["/v3/audit-log-webhook", &portal] {
            simulator.call("PATCH", path, webhook.clone(), 200);
        }
        simulator.login("locked");
        simulator.simulate("entries", json!({"count": 100}));
        // The endpoint does not exist, so the webhooks become inactive.
        simulator.simulate("deliver", Value::Null);
        if !check(&simulator, version, name) {
            return;
        }
    }
}
