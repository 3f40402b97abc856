//! A line of the longest body under a memory limit. The program survives everything from the
//! delivery to the sealed segment.

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::console::{ask, get};
use crate::harness::{MemoryLimit, Serve, Setup, cef, json_lines, wait_until};
use crate::long_lines::{assert_truncated, sha256};

/// The length of the line and the memory limit, in bytes. Both are smaller in a slow build without
/// optimisation.
const LENGTH: usize = if cfg!(debug_assertions) { 64 << 20 } else { 256 << 20 };
const MEMORY: u64 = if cfg!(debug_assertions) { 256 << 20 } else { 512 << 20 };

const CONFIG: &str =
    "[[output]]\nname = 'siem'\ntype = 'file'\npath = 'siem.log'\nformat = 'json'\n";

/// The bytes that the two lines repeat.
const LINES: [u8; 2] = [0, b'x'];

/// Delivers a line of one repeated byte as gzip.
fn deliver(serve: &Serve, byte: u8) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let piece = vec![byte; 1 << 20];
    (0..LENGTH >> 20).for_each(|_| encoder.write_all(&piece).unwrap());
    let headers = [("authorization", serve.authorization.as_str()), ("content-encoding", "gzip")];
    let answer = serve.post("/audit-logs", &headers, &encoder.finish().unwrap());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["malformed"], 1);
}

/// Requests every page that shows the lines.
fn look(serve: &Serve) {
    for (id, byte) in (1..).zip(LINES) {
        let line = vec![byte; LENGTH];
        let entry = ask(serve, &format!("/api/v1/entries/{id}"));
        assert_truncated(&entry, &line, 1 << 20);
        let page = get(serve, &format!("/entries/{id}"));
        assert_eq!(page.status, 200, "{}", page.text());
        assert!(page.body.len() < 1 << 20, "{}", page.body.len());
        assert!(page.text().contains(&sha256(&line)));
        let whole = get(serve, &format!("/entries/{id}/raw"));
        assert!(whole.body == line, "{}: {} bytes", whole.status, whole.body.len());
    }
    // A page has as many entries as fit, and the next page has the rest.
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ask(serve, &format!("/api/v1/entries?limit=1000{cursor}"));
        ids.extend(crate::console::ids(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3]);
    for target in ["/", "/?q=xxxx", "/api/v1/entries?q=xxxx", "/overview", "/deliveries"] {
        assert_eq!(get(serve, target).status, 200, "{target}");
    }
}

/// Runs the program on the data directory under a memory limit. Returns its standard output.
fn run(serve: &Serve, arguments: &str) -> Vec<u8> {
    let limit = MemoryLimit::new(MEMORY / 2);
    let mut command = limit.command(env!("CARGO_BIN_EXE_vidimus"));
    command.args(arguments.split(' ')).arg("--data-dir").arg(serve.data());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{arguments}: {status}");
    output
}

fn check(serve: &Serve) {
    for (id, byte) in (1..).zip(LINES) {
        let output = run(serve, &format!("export -o raw id:{id}"));
        assert_eq!(output.len(), LENGTH + 1);
        assert!(output[..LENGTH].iter().all(|found| *found == byte));
    }
    assert_eq!(run(serve, "query -o jsonl xxxx").iter().filter(|byte| **byte == b'\n').count(), 1);
    run(serve, "store check");
}

#[test]
fn a_long_line_takes_little_memory_everywhere() {
    let mut serve = Setup::new().memory(MEMORY).config(CONFIG).start();
    LINES.iter().for_each(|byte| deliver(&serve, *byte));
    serve.deliver(cef(1));
    let lines = |name: &str| {
        let path = serve.home().join(name);
        json_lines(&fs::read_to_string(path).unwrap_or_default())
    };
    wait_until("the short line in the output", || lines("siem.log").len() == 1);
    assert_eq!(lines("siem.log")[0]["id"], 3);
    look(&serve);
    let peak = serve.peak_memory();
    assert!(peak < MEMORY, "{peak}");
    serve.stop();

    check(&serve);
    serve.restart();
    look(&serve);
    let peak = serve.peak_memory();
    assert!(peak < MEMORY / 2, "nothing of the line is taken in: {peak}");
    serve.stop();
    let letters = fs::read_to_string(serve.data().join("dead-letters/siem.jsonl")).unwrap();
    let ids: Vec<_> = json_lines(&letters).iter().map(|one| one["entry"]["id"].clone()).collect();
    assert_eq!(ids, [1, 2]);

    run(&serve, "store seal");
    assert!(serve.data().join("segments/0000000000000001.db").exists());
    check(&serve);
}
