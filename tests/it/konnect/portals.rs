//! Dev Portals and destinations by their names, and all portals at once.

use serde_json::json;

use super::world::World;
use crate::program::Run;

const FIRST: &str = "11111111-2222-4333-8444-555555555555";
const SECOND: &str = "66666666-7777-4888-9999-aaaaaaaaaaaa";

fn world() -> World {
    World::with(&["--portal", &format!("internal={FIRST}"), "--portal", SECOND])
}

#[test]
fn all_portals_are_listed_set_up_and_torn_down() {
    let world = world();
    let listed = world.jsonl(&["portals", "list"]).expect(0).records();
    let names: Vec<_> = listed.iter().map(|one| (&one["id"], &one["name"])).collect();
    assert_eq!(
        names,
        [(&json!(FIRST), &json!("internal")), (&json!(SECOND), &json!("dev-portal-2"))]
    );
    assert!(listed.iter().all(|one| one["webhook"]["webhook_status"] == "unconfigured"));

    world.set_up(&["--all-portals"]).expect(0);
    let statuses = world.jsonl(&["status", "--all-portals"]).expect(0).records();
    let ids: Vec<_> = statuses.iter().map(|one| one["portal_id"].as_str().unwrap()).collect();
    assert_eq!(ids, [FIRST, SECOND]);
    assert!(statuses.iter().all(|one| one["webhook_enabled"] == true), "{statuses:?}");
    // The organization's webhook is not a portal's.
    assert_eq!(world.jsonl(&["webhook", "show"]).expect(0).record()["enabled"], false);
    assert_eq!(world.jsonl(&["destinations", "list"]).expect(0).records().len(), 2);

    for portal in [FIRST, SECOND] {
        world.simulate(&format!("portals/{portal}/login"), &json!({}));
    }
    world.deliver();
    let doctor = world.jsonl(&["doctor", "--all-portals", "--timeout", "0s"]).expect(0);
    let about = |portal: &str| {
        let mut findings = doctor.records().into_iter().filter(|one| one["portal_id"] == portal);
        findings.any(|one| one["check"] == "webhook" && one["state"] == "ok")
    };
    assert!(about(FIRST) && about(SECOND), "{}", doctor.stdout);
    let reconciled = world.jsonl(&["reconcile", "--since", "1h", "--all-portals"]).expect(0);
    let again = |run: &Run| -> Vec<_> {
        run.records().iter().map(|one| one["delivered_again"].clone()).collect()
    };
    assert_eq!(again(&reconciled), [1, 1], "{}", reconciled.stdout);

    world.konnect(&["teardown", "--all-portals"]).expect(0);
    assert_eq!(world.jsonl(&["destinations", "list"]).expect(0).stdout, "");
}

#[test]
fn a_name_stands_for_its_id() {
    let world = world();
    world.set_up(&["--portal", "internal", "--name", "siem"]).expect(0);
    let shown = world.jsonl(&["webhook", "show", "--portal", FIRST]).expect(0).record();
    assert_eq!(shown["enabled"], true);
    let siem = world.jsonl(&["destinations", "show", "siem"]).expect(0).record();
    assert_eq!(siem["id"], shown["audit_log_destination_id"]);
    world.konnect(&["destinations", "update", "siem", "--log-format", "json"]).expect(0);
    world.webhook(&["--destination", "siem", "--enabled"]);
    let shown = world.jsonl(&["webhook", "show"]).expect(0).record();
    assert_eq!(shown["audit_log_destination_id"], siem["id"]);

    let unknown = world.konnect(&["status", "--portal", "external"]).expect(3);
    let expected = format!("no Dev Portal \"external\", only {FIRST} (internal), {SECOND}");
    assert!(unknown.stderr.contains(&expected), "{}", unknown.stderr);
    let unknown = world.konnect(&["destinations", "delete", "other"]).expect(3);
    assert!(unknown.stderr.contains("no destination \"other\""), "{}", unknown.stderr);
    let print = ["--print", "terraform", "--portal", "internal"];
    assert!(world.set_up(&print).expect(2).stderr.contains("--portal with an id"));
}
