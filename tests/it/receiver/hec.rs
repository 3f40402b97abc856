//! An input that answers like Splunk's HTTP Event Collector. It stores, quarantines, refuses and
//! counts the same as an input with the default answers. The tests compare the two.

use serde_json::{Value, json};

use crate::harness::http::{head, post_http2};
use crate::harness::stored::{self, Quarantined};
use crate::harness::{Answer, Serve, Setup, gzip, wait_until};

const SECRET: &str = "Splunk 01234567-89ab";
const RIGHT: (&str, &str) = ("authorization", SECRET);
const BR: (&str, &str) = ("content-encoding", "br");
const RAW: &str = "/services/collector/raw";
const LINE: &[u8] = b"CEF:0|a|b|c|d|e|1|act=POST\nno entry\n";

/// A server with one input with this profile. The caps are 64 KiB as sent, 128 KiB decoded.
fn start(profile: &str, more: &str) -> Serve {
    let config = format!(
        "
[receiver]
max_body = '64KiB'
max_decoded = '128KiB'
max_in_flight = '192KiB'
{more}
[[input]]
name = 'lab'
path = '{RAW}'
authorization = '{SECRET}'
{profile}
"
    );
    Setup::new().config(&config).start()
}

fn splunk() -> Serve {
    start("response_profile = 'splunk-hec'", "")
}

fn ask(serve: &Serve, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut connection = serve.connect();
    connection.request(method, target, headers, body);
    connection.answer()
}

fn check(answer: &Answer, status: u16, body: &Value, what: &str) {
    assert_eq!((answer.status, &answer.json()), (status, body), "{what}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{what}");
    assert_eq!(answer.header("www-authenticate").is_some(), status == 401, "{what}");
}

/// A request, the status of the default answer, and the status and body of HEC's answer.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16, (u16, Value));

#[test]
fn each_answer_is_splunks_and_the_outcome_is_the_same() {
    let ours = start("", "");
    let splunks = splunk();
    let large = vec![b'x'; (64 << 10) + 1];
    let bomb = gzip(&vec![b'x'; (128 << 10) + 1]);
    let broken = &gzip(b"hello")[..20];
    let wrong = |value: &'static str| [("authorization", value)];
    let success = || (200, json!({"text": "Success", "code": 0}));
    let required = || (401, json!({"text": "Token is required", "code": 2}));
    let authorization = || (401, json!({"text": "Invalid authorization", "code": 3}));
    let token = || (403, json!({"text": "Invalid token", "code": 4}));
    let no_data = || (400, json!({"text": "No data", "code": 5}));
    let format = |status| {
        (status, json!({"text": "Invalid data format", "code": 6, "invalid-event-number": 0}))
    };
    let not_found = |status| {
        let text = "The requested URL was not found on this server.";
        (status, json!({"text": text, "code": 404}))
    };
    let cases: &[Case<'_>] = &[
        ("POST", RAW, &[RIGHT], LINE, 200, success()),
        ("POST", RAW, &[RIGHT], &gzip(LINE), 200, success()),
        ("POST", &format!("{RAW}?channel=x&sourcetype=y"), &[RIGHT], b"{}", 200, success()),
        ("POST", RAW, &[], LINE, 401, required()),
        ("POST", RAW, &wrong(""), LINE, 401, required()),
        ("POST", RAW, &wrong("Splunk"), LINE, 401, required()),
        ("POST", RAW, &wrong("01234567-89ab"), LINE, 401, authorization()),
        ("POST", RAW, &wrong("Bearer 01234567-89ab"), LINE, 401, authorization()),
        ("POST", RAW, &[RIGHT, RIGHT], LINE, 401, authorization()),
        ("POST", RAW, &wrong("Splunk 01234567-89aB"), LINE, 401, token()),
        ("POST", RAW, &wrong("splunk 01234567-89ab"), LINE, 401, token()),
        ("POST", RAW, &wrong("Basic eDowMTIzNDU2Ny04OWFi"), &large, 401, token()),
        ("POST", RAW, &[RIGHT], b"", 200, no_data()),
        ("POST", RAW, &[RIGHT], &gzip(b""), 200, no_data()),
        ("POST", RAW, &[RIGHT], b"\r\n\n", 200, no_data()),
        ("POST", RAW, &[RIGHT], broken, 400, format(400)),
        ("POST", RAW, &[RIGHT, BR], b"brotli", 415, format(415)),
        ("POST", RAW, &[RIGHT], &large, 413, format(413)),
        ("POST", RAW, &[RIGHT], &bomb, 413, format(413)),
        ("GET", RAW, &[RIGHT], b"", 405, not_found(405)),
    ];
    for (method, target, headers, body, status, (hec_status, hec_body)) in cases {
        let what = format!("{method} {target} {headers:?} {:.20}", body.escape_ascii());
        assert_eq!(ask(&ours, method, target, headers, body).status, *status, "{what}");
        let answer = ask(&splunks, method, target, headers, body);
        check(&answer, *hec_status, hec_body, &what);
        assert_eq!(answer.header("allow").is_some(), *status == 405, "{what}");
        if *method == "POST" {
            let answer = post_http2(&splunks, target, headers, body).unwrap();
            check(&answer, *hec_status, hec_body, &format!("HTTP/2: {what}"));
        }
    }
    let kept = stored::quarantined(&splunks.data());
    let kept: Vec<_> = kept.iter().map(|one| (one.status, &one.body[..])).collect();
    let twice = |status, body| [(status, body); 2];
    assert_eq!(kept, [twice(400, broken), twice(415, &b"brotli"[..])].concat());
}

#[test]
fn both_profiles_store_the_same() {
    let broken = &gzip(b"hello")[..20];
    let bodies = [
        (&[RIGHT][..], LINE),
        (&[RIGHT], LINE),
        (&[RIGHT], b""),
        (&[RIGHT], broken),
        (&[RIGHT, BR], b"brotli"),
        (&[("authorization", "Splunk x")], LINE),
        (&[], LINE),
    ];
    type Found = (String, usize, Vec<Quarantined>, Vec<(Option<u16>, String, Option<String>)>);
    let found = |mut serve: Serve| -> Found {
        for (headers, body) in bodies {
            ask(&serve, "POST", RAW, headers, body);
        }
        ask(&serve, "GET", RAW, &[RIGHT], b"");
        serve.stop();
        let data = serve.data();
        let refused = stored::refused(&data).into_iter();
        let refused = refused.map(|one| (one.status, one.reason, one.scheme)).collect();
        (
            format!("{:?}", stored::entries(&data)),
            stored::deliveries(&data).len(),
            stored::quarantined(&data),
            refused,
        )
    };
    let ours = found(start("", ""));
    assert_eq!(found(splunk()), ours);
    assert_eq!(found(start("response_profile = 'vidimus'", "")), ours);
    let (entries, deliveries, quarantined, refused) = ours;
    assert_eq!(entries.matches("2 deliveries").count(), 2, "{entries}");
    let statuses: Vec<_> = refused.iter().map(|(status, ..)| status.unwrap()).collect();
    assert_eq!((deliveries, quarantined.len()), (3, 2));
    assert_eq!(statuses, [400, 415, 401, 401, 405]);
}

#[test]
fn a_busy_receiver_answers_429_and_a_full_quarantine_500() {
    let serve = start(
        "response_profile = 'splunk-hec'\n[store]\nquarantine_size = '30B'",
        "queue_timeout = '10ms'",
    );
    let length = 64 << 10;
    // Three bodies, each without its last byte, reserve the whole budget.
    let holding: Vec<_> = (0..3)
        .map(|_| {
            let mut connection = serve.connect();
            connection.send(head("POST", RAW, &[RIGHT], length));
            connection.send(vec![b'x'; length - 1]);
            connection
        })
        .collect();
    let mut busy = None;
    wait_until("a 429", || {
        let answer = serve.post(RAW, &[RIGHT], LINE);
        busy = (answer.status != 200).then_some(answer);
        busy.is_some()
    });
    let busy = busy.unwrap();
    check(&busy, 429, &json!({"text": "Server is busy", "code": 9}), "429");
    assert!(busy.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    drop(holding);
    wait_until("room", || serve.post(RAW, &[RIGHT], LINE).status == 200);

    let broken = &gzip(b"hello")[..20];
    assert_eq!(serve.post(RAW, &[RIGHT], broken).status, 400);
    let answer = serve.post(RAW, &[RIGHT], broken);
    check(&answer, 500, &json!({"text": "Internal server error", "code": 8}), "500");
}

#[test]
fn splunks_health_needs_no_token() {
    let healthy = json!({"text": "HEC is healthy", "code": 17});
    let (ours, splunks) = (start("", ""), splunk());
    for path in ["/services/collector/health", "/services/collector/health/1.0"] {
        check(&ask(&splunks, "GET", path, &[], b""), 200, &healthy, path);
        let refused = ask(&splunks, "POST", path, &[RIGHT], b"");
        assert_eq!((refused.status, refused.header("allow")), (405, Some("GET, HEAD")), "{path}");
        assert_eq!(refused.json()["code"], 404, "{path}");
        assert_eq!(ask(&ours, "GET", path, &[], b"").status, 404, "{path}");
    }
    // Paths of no input get the default answer.
    let nowhere = ask(&splunks, "POST", "/services/collector/event", &[RIGHT], b"{}");
    assert_eq!(nowhere.status, 404);
    assert_eq!(nowhere.header("content-type"), Some("application/problem+json"));
    assert_eq!(ask(&splunks, "GET", "/healthz", &[], b"").text(), "ok\n");
}

#[test]
fn the_body_is_not_requested_before_the_authorization_is_checked() {
    let serve = splunk();
    let expect = ("expect", "100-continue");
    for (value, status) in [("Splunk x", 403), ("x", 401), ("", 401)] {
        let mut connection = serve.connect();
        connection.send(head("POST", RAW, &[("authorization", value), expect], 3));
        assert_eq!(connection.answer().status, status, "{value:?}");
    }
    let mut connection = serve.connect();
    connection.send(head("POST", RAW, &[RIGHT, expect], 2));
    assert_eq!(connection.answer().status, 100);
    connection.send("{}");
    assert_eq!(connection.answer().json()["code"], 0);
}
