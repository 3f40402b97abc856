//! No file that may hold entries is deleted. If a file of the data directory is missing or
//! misplaced, the server refuses to start, and `store repair` repairs the store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::harness::{Serve, Setup, assert_sound, json_lines, run, stored, wait_until};

const SEGMENT: usize = 20;

/// A stopped server with two sealed segments and a live segment.
fn stopped() -> Serve {
    let config = format!("[store]\nsegment_entries = {SEGMENT}\n");
    let mut serve = Setup::new().config(&config).arguments("--no-tls").start();
    for batch in 0..5 {
        let lines: Vec<_> = (batch * 10..batch * 10 + 10).map(line).collect();
        assert_eq!(serve.deliver(lines.join("\n"))["stored"], 10);
    }
    let sealed = "SELECT count(*) FROM segments WHERE state = 'sealed'";
    wait_until("two sealed segments", || {
        stored::catalog(&serve.data(), sealed, |row| row.get::<_, u64>(0)) == [2]
    });
    serve.stop();
    serve
}

fn line(n: usize) -> String {
    format!("{{\"name\":\"Ingress\",\"rt\":{},\"trace_id\":{n}}}", 1_000_000 + n)
}

/// The files of the segments, with their bytes.
fn files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = fs::read_dir(data.join("segments")).unwrap();
    folder
        .map(|one| one.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// Checks that the server refuses to start with the reason `why`, and changes no file of a segment.
fn assert_refuses(serve: &Serve, why: &str) {
    let before = files(&serve.data());
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    assert!(stderr.contains(why), "{stderr}");
    assert!(stderr.contains("vidimus store repair"), "{stderr}");
    assert_eq!(files(&serve.data()), before);
}

/// Runs `store repair`. Returns its exit code and its report.
fn repair(serve: &Serve) -> (Option<i32>, serde_json::Value) {
    let (code, stdout, stderr) =
        run(["store", "repair", "--yes", "-o", "jsonl", "--data-dir"], &serve.data());
    assert!(code.is_some_and(|code| code < 2), "{stderr}");
    (code, json_lines(&stdout).remove(0))
}

/// Checks that the server starts, has the expected number of lines, accepts more, and passes `store
/// check`.
fn assert_goes_on(serve: &mut Serve, expected: usize) {
    serve.restart();
    assert_eq!(serve.deliver(line(1000))["stored"], 1);
    let mut lines = serve.text_lines();
    assert_eq!(lines.pop().unwrap(), line(1000));
    assert_eq!(lines, (0..expected).map(line).collect::<Vec<_>>());
    // The server recognises a stored line.
    assert_eq!(serve.deliver(line(3))["stored"], 0);
    serve.stop();
    assert_sound(&serve.data());
}

#[test]
fn a_store_without_its_catalog_is_left_alone_and_can_be_repaired() {
    let mut serve = stopped();
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm"] {
        let _ = fs::remove_file(serve.data().join(name));
    }
    assert_refuses(&serve, "catalog.db is missing or empty");
    // An empty file is not a catalog.
    fs::write(serve.data().join("catalog.db"), "").unwrap();
    assert_refuses(&serve, "catalog.db is missing or empty");
    let (code, report) = repair(&serve);
    assert_eq!((code, &report["catalog_lost"]), (Some(0), &true.into()), "{report}");
    assert_eq!(report["segments"].as_array().unwrap().len(), 3, "{report}");
    assert!(report["lost"].to_string().contains("output reset"), "{report}");
    assert_goes_on(&mut serve, 50);
}

#[test]
fn outputs_with_a_lost_cursor_wait_for_a_reset() {
    let mut serve = stopped();
    fs::remove_file(serve.data().join("catalog.db")).unwrap();
    repair(&serve);
    let output =
        "[[output]]\nname = \"all\"\ntype = \"file\"\npath = \"all.log\"\nformat = \"raw\"\n";
    let config = format!("[store]\nsegment_entries = {SEGMENT}\n{output}start = \"oldest\"\n");
    crate::harness::write_private(&serve.home().join("config.toml"), config.as_bytes());
    serve.restart();
    serve.wait_for_log("vidimus output reset all");
    assert!(!serve.home().join("all.log").exists());
    let reset = ["output", "reset", "all", "--since", "1h", "--data-dir"];
    let (code, _, stderr) = run(reset, &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
    wait_until("the output goes on", || {
        fs::read_to_string(serve.home().join("all.log")).is_ok_and(|all| all.lines().count() == 50)
    });
}

#[test]
fn prune_lists_segments_and_removes_them_only_when_told() {
    let serve = stopped();
    let prune =
        |flag: &str| run(["store", "prune", "--age", "0s", flag, "--data-dir"], &serve.data());
    let before = files(&serve.data());
    let (code, stdout, stderr) = prune("--dry-run");
    assert_eq!((code, stdout.lines().count()), (Some(0), 2), "{stdout}{stderr}");
    assert!(stdout.contains("0000000000000021.db  ids 21 to 40"), "{stdout}");
    // The command cannot ask without a terminal.
    let (code, _, stderr) = run(["store", "prune", "--age", "0s", "--data-dir"], &serve.data());
    assert!(code == Some(2) && stderr.contains("--yes"), "{stderr}");
    assert_eq!(files(&serve.data()).len(), before.len());
    let (code, _, stderr) = prune("--yes");
    assert!(code == Some(0) && stderr.contains("2 segments deleted"), "{stderr}");
    let removed = "SELECT first_id, last_id, file, length(sha256) FROM removals ORDER BY first_id";
    let removed = stored::catalog(&serve.data(), removed, |row| {
        Ok((
            row.get::<_, u64>(0)?,
            row.get::<_, u64>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, u64>(3)?,
        ))
    });
    let file = |n: u64| format!("{n:016}.db");
    assert_eq!(removed, [(1, 20, file(1), 64), (21, 40, file(21), 64)]);
    assert_eq!(serve.lines().len(), 10);
    assert_sound(&serve.data());
}

#[test]
fn a_renamed_segment_is_left_alone_and_repaired() {
    let mut serve = stopped();
    let segments = serve.data().join("segments");
    fs::rename(segments.join("0000000000000001.db"), segments.join("0000000000000001.live.db"))
        .unwrap();
    assert_refuses(&serve, "0000000000000001.live.db");
    let (code, report) = repair(&serve);
    assert_eq!(code, Some(0), "{report}");
    assert_goes_on(&mut serve, 50);
}

#[test]
fn one_of_two_files_with_the_same_entries_is_set_aside() {
    let mut serve = stopped();
    let segments = serve.data().join("segments");
    let stray = segments.join("stray.db");
    fs::copy(segments.join("0000000000000021.db"), &stray).unwrap();
    assert_refuses(&serve, "stray.db");
    let (code, report) = repair(&serve);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(report["set_aside"][0]["file"], "stray.db", "{report}");
    let moved = serve.data().join("damaged/1-stray.db");
    assert_eq!(fs::read(moved).unwrap(), fs::read(segments.join("0000000000000021.db")).unwrap());
    assert_goes_on(&mut serve, 50);
}

#[test]
fn a_damaged_segment_is_set_aside_and_its_ids_are_reported_missing() {
    let mut serve = stopped();
    let path = serve.data().join("segments/0000000000000021.db");
    let mut bytes = fs::read(&path).unwrap();
    let half = bytes.len() / 2;
    bytes[4096..half].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    let (code, report) = repair(&serve);
    assert_eq!((code, &report["missing"]), (Some(1), &serde_json::json!([[21, 40]])), "{report}");
    assert_eq!(fs::read(serve.data().join("damaged/1-0000000000000021.db")).unwrap(), bytes);
    // The entries can be delivered again. The gap stays recorded.
    serve.restart();
    let again: Vec<_> = (0..50).map(line).collect();
    assert_eq!(serve.deliver(again.join("\n"))["stored"], 20);
    serve.stop();
    let (code, stdout, _) = run(["store", "check", "--data-dir"], &serve.data());
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("the ids 21 to 40 are not there"), "{stdout}");
}

#[test]
fn a_sound_store_has_nothing_to_repair() {
    let mut serve = stopped();
    let (code, report) = repair(&serve);
    assert_eq!((code, &report["set_aside"]), (Some(0), &serde_json::json!([])), "{report}");
    assert_goes_on(&mut serve, 50);
}

#[test]
fn ids_continue_after_a_gap_when_the_live_segment_lost_entries() {
    let config =
        "[[output]]\nname = \"all\"\ntype = \"file\"\npath = \"all.jsonl\"\nformat = \"raw\"\n";
    let mut serve = Setup::new().config(config).arguments("--no-tls").start();
    for batch in 0..4 {
        let lines: Vec<_> = (batch * 10..batch * 10 + 10).map(line).collect();
        serve.deliver(lines.join("\n"));
    }
    serve.signal(Signal::KILL);
    serve.kill();
    // After SIGKILL nothing is missing.
    serve.restart();
    assert_eq!(serve.deliver(line(40))["stored"], 1);
    assert_eq!(serve.stored().last().unwrap().id, 41);
    serve.signal(Signal::KILL);
    serve.kill();
    // One flipped bit in the log: SQLite silently rolls back to the change before it.
    let log = serve.data().join("segments/0000000000000001.live.db-wal");
    let mut bytes = fs::read(&log).unwrap();
    let late = bytes.len() - 2000;
    bytes[late] ^= 1;
    fs::write(&log, bytes).unwrap();
    serve.restart();
    serve.wait_for_log("entries are lost");
    assert_eq!(serve.deliver(line(41))["stored"], 1);
    let ids: Vec<_> = serve.stored().iter().map(|entry| entry.id).collect();
    let (last, before) = (ids[ids.len() - 1], ids[ids.len() - 2]);
    assert!(before < 41, "nothing was lost: {ids:?}");
    assert!(last > 10_000, "{ids:?}");
    wait_until("the output crosses the gap", || {
        let written = fs::read_to_string(serve.home().join("all.jsonl")).unwrap_or_default();
        written.lines().any(|one| one == line(41))
    });
    serve.stop();
    let (code, stdout, _) = run(["store", "check", "--data-dir"], &serve.data());
    assert_eq!(code, Some(1), "{stdout}");
    assert!(
        stdout.contains(&format!("the ids {} to {} are not there", before + 1, last - 1)),
        "{stdout}"
    );
    let (_, stdout, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], &serve.data());
    assert_eq!(json_lines(&stdout)[0]["gaps"][0]["first_id"], before + 1, "{stdout}");
}
