//! `vidimus serve --demo`: a receiver and the simulator in one process.

use serde_json::Value;

use crate::harness::{Setup, wait_until};

#[test]
fn the_demo_stores_valid_and_invalid_entries_in_its_own_directory() {
    // The demo ignores the data directory of the environment.
    let serve = Setup::new().arguments("--demo").variable("VIDIMUS_DATA_DIR", "real").start();
    assert!(!serve.home().join("real").exists());
    let ready: Value = serve.ready();
    assert!(ready["api"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert!(ready["token"].as_str().unwrap().starts_with("kpat_"));
    wait_until("a tampered entry among genuine ones", || {
        let verdicts = serve.verdicts();
        ["valid", "invalid"].iter().all(|one| verdicts.iter().any(|verdict| verdict == one))
    });
    let stderr = serve.stderr();
    assert!(stderr.contains("This is a demo"), "{stderr}");
    assert!(!stderr.contains(ready["token"].as_str().unwrap()), "{stderr}");
}
