//! `vidimus simulate` as a separate process.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::{Simulator, wait_until};

#[test]
fn simulate_prints_its_addresses_and_ends_cleanly() {
    let mut simulate = Simulator::start(&["--token", "spat_0123456789", "--portal", "a-portal"]);
    assert_eq!(simulate.token, "spat_0123456789");
    assert_eq!(simulate.portal, "a-portal");
    simulate.call("GET", "/v2/portals/another/audit-log-webhook", Value::Null, 404);
    let pid = i32::try_from(simulate.child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait_until("the end", || simulate.child.try_wait().unwrap().is_some());
    assert_eq!(simulate.child.wait().unwrap().code(), Some(0));
    let stderr = simulate.stderr();
    assert!(stderr.contains(&format!("vidimus serve --jwks {}", simulate.key_set())), "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("ready")), "{stderr}");
    assert!(!stderr.contains("spat_0123456789"), "{stderr}");
}
