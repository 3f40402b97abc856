//! Batches against an endpoint with scripted responses: requests, retries and dead letters.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::*;
use crate::net::Trigger;
use crate::output::destination::Destination;
use crate::output::testing::{outputs, record};

/// The settings of an output with these keys.
pub(super) fn settings(url: &str, keys: &str) -> (HttpSettings, OutputFormat) {
    let toml = format!("[[output]]\nname = 'a'\ntype = 'http'\nurl = '{url}'\n{keys}\n");
    let output = outputs(&toml).remove(0);
    let Destination::Http(http) = output.to else { panic!("{output:?}") };
    (*http, output.format)
}

/// An endpoint. It sends on every body, and responds with the result of `answers`.
struct Endpoint {
    url: String,
    bodies: Receiver<String>,
}

type Answers = Box<dyn FnMut(&str) -> String + Send>;

/// A response. Each header ends with a line end.
fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

fn endpoint(answers: impl FnMut(&str) -> String + Send + 'static) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/in", listener.local_addr().unwrap());
    let (sender, bodies) = channel();
    let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(answers)));
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let (answers, sender) = (Arc::clone(&answers), sender.clone());
            std::thread::spawn(move || serve(tcp.unwrap(), &answers, &sender));
        }
    });
    Endpoint { url, bodies }
}

fn serve(mut tcp: TcpStream, answers: &Mutex<Answers>, told: &Sender<String>) {
    let mut reader = BufReader::new(tcp.try_clone().unwrap());
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or_default() == 0 {
                return;
            }
            if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let answer = (answers.lock().unwrap())(&body);
        // The test may have ended.
        let _ = told.send(body);
        if tcp.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

impl Endpoint {
    fn bodies(&self) -> Vec<String> {
        self.bodies.try_iter().collect()
    }
}

/// A sink for the endpoint, and the folder of its dead letters.
struct Sending {
    http: HttpSink,
    format: OutputFormat,
    folder: tempfile::TempDir,
    _trigger: Trigger,
}

fn sending(to: &Endpoint, keys: &str) -> Sending {
    let folder = tempfile::tempdir().unwrap();
    let (settings, format) = settings(&to.url, &format!("compress = 'none'\n{keys}"));
    let (trigger, shutdown) = shutdown();
    let dead = folder.path().join("dead.jsonl");
    let http = HttpSink::new("siem", &settings, format, dead, shutdown).unwrap();
    Sending { http, format, folder, _trigger: trigger }
}

impl Sending {
    /// Restores the sink, then writes entries with these ids as the engine does.
    fn write(&mut self, ids: impl IntoIterator<Item = u64>) -> Result<(), OutputError> {
        self.http.restore("").unwrap();
        for id in ids {
            let record = record(id, 0);
            let mut line = Vec::new();
            let forward = crate::output::settings::NotValid::Forward;
            self.format.write_line(&record, forward, &mut line);
            self.http.write(&record, &line, Millis::MIN)?;
        }
        Ok(())
    }

    fn send(&mut self, ids: impl IntoIterator<Item = u64>) -> Result<(), OutputError> {
        self.write(ids)?;
        self.http.sync().map(drop)
    }

    fn letters(&self) -> Vec<Json> {
        let text = std::fs::read_to_string(self.folder.path().join("dead.jsonl"));
        let text = text.unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// The lines of entries in the format `raw`.
fn lines(ids: impl IntoIterator<Item = u64>) -> String {
    ids.into_iter().map(|id| format!("line {id}")).collect::<Vec<_>>().join("\n")
}

const RAW: &str = "format = 'raw'";

#[test]
fn a_batch_is_full_by_its_count_and_its_size() {
    let endpoint = endpoint(|_| answer(200, "", ""));
    let mut sending = sending(&endpoint, "format = 'raw'\nbatch_entries = 3\nbatch_size = 25");
    sending.write(1..=3).unwrap();
    assert!(sending.http.is_full(&record(4, 0), b"line 4\n"));
    sending.write(1..=2).unwrap();
    assert!(!sending.http.is_full(&record(3, 0), b"line 3\n"));
    assert!(sending.http.is_full(&record(3, 0), b"line 3 is much longer\n"));
    // A larger entry is sent alone.
    sending.write([]).unwrap();
    assert!(!sending.http.is_full(&record(3, 0), [b'x'; 99].as_slice()));
    // Without a call of `is_full` a full batch is sent all the same.
    sending.send(1..=7).unwrap();
    assert_eq!(endpoint.bodies(), [lines(1..=3), lines(4..=6), lines(7..=7)]);
    sending.send([]).unwrap();
    assert!(endpoint.bodies().is_empty());
}

#[test]
fn an_array_with_its_brackets_is_not_larger_than_a_batch() {
    let lengths = |keys: &str| -> Vec<usize> {
        let endpoint = endpoint(|_| answer(200, "", ""));
        sending(&endpoint, &format!("body = 'array'\n{keys}")).send(1..=12).unwrap();
        endpoint.bodies().iter().map(String::len).collect()
    };
    // The entries alone, each in brackets.
    let entries = lengths("batch_entries = 1");
    assert_eq!(entries.len(), 12);
    for size in 3 * entries[0] - 4..3 * entries[0] + 4 {
        let mut expected: Vec<usize> = Vec::new();
        for entry in &entries {
            match expected.last_mut() {
                // A comma in the place of two brackets.
                Some(last) if *last + entry - 1 <= size => *last += entry - 1,
                _ => expected.push(*entry),
            }
        }
        assert_eq!(lengths(&format!("batch_size = {size}")), expected, "{size}");
    }
}

#[test]
fn rejected_entries_are_found_and_become_dead_letters_in_order() {
    for status in [400, 413, 422] {
        let endpoint = endpoint(move |body| match body.contains("line 3") || body.contains("6") {
            true => answer(status, "", "no such\tline\x1b"),
            false => answer(200, "", ""),
        });
        let mut sending = sending(&endpoint, RAW);
        sending.send(1..=8).unwrap();
        let taken: Vec<_> =
            endpoint.bodies().into_iter().filter(|body| !body.contains(['3', '6'])).collect();
        assert_eq!(taken.join("\n"), lines([1, 2, 4, 5, 7, 8]));
        let letters = sending.letters();
        let ids: Vec<_> = letters.iter().map(|letter| letter["entry"]["id"].clone()).collect();
        assert_eq!(ids, [3, 6]);
        assert_eq!(letters[0]["output"], "siem");
        assert_eq!(letters[0]["status"], status);
        assert_eq!(letters[0]["url"], endpoint.url);
        let reason = letters[0]["reason"].as_str().unwrap();
        assert!(reason.ends_with(": no such line\u{fffd}"), "{reason}");
        assert_eq!(sending.http.dead_letters(), 2);
        sending.http.counted_dead_letters();
        assert_eq!(sending.http.dead_letters(), 0);
        assert!(sending.http.done.is_empty());
    }
}

#[test]
fn accepted_entries_are_not_sent_again_with_the_rest() {
    let mut busy = true;
    let endpoint = endpoint(move |body| {
        if body.contains("line 2") {
            answer(400, "", "")
        } else if body.contains("line 4") && std::mem::take(&mut busy) {
            // The second half of the batch is retried once.
            answer(429, "retry-after: 7\r\n", "slow down")
        } else {
            answer(200, "", "")
        }
    });
    let mut sending = sending(&endpoint, RAW);
    let error = sending.send(1..=4).unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let text = error.to_string();
    let expected = format!("{}: it answered 429 Too Many Requests: slow down", endpoint.url);
    assert_eq!(text, expected);
    endpoint.bodies();

    sending.send(1..=5).unwrap();
    assert_eq!(endpoint.bodies(), [lines(3..=5)]);
    assert_eq!(sending.letters().len(), 1);
    assert_eq!(sending.http.dead_letters(), 1);
    assert!(sending.http.done.is_empty());

    // The cursor is past them, so if they are read again they are sent again.
    sending.send(1..=2).unwrap();
    assert_eq!(sending.letters().len(), 2);
}

#[test]
fn after_a_reset_everything_comes_again() {
    let mut count = 0;
    let endpoint = endpoint(move |_| {
        count += 1;
        answer([400, 200, 500, 200][count - 1], "", "")
    });
    let mut sending = sending(&endpoint, RAW);
    sending.send(1..=2).unwrap_err();
    endpoint.bodies();
    sending.http.was_reset();
    sending.send(1..=2).unwrap();
    assert_eq!(endpoint.bodies(), [lines(1..=2)]);
}

#[test]
fn entries_are_not_done_if_the_dead_letters_cannot_be_written() {
    let endpoint = endpoint(|_| answer(400, "", ""));
    let mut sending = sending(&endpoint, RAW);
    let path = sending.folder.path().join("dead.jsonl");
    std::fs::create_dir(&path).unwrap();
    let error = sending.send(1..=2).unwrap_err();
    assert!(matches!(error, OutputError::NoFile(_)), "{error}");
    assert_eq!(sending.http.dead_letters(), 0);
    std::fs::remove_dir(&path).unwrap();
    sending.send(1..=2).unwrap();
    assert_eq!((sending.letters().len(), sending.http.dead_letters()), (2, 2));
}

#[test]
fn items_of_a_bulk_are_taken_one_by_one() {
    let mut asked = 0;
    let endpoint = endpoint(move |body| {
        asked += 1;
        let item = |status: u16, kind: &str| json!({"index": {"status": status, "error": {"type": kind, "reason": "because"}}});
        let taken = json!({"index": {"status": 201}});
        let items = match asked {
            1 => vec![
                taken.clone(),
                item(400, "document_parsing_exception"),
                item(429, "es_rejected_execution_exception"),
                taken,
            ],
            2 => vec![taken],
            _ => panic!("{body}"),
        };
        let errors = items.len() > 1;
        answer(200, "", &json!({"took": 3, "errors": errors, "items": items}).to_string())
    });
    let mut sending = sending(&endpoint, "body = 'bulk'\nindex = 'audit'");
    let error = sending.send(1..=4).unwrap_err().to_string();
    let expected =
        "1 of 4 documents are not taken yet: 429 es_rejected_execution_exception: because";
    assert!(error.ends_with(expected), "{error}");
    sending.send(1..=4).unwrap();
    let bodies = endpoint.bodies();
    let ids = |body: &str| -> Vec<u64> {
        let documents = body.lines().skip(1).step_by(2);
        documents
            .map(|line| serde_json::from_str::<Json>(line).unwrap()["id"].as_u64().unwrap())
            .collect()
    };
    assert_eq!(
        bodies.iter().map(|body| ids(body)).collect::<Vec<_>>(),
        [vec![1, 2, 3, 4], vec![3]]
    );
    assert!(bodies[0].ends_with("}\n"));
    let letters = sending.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["status"], 400);
    assert_eq!(letters[0]["reason"], "400 document_parsing_exception: because");
    assert_eq!(letters[0]["entry"]["id"], 2);
}

#[test]
fn the_number_that_splunk_tells_is_where_a_batch_is_split() {
    let endpoint = endpoint(|body| {
        let at = body.lines().position(|line| line.contains("line 6\""));
        match at {
            Some(at) => {
                let said =
                    json!({"text": "Invalid data format", "code": 6, "invalid-event-number": at});
                answer(400, "", &said.to_string())
            }
            None => answer(200, "", r#"{"text":"Success","code":0}"#),
        }
    });
    let mut sending = sending(&endpoint, "format = 'raw'\nbody = 'hec_event'");
    sending.send(1..=8).unwrap();
    let counts: Vec<_> = endpoint.bodies().iter().map(|body| body.lines().count()).collect();
    assert_eq!(counts, [8, 5, 1, 2]);
    assert_eq!(sending.letters()[0]["entry"]["id"], 6);
}

#[test]
fn parts_are_smaller_and_keep_the_order() {
    let encoder = BodyEncoder::new(&settings("http://127.0.0.1:1/", RAW).0, OutputFormat::Raw);
    let check = |count: u64, first: Option<usize>, expected: &[&[u64]]| {
        let entries: Vec<_> = (0..count).map(|id| encoder.entry(&record(id, 0), b"x\n")).collect();
        let parts = split(&entries, first);
        let ids = |part: &&[Entry]| -> Vec<u64> {
            part.iter().map(|entry| entry.record().raw[5] as u64 - u64::from(b'0')).collect()
        };
        let found: Vec<_> = parts.iter().rev().map(ids).collect();
        assert_eq!(found, expected, "{count} {first:?}");
    };
    check(4, None, &[&[0, 1], &[2, 3]]);
    check(3, None, &[&[0], &[1, 2]]);
    check(4, Some(0), &[&[0], &[1, 2, 3]]);
    check(4, Some(2), &[&[0, 1], &[2], &[3]]);
    check(4, Some(3), &[&[0, 1, 2], &[3]]);
    check(4, Some(4), &[&[0, 1], &[2, 3]]);
}

#[test]
fn a_hostile_response_is_shown_short_and_safe() {
    let check = |said: String, keys: &str, expected: &str| {
        let endpoint = endpoint(move |_| said.clone());
        let mut sending = sending(&endpoint, &format!("{RAW}\ntimeout = '300ms'\n{keys}"));
        let error = sending.send(1..=2).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", endpoint.url)), "{error}");
        assert!(error.contains(expected), "{error}\nexpected {expected}");
        assert!(error.chars().count() < 800 && !error.contains(char::is_control), "{error}");
        assert!(!error.contains("s3cret-token"), "{error}");
    };
    let huge = "x".repeat(2 << 20);
    check(answer(200, "", &huge), "", "it answered with more than ");
    check(answer(500, "", &huge[..1 << 19]), "", "500 Internal Server Error: xxx");
    check(answer(500, "", "\u{1b}]0;title\u{7}\r\nforged log line"), "", "\u{fffd}]0;title");
    let token = "authorization = 'Bearer s3cret-token'";
    check(answer(401, "", "not Bearer s3cret-token"), token, "not (hidden)");
    check(answer(403, "", "no s3cret-token here"), token, "no (hidden) here; look at");
    check(
        answer(302, "location: https://a.test/?k=s3cret-token\r\n", ""),
        "",
        "this one is to https://a.test/",
    );
    check(answer(403, "content-encoding: br\r\n", ""), "", "(encoded as br)");
    check(
        answer(500, "content-encoding: gzip\r\n", "\u{1}"),
        "",
        "500 Internal Server Error: (encoded as gzip)",
    );
    check(
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".into(),
        "",
        "no complete answer within 300ms",
    );
    check("".into(), "", "no complete answer within 300ms");
    check("nonsense\r\n\r\n".into(), "", "the connection failed: ");
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x-filler: y\r\n".repeat(100_000));
    check(endless, "", "the connection failed: ");
}

#[test]
fn a_request_ends_with_the_shutdown() {
    let endpoint = endpoint(|_| String::new());
    let Sending { mut http, folder: _folder, _trigger, .. } = sending(&endpoint, RAW);
    _trigger.begin(Duration::ZERO);
    http.write(&record(1, 0), b"line 1\n", Millis::MIN).unwrap();
    let error = http.sync().unwrap_err().to_string();
    assert!(error.ends_with("the program stopped before there was an answer"), "{error}");
}

#[test]
fn an_endpoint_is_tried_out() {
    let check = |said: &str, keys: &str, expected: Option<&str>| {
        let said = said.to_owned();
        let endpoint = endpoint(move |_| said.clone());
        let (settings, format) = settings(&endpoint.url, &format!("compress = 'none'\n{keys}"));
        let tried = try_out(&settings, format, &record(0, 0), b"{}\n").unwrap();
        let [answered, found] = &tried.lines[..] else { panic!("{tried:?}") };
        assert!(answered.starts_with(&format!("{} answered ", endpoint.url)), "{answered}");
        match (tried.is_taken, expected) {
            (true, None) => assert_eq!(found, "the entry was accepted"),
            (false, Some(expected)) => {
                assert!(found.starts_with("the entry was not accepted: "), "{found}");
                assert!(found.contains(expected), "{found}");
            }
            _ => panic!("{found:?}, expected {expected:?}"),
        }
    };
    check(&answer(200, "", "ok"), RAW, None);
    check(&answer(400, "", "no"), RAW, Some("would be a dead letter: 400 Bad Request: no"));
    check(&answer(404, "", ""), RAW, Some("is the path of url right?"));
    let bulk = "body = 'bulk'\nindex = 'a'";
    let items = |item: &str| {
        answer(200, "", &format!("{{\"errors\":true,\"items\":[{{\"index\":{item}}}]}}"))
    };
    check(&items(r#"{"status":201}"#), bulk, None);
    check(&items(r#"{"status":400,"error":{"type":"x"}}"#), bulk, Some("400 x"));
    check(&answer(200, "", "half"), bulk, Some("its answer is none to a _bulk"));
}
