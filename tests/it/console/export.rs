//! Exports of the console, compared with what `vidimus query` prints.

use std::process::Command;

use serde_json::json;

use super::{ask, conforms, connect, get, host, line};
use crate::harness::{Answer, Serve, Setup, wait_until};

/// The text of an answer in chunks (RFC 9112, section 7.1). `None` if it breaks off.
pub(crate) fn whole(answer: &Answer) -> Option<Vec<u8>> {
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let (mut whole, mut rest) = (Vec::new(), answer.body.as_slice());
    loop {
        let at = rest.windows(2).position(|two| two == b"\r\n")?;
        let length = std::str::from_utf8(&rest[..at]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        let chunk = rest.get(at + 2..at + 2 + length)?;
        if chunk.is_empty() {
            return Some(whole);
        }
        whole.extend_from_slice(chunk);
        rest = rest.get(at + 4 + length..)?;
    }
}

fn export(serve: &Serve, parameters: &str) -> Vec<u8> {
    let target = format!("/api/v1/export?{parameters}");
    let answer = get(serve, &target);
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    conforms("get", &target, &answer);
    whole(&answer).unwrap_or_else(|| panic!("{target} breaks off"))
}

/// What the command prints.
fn queried(serve: &Serve, query: &str, format: &str, limit: &str) -> Vec<u8> {
    let ran = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["query", query, "-o", format, "--limit", limit, "--data-dir"])
        .arg(serve.data())
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    ran.stdout
}

#[test]
fn an_export_is_what_the_command_prints() {
    let config = "[store]\nsegment_entries = 900\n[receiver]\nmax_line = '1KiB'\n";
    let serve = Setup::new().config(config).start();
    // Several slices and segments.
    let numbered = |n: usize| {
        let line = line(n % 97, 200 + n % 300);
        line.replacen('{', &format!("{{\"n\":{n},"), 1)
    };
    for first in [0, 900, 1800] {
        let lines: String = (first..first + 900).map(numbered).collect();
        assert_eq!(serve.deliver(lines)["stored"], 900);
    }
    let long = "y".repeat(3 << 20);
    let odd =
        ["=cmd()".to_owned(), long, "{\"name\":\"a\u{202e}b\",\"rt\":1,\"x\":\"=1\"}".to_owned()];
    serve.deliver(odd.join("\n"));
    serve.deliver(b"\xff\xfe\n");
    wait_until("sealing", || ask(&serve, "/api/v1/stats")["states"]["sealed"].as_u64() > Some(1));
    for format in ["raw", "jsonl", "csv"] {
        for (query, encoded) in [("*", "*"), ("status:>=400", "status:%3E%3D400"), ("none", "none")]
        {
            let found = export(&serve, &format!("q={encoded}&format={format}"));
            assert!(found == queried(&serve, query, format, "0"), "{query} {format}");
            let some = export(&serve, &format!("q={encoded}&format={format}&limit=1001"));
            assert!(some == queried(&serve, query, format, "1001"), "{query} {format}");
        }
    }
    assert_eq!(export(&serve, "limit=3&format="), queried(&serve, "*", "jsonl", "3"));
    let at_one = export(
        &serve,
        "format=csv&until=1970-01-01T00:00:00.002Z&since=1970-01-01&columns=x,rt&limit=2",
    );
    assert_eq!(String::from_utf8(at_one).unwrap(), "x,rt\n'=1,1\n,1\n");
}

#[test]
fn an_export_is_a_file_and_a_mistake_is_not() {
    let serve = Setup::new().start();
    serve.deliver(line(1, 200));
    for (format, media, extension) in [
        ("raw", "application/octet-stream", "log"),
        ("jsonl", "application/jsonl", "jsonl"),
        ("csv", "text/csv; charset=utf-8; header=present", "csv"),
    ] {
        let answer = get(&serve, &format!("/api/v1/export?format={format}"));
        assert_eq!(answer.header("content-type"), Some(media));
        let name = answer.header("content-disposition").unwrap();
        let name = name.strip_prefix("attachment; filename=\"vidimus-").unwrap();
        let time = name.strip_suffix(&format!("Z.{extension}\"")).unwrap();
        assert!(time.len() == 15 && time.chars().all(|c| c.is_ascii_digit() || c == 'T'), "{name}");
    }
    for (parameters, parameter) in [
        ("format=xml", "format"),
        ("format=CSV", "format"),
        ("format=csv&columns=id,,x", "columns"),
        ("format=csv&columns=delivery", "columns"),
        ("columns=id", "columns"),
        ("limit=0", "limit"),
        ("q=status:abc", "q"),
        ("since=yesterday", "since"),
    ] {
        let target = format!("/api/v1/export?{parameters}");
        let answer = get(&serve, &target);
        assert_eq!(answer.status, 400, "{target}: {}", answer.text());
        conforms("get", &target, &answer);
        assert_eq!(answer.json()["parameter"], parameter, "{target}");
    }
}

#[test]
fn clients_that_take_nothing_hold_up_nobody() {
    let serve = Setup::new().start();
    for n in 0..4 {
        let padding = "x".repeat(500_000);
        let lines = (0..6).map(|m| json!({"rt": 6 * n + m, "padding": padding}).to_string());
        serve.deliver(lines.collect::<Vec<_>>().join("\n"));
    }
    // More than are read at once, and more than the system keeps for a connection.
    let request = format!("GET /api/v1/export HTTP/1.1\r\nhost: {}\r\n\r\n", host(&serve));
    let mut stalled: Vec<_> = (0..6).map(|_| connect(&serve)).collect();
    for connection in &mut stalled {
        connection.send(&request);
        assert_eq!(connection.answer().status, 200);
    }
    assert_eq!(ask(&serve, "/api/v1/stats")["entries"], 24);
    let lines = export(&serve, "");
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 24);
}
