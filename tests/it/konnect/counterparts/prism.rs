//! `vidimus konnect` with prism between it and the simulator. prism validates each request and each
//! answer against Kong's documents: it answers a bad request with 422, and replaces a bad answer by a
//! 500, so that the command fails.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::network::Gateway;
use super::{counterpart, document};
use crate::harness::wait_until;
use crate::konnect::world::World;

/// What prism logs when a request or an answer does not conform.
const OBJECTION: &str = "Request terminated with error";

/// A running prism for one document. Dropping it kills the process.
struct Prism {
    child: Child,
    port: u16,
    log: PathBuf,
}

impl Prism {
    fn start(world: &World, version: &str, name: &str) -> Option<Prism> {
        let (program, document) = (counterpart("prism")?, document(name)?);
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let log = world.simulator.home().join(format!("prism-{name}"));
        let file = File::create(&log).unwrap();
        let child = Command::new(program)
            .arg("proxy")
            .arg(document)
            .arg(format!("{}/{version}", world.simulator.api))
            .args(["--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .unwrap();
        let mut prism = Prism { child, port, log };
        wait_until("prism", || {
            let ended = prism.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", prism.log());
            prism.log().contains("Prism is listening")
        });
        Some(prism)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A receiver, the simulator, and the commands, which talk through prism.
struct Validated {
    world: World,
    gateway: Gateway,
    prisms: [Prism; 2],
}

impl Validated {
    fn start() -> Option<Validated> {
        let mut world = World::new();
        let organization = Prism::start(&world, "v3", "audit-logs-v3.yaml")?;
        let portals = Prism::start(&world, "v3", "portal-audit-logs-v3.yaml")?;
        let simulator = world.simulator.api.rsplit_once(':').unwrap().1.parse().unwrap();
        // prism expects the paths of the documents, which have no version.
        let gateway = Gateway::with(vec![
            ("/v3/portals/", "/portals/", portals.port),
            ("/v3/", "/", organization.port),
            ("/", "/", simulator),
        ]);
        world.simulator.api = format!("http://127.0.0.1:{}", gateway.port());
        Some(Validated { world, gateway, prisms: [organization, portals] })
    }

    /// Checks that prism validated each of these operations and objected to nothing.
    fn check(&self, operations: &[&str]) {
        let requests = self.gateway.requests();
        for operation in operations {
            let is_called = requests.iter().any(|line| line.starts_with(operation));
            assert!(is_called, "{operation} is not among {requests:#?}");
        }
        for prism in &self.prisms {
            let log = prism.log();
            assert!(!log.contains(OBJECTION), "{log}");
        }
    }
}

/// Configures a webhook. Before that, its answers do not conform to the documents, as
/// docs/simulate.md says.
fn configured(validated: &Validated, path: &str) {
    let simulator = &validated.world.simulator;
    let body = json!({"name": "first", "endpoint": "https://siem.example.com/audit-logs",
        "authorization": "Splunk 0123", "log_format": "cef"});
    let made = simulator.call("POST", "/v3/audit-log-destinations", body, 201).json();
    let body = json!({"audit_log_destination_id": made["id"], "enabled": false});
    simulator.call("PATCH", path, body, 200);
}

#[test]
fn the_commands_of_the_organization_conform_to_the_documents() {
    let Some(validated) = Validated::start() else { return };
    let world = &validated.world;
    configured(&validated, "/v3/audit-log-webhook");
    world.konnect(&["replay", "show"]).expect(0);
    world.set_up(&["--replace"]).expect(0);
    world.konnect(&["webhook", "show"]).expect(0);
    world.set_up(&["--log-format", "json"]).expect(0);
    world.create_entries(1200);
    world.deliver();
    world.konnect(&["status"]).expect(0);
    world.konnect(&["doctor", "--timeout", "30s"]).expect(0);
    world.konnect(&["pull", "--since", "1h"]).expect(0);
    for kind in ["authentication", "authorization", "gateway_access"] {
        let some = world.konnect(&["pull", "--since", "1h", "--type", kind]).expect(0).records();
        assert!(some.iter().all(|one| one["type"] == kind) && !some.is_empty());
    }
    world.webhook(&["--enabled", "false"]);
    world.create_entries(3);
    world.webhook(&["--enabled", "true"]);
    world.deliver();
    world.konnect(&["reconcile", "--since", "1h", "--replay"]).expect(0);
    world.konnect(&["replay", "show"]).expect(0);
    world.jsonl(&["destinations", "list"]).expect(0);
    world.konnect(&["teardown"]).expect(0);
    validated.check(&[
        "GET /v3/audit-log-webhook HTTP",
        "PATCH /v3/audit-log-webhook HTTP",
        "GET /v3/audit-log-webhook/status",
        "GET /v3/audit-log-destinations",
        "POST /v3/audit-log-destinations",
        "PATCH /v3/audit-log-destinations/",
        "DELETE /v3/audit-log-destinations/",
        "GET /v3/audit-log-replay-job",
        "PUT /v3/audit-log-replay-job",
        "GET /v3/audit-logs?",
    ]);
}

#[test]
fn the_commands_of_a_portal_conform_to_the_documents() {
    let Some(validated) = Validated::start() else { return };
    let world = &validated.world;
    let portal = ["--portal", &world.portal];
    let run = |command: &[&str]| world.konnect(&[command, &portal].concat()).expect(0);
    run(&["webhook", "show"]);
    run(&["replay", "show"]);
    world.set_up(&portal).expect(0);
    world.simulator.login("success");
    world.deliver();
    run(&["status"]);
    run(&["reconcile", "--since", "1h"]);
    run(&["teardown"]);
    validated.check(&["GET /v3/portals/", "PATCH /v3/portals/", "PUT /v3/portals/"]);
    let requests = validated.gateway.requests();
    assert!(requests.iter().any(|line| line.contains("/status")), "{requests:#?}");
}

#[test]
fn prism_objects_to_what_does_not_conform() {
    let Some(validated) = Validated::start() else { return };
    let simulator = &validated.world.simulator;
    let path = "/v3/audit-log-destinations";
    simulator.call("POST", path, json!({"name": "no endpoint"}), 422);
    simulator.call("GET", "/v3/audit-logs?filter%5Btype%5D=other", Value::Null, 422);
    let log = validated.prisms[0].log();
    assert_eq!(log.matches(OBJECTION).count(), 2, "{log}");
}
