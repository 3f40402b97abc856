//! The commands `query`, `tail`, `export` and `store`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use vidimus::entry::Millis;
use vidimus::signature::KeySet;
use vidimus::store::{Options, Quarantined, Refused, Retention};

use crate::harness::home::{Home, append};
use crate::program::{Run, run};
use crate::vectors::{fixture, vector};

const NOW: Millis = Millis::MIN;

/// Runs a command on the data directory of `home`.
fn run_on(home: &Home, arguments: &[&str]) -> Run {
    let data = home.path.to_str().unwrap();
    run(&[arguments, &["--data-dir", data]].concat(), b"")
}

fn line(n: usize) -> String {
    let name = if n.is_multiple_of(2) { "Ingress" } else { "Authz.portals" };
    format!("{{\"name\":\"{name}\",\"rt\":{},\"status\":{}}}\n", 1000 + n, 200 + n)
}

/// A store with lines 0 to 24 in three segments.
fn numbered() -> Home {
    let home = Home::new();
    let store = home.open(Options { segment_entries: 10, ..Options::default() });
    append(&store, &(0..20).map(line).collect::<String>(), &KeySet::default());
    append(&store, &(20..25).map(line).collect::<String>(), &KeySet::default());
    home
}

fn ids(ran: &Run) -> Vec<u64> {
    ran.records().iter().map(|record| record["id"].as_u64().unwrap()).collect()
}

#[test]
fn a_query_prints_the_newest_matches_first() {
    let home = numbered();
    let all = run_on(&home, &["query", "-o", "jsonl", "--limit", "0"]).expect(0);
    assert_eq!(ids(&all), (1..=25).rev().collect::<Vec<_>>());
    let some = run_on(&home, &["query", "name:Ingress", "-o", "jsonl", "--limit", "3"]).expect(0);
    assert_eq!(ids(&some), [25, 23, 21]);
    let words = run_on(&home, &["query", "name:Ingress", "status:>=222", "-o", "jsonl"]).expect(0);
    assert_eq!(ids(&words), [25, 23]);
    let range = ["query", "-o", "jsonl", "--since", "1970-01-01T00:00:01.005Z"];
    let range = run_on(&home, &[&range[..], &["--until", "1970-01-01T00:00:01.008Z"]].concat());
    assert_eq!(ids(&range.expect(0)), [8, 7, 6]);
    let text = run_on(&home, &["query", "--limit", "2"]).expect(0);
    assert_eq!(text.stdout.lines().count(), 2, "{text}");
    assert!(text.stdout.starts_with("1970-01-01T00:00:01.024Z  access"), "{text}");
    assert!(text.stderr.contains("--limit 0"), "{text}");
}

#[test]
fn an_unreadable_segment_is_skipped_and_reported() {
    fn overwrite(path: &Path) {
        let length = path.metadata().unwrap().len();
        fs::write(path, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    }
    fn truncate(path: &Path) {
        fs::write(path, b"").unwrap();
    }
    fn remove(path: &Path) {
        fs::remove_file(path).unwrap();
    }
    let segments = |home: &Home| {
        let folder = fs::read_dir(home.path.join("segments")).unwrap();
        let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|one| one == "db"));
        files.sort();
        files
    };
    let first_id = |file: &Path| -> u64 {
        let name = file.file_name().unwrap().to_str().unwrap();
        name.split('.').next().unwrap().parse().unwrap()
    };
    let count = segments(&numbered()).len();
    assert!(count > 1);
    for damage in [overwrite, truncate, remove] {
        for segment in 0..count {
            let home = numbered();
            let files = segments(&home);
            let first = first_id(&files[segment]);
            let next = files.get(segment + 1).map_or(26, |file| first_id(file));
            damage(&files[segment]);
            for companion in ["-wal", "-shm"] {
                let _ = fs::remove_file(format!("{}{companion}", files[segment].display()));
            }
            let rest: Vec<u64> = (1..first).chain(next..=25).collect();
            for command in ["query", "export"] {
                let ran = run_on(&home, &[command, "-o", "jsonl", "--limit", "0"]).expect(3);
                let mut found = ids(&ran);
                found.sort_unstable();
                assert_eq!(found, rest, "{command} {segment}: {ran}");
                let name = files[segment].file_name().unwrap().to_str().unwrap();
                assert!(ran.stderr.contains(name), "{ran}");
                assert!(ran.stderr.contains("a segment of the store cannot be read"), "{ran}");
            }
        }
    }
}

#[test]
fn a_record_has_the_documented_shape() {
    let home = Home::filled();
    let ran =
        run_on(&home, &["query", "name:Ingress verdict:valid", "-o", "jsonl", "--limit", "1"]);
    let record = &ran.expect(0).records()[0];
    let names: Vec<_> = record.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "id",
        "input",
        "received_at",
        "time",
        "format",
        "kind",
        "verdict",
        "reason",
        "kid",
        "warnings",
        "delivery_count",
        "fields",
        "raw",
    ];
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(record["fields"]["trace_id"].is_string() && record["fields"]["rt"].is_number());
    assert!(record["kid"].is_string() && record["reason"].is_null());
}

#[test]
fn a_bad_query_is_reported_with_its_position() {
    let home = numbered();
    for command in ["query", "tail", "export"] {
        let ran = run_on(&home, &[command, "status:abc"]).expect(2);
        assert_eq!(ran.stdout, "");
        let lines: Vec<_> = ran.stderr.lines().collect();
        assert!(lines[0].contains("character 8: found \"abc\", expected a whole number"), "{ran}");
        assert_eq!(lines[1..], ["    status:abc", "           ^"], "{ran}");
    }
    let ran = run_on(&home, &["query", "--since", "yesterday"]).expect(2);
    assert!(ran.stderr.contains("--since: found \"yesterday\""), "{ran}");
}

#[test]
fn no_match_is_success_and_no_store_is_an_error() {
    let home = numbered();
    let none = run_on(&home, &["query", "supercalifragilistic"]).expect(0);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", "no entry matches\n"));
    assert_eq!(run_on(&home, &["query", "x", "-o", "jsonl"]).expect(0).stderr, "");
    let ran = run(&["query", "--data-dir", "/nowhere/at/all"], b"").expect(3);
    assert!(ran.stderr.contains("is not there"), "{ran}");
    let empty = tempfile::tempdir().unwrap();
    let ran = run(&["query", "--data-dir", empty.path().to_str().unwrap()], b"").expect(3);
    assert!(ran.stderr.contains("holds no store"), "{ran}");
}

#[test]
fn an_unknown_field_is_named() {
    let home = numbered();
    let store = home.open(Options::default());
    append(&store, "{\"name\":\"x\",\"rt\":1,\"cluster\":\"a\"}\n", &KeySet::default());
    drop(store);
    let status = "note: no entry has the field \"statuss\"; did you mean \"status\"?\n";
    let ran = run_on(&home, &["query", "statuss:200"]).expect(0);
    assert_eq!(ran.stderr, format!("{status}no entry matches\n"));
    assert_eq!(run_on(&home, &["query", "statuss:200", "-o", "jsonl"]).expect(0).stderr, status);
    assert_eq!(run_on(&home, &["export", "statuss:200"]).expect(0).stderr, status);
    let ran = run_on(&home, &["query", "clutser:a"]).expect(0);
    assert!(ran.stderr.contains("did you mean \"cluster\"?"), "{ran}");
    // Entries have this field, but not with this value.
    let ran = run_on(&home, &["query", "cluster:b"]).expect(0);
    assert_eq!(ran.stderr, "no entry matches\n");
    let ran = run_on(&home, &["query", "verdict=invalid"]).expect(0);
    assert!(ran.stderr.contains("to search the field, write verdict:invalid"), "{ran}");
}

#[test]
fn a_field_among_very_many_is_not_unknown() {
    let home = numbered();
    let store = home.open(Options::default());
    for letter in ["m", "n"] {
        let fields: String = (0..900).map(|n| format!(",\"{letter}{n}\":\"\"")).collect();
        append(&store, &format!("{{\"name\":\"x\",\"rt\":1{fields}}}\n"), &KeySet::default());
    }
    drop(store);
    for field in ["m899", "n899"] {
        let ran = run_on(&home, &["query", &format!("{field}:x")]).expect(0);
        assert_eq!(ran.stderr, "no entry matches\n", "{field}");
    }
    let ran = run_on(&home, &["query", "unlike:x"]).expect(0);
    assert!(ran.stderr.contains("no entry has the field \"unlike\"\n"), "{ran}");
}

#[test]
fn an_empty_time_range_is_wrong_usage() {
    let home = numbered();
    for command in ["query", "export"] {
        let ran = run_on(&home, &[command, "--since", "1h", "--until", "2h"]).expect(2);
        assert!(ran.stderr.contains("--until: found \"2h\", expected a time after that of since"));
    }
}

#[test]
fn an_export_returns_the_received_bytes() {
    let home = numbered();
    let body: String = (0..25).map(line).collect();
    assert_eq!(run_on(&home, &["export", "-o", "raw"]).expect(0).stdout, body);
    assert_eq!(
        run_on(&home, &["export", "--format", "raw", "id:<3"]).expect(0).stdout,
        line(0) + &line(1)
    );
    assert_eq!(ids(&run_on(&home, &["export", "--limit", "3"]).expect(0)), [1, 2, 3]);
    let csv = run_on(&home, &["export", "-o", "csv", "status:224"]).expect(0).stdout;
    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    let header = csv.headers().unwrap().clone();
    let row = csv.records().next().unwrap().unwrap();
    let cell = |name: &str| &row[header.iter().position(|one| one == name).unwrap()];
    assert_eq!((cell("id"), cell("status"), cell("raw")), ("25", "224", line(24).trim_end()));
    let header = run_on(&home, &["export", "-o", "csv", "nowhere"]).expect(0).stdout;
    assert!(header.starts_with("id,received_at,input,time"), "{header}");
}

#[test]
fn an_export_verifies_like_the_received_lines() {
    let home = Home::filled();
    let jwks = fixture("jwks.json");
    let jwks = jwks.to_str().unwrap();
    let good = run_on(&home, &["export", "verdict:valid", "-o", "raw"]).expect(0);
    run(&["verify", "--jwks", jwks], good.stdout.as_bytes()).expect(0);
    for format in ["jsonl", "csv"] {
        let good = run_on(&home, &["export", "verdict:valid", "-o", format]).expect(0);
        let verify = ["verify", "--jwks", jwks, "--field", "raw"];
        run(&verify, good.stdout.as_bytes()).expect(0);
        // The format is recognised without a flag.
        let ran = run(&verify[..3], good.stdout.as_bytes()).expect(0);
        assert!(ran.stderr.contains("note: - has vidimus records"), "{ran}");
        assert!(ran.stderr.contains("valid                4"), "{ran}");
    }
}

#[test]
fn hostile_text_is_escaped() {
    let home = Home::new();
    let store = home.open(Options::default());
    let entry = r#"{"name":"=1+1\u001b[2J\u202e","principal_name":"\u009b","src":"a\nb"}"#;
    append(&store, &format!("{entry}\n\x1b]0;title\x07\n"), &KeySet::default());
    let text = run_on(&home, &["query"]).expect(0).stdout;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text:?}");
    let unsafe_one = |c: char| c.is_control() || c == '\u{202e}';
    assert!(lines.iter().all(|line| !line.contains(unsafe_one)), "{text:?}");
    let csv = run_on(&home, &["export", "-o", "csv"]).expect(0).stdout;
    assert!(csv.contains(",'=1+1"), "{csv}");
}

/// Appends 100 deliveries of seven lines while the store seals and deletes old segments. Sets
/// `done` to the highest acknowledged id.
fn write_and_prune(home: &Home, done: &AtomicU64) {
    let store = home.open(Options { segment_entries: 20, ..Options::default() });
    for delivery in 0..100 {
        let lines: String = (delivery * 7..delivery * 7 + 7).map(line).collect();
        append(&store, &lines, &KeySet::default());
        done.store(delivery as u64 * 7 + 7, Ordering::SeqCst);
        if delivery % 10 == 9 {
            store.prune(Retention { age: None, size: Some(1 << 20) }).unwrap();
        }
        if delivery % 25 == 24 {
            store.seal().unwrap();
        }
    }
}

#[test]
fn queries_work_while_segments_are_closed_sealed_and_deleted() {
    let home = Home::new();
    drop(home.open(Options::default()));
    let done = AtomicU64::new(0);
    let mut tail = Tail::start(&home, &[]);
    let mut queries = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write_and_prune(&home, &done));
        while !writer.is_finished() {
            let acknowledged = done.load(Ordering::SeqCst);
            let ran = run_on(&home, &["query", "-o", "jsonl", "--limit", "0"]).expect(0);
            let ids = ids(&ran);
            // The ids have no gap, because the oldest segments are deleted first.
            assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "{ids:?}");
            assert!(ids.first().copied().unwrap_or(0) >= acknowledged, "{acknowledged}: {ids:?}");
            queries += 1;
        }
    });
    assert!(queries > 0);
    let gone = home.segments_begin_with() - 1;
    assert!(gone > 100, "retention gave up only {gone} entries");
    // Each entry is printed once, unless it was deleted before tail reached it.
    let mut next = 1;
    while next <= 700 {
        let (id, _) = tail.next();
        assert!(id == next || (id > next && id <= gone + 1), "{id} came instead of {next}");
        next = id + 1;
    }
}

/// A running `vidimus tail` and its output.
struct Tail {
    child: Child,
    /// `None` after the output is closed.
    lines: Option<std::io::Lines<BufReader<std::process::ChildStdout>>>,
}

impl Tail {
    fn start(home: &Home, arguments: &[&str]) -> Tail {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["tail", "-o", "jsonl", "--data-dir"])
            .arg(&home.path)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Tail { child, lines: Some(lines) }
    }

    fn next(&mut self) -> (u64, String) {
        let line = self.lines.as_mut().unwrap().next().unwrap().unwrap();
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        (record["id"].as_u64().unwrap(), record["verdict"].as_str().unwrap().to_owned())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn tail_prints_new_entries_while_segments_are_closed_and_sealed() {
    let home = numbered();
    let store = home.open(Options { segment_entries: 10, ..Options::default() });
    let mut tail = Tail::start(&home, &["-n", "3"]);
    let unsigned = |id| (id, "unsigned".to_owned());
    assert_eq!([tail.next(), tail.next(), tail.next()], [23, 24, 25].map(unsigned));
    for n in 25..60 {
        append(&store, &line(n), &KeySet::default());
        assert_eq!(tail.next(), unsigned(n as u64 + 1));
    }
    store.seal().unwrap();
    append(&store, &line(60), &KeySet::default());
    assert_eq!(tail.next(), unsigned(61));
    tail.signal(Signal::TERM);
    assert_eq!(tail.child.wait().unwrap().code(), Some(0));
}

#[test]
fn tail_prints_an_entry_again_when_a_key_arrives() {
    let home = Home::new();
    let store = home.open(Options::default());
    append(&store, &vector("cef-access.vec"), &KeySet::default());
    let mut tail = Tail::start(&home, &["-n", "1"]);
    assert_eq!(tail.next(), (1, "no_key".into()));
    store.recheck(crate::check::judge());
    assert_eq!(tail.next(), (1, "valid".into()));
    tail.signal(Signal::INT);
    assert_eq!(tail.child.wait().unwrap().code(), Some(0));
}

#[test]
fn tail_ends_when_its_output_is_closed() {
    let home = numbered();
    let mut tail = Tail::start(&home, &["-n", "1"]);
    tail.next();
    tail.lines = None;
    assert_eq!(tail.child.wait().unwrap().code(), Some(0));
}

#[test]
fn store_check_reports_a_sound_and_a_damaged_store() {
    let home = Home::filled();
    let ran = run_on(&home, &["store", "check"]).expect(0);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("10 entries in 2 segments: 0 differences"), "{ran}");
    home.damage(
        "0000000000000006.live.db",
        "UPDATE entries SET verdict = 'valid', reason = NULL WHERE verdict = 'invalid'",
    );
    let ran = run_on(&home, &["store", "check"]).expect(1);
    assert!(ran.stdout.contains("entry 8: recorded valid, found"), "{ran}");
    let report = &run_on(&home, &["store", "check", "-o", "jsonl"]).expect(1).records()[0];
    assert_eq!(report["differences"], 1);
    assert_eq!(report["first"][0]["id"], 8);
}

#[test]
fn store_stats_say_why_nothing_arrives() {
    let home = Home::filled();
    let store = home.open(Options::default());
    store.note_refused(Refused {
        time: NOW,
        peer: "192.0.2.1:5".into(),
        status: Some(401),
        reason: "wrong_authorization".into(),
        scheme: Some("Bearer".into()),
    });
    drop(store);
    let ran = run_on(&home, &["store", "stats"]).expect(0);
    for expected in [
        "entries      10: 2 invalid, 2 malformed, 2 unsigned, 4 valid",
        "segments     2: 1 live, 1 sealed",
        "192.0.2.1:5  401     Bearer  wrong_authorization",
        "default  127.0.0.1:1         6       5           1  ",
        "  file: read 2025-10-09T08:53:20.000Z",
    ] {
        assert!(ran.stdout.contains(expected), "{expected}\n{ran}");
    }
    let stats = &run_on(&home, &["store", "stats", "-o", "jsonl"]).expect(0).records()[0];
    assert_eq!(stats["refused"][0]["scheme"], "Bearer");
    assert_eq!(stats["verdicts"]["valid"], 4);
}

#[test]
fn the_quarantine_is_listed_and_shown() {
    let home = Home::new();
    let store = home.open(Options::default());
    let what = Quarantined {
        id: 0,
        received_at: NOW,
        input: "portal".into(),
        peer: "p".into(),
        status: 415,
        reason: "unknown_encoding".into(),
        content_encoding: Some("br\u{1b}".into()),
        bytes: 0,
        origin: None,
    };
    let id = store.quarantine(&what, b"a\x1b[2J\nb\xff").unwrap().to_string();
    let list = run_on(&home, &["store", "quarantine", "list"]).expect(0);
    let row: Vec<_> = list.stdout.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[2..], ["portal", "p", "8", "br\u{fffd}", "415", "unknown_encoding"], "{list}");
    assert_eq!(list.stderr, "1 body, 8 bytes\n");
    let show = run_on(&home, &["store", "quarantine", "show", &id]).expect(0);
    assert!(show.stdout.ends_with("a\\x1b[2J\nb\\xff\n"), "{show}");
    let object = run_on(&home, &["store", "quarantine", "show", &id, "-o", "jsonl"]).expect(0);
    assert_eq!(object.records()[0]["body_base64"], "YRtbMkoKYv8=");
    run_on(&home, &["store", "quarantine", "show", "7"]).expect(3);
}
