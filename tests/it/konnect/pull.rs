//! Pulls and comparisons of long lists: in bounded memory, in either order, and after a SIGKILL.

use std::process::Stdio;

use serde_json::{Value, json};

use super::world::World;
use crate::harness::wait_until;

#[test]
fn a_pull_without_a_range_has_the_newest_fifty() {
    let world = World::new();
    world.create_entries(300);
    let ids = |arguments: &[&str]| -> Vec<(String, String)> {
        let pulled = world.konnect(arguments).expect(0).records();
        let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
        pulled.iter().map(|one| (text(one, "ts"), text(one, "trace_id"))).collect()
    };
    let newest = ids(&["pull"]);
    assert_eq!(newest.len(), 50);
    assert!(newest.is_sorted_by(|one, next| one.0 >= next.0), "{newest:?}");
    assert_eq!(ids(&["pull", "--limit", "7"]).len(), 7);
    assert!(ids(&["pull", "--limit", "0"]).len() >= 300);
    assert!(ids(&["pull", "--since", "1h"]).len() >= 300);
    assert_eq!(ids(&["pull", "--since", "1h", "--limit", "3"]).len(), 3);
    world.konnect(&["pull", "--follow", "--limit", "1"]).expect(2);
}

/// A simulator that keeps a year, with entries all through it, of which the receiver has none.
fn year(count: usize) -> World {
    let world = World::with(&["--retention", "365d", "--max-entries", "1000000"]);
    let now = jiff::Timestamp::now();
    let since = now - jiff::SignedDuration::from_hours(360 * 24);
    world.simulate("entries", &json!({"count": count, "since": since.to_string()}));
    world
}

#[test]
fn konnect_is_asked_how_far_back_it_goes() {
    let world = year(2000);
    let ran = world.jsonl(&["reconcile", "--since", "364d"]).expect(1);
    assert!(ran.records().iter().all(|one| one["lost"] == false));
    assert!(ran.records().len() >= 2000, "{}", ran.records().len());
    let old = "is older than what Konnect gives now";
    assert!(ran.stderr.contains(old), "{}", ran.stderr);
    // What it still gives is not told apart by a fixed number of days.
    let recent = world.jsonl(&["reconcile", "--since", "300d"]).expect(1);
    assert!(!recent.stderr.contains(old), "{}", recent.stderr);
    // The user may say how far.
    let told = world.jsonl(&["reconcile", "--since", "300d", "--retention", "30d"]).expect(1);
    let lost = told.records().iter().filter(|one| one["lost"] == true).count();
    assert!(lost > 1000, "{lost}");
    assert!(told.stderr.contains(old), "{}", told.stderr);
}

#[test]
fn a_long_comparison_goes_on_after_a_kill() {
    let world = year(60_000);
    let reconcile = ["reconcile", "--since", "365d", "--cursor-file", "progress.json"];
    let progress = world.simulator.home().join("progress.json");
    let mut first = world.command(&[&reconcile[..], &["-o", "jsonl"]].concat());
    first.0.env("KONNECT_TOKEN", &world.simulator.token);
    let mut child = first.0.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("a part is compared", || progress.exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = world.jsonl(&reconcile).expect(1);
    assert!(ran.stderr.contains("continuing from progress.json"), "{}", ran.stderr);
    let listed = ran.records().len();
    assert!((1..60_000).contains(&listed), "{listed}");
    let told = ran.stderr.lines().find(|line| line.contains("are not in the store")).unwrap();
    let missing: usize = told.split(' ').next().unwrap().parse().unwrap();
    assert!(missing >= 60_000, "{told}");
    assert!(!progress.exists());
}
