//! `vidimus log coverage`: which times are proved complete, and when there was no receiver.

use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;
use serde_json::{Value, json};
use vidimus::store::{Directory, Reader};
use vidimus::tlog::leaf::Leaf;

use super::world::World;
use crate::harness::{Setup, Simulator, assert_sound, wait_until};
use crate::program::Run;

/// The time so many minutes ago.
fn ago(minutes: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes)).to_string()
}

fn coverage(data: &Path, more: &[&str]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.env_clear().args(["log", "coverage", "--data-dir"]).arg(data).args(more);
    Run::of(&mut command)
}

/// The states between two ages in minutes, each with its region and portal.
fn states(data: &Path, since: i64, until: i64) -> Vec<Value> {
    let (since, until) = (ago(since), ago(until));
    let run = coverage(data, &["-o", "jsonl", "--since", &since, "--until", &until]);
    let one = |one: Value| json!([one["region"], one["portal_id"], one["state"]]);
    run.records().into_iter().map(one).collect()
}

/// What the log says of a comparison: how many entries were compared, missing and fetched.
fn numbers(data: &Path, leaf: &Value) -> (u64, u64, u64) {
    let reader = Reader::open(&Directory::open_to_read(data).unwrap()).unwrap();
    let record = reader.leaf_records(&[leaf.as_u64().unwrap()]).unwrap().remove(0).unwrap();
    let (leaf, _) = Leaf::parse(&record).unwrap();
    let Leaf::Reconcile { compared, missing, fetched, .. } = leaf else { panic!("{leaf}") };
    (compared, missing, fetched)
}

#[test]
fn what_was_missing_and_a_replay_brought_is_complete_and_no_row_alone_proves_it() {
    let mut world = World::with(&["--retention", "2d"]);
    // Before the webhook is there. The last ten minutes cannot be proved.
    world.simulate("entries", &json!({"count": 360, "since": ago(120)}));
    world.set_up(&[]);
    let (data, api) = (world.data(), json!(world.simulator.api));
    let since = ago(121);
    let reconcile =
        |more: &[&str]| world.konnect(&[&["reconcile", "--since", &since], more].concat());

    let found = reconcile(&[]).expect(1);
    assert!(found.stderr.contains(" is incomplete from "), "{found}");
    assert_eq!(states(&data, 90, 30), [json!([api, null, "incomplete"])]);
    let shown = coverage(&data, &["--since", &ago(90), "--until", &ago(30)]).expect(1);
    assert!(shown.stdout.contains("incomplete"), "{shown}");
    assert!(
        shown.stderr.contains(&format!("{}: 100 % incomplete\n", world.simulator.api)),
        "{shown}"
    );

    let found = reconcile(&["--replay"]).expect(0);
    assert!(found.stderr.contains(" is complete from "), "{found}");
    let (since, until) = (ago(90), ago(30));
    let an_hour = ["-o", "jsonl", "--since", &since, "--until", &until];
    let proved = coverage(&data, &an_hour).expect(0).record();
    assert_eq!(
        (&proved["state"], &proved["since"], &proved["until"]),
        (&json!("complete"), &json!(shorten(&since)), &json!(shorten(&until)))
    );
    let (compared, missing, fetched) = numbers(&data, &proved["leaves"][0]);
    assert!((325..=335).contains(&compared), "{compared}");
    assert_eq!((missing, fetched), (compared, compared));
    // Nothing before the first entry that Konnect gives is proved, and nothing of the last ten minutes.
    assert_eq!(states(&data, 9, 8), [json!([api, null, "unknown"])]);
    assert_eq!(states(&data, 140, 130), [json!([api, null, "unknown"])]);

    // The calls of the API themselves are young entries that may still be on their way.
    let found = reconcile(&[]);
    assert!(found.stderr.contains(" is complete from "), "{found}");
    let proved = coverage(&data, &an_hour).expect(0).record();
    assert_eq!(numbers(&data, &proved["leaves"][0]), (compared, 0, 0));

    let too_young = world.konnect(&["reconcile", "--since", "5m"]);
    assert!(
        too_young.stderr.contains("nothing is recorded for vidimus log coverage"),
        "{too_young}"
    );
    world.serve.stop();
    let offline = world.konnect(&["reconcile", "--since", &ago(60)]);
    assert!(offline.stderr.contains("not recorded for vidimus log coverage"), "{offline}");
    assert_eq!(coverage(&data, &an_hour).expect(0).record()["leaves"], proved["leaves"]);
    assert_sound(&data);

    // Who can write the catalog cannot claim more than the log has.
    let catalog = Connection::open(data.join("catalog.db")).unwrap();
    catalog.execute("UPDATE reconciles SET since = since - 3600000", []).unwrap();
    let forged = coverage(&data, &an_hour).expect(1);
    assert!(forged.stderr.contains("does not confirm the comparison"), "{forged}");
    assert_eq!(forged.record()["state"], "unknown");
}

/// A time with milliseconds.
fn shorten(time: &str) -> String {
    format!("{:.3}", time.parse::<jiff::Timestamp>().unwrap())
}

#[test]
fn each_region_and_portal_is_proved_by_itself() {
    let world = World::with(&["--retention", "2d"]);
    let other = Simulator::start(&["--seed", "2", "--retention", "2d"]);
    let (data, portal) = (world.data(), world.portal.clone());
    for minutes in [115, 110, 105] {
        world.simulate("entries", &json!({"portal": portal, "since": ago(minutes)}));
    }
    other.simulate("entries", json!({"count": 60, "since": ago(120)}));
    world.simulate("entries", &json!({"count": 60, "since": ago(100)}));
    world.set_up(&["--portal", &portal]);
    world.konnect(&["reconcile", "--since", &ago(120), "--portal", &portal]).expect(0);
    world.konnect(&["reconcile", "--since", &ago(100)]).expect(1);
    let mut elsewhere = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    elsewhere.env_clear().env("KONNECT_TOKEN", &other.token).arg("konnect");
    elsewhere.args(["reconcile", "--since", &ago(80), "--base-url", &other.api, "--data-dir"]);
    Run::of(elsewhere.arg(&data)).expect(1);

    let mut expected = [
        json!([world.simulator.api, null, "incomplete"]),
        json!([world.simulator.api, portal, "replayed"]),
        json!([other.api, null, "incomplete"]),
    ];
    expected.sort_by_key(ToString::to_string);
    let mut found = states(&data, 70, 20);
    found.sort_by_key(ToString::to_string);
    assert_eq!(found, expected);
    let ports = states(&data, 118, 117);
    let of = |region: &str, portal: Value| -> Vec<_> {
        let is_it = |one: &&Value| (&one[0], &one[1]) == (&json!(region), &portal);
        ports.iter().filter(is_it).map(|one| one[2].clone()).collect()
    };
    assert_eq!(of(&world.simulator.api, json!(portal)), ["replayed"]);
    assert_eq!(of(&world.simulator.api, Value::Null), ["unknown"]);
    assert_eq!(of(&other.api, Value::Null), ["unknown"]);

    // What was stored of the portal and does not come again tells that not everything came.
    world.serve.deliver(format!(
        "CEF:0|KongInc|Dev-Portal|1.0|AUTHENTICATION_TYPE_BASIC|AUTHENTICATION_OUTCOME_SUCCESS|0|\
         rt={} portal_id={portal}",
        jiff::Timestamp::now().as_millisecond() - 50 * 60_000
    ));
    world.konnect(&["reconcile", "--since", &ago(60), "--portal", &portal]).expect(0);
    let shown =
        coverage(&data, &["-o", "jsonl", "--since", &ago(55), "--until", &ago(30)]).expect(1);
    let one = shown.records().into_iter().find(|one| one["portal_id"] == *portal).unwrap();
    assert_eq!(one["state"], "incomplete");
    assert_eq!(numbers(&data, &one["leaves"][0]), (1, 1, 0));
}

#[test]
fn a_receiver_that_does_not_run_is_down_from_its_last_sign_of_life() {
    let mut serve = Setup::new().start();
    let data = serve.data();
    let rows = || {
        let reader = Reader::open(&Directory::open_to_read(&data).unwrap()).unwrap();
        reader.uptimes().unwrap()
    };
    let wait_for = |count: usize| wait_until("a sign of life", || rows().len() == count);
    wait_for(1);
    serve.stop();
    serve.restart();
    wait_for(2);
    // It has no time for a second sign of life.
    serve.kill();
    serve.restart();
    wait_for(3);
    serve.stop();
    let rows = rows();
    assert_eq!(rows[1].started_at, rows[1].last_seen_at);
    let shown = coverage(&data, &["-o", "jsonl"]).expect(1).records();
    let interval = |from: vidimus::entry::Millis, until: vidimus::entry::Millis, state: &str| {
        json!({"region": null, "portal_id": null, "since": from, "until": until, "state": state,
            "leaves": []})
    };
    assert_eq!(
        shown,
        [
            interval(rows[0].started_at, rows[0].last_seen_at, "received"),
            interval(rows[0].last_seen_at, rows[2].started_at, "down"),
            interval(rows[2].started_at, rows[2].last_seen_at, "received"),
        ]
    );
    let long_ago = coverage(&data, &["--since", "2d", "--until", "1d"]).expect(0);
    assert!(long_ago.stderr.contains("no region: 100 % unknown\n"), "{long_ago}");
    let later = coverage(&data, &["--since", "2199-01-01"]).expect(0);
    assert_eq!(later.stderr, "nothing is recorded in this time range\n");
}

#[test]
fn a_comparison_that_is_due_runs_by_itself() {
    let simulator = Simulator::start(&["--seed", "6", "--retention", "2d"]);
    // One each second.
    simulator.simulate("entries", json!({"count": 7200, "since": ago(120)}));
    let config = format!(
        "[keys]\njwks = '{}'\n[konnect]\ntoken_file = 'token'\nbase_url = '{}'\n\
         reconcile_every = '1s'\n",
        simulator.key_set(),
        simulator.api
    );
    let mut serve = Setup::new().file("token", &simulator.token).config(&config).start();
    let data = serve.data();
    serve.wait_for_log("entries that Konnect lists are missing");
    let konnect = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.env_clear().current_dir(serve.home()).arg("konnect").args(arguments);
        Run::of(command.args(["--config", "config.toml", "--data-dir"]).arg(&data))
    };
    let endpoint = format!("{}/audit-logs", serve.receiver);
    konnect(&["setup", "--endpoint", &endpoint, "--skip-ssl-verification"]).expect(0);
    konnect(&["reconcile", "--since", &ago(120), "--replay", "--limit", "1"]).expect(0);
    let (since, middle) = (ago(90), ago(30));
    let an_hour = ["-o", "jsonl", "--since", &since, "--until", &middle];
    let by_hand = coverage(&data, &an_hour).expect(0).record();
    assert_eq!(by_hand["state"], "complete");
    let last = by_hand["leaves"][0].as_u64().unwrap();
    // It goes on where that ended, and compares again what was incomplete meanwhile.
    wait_until("later comparisons", || {
        let all = coverage(&data, &["-o", "jsonl", "--since", &since]).records();
        let whole = all.iter().find(|one| one["state"] == "complete").unwrap();
        let leaves = whole["leaves"].as_array().unwrap().iter();
        leaves.filter(|leaf| leaf.as_u64().unwrap() > last).count() >= 2
    });
    assert!(!serve.stderr().contains("cannot compare"), "{}", serve.stderr());
    serve.stop();
    // The token is needed at the start.
    fs::remove_file(serve.home().join("token")).unwrap();
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
}
