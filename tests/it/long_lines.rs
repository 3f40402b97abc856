//! Lines that are too long to parse. They are stored whole, shown truncated, and skipped by
//! outputs.

use std::fs;
use std::path::Path;

use ring::digest;
use serde_json::Value;
use vidimus::signature::KeySet;
use vidimus::store::{Directory, Options, Reader};

use crate::console::{ask, conforms, get};
use crate::harness::home::{Home, append};
use crate::harness::{
    Endpoint, Reply, Serve, Setup, assert_sound, cef, json_lines, run, wait_until,
};

/// A configuration with a short limit for parsed lines.
const SHORT: &str = "[receiver]\nmax_line = '1KiB'\n";

/// The SHA-256 in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that an entry shows the first `kept` bytes of `line`, with the length and the SHA-256 of
/// the whole line.
#[track_caller]
pub(crate) fn assert_truncated(entry: &Value, line: &[u8], kept: usize) {
    assert_eq!(entry["reason"], "line_too_long");
    assert_eq!(entry["raw"].as_str().unwrap().as_bytes(), &line[..kept]);
    assert_eq!(entry["raw_truncated"], true);
    assert_eq!(entry["raw_bytes"], line.len());
    assert_eq!(entry["raw_sha256"], sha256(line));
}

/// A server that got a line over the limit twice, and a short line.
fn serve_with_long_line(config: &str) -> (Serve, Vec<u8>) {
    let serve = Setup::new().config(&format!("{SHORT}{config}")).start();
    let line = format!("{{\"name\":\"{}\"}}", "x<".repeat(1500)).into_bytes();
    let body = [line.as_slice(), b"\n", cef(1).as_bytes(), b"\n"].concat();
    let answer = serve.deliver(&body);
    assert_eq!((&answer["stored"], &answer["malformed"]), (&2.into(), &1.into()));
    // The long line again is a duplicate.
    assert_eq!(serve.deliver(&line)["duplicates"], 1);
    (serve, line)
}

#[test]
fn a_long_line_is_shown_truncated_and_can_be_fetched_whole() {
    let (serve, line) = serve_with_long_line("");
    let entry = ask(&serve, "/api/v1/entries/1");
    assert_truncated(&entry, &line, 1024);
    assert_eq!(entry["delivery_count"], 2);
    let page = ask(&serve, "/api/v1/entries");
    let entries = page["entries"].as_array().unwrap();
    let truncated: Vec<_> = entries.iter().map(|entry| entry.get("raw_truncated")).collect();
    // Only the truncated entry has the member.
    assert_eq!(truncated.iter().flatten().count(), 1, "{truncated:?}");

    let html = get(&serve, "/entries/1").text();
    assert!(html.contains(&sha256(&line)), "{html}");
    assert!(html.contains("href=\"/entries/1/raw\""), "{html}");
    assert!(html.contains("The line is 2.94 KiB long."), "{html}");
    for path in ["/entries/1/raw", "/api/v1/entries/1/raw"] {
        let answer = get(&serve, path);
        assert_eq!((answer.status, &answer.body), (200, &line), "{path}");
        conforms("get", "/api/v1/entries/1/raw", &answer);
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        let name = answer.header("content-disposition");
        assert_eq!(name, Some("attachment; filename=\"entry-1.log\""));
    }
    assert_eq!(get(&serve, "/entries/2/raw").body, cef(1).as_bytes());
    for path in ["/entries/3/raw", "/api/v1/entries/x/raw"] {
        assert_eq!(get(&serve, path).status, 404, "{path}");
    }

    let data = serve.data();
    let (code, out, _) = run(["export", "id:1", "-o", "raw", "--data-dir"], &data);
    assert_eq!((code, out.as_bytes()), (Some(0), [line.as_slice(), b"\n"].concat().as_slice()));
    let (_, out, _) = run(["query", "-o", "raw", "--data-dir"], &data);
    assert_eq!(out.lines().map(str::len).max(), Some(line.len()));
    let (_, out, _) = run(["query", "verdict:malformed", "-o", "jsonl", "--data-dir"], &data);
    assert_truncated(&json_lines(&out)[0], &line, 1024);
}

#[test]
fn an_output_skips_a_long_line_and_writes_a_dead_letter() {
    let endpoint = Endpoint::start(|_| Reply::status(200));
    let file = |name: &str, format: &str| {
        format!(
            "[[output]]\nname = '{name}'\ntype = 'file'\npath = '{name}.log'\nformat = '{format}'\n"
        )
    };
    let http = format!(
        "[[output]]\nname = 'http'\ntype = 'http'\nurl = '{}'\nbatch_every = '100ms'\n",
        endpoint.url("/in")
    );
    let (mut serve, line) =
        serve_with_long_line(&[file("json", "json"), file("raw", "raw"), http].concat());
    let passed = || {
        let read = |name: &str| fs::read_to_string(serve.home().join(name)).unwrap_or_default();
        read("raw.log") == cef(1) + "\n"
            && read("json.log").lines().count() == 1
            && endpoint.taken().len() == 1
    };
    wait_until("the short line in all outputs", passed);
    let data = serve.data();
    let of = |name: &str| data.join("dead-letters").join(format!("{name}.jsonl"));
    wait_until("dead letters", || ["json", "raw", "http"].iter().all(|name| of(name).exists()));
    serve.stop();
    for name in ["json", "raw", "http"] {
        let letters = json_lines(&fs::read_to_string(of(name)).unwrap());
        assert_eq!(letters.len(), 1, "{name}");
        assert_truncated(&letters[0]["entry"], &line, 1024);
        assert_eq!((&letters[0]["output"], &letters[0]["entry"]["id"]), (&name.into(), &1.into()));
        assert!(letters[0]["reason"].as_str().unwrap().contains("export -o raw id:1"));
    }
    let (_, out, _) = run(["output", "status", "-o", "jsonl", "--data-dir"], &data);
    for standing in json_lines(&out) {
        let counts = (&standing["written"], &standing["dead_letters"], &standing["next_id"]);
        assert_eq!(counts, (&1.into(), &1.into(), &3.into()), "{standing}");
    }
    // A restart writes no dead letter again.
    serve.restart();
    serve.deliver(cef(2));
    wait_until("the next line", || {
        fs::read_to_string(serve.home().join("raw.log")).unwrap().lines().count() == 2
    });
    serve.stop();
    assert_eq!(json_lines(&fs::read_to_string(of("raw")).unwrap()).len(), 1);
}

/// A line of two and a half pieces.
fn long_line() -> String {
    "abcde".repeat(1 << 19)
}

fn check(home: &Path) -> (Option<i32>, String) {
    let (code, out, _) = run(["store", "check", "--data-dir"], home);
    (code, out)
}

#[test]
fn a_check_reads_every_piece() {
    let home = Home::new();
    let store = home.open(Options::default());
    append(&store, &long_line(), &KeySet::default());
    drop(store);
    assert_eq!(check(&home.path).0, Some(0), "{}", check(&home.path).1);
    let live = "0000000000000001.live.db";
    let damages = [
        (
            "UPDATE pieces SET bytes = zeroblob(1048576) WHERE number = 1",
            "the SHA-256 of the pieces of its line is not the recorded one",
        ),
        ("DELETE FROM pieces WHERE number = 2", "found 2097152 bytes in pieces"),
        ("UPDATE raw SET line = zeroblob(10)", "its line and the pieces of it begin differently"),
    ];
    for (sql, difference) in damages {
        home.damage(live, sql);
        let (code, found) = check(&home.path);
        assert_eq!(code, Some(1), "{sql}");
        assert!(found.contains(difference), "{sql}: {found}");
    }
}

#[test]
fn sealing_splits_the_long_lines_of_an_earlier_version() {
    let home = Home::new();
    let store = home.open(Options::default());
    append(&store, &(long_line() + "\nhello\n"), &KeySet::default());
    drop(store);
    home.damage(
        "0000000000000001.live.db",
        "UPDATE raw SET line = CAST((SELECT group_concat(bytes, '') FROM
             (SELECT bytes FROM pieces ORDER BY number)) AS BLOB) WHERE id = 1;
         DROP TABLE pieces;
         DROP TABLE spellings;
         DROP INDEX entries_signed;
         ALTER TABLE entries DROP COLUMN signed;
         ALTER TABLE entries DROP COLUMN line_bytes;
         ALTER TABLE entries DROP COLUMN line_sha256;
         DROP INDEX deliveries_origin;
         ALTER TABLE deliveries DROP COLUMN stored_at;
         ALTER TABLE deliveries DROP COLUMN epoch;
         ALTER TABLE deliveries DROP COLUMN number;
         ALTER TABLE deliveries DROP COLUMN position;
         ALTER TABLE entries DROP COLUMN leaf;
         ALTER TABLE segment DROP COLUMN first_leaf;
         DROP TABLE leaves;
         PRAGMA user_version = 1;",
    );
    let reader = || Reader::open(&Directory::open(&home.path).unwrap()).unwrap();
    let whole = || reader().entry(1).unwrap().unwrap().whole.unwrap();
    assert_eq!((whole().bytes, whole().sha256), (Some(long_line().len() as u64), None));
    assert_eq!(check(&home.path).0, Some(0), "{}", check(&home.path).1);
    home.open(Options::default()).seal().unwrap();
    assert_eq!(whole().sha256(), Some(sha256(long_line().as_bytes())));
    let pieces = (0..).map_while(|number| reader().line_piece(1, number).unwrap());
    assert!(pieces.flatten().eq(long_line().bytes()));
    assert_eq!(check(&home.path).0, Some(0), "{}", check(&home.path).1);
    let store = home.open(Options::default());
    append(&store, &long_line(), &KeySet::default());
    assert_eq!(reader().entry(1).unwrap().unwrap().whole.unwrap().bytes, whole().bytes);
    assert!(reader().entry(3).unwrap().is_none(), "the entry existed before");
}

#[test]
fn lines_of_many_pieces_that_are_parsed_are_sealed() {
    let config = "[receiver]\nmax_line = '16MiB'\nmax_body = '64MiB'\nmax_decoded = '64MiB'\n";
    let mut serve = Setup::new().config(config).start();
    let line = |length: usize| format!("{{\"name\":\"{}\"}}\n", "x".repeat(length));
    let body = [line(1), line(3 << 19), line(6 << 20), line((16 << 20) - 20), line(2)].concat();
    assert_eq!(serve.deliver(&body)["stored"], 5);
    serve.stop();
    let data = serve.data();
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    let (code, out, stderr) = run(["export", "-o", "raw", "--data-dir"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(out == body);
    let (_, stats, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], &data);
    assert_eq!(json_lines(&stats)[0]["states"]["sealed"], 1);
    assert_sound(&data);
}
