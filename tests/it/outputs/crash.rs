//! File outputs after kills under load.

use std::collections::HashMap;

use super::*;
use crate::crash::KillsUnderLoad;
use crate::harness::Setup;

#[test]
fn a_file_has_every_entry_once_after_kills() {
    check("out/siem.log", "fsync = 'second'");
    check("out/siem.log", "fsync = 'always'");
}

#[test]
fn rotated_files_have_every_entry_once_after_kills() {
    check("out/siem.log", "rotate_size = '30kB'");
}

/// Checks that the files have each stored entry once, in the order of the store.
fn check(path: &str, keys: &str) {
    let config = file_output(path, &format!("format = 'raw'\n{keys}"));
    let (mut serve, acknowledged) = kill_under_load(&config);
    let stored = serve.text_lines();
    let folder = serve.home().join("out");
    let last = stored.last().unwrap();
    wait_until("the last line", || {
        let text = std::fs::read_to_string(folder.join("siem.log")).unwrap_or_default();
        text.lines().next_back() == Some(last.as_str())
    });
    serve.stop();
    let written = lines_below(&folder);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    written.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let missing = acknowledged.iter().find(|line| !counts.contains_key(line.as_str()));
    assert_eq!(missing, None, "an acknowledged line is missing");
    let twice = counts.iter().find(|(_, count)| **count > 1);
    assert_eq!(twice, None, "a line is written twice");
    assert_eq!(written.len(), stored.len());
    assert!(written == stored, "the order differs from the store");
}

/// Kills a server at random moments under load. Returns the running server and the acknowledged
/// lines.
pub(super) fn kill_under_load(config: &str) -> (Serve, Vec<String>) {
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    let load = KillsUnderLoad { kills: 6, senders: 2, deliveries: 5..65, line: cef };
    let acknowledged = load.run(&mut serve);
    (serve, acknowledged)
}
