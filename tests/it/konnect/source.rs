//! `[[source]] type = "konnect-pull"`: entries that no delivery brought.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Serve, Setup, Simulator, assert_sound, exported, wait_until, write_private};

/// The configuration of a receiver that pulls from the simulator.
fn pull_from(simulator: &Simulator, more: &str) -> String {
    format!(
        "[keys]\njwks = '{}'\n[konnect]\ntoken_file = 'token'\nbase_url = '{}'\n\
         [[source]]\nname = 'pulled'\ntype = 'konnect-pull'\ninterval = '1s'\n{more}",
        simulator.key_set(),
        simulator.api
    )
}

/// The entries that the store shows, by their format.
fn shown(serve: &Serve, format: &str) -> Vec<Value> {
    exported(&serve.data()).into_iter().filter(|entry| entry["format"] == format).collect()
}

fn trace_ids(entries: &[Value]) -> BTreeSet<String> {
    entries.iter().map(|one| one["fields"]["trace_id"].as_str().unwrap().to_owned()).collect()
}

/// The time so many seconds ago.
fn ago(seconds: i64) -> String {
    (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// Points the organization's webhook at the receiver.
fn deliver_to(simulator: &Simulator, serve: &Serve, log_format: &str) {
    let destination = json!({"name": "siem", "endpoint": format!("{}/audit-logs", serve.receiver),
        "authorization": serve.authorization, "log_format": log_format,
        "skip_ssl_verification": true});
    let made = simulator.call("POST", "/v3/audit-log-destinations", destination, 201).json();
    let webhook = json!({"audit_log_destination_id": made["id"], "enabled": true});
    simulator.call("PATCH", "/v3/audit-log-webhook", webhook, 200);
}

/// Replays what is between these numbers of seconds old.
fn replay(simulator: &Simulator, oldest: i64, newest: i64) {
    let range = json!({"start_at": ago(oldest), "end_at": ago(newest)});
    simulator.call("PUT", "/v3/audit-log-replay-job", range, 202);
    simulator.simulate("deliver", json!({}));
}

/// Waits until the source has pulled what is now older than its delay, in seconds.
fn wait_for_a_round(serve: &Serve, delay: i64) {
    let progress = serve.data().join("source-pulled.json");
    let now = jiff::Timestamp::now().as_millisecond() - delay * 1000;
    wait_until("a round", || {
        let text = fs::read_to_string(&progress).unwrap_or_default();
        let progress: Value = serde_json::from_str(&text).unwrap_or_default();
        progress["until"].as_i64().is_some_and(|until| until >= now)
    });
}

#[test]
fn entries_that_no_delivery_brought_are_pulled_once_and_hidden_when_one_comes() {
    let simulator = Simulator::start(&["--seed", "3", "--retention", "2d"]);
    // From two hours ago to now. Only the first half is older than the delay.
    simulator.simulate("entries", json!({"count": 400, "since": ago(7200)}));
    let config = pull_from(&simulator, "delay = '1h'");
    let mut serve = Setup::new().file("token", &simulator.token).config(&config).start();
    wait_for_a_round(&serve, 3600);
    let first = shown(&serve, "pulled");
    assert!(first.len() >= 198, "{}", first.len());
    // The progress is remembered, and what is stored is not stored again, even without it.
    serve.stop();
    serve.restart();
    wait_for_a_round(&serve, 3600);
    serve.stop();
    fs::remove_file(serve.data().join("source-pulled.json")).unwrap();
    serve.restart();
    wait_for_a_round(&serve, 3600);
    let pulled = shown(&serve, "pulled");
    assert!((first.len()..=first.len() + 4).contains(&pulled.len()), "{}", pulled.len());
    assert!(pulled.len() < 210, "{}", pulled.len());

    // Each is the exact text of its member, and has the fields of a delivered one.
    let page = simulator.call("GET", "/v3/audit-logs?page[size]=1000", Value::Null, 200).text();
    for entry in &pulled {
        let line = entry["raw"].as_str().unwrap();
        assert!(page.contains(line), "{line}");
        assert_eq!((&entry["verdict"], &entry["input"]), (&json!("unsigned"), &json!("pulled")));
        let kind = entry["kind"].as_str().unwrap();
        assert!(["authentication", "authorization", "access"].contains(&kind), "{entry}");
        assert!(entry["fields"]["principal_id"].is_string(), "{entry}");
    }
    assert_sound(&serve.data());

    // A replay brings them all.
    deliver_to(&simulator, &serve, "cef");
    replay(&simulator, 7260, 1800);
    wait_until("they are hidden", || shown(&serve, "pulled").is_empty());
    let delivered = trace_ids(&shown(&serve, "cef"));
    assert!(trace_ids(&pulled).is_subset(&delivered));
    let of_old: Vec<_> = shown(&serve, "cef");
    assert!(of_old.iter().all(|entry| entry["verdict"] == "valid"));
    assert_sound(&serve.data());
    serve.stop();
}

#[test]
fn a_delivered_entry_is_not_pulled() {
    let simulator = Simulator::start(&["--seed", "4"]);
    let serve = Setup::new().argument("--jwks", &simulator.key_set()).start();
    deliver_to(&simulator, &serve, "json");
    simulator.simulate("entries", json!({"count": 50}));
    simulator.simulate("deliver", json!({}));
    let delivered = exported(&serve.data());
    assert!(delivered.len() >= 50);
    // Everything but the delay speaks for pulling them.
    write_private(&serve.home().join("token"), simulator.token.as_bytes());
    let serve = serve.with_config(&pull_from(&simulator, "delay = '1s'"));
    wait_for_a_round(&serve, 1);
    let pulled = trace_ids(&shown(&serve, "pulled"));
    let twice: Vec<_> = pulled.intersection(&trace_ids(&delivered)).cloned().collect();
    assert_eq!(twice, [""; 0]);
}

#[test]
fn a_line_that_only_resembles_an_entry_neither_stands_for_it_nor_hides_it() {
    let simulator = Simulator::start(&["--seed", "5", "--retention", "2d"]);
    simulator.simulate("entries", json!({"count": 20, "since": ago(7200)}));
    let genuine = {
        let serve = Setup::new().argument("--jwks", &simulator.key_set()).start();
        deliver_to(&simulator, &serve, "json");
        replay(&simulator, 7260, 60);
        wait_until("a replay", || shown(&serve, "json").len() >= 20);
        shown(&serve, "json")
    };
    let forge = |(n, entry): (usize, &Value)| {
        let mut line: Value = serde_json::from_str(entry["raw"].as_str().unwrap()).unwrap();
        let fields = line.as_object_mut().unwrap();
        let signature = fields.remove("signature").or_else(|| fields.remove("sig")).unwrap();
        fields.insert("principal_id".into(), json!("66666666-6666-4666-8666-666666666666"));
        if n % 2 == 0 {
            fields.insert("sig".into(), signature);
        }
        line.to_string()
    };
    let forged: Vec<_> = genuine.iter().enumerate().map(forge).collect();
    let config = pull_from(&simulator, "delay = '30s'");
    let serve = Setup::new().file("token", &simulator.token).config(&config).start();
    serve.deliver(forged.join("\n"));
    // The first may come before the keys are there.
    wait_until("verdicts", || {
        let shown = shown(&serve, "json");
        let verdicts: BTreeSet<_> = shown.iter().map(|one| one["verdict"].to_string()).collect();
        verdicts.into_iter().eq([r#""invalid""#, r#""unsigned""#])
    });
    let until = ago(40);
    let is_old = |entry: &&Value| entry["time"].as_str().is_some_and(|at| *at < *until);
    let old = trace_ids(&genuine.iter().filter(is_old).cloned().collect::<Vec<_>>());
    assert!(old.len() > 5, "{old:?}");
    wait_until("all are pulled", || old.is_subset(&trace_ids(&shown(&serve, "pulled"))));
    // Later rounds hide none of them.
    wait_for_a_round(&serve, 30);
    wait_for_a_round(&serve, 30);
    assert!(old.is_subset(&trace_ids(&shown(&serve, "pulled"))));
    assert_sound(&serve.data());
}

#[test]
fn a_delivery_hides_a_pulled_entry_when_its_key_arrives() {
    let simulator = Simulator::start(&["--seed", "6", "--retention", "2d"]);
    simulator.simulate("entries", json!({"count": 20, "since": ago(7200)}));
    let keys = simulator.call("GET", "/v2/audit-log-webhook/jwks.json", Value::Null, 200).text();
    let config = pull_from(&simulator, "delay = '1h'");
    let config = config.replace(&simulator.key_set(), "jwks.json");
    let setup = Setup::new().file("token", &simulator.token).file("jwks.json", r#"{"keys":[]}"#);
    let mut serve = setup.config(&config).start();
    wait_for_a_round(&serve, 3600);
    let pulled = shown(&serve, "pulled").len();
    assert!(pulled >= 9, "{pulled}");
    deliver_to(&simulator, &serve, "cef");
    replay(&simulator, 7260, 1800);
    wait_until("they are delivered", || shown(&serve, "cef").len() >= pulled);
    wait_for_a_round(&serve, 3600);
    assert!(shown(&serve, "pulled").len() >= pulled);
    serve.stop();
    fs::write(serve.home().join("jwks.json"), keys).unwrap();
    serve.restart();
    wait_until("they are hidden", || shown(&serve, "pulled").is_empty());
    assert!(shown(&serve, "cef").iter().all(|entry| entry["verdict"] == "valid"));
    assert_sound(&serve.data());
}

#[test]
fn a_source_needs_a_token_a_place_and_a_name_of_its_own() {
    let fails = |config: &str, expected: &str| {
        let (status, stderr) = Setup::new().config(config).fail();
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    let source = "[[source]]\nname = 'a'\ntype = 'konnect-pull'\n";
    fails(
        source,
        "konnect.token_file is missing: a source or reconcile_every needs it, or KONNECT_TOKEN",
    );
    fails("[[source]]\nname = 'a'\ntype = 'poll'", "expected one of konnect-pull");
    fails(&format!("{source}{source}"), "the name of another source or input");
    fails("[[source]]\nname = 'default'\ntype = 'konnect-pull'", "another source or input");
}
