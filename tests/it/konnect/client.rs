//! `vidimus konnect` with a receiver and the simulator.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use super::world::World;
use crate::harness::wait_until;
use crate::program::Run;

#[test]
fn setup_reconcile_and_teardown_work_together() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).expect(0).record();
    assert_eq!(webhook["enabled"], true);
    let destination = world.jsonl(&["destinations", "list"]).expect(0).record();
    assert_eq!(destination["id"], webhook["audit_log_destination_id"]);
    assert_eq!(destination["endpoint"], world.endpoint());

    // A second setup changes nothing.
    let again = world.set_up(&[]).expect(0);
    assert!(again.stderr.contains("; the destination is up to date"), "{}", again.stderr);
    assert_eq!(world.jsonl(&["destinations", "list"]).record()["id"], destination["id"]);

    let delivered = world.create_entries(20);
    world.deliver();
    let status = world.jsonl(&["status"]).expect(0).record();
    assert_eq!(
        (&status["webhook_status"], &status["last_response_code"]),
        (&json!("active"), &json!(200))
    );
    assert!(delivered.iter().all(|id| world.lines().iter().any(|line| line.contains(id))));

    // The webhook withholds entries while it is off.
    world.webhook(&["--enabled", "false"]);
    let withheld = world.create_entries(30);
    world.webhook(&["--enabled", "true"]);
    world.deliver();
    let ran = world.jsonl(&["reconcile", "--since", "1h"]).expect(1);
    let missing: Vec<_> = ran.records();
    let id = |record: &Value| record["trace_id"].as_str().unwrap().to_owned();
    assert!(withheld.iter().all(|one| missing.iter().any(|record| id(record) == *one)));
    assert!(!missing.iter().any(|record| delivered.contains(&id(record))));
    assert!(missing.iter().all(|record| record["lost"] == false));
    let stored = world.lines();
    for record in &missing {
        let id = id(record);
        let kind = record["kind"].as_str().unwrap();
        let name = match kind {
            "authentication" => "|AUTHENTICATION_OUTCOME_",
            "authorization" => "|Authz.",
            _ => "|Ingress|",
        };
        let is_there = stored.iter().any(|line| line.contains(&id) && line.contains(name));
        assert!(!is_there, "{record}");
    }

    // The printed command fetches the missing entries.
    let command = ran.stderr.lines().find_map(|line| line.split_once("vidimus konnect "));
    let command = command.unwrap().1;
    let (words, _) = command.split_once(" --base-url").unwrap();
    let words: Vec<_> = words.split(' ').chain(["--wait"]).collect();
    world.konnect(&words).expect(0);
    wait_until("nothing is missing", || {
        world.jsonl(&["reconcile", "--since", "1h"]).code == Some(0)
    });
    let job = world.jsonl(&["replay", "show"]).expect(0).record();
    assert_eq!(job["status"], "completed");

    world.konnect(&["teardown"]).expect(0);
    assert_eq!(world.jsonl(&["destinations", "list"]).expect(0).stdout, "");
    assert_eq!(world.jsonl(&["webhook", "show"]).record()["enabled"], false);
    let again = world.konnect(&["teardown"]).expect(0);
    assert!(again.stderr.contains("nothing to undo"), "{}", again.stderr);
}

#[test]
fn setup_lists_its_changes_and_warns_that_no_input_has_the_path() {
    let world = World::new();
    let silent = world.set_up(&[]).expect(0);
    assert!(!silent.stderr.contains("warning"), "{}", silent.stderr);
    let elsewhere = format!("{}/elsewhere", world.serve.receiver);
    let other = ["setup", "--endpoint", &elsewhere, "--skip-ssl-verification"];
    let ran = world.konnect(&other).expect(0);
    let changed = format!(
        "the destination was updated: endpoint {elsewhere} instead of {}",
        world.endpoint()
    );
    assert!(ran.stderr.contains(&changed), "{}", ran.stderr);
    let warning = "warning: the path of --endpoint is /elsewhere, but the configured path \
                   of the receiver is /audit-logs";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
}

#[test]
fn setup_prints_configuration_with_its_line_ends() {
    let world = World::new();
    let fixed = ["setup", "--endpoint", "https://siem.example.com/audit-logs", "--print"];
    for (tool, line) in [
        ("terraform", r#"resource "konnect_audit_log" "vidimus" {"#),
        ("kongctl", "audit-logs:"),
        ("curl", "  | jq -er .id)"),
    ] {
        let printed = world.konnect(&[&fixed[..], &[tool]].concat()).expect(0);
        assert!(printed.stdout.lines().any(|one| one == line), "{printed}");
        assert!(!printed.stdout.contains('\u{fffd}'), "{printed}");
    }
}

#[test]
fn doctor_prints_the_fix_for_an_inactive_webhook() {
    let mut world = World::new();
    world.set_up(&[]).expect(0);
    world.create_entries(1);
    world.deliver();
    world.serve.keep_port();
    world.serve.kill();
    let missed = world.create_entries(10);
    world.deliver();
    wait_until("inactive", || world.jsonl(&["status"]).code == Some(1));
    world.serve.restart();

    let ill = world.jsonl(&["doctor", "--timeout", "0s"]).expect(1);
    let webhook = ill.records().into_iter().find(|one| one["check"] == "webhook").unwrap();
    let advice: Vec<_> = webhook["try"].as_str().unwrap().lines().collect();
    assert_eq!(advice[0], "the endpoint answers now, but the webhook is inactive:");
    let command = |line: &str| {
        let words = line.strip_prefix("vidimus konnect ").unwrap();
        let words = words.split(" --base-url").next().unwrap().to_owned();
        words.split(' ').map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(advice[1].starts_with("vidimus konnect webhook set --enabled "), "{advice:?}");
    assert!(advice[2].starts_with("vidimus konnect reconcile --since "), "{advice:?}");
    for line in &advice[1..] {
        let words = command(line);
        world.konnect(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    }
    assert!(missed.iter().all(|id| world.lines().iter().any(|line| line.contains(id))));
    world.jsonl(&["doctor", "--timeout", "0s"]).expect(0);
}

#[test]
fn reconcile_can_replay_at_once() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    world.webhook(&["--enabled", "false"]);
    let withheld = world.create_entries(10);
    world.webhook(&["--enabled", "true"]);
    world.deliver();
    let ran = world.konnect(&["reconcile", "--since", "1h", "--replay"]).expect(0);
    assert!(ran.stderr.contains("replay completed"), "{}", ran.stderr);
    assert!(withheld.iter().all(|id| world.lines().iter().any(|line| line.contains(id))));
}

#[test]
fn a_webhook_in_use_is_left_alone() {
    let world = World::new();
    let other = world.jsonl(&[
        "destinations",
        "create",
        "--name",
        "other",
        "--endpoint",
        "https://192.0.2.1/x",
        "--authorization",
        "Splunk 1",
    ]);
    let other = other.expect(0).record()["id"].as_str().unwrap().to_owned();
    world.webhook(&["--destination", &other, "--enabled"]);

    let refused = world.set_up(&[]).expect(3);
    assert!(refused.stderr.contains("is in use") && refused.stderr.contains("--replace"));
    assert!(refused.stderr.contains("https://192.0.2.1/x"), "{}", refused.stderr);
    assert_eq!(world.jsonl(&["destinations", "list"]).records().len(), 1);

    world.set_up(&["--replace"]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).record();
    assert_ne!(webhook["audit_log_destination_id"], json!(other));
    world.konnect(&["teardown"]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).record();
    assert_eq!(webhook["audit_log_destination_id"], json!(other));
    assert_eq!(webhook["enabled"], true);

    // The destination cannot be deleted while it is in use.
    let conflict = world.konnect(&["destinations", "delete", &other]).expect(3);
    assert!(conflict.stderr.contains("409"), "{}", conflict.stderr);
}

#[test]
fn a_portal_is_reconciled_by_a_replay() {
    let world = World::new();
    let portal = world.portal.clone();
    world.set_up(&["--portal", &portal]).expect(0);
    let login = || {
        let path = format!("portals/{portal}/login");
        world.simulate(&path, &json!({}))["trace_id"].as_str().unwrap().to_owned()
    };
    let first = login();
    world.deliver();
    let off = ["--portal", &portal, "--enabled", "false"];
    world.webhook(&off);
    let second = login();
    world.webhook(&["--portal", &portal, "--enabled"]);
    world.deliver();
    let reconcile = ["reconcile", "--since", "1h", "--portal", &portal];
    let found = world.jsonl(&reconcile).expect(0).record();
    assert_eq!((&found["new"], &found["delivered_again"]), (&json!(1), &json!(1)), "{found}");
    let found = world.jsonl(&reconcile).expect(0).record();
    assert_eq!((&found["new"], &found["delivered_again"]), (&json!(0), &json!(2)), "{found}");
    for id in [first, second] {
        assert_eq!(world.lines().iter().filter(|line| line.contains(&id)).count(), 1);
    }
    world.konnect(&["teardown", "--portal", &portal]).expect(0);
    let status = world.jsonl(&["status", "--portal", &portal]).record();
    assert_eq!(status["webhook_enabled"], false);
}

#[test]
fn a_pull_resumes_where_it_stopped() {
    let world = World::new();
    let cursor = ["pull", "--since", "1h", "--cursor-file", "cursor.json"];
    let mut pulled: Vec<Value> = Vec::new();
    let mut happened = Vec::new();
    for count in [3, 0, 1500, 7] {
        happened.extend(world.create_entries(count));
        pulled.extend(world.konnect(&cursor).expect(0).records());
    }
    let all = world.konnect(&["pull", "--since", "1h"]).expect(0).records();
    let sorted = |entries: &[Value]| {
        let mut lines: Vec<_> = entries.iter().map(Value::to_string).collect();
        lines.sort();
        lines
    };
    // The calls of the pulls may create later entries.
    let (all, pulled) = (sorted(&all), sorted(&pulled));
    assert!(pulled.iter().all(|line| all.contains(line)));
    let mut once = pulled.clone();
    once.dedup();
    assert_eq!(once.len(), pulled.len(), "an entry came twice");
    for id in &happened {
        assert!(pulled.iter().any(|line| line.contains(id)), "{id} was missed");
    }
    let kind = ["pull", "--since", "1h", "--type", "authentication"];
    let some = world.konnect(&kind).expect(0).records();
    assert!(!some.is_empty() && some.iter().all(|one| one["type"] == "authentication"));
    let other = world.konnect(&[&kind[..], &["--cursor-file", "cursor.json"]].concat());
    assert!(other.expect(2).stderr.contains("use a separate file for each pull"));
}

#[test]
fn doctor_finds_a_wrong_authorization() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let finding = |ran: &Run, check: &str| {
        let found = ran.records().into_iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}\n{}\n{}", ran.stdout, ran.stderr))
    };
    let well = world.jsonl(&["doctor", "--timeout", "30s"]).expect(0);
    assert_eq!(finding(&well, "arrival")["state"], "ok", "{}", well.stdout);
    assert_eq!(finding(&well, "endpoint")["state"], "ok", "{}", well.stdout);

    let id = world.jsonl(&["destinations", "list"]).record()["id"].as_str().unwrap().to_owned();
    let update = ["destinations", "update", &id, "--authorization", "Splunk hidden-value"];
    world.konnect(&update).expect(0);
    world.create_entries(1);
    world.deliver();
    wait_until("the refusal is known", || {
        let ill = world.jsonl(&["doctor", "--timeout", "0s"]);
        finding(&ill, "refused")["state"] == "problem"
    });
    let ill = world.jsonl(&["doctor", "--timeout", "0s"]).expect(1);
    let refused = finding(&ill, "refused");
    assert!(refused["what"].as_str().unwrap().contains("scheme Splunk"), "{refused}");
    assert!(refused["try"].as_str().unwrap().contains("setup"), "{refused}");
    assert!(!ill.stdout.contains("hidden-value"), "{}", ill.stdout);
    assert_eq!(finding(&ill, "webhook")["state"], "problem", "{}", ill.stdout);

    // The doctor does not wait for a webhook that is off.
    world.webhook(&["--enabled", "false"]);
    let off = world.jsonl(&["doctor", "--timeout", "1d"]).expect(1);
    assert_eq!(finding(&off, "webhook")["state"], "problem", "{}", off.stdout);
    assert_eq!(finding(&off, "arrival")["state"], "note", "{}", off.stdout);
}

#[test]
fn a_missing_token_and_a_missing_role_are_named() {
    let world = World::new();
    let none = world.command(&["status"]).run().expect(2);
    assert!(none.stderr.contains("--token-file") && none.stderr.contains("KONNECT_TOKEN"));
    world.command(&["status", "--token-file", "token"]).run().expect(0);
    let loud = world.command(&["status", "--token", &world.simulator.token]).run().expect(0);
    assert!(loud.stderr.contains("shell history keeps a token"), "{}", loud.stderr);
    let config = "[konnect]\ntoken_file = 'token'\n";
    fs::write(world.simulator.home().join("config.toml"), config).unwrap();
    world.command(&["status", "--config", "config.toml"]).run().expect(0);

    let wrong = world.command(&["status"]).token("kpat_wrong").run().expect(3);
    assert!(wrong.stderr.contains("401") && !wrong.stderr.contains("kpat_wrong"));
    assert!(wrong.stderr.contains("instance "), "{}", wrong.stderr);
    let weak = world.simulate("tokens", &json!({}))["token"].as_str().unwrap().to_owned();
    let weak = world.command(&["status"]).token(&weak).run().expect(3);
    assert!(weak.stderr.contains("403") && weak.stderr.contains("Admin"), "{}", weak.stderr);
}

#[test]
fn plain_http_needs_loopback_and_a_region_is_required() {
    let run = |arguments: &[&str]| {
        let arguments = [&["konnect", "status"], arguments].concat();
        crate::program::run(&arguments, b"")
    };
    let remote = run(&["--base-url", "http://192.0.2.1"]).expect(2);
    assert!(remote.stderr.contains("loopback"), "{remote}");
    run(&["--region", "auto"]).expect(2);
    let which = run(&[]).expect(2);
    assert!(which.stderr.contains("no region"), "{which}");
    // These ids would make another path of the API.
    for id in ["", ".", ".."] {
        run(&["--base-url", "http://127.0.0.1:1", "--portal", id]).expect(2);
    }
}

#[test]
fn a_watch_ends_when_the_webhook_goes_inactive() {
    let world = World::new();
    let update = |endpoint: &str| {
        let id = world.jsonl(&["destinations", "list"]).record()["id"].as_str().unwrap().to_owned();
        world.konnect(&["destinations", "update", &id, "--endpoint", endpoint]).expect(0);
    };
    world.set_up(&[]).expect(0);
    let mut watch = world.command(&["status", "--watch", "--interval", "100ms", "-o", "jsonl"]);
    watch
        .0
        .env("KONNECT_TOKEN", &world.simulator.token)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let watch = watch.0.spawn().unwrap();
    update(&format!("{}/nowhere", world.serve.receiver));
    world.create_entries(1);
    world.deliver();
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["webhook_status"], &last["last_response_code"]),
        (&json!("inactive"), &json!(404))
    );
}

#[test]
fn the_saved_setup_holds_no_secret() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let file = world.data().join("konnect-setup.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&world.serve.authorization) && !text.contains(&world.simulator.token));
    assert!(Path::new(&file).exists());
    world.konnect(&["teardown"]).expect(0);
    assert!(!file.exists());
}
