//! The log of `serve` and its formats.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Serve, Setup};

/// The events of a JSON log. Checks that every line is an event.
fn events(serve: &Serve) -> Vec<Value> {
    let stderr = serve.stderr();
    let event =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    stderr.lines().map(event).collect()
}

#[test]
fn a_json_log_holds_only_json() {
    let mut serve = Setup::new().arguments("--log-format json").start();
    serve.deliver("{}");
    serve.signal(Signal::HUP);
    serve.wait_for_log("now match the configuration");
    serve.stop();
    let events = events(&serve);
    let ready = events.iter().find(|event| event["fields"]["message"] == "ready").unwrap();
    assert_eq!(ready["fields"]["receiver"], serve.receiver);
    assert_eq!(ready["fields"]["console"], serve.console);

    // An error at the start is JSON too.
    let failing = Setup::new().arguments("--log-format json --tls-cert none --tls-key none");
    let (status, stderr) = failing.fail();
    let last: Value = serde_json::from_str(stderr.lines().last().unwrap()).unwrap();
    assert_eq!((status.code(), &last["level"]), (Some(3), &Value::from("ERROR")), "{stderr}");
}

/// Serves a delivery. Checks whether the log has the delivery, and messages for debugging.
#[track_caller]
fn check(setup: Setup, delivery: bool, debugging: bool) {
    let mut serve = setup.start();
    serve.deliver("{}");
    serve.stop();
    let stderr = serve.stderr();
    assert_eq!(stderr.contains("delivery stored"), delivery, "{stderr}");
    assert_eq!(stderr.contains("DEBUG vidimus"), debugging, "{stderr}");
    assert!(stderr.contains("ready: deliveries at"), "{stderr}");
}

#[test]
fn flags_environment_and_configuration_set_the_log_level() {
    check(Setup::new(), true, false);
    check(Setup::new().arguments("-q"), false, false);
    check(Setup::new().arguments("-v"), true, true);
    check(Setup::new().variable("RUST_LOG", "warn"), false, false);
    check(Setup::new().variable("RUST_LOG", "warn").variable("VIDIMUS_LOG", "debug"), true, true);
    let warn = || Setup::new().config("[log]\nlevel = 'warn'\n");
    check(warn(), false, false);
    check(warn().variable("RUST_LOG", "info"), true, false);
    check(warn().arguments("-v"), true, true);
    let (status, stderr) = Setup::new().variable("VIDIMUS_LOG", "x=loud").fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("VIDIMUS_LOG is \"x=loud\", expected a level"), "{stderr}");
}

#[test]
fn sighup_lists_the_settings_that_need_a_restart() {
    let serve = Setup::new().config("[store]\nsegment_entries = 10\n").start();
    let reload = |toml: &str, expected: &str| {
        crate::harness::write_private(&serve.home().join("config.toml"), toml.as_bytes());
        serve.signal(Signal::HUP);
        serve.wait_for_log(expected);
    };
    let waits = "these settings changed and need a restart settings=\"[store], [log]\"";
    reload("[store]\nsegment_entries = 11\n[log]\nlevel = 'info'\n", waits);
    let no_restart = "a restart would fail with this configuration";
    reload("[store]\nsegment_entries = 0\n", no_restart);
    assert!(serve.stderr().contains("store.segment_entries is 0"), "{}", serve.stderr());
}

#[test]
fn an_address_can_be_a_name_or_a_port() {
    let serve = Setup::new().instead("--listen", "localhost:0").start();
    assert!(serve.receiver.starts_with("https://127.0.0.1:"), "{}", serve.receiver);
    serve.deliver("{}");
    let serve = Setup::new().instead("--listen", ":0").start();
    assert!(serve.receiver.starts_with("https://0.0.0.0:"), "{}", serve.receiver);
    serve.deliver("{}");
    let (status, stderr) = Setup::new().instead("--console", ":0").fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("--console is 0.0.0.0:0, which others can reach"), "{stderr}");
    let (status, stderr) = Setup::new().instead("--listen", "https://x:1").fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("expected an address and a port"), "{stderr}");
}
