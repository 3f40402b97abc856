//! The stream of new entries: it resumes after an event, and a slow reader blocks nobody.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use super::{ask, connect, get, host, line, send};
use crate::harness::{KeyReply, KeyServer, RawConnection, Serve, Setup, Signer, jwks};

/// A server-sent event.
#[derive(Clone, Debug)]
struct Event {
    kind: String,
    id: String,
    data: Value,
}

impl Event {
    fn entry(&self) -> u64 {
        self.data["id"].as_u64().unwrap()
    }
}

/// A client of the stream.
struct Follower(BufReader<RawConnection>);

impl Follower {
    /// Opens the stream and waits until it is live.
    fn open(serve: &Serve, query: &str, last: Option<&str>) -> Follower {
        let mut connection = connect(serve);
        let last = last.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        // With HTTP/1.0 the answer is not chunked and ends with the connection.
        let host = host(serve);
        connection
            .send(format!("GET /api/v1/stream?q={query} HTTP/1.0\r\nhost: {host}\r\n{last}\r\n"));
        let mut follower = Follower(BufReader::new(connection));
        let head: Vec<_> =
            std::iter::from_fn(|| Some(follower.line()).filter(|line| !line.is_empty())).collect();
        assert!(head[0].contains(" 200 "), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        while !follower.line().starts_with(": listening") {}
        follower
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream has ended");
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    fn next(&mut self) -> Event {
        let (mut kind, mut id, mut data) = (String::new(), String::new(), String::new());
        loop {
            let line = self.line();
            match line.split_once(": ") {
                None if line.is_empty() && !data.is_empty() => {
                    let data = serde_json::from_str(&data).unwrap();
                    return Event { kind, id, data };
                }
                None => {}
                Some(("event", value)) => kind = value.to_owned(),
                Some(("id", value)) => id = value.to_owned(),
                Some(("data", value)) => data += value,
                Some(("" | ":", _)) => {}
                Some(other) => panic!("{other:?} is no part of an event"),
            }
        }
    }

    fn take(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|_| self.next()).collect()
    }
}

fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(|n| line(1_000_000 + n, 200 + n % 2)).collect()
}

fn entries(events: &[Event]) -> Vec<u64> {
    assert!(events.iter().all(|event| event.kind == "entry"), "{events:?}");
    events.iter().map(Event::entry).collect()
}

#[test]
fn the_stream_sends_new_entries_and_resumes_after_an_event() {
    let serve = Setup::new().config("[store]\nsegment_entries = 7\n").start();
    serve.deliver(lines(0..5));
    let mut follower = Follower::open(&serve, "", None);
    serve.deliver(lines(5..15));
    let events = follower.take(10);
    assert_eq!(entries(&events), (6..=15).collect::<Vec<_>>());
    assert_eq!(events[0].data, ask(&serve, "/api/v1/entries/6"));
    drop(follower);

    serve.deliver(lines(15..20));
    for (at, event) in events.iter().enumerate() {
        let mut again = Follower::open(&serve, "", Some(&event.id));
        let expected: Vec<u64> = (7 + at as u64..=20).collect();
        assert_eq!(entries(&again.take(expected.len())), expected);
    }
    // The stream skips other entries and still resumes at the right id.
    let mut odd = Follower::open(&serve, "status:201", Some(&events[0].id));
    let odds = odd.take(7);
    assert_eq!(entries(&odds), [8, 10, 12, 14, 16, 18, 20]);
    let mut rest = Follower::open(&serve, "status:201", Some(&odds[5].id));
    assert_eq!(entries(&rest.take(1)), [20]);
}

#[test]
fn a_changed_verdict_is_sent() {
    let (one, two) = (Signer::new("k1"), Signer::new("k2"));
    let source = KeyServer::start(KeyReply::Body(jwks(&[&one]).into_bytes()));
    let config = format!("[keys]\njwks = '{}'\nrefresh = '1s'\n", source.url());
    let serve = Setup::new().config(&config).start();
    serve.wait_for_log("the key set has new keys");
    let mut all = Follower::open(&serve, "", None);
    let mut valid = Follower::open(&serve, "verdict:valid", None);
    serve.deliver(two.cef(1));
    let first = all.next();
    assert_eq!((first.kind.as_str(), &first.data["verdict"]), ("entry", &json!("invalid")));
    source.set_keys(jwks(&[&one, &two]));
    for follower in [&mut all, &mut valid] {
        let event = follower.next();
        assert_eq!(event.kind, "changed", "{event:?}");
        assert_eq!((event.entry(), &event.data["verdict"]), (1, &json!("valid")));
    }
    // A client that resumes gets the change too.
    let mut late = Follower::open(&serve, "", Some(&first.id));
    assert_eq!(late.next().kind, "changed");
}

#[test]
fn a_client_far_behind_gets_a_skipped_event() {
    let serve = Serve::start();
    serve.deliver(lines(0..6000));
    let mut follower = Follower::open(&serve, "", Some("1.0"));
    let skipped = follower.next();
    assert_eq!(skipped.kind, "skipped");
    assert_eq!(skipped.data, json!({"from": 1, "to": 5800}));
    assert_eq!(entries(&follower.take(200)), (5801..=6000).collect::<Vec<_>>());
    let mut again = Follower::open(&serve, "", Some(&skipped.id));
    assert_eq!(again.next().entry(), 5801);
}

#[test]
fn a_client_that_does_not_read_blocks_nobody() {
    let mut serve = Serve::start();
    let idle: Vec<_> = (0..4).map(|_| Follower::open(&serve, "", None)).collect();
    let mut reading = Follower::open(&serve, "", None);
    let long = "x".repeat(20_000);
    for round in 0..15 {
        // More than the buffers of a connection.
        let body: String = (0..20)
            .map(|n| format!("{{\"rt\":{},\"user_agent\":\"{long}\"}}\n", 20 * round + n))
            .collect();
        assert_eq!(serve.deliver(body)["stored"], 20);
    }
    assert_eq!(entries(&reading.take(300)), (1..=300).collect::<Vec<_>>());
    assert_eq!(ask(&serve, "/api/v1/stats")["entries"], 300);
    serve.stop();
    drop(idle);
}

#[test]
fn an_invalid_event_id_is_refused() {
    let serve = Serve::start();
    let host = host(&serve);
    for place in ["x", "1", "1.", ".1", "-1.0", "1.0.0", "99999999999999999999.0"] {
        let headers = [("host", host.as_str()), ("last-event-id", place)];
        let answer = send(&serve, "GET", "/api/v1/stream", &headers, b"");
        assert_eq!(answer.status, 400, "{place}");
        super::conforms("get", "/api/v1/stream", &answer);
    }
    assert_eq!(get(&serve, "/api/v1/stream?q=status:abc").status, 400);
}
