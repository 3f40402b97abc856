//! `vidimus receive` with a journal in a folder.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::object::{Journaled, epoch, key};
use crate::console::get;
use crate::harness::{Answer, Serve, Setup, gzip, output_of, tool, wait_until};

const LINES: &[u8] = b"CEF:0|a|b|c|d|e|1|act=POST\n{\"a\":1}\n\nnothing\n";

/// A receiver that writes a journal in this folder, without TLS. `more` goes into `[journal]`.
fn setup(journal: &Path, more: &str) -> Setup {
    let url = journal.display();
    let config = format!("[journal]\nurl = \"file://{url}\"\nmax_wait = \"10ms\"\n{more}");
    Setup::receive().config(&config).arguments("--no-tls")
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn post(receive: &Serve, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let authorization = ("authorization", receive.authorization.as_str());
    receive.post("/audit-logs", &[&[authorization], headers].concat(), body)
}

#[track_caller]
fn check_metric(receive: &Serve, line: &str) {
    let text = get(receive, "/metrics").text();
    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
}

fn wait_until_ready(receive: &Serve) {
    wait_until("readiness", || get(receive, "/readyz").status == 200);
}

/// The only delivery of each object of an epoch.
fn singles(journal: &Path, number: u64) -> Vec<Journaled> {
    let objects = epoch(journal, number);
    objects.into_iter().map(|mut one| one.pop().unwrap()).collect()
}

#[test]
fn a_delivery_is_answered_when_it_is_in_the_journal() {
    let journal = folder();
    let mut receive = setup(journal.path(), "").start();
    assert_eq!(receive.deliver(LINES), json!({"received": 3, "malformed": 1}));
    let encoded = gzip(LINES);
    let answer = post(&receive, &[("content-encoding", "application/gzip")], &encoded);
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"received":3,"malformed":1}"#));
    // A delivery without lines is journaled too, as `serve` stores it.
    assert_eq!(receive.deliver(b""), json!({"received": 0, "malformed": 0}));
    receive.stop();

    let found = singles(journal.path(), 0);
    let expected = [
        (None, LINES.len(), LINES),
        (Some("application/gzip"), encoded.len(), LINES),
        (None, 0, &b""[..]),
    ];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (one, (encoding, sent, body)) in found.iter().zip(expected) {
        assert_eq!((one.input.as_str(), one.undecoded.as_ref()), ("default", None));
        assert!(one.peer.starts_with("127.0.0.1:"), "{}", one.peer);
        assert!(one.received_at > 1_700_000_000_000, "{}", one.received_at);
        assert_eq!((one.content_encoding.as_deref(), one.sent), (encoding, sent as u64));
        assert_eq!(one.body, body);
    }
    // There is no store, and the Authorization is nowhere.
    let mut files: Vec<_> =
        fs::read_dir(receive.data()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort_unstable();
    assert_eq!(files, ["authorization"]);
    let object = fs::read(journal.path().join(key(0, 0))).unwrap();
    let plain = zstd::decode_all(&object[65..]).unwrap();
    let secret = receive.authorization.as_bytes();
    assert!(!plain.windows(secret.len()).any(|part| part == secret));
}

#[test]
fn what_cannot_be_decoded_is_journaled_and_what_is_refused_is_not() {
    let journal = folder();
    let mut receive = setup(journal.path(), "").start();
    let broken = b"\x1f\x8b no more";
    let undecodable = post(&receive, &[("content-encoding", "gzip")], broken);
    assert_eq!(undecodable.status, 400);
    let unknown = post(&receive, &[("content-encoding", "br")], LINES);
    assert_eq!(unknown.status, 415);
    assert_eq!(receive.post("/audit-logs", &[("authorization", "x")], LINES).status, 401);
    assert_eq!(receive.post("/nothing", &[], LINES).status, 404);
    check_metric(&receive, "vidimus_requests_refused_total{status=\"401\"} 1");
    check_metric(&receive, "vidimus_deliveries_total{input=\"default\",status=\"415\"} 1");
    receive.stop();

    let found = singles(journal.path(), 0);
    let expected: [(_, _, &[u8]); 2] = [(400, &undecodable, broken), (415, &unknown, LINES)];
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (one, (status, answer, body)) in found.iter().zip(expected) {
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert_eq!(one.undecoded, Some((status, detail)));
        assert_eq!(one.body, body);
    }
}

#[test]
fn health_readiness_and_metrics_are_served_and_no_pages() {
    let journal = folder();
    let receive = setup(journal.path(), "").start();
    assert_eq!(get(&receive, "/healthz").text(), "ok\n");
    wait_until_ready(&receive);
    assert_eq!(get(&receive, "/readyz").json(), json!({"journal": "ok"}));
    receive.deliver(LINES);
    for line in [
        "vidimus_journal_puts_total 1",
        "vidimus_journal_put_deliveries_total 1",
        "vidimus_journal_put_duration_seconds_count 1",
        "vidimus_journal_writable 1",
        "vidimus_journal_epoch 0",
        "vidimus_journal_next_object 1",
        "vidimus_journal_waiting_deliveries 0",
        "vidimus_journal_lines_total{input=\"default\"} 3",
        "vidimus_deliveries_total{input=\"default\",status=\"200\"} 1",
    ] {
        check_metric(&receive, line);
    }
    for path in ["/", "/setup", "/api/v1/entries", "/login"] {
        assert_eq!(get(&receive, path).status, 404, "{path}");
    }
}

#[test]
fn a_journal_that_is_gone_is_answered_500_until_it_is_back() {
    let home = folder();
    let journal = home.path().join("journal");
    let mut receive = setup(&journal, "put_timeout = \"2s\"\n").start();
    wait_until_ready(&receive);
    let moved = home.path().join("moved");
    fs::rename(&journal, &moved).unwrap();
    fs::write(&journal, "no folder").unwrap();
    assert_eq!(post(&receive, &[], b"1").status, 500);
    wait_until("trouble", || get(&receive, "/readyz").status == 503);
    check_metric(&receive, "vidimus_journal_writable 0");
    receive.wait_for_log("the journal fails; trying again");
    fs::remove_file(&journal).unwrap();
    fs::rename(&moved, &journal).unwrap();
    // It recovers without a delivery.
    wait_until_ready(&receive);
    assert_eq!(receive.deliver(b"2"), json!({"received": 1, "malformed": 1}));
    receive.stop();
    let bodies: Vec<_> = singles(&journal, 1).into_iter().map(|one| one.body).collect();
    assert_eq!(bodies, [b"2"]);
}

#[test]
fn too_many_waiting_bytes_are_answered_429_and_a_shutdown_puts_what_waits() {
    let journal = folder();
    let url = journal.path().display();
    let config = format!(
        "[journal]\nurl = \"file://{url}\"\nmax_wait = \"1h\"\nput_timeout = \"2h\"\n\
         [receiver]\nmax_body = \"64KiB\"\nmax_decoded = \"64KiB\"\nmax_in_flight = \"128KiB\"\n\
         queue_timeout = \"10ms\"\n"
    );
    let mut receive = Setup::receive().config(&config).arguments("--no-tls").start();
    let body = "x".repeat(60 << 10);
    let headers = [("authorization", receive.authorization.as_str())];
    let mut waiting = [receive.connect(), receive.connect()];
    for connection in &mut waiting {
        connection.request("POST", "/audit-logs", &headers, body.as_bytes());
    }
    wait_until("two that wait", || {
        let text = get(&receive, "/metrics").text();
        text.lines().any(|line| line == "vidimus_journal_waiting_deliveries 2")
    });
    let refused = post(&receive, &[], body.as_bytes());
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("5")));
    receive.signal(Signal::TERM);
    for connection in &mut waiting {
        assert_eq!(connection.answer().json(), json!({"received": 1, "malformed": 1}));
    }
    receive.wait_for_end();
    let objects = epoch(journal.path(), 0);
    assert_eq!(objects.iter().map(Vec::len).collect::<Vec<_>>(), [2]);
}

#[test]
fn two_receivers_have_two_epochs() {
    let journal = folder();
    let mut receivers = [0, 1].map(|_| setup(journal.path(), "").start());
    for receive in &receivers {
        wait_until_ready(receive);
    }
    for (receive, body) in receivers.iter().zip(["1", "2"]) {
        receive.deliver(body);
        receive.deliver(body);
    }
    for receive in &mut receivers {
        receive.stop();
    }
    let mut epochs: Vec<Vec<_>> = (0..2)
        .map(|number| singles(journal.path(), number).into_iter().map(|one| one.body).collect())
        .collect();
    epochs.sort_unstable();
    assert_eq!(epochs, [[b"1", b"1"], [b"2", b"2"]]);
    // A receiver that starts again begins an epoch of its own.
    receivers[0].restart();
    receivers[0].deliver("3");
    assert_eq!(singles(journal.path(), 2)[0].body, b"3");
}

#[test]
fn objects_are_encrypted_with_a_key_file() {
    let journal = folder();
    let setup = setup(journal.path(), "key_file = \"key\"\n").file("key", [7; 32]);
    let receive = setup.start();
    receive.deliver(LINES);
    let object = fs::read(journal.path().join(key(0, 0))).unwrap();
    assert_eq!(object[24], 1);
    assert!(!object.windows(4).any(|part| part == b"POST"));
    assert!(!receive.stderr().contains("journal.key_file is not set"), "{}", receive.stderr());
}

#[test]
fn settings_that_are_missing_or_wrong_are_named() {
    let check = |setup: &Setup, code: i32, expected: &str| {
        let (status, stderr) = setup.fail();
        assert_eq!(status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}\nexpected {expected}");
    };
    check(&Setup::receive(), 2, "write url = \"s3://BUCKET/PREFIX\" under [journal]");
    let journal = folder();
    let short = setup(journal.path(), "key_file = \"key\"\n").file("key", "short");
    check(&short, 3, "has 5 bytes, expected 32 to 65536 random bytes");
    check(&setup(journal.path(), "key_file = \"key\"\n"), 3, "cannot read the key file key");
    let receive = setup(journal.path(), "").start();
    receive.wait_for_log("can forge unsigned entries, peers and times");
}

/// The program in docs/journal-object.md reads what the receiver wrote.
#[test]
fn the_documented_program_reads_an_object() {
    let (Some(mut python), Some(_)) = (tool("python3"), tool("zstd")) else { return };
    let journal = folder();
    let receive = setup(journal.path(), "").start();
    receive.deliver(LINES);
    let document = include_str!("../../../docs/journal-object.md");
    let program = document.split("```python\n").nth(1).and_then(|rest| rest.split("```").next());
    let object = journal.path().join(key(0, 0));
    python.args(["-c", program.unwrap()]).arg(&object);
    let (code, stdout, stderr) = output_of(python.arg(key(0, 0)));
    assert_eq!(code, Some(0), "{stderr}");
    let (first, rest) = stdout.split_once('\n').unwrap();
    assert!(first.starts_with("# 0: default 127.0.0.1:"), "{first}");
    assert_eq!(rest.as_bytes(), LINES);
    // The checksum covers the key.
    let mut python = tool("python3").unwrap();
    python.args(["-c", program.unwrap()]).arg(&object);
    let (code, _, stderr) = output_of(python.arg(key(0, 1)));
    assert!(code != Some(0) && stderr.contains("damaged"), "{code:?} {stderr}");
}
