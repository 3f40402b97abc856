//! The answers of the receiver, in the order of its checks.

use crate::harness::http::{head, post_http2};
use crate::harness::stored::{self, Quarantined};
use crate::harness::{Answer, Serve, Setup, gzip, wait_until};

const SECRET: &str = "Splunk 01234567-89ab";
const RIGHT: (&str, &str) = ("authorization", SECRET);
const BR: (&str, &str) = ("content-encoding", "br");
const GZIP: (&str, &str) = ("content-encoding", "application/gzip");

/// Small caps for tests: 64 KiB as sent, 128 KiB decoded.
const CAPS: &str = "[receiver]
max_body = '64KiB'
max_decoded = '128KiB'
max_in_flight = '192KiB'
body_timeout = '10m'
";

fn start(config: &str) -> Serve {
    let mut serve = Setup::new().config(config).argument("--authorization", SECRET).start();
    serve.authorization = SECRET.to_owned();
    serve
}

/// Checks that the answer is a problem (RFC 9457).
fn check_problem(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{what}");
    assert_eq!(problem["type"], "about:blank", "{what}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{what}: {problem}");
    }
    assert!(!answer.text().contains("01234567"), "{what}: {}", answer.text());
}

#[test]
fn the_checks_run_in_order() {
    let serve = start(CAPS);
    let large = vec![b'x'; (64 << 10) + 1];
    let bomb = gzip(&vec![b'x'; (128 << 10) + 1]);
    let broken = &gzip(b"hello")[..20];
    let wrong = ("authorization", "Splunk 01234567-89aB");
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);
    let cases: &[Case<'_>] = &[
        // The path comes first.
        ("POST", "/", &[RIGHT], b"", 404),
        ("GET", "/audit-logs/", &[], b"", 404),
        ("POST", "//audit-logs", &[RIGHT, BR], &large, 404),
        ("POST", "/AUDIT-LOGS", &[RIGHT], b"", 404),
        ("POST", "/audit%2Dlogs", &[RIGHT], b"", 404),
        // The method.
        ("GET", "/audit-logs", &[RIGHT], b"", 405),
        ("PUT", "/audit-logs", &[wrong, BR], &large, 405),
        ("POST", "/healthz", &[RIGHT], b"", 405),
        // The authorization.
        ("POST", "/audit-logs", &[], b"", 401),
        ("POST", "/audit-logs", &[wrong], b"", 401),
        ("POST", "/audit-logs", &[RIGHT, RIGHT], b"", 401),
        ("POST", "/audit-logs", &[RIGHT, wrong], b"", 401),
        ("POST", "/audit-logs", &[("authorization", "01234567-89ab")], b"", 401),
        ("POST", "/audit-logs", &[("authorization", "Splunk 01234567-89ab, x")], b"", 401),
        ("POST", "/audit-logs", &[("authorization", "Splunk 01234567-89a")], b"", 401),
        ("POST", "/audit-logs", &[("authorization", "splunk 01234567-89ab")], b"", 401),
        ("POST", "/audit-logs", &[("authorization", "")], b"", 401),
        ("POST", "/audit-logs", &[wrong, BR], &large, 401),
        // The encoding.
        ("POST", "/audit-logs", &[RIGHT, BR], b"brotli", 415),
        ("POST", "/audit-logs", &[RIGHT, GZIP, BR], b"both", 415),
        ("POST", "/audit-logs", &[RIGHT, BR], &large, 415),
        // The size, as sent and decoded.
        ("POST", "/audit-logs", &[RIGHT], &large, 413),
        ("POST", "/audit-logs", &[RIGHT, GZIP], &bomb, 413),
        ("POST", "/audit-logs", &[RIGHT], &bomb, 413),
        // Bodies that cannot be decoded.
        ("POST", "/audit-logs", &[RIGHT, GZIP], broken, 400),
        ("POST", "/audit-logs", &[RIGHT], broken, 400),
    ];
    for (method, target, headers, body, status) in cases {
        let what = format!("{method} {target} {headers:?}");
        let mut connection = serve.connect();
        connection.request(method, target, headers, body);
        let answer = connection.answer();
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        check_problem(&answer, &what);
        let allowed = if *target == "/healthz" { "GET, HEAD" } else { "POST" };
        let allow = (*status == 405).then_some(allowed);
        assert_eq!(answer.header("allow"), allow, "{what}");
        let challenged = answer.header("www-authenticate").is_some();
        assert_eq!(challenged, *status == 401, "{what}");
    }
    // Authorized bodies that cannot be decoded are quarantined unchanged.
    let kept = |status, encoding: Option<&str>, body: &[u8]| Quarantined {
        status,
        content_encoding: encoding.map(str::to_owned),
        body: body.to_vec(),
    };
    let expected = [
        kept(415, Some("br"), b"brotli"),
        kept(415, Some("application/gzip, br"), b"both"),
        kept(400, Some("application/gzip"), broken),
        kept(400, None, broken),
    ];
    assert_eq!(stored::quarantined(&serve.data()), expected);
    assert_eq!(serve.lines().len(), 0);
}

#[test]
fn http_two_gets_the_same_answers() {
    let serve = start(CAPS);
    let large = vec![b'x'; (64 << 10) + 1];
    for (path, headers, body, status) in [
        ("/nothing", &[RIGHT][..], &b""[..], 404),
        ("/audit-logs", &[], b"", 401),
        ("/audit-logs", &[RIGHT, RIGHT], b"", 401),
        ("/audit-logs", &[RIGHT, BR], b"x", 415),
        ("/audit-logs", &[RIGHT], &large, 413),
        ("/audit-logs", &[RIGHT, GZIP], &gzip(b"x")[..9], 400),
        ("/audit-logs", &[RIGHT, GZIP], &gzip(b"CEF:0|a|b|c|d|e|1|\n"), 200),
    ] {
        let answer = post_http2(&serve, path, headers, body).unwrap();
        assert_eq!(answer.status, status, "{path} {headers:?}: {}", answer.text());
        if status != 200 {
            check_problem(&answer, path);
        }
    }
    assert_eq!(serve.lines(), [b"CEF:0|a|b|c|d|e|1|"]);
}

#[test]
fn valid_requests_are_accepted() {
    let serve = start(CAPS);
    let target = |target: &str| {
        let mut connection = serve.connect();
        connection.request("POST", target, &[RIGHT], b"");
        connection.answer()
    };
    for one in ["/audit-logs", "/audit-logs?token=x#y", "https://elsewhere/audit-logs"] {
        let answer = target(one);
        assert_eq!(answer.status, 200, "{one}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(
            answer.text(),
            "{\"received\":0,\"stored\":0,\"duplicates\":0,\"malformed\":0,\
             \"verdicts\":{\"valid\":0,\"invalid\":0,\"unsigned\":0,\"no_key\":0}}"
        );
    }
    for method in ["GET", "HEAD"] {
        let mut connection = serve.connect();
        connection
            .send(format!("{method} /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        let answer = String::from_utf8(connection.rest()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{method}: {answer}");
        assert_eq!(answer.ends_with("ok\n"), method == "GET", "{answer}");
    }
    // Bodies of exactly the caps, as sent and decoded.
    let line = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
    assert_eq!(serve.deliver(line(64 << 10))["stored"], 1);
    assert_eq!(serve.deliver(gzip(line(128 << 10).as_bytes()))["stored"], 1);
}

#[test]
fn a_chunked_body_is_held_to_the_caps() {
    let serve = start(CAPS);
    let head = format!(
        "POST /audit-logs HTTP/1.1\r\nhost: x\r\nauthorization: {SECRET}\r\n\
         transfer-encoding: chunked\r\n\r\n"
    );
    let mut connection = serve.connect();
    connection.send(&head);
    connection.send("9\r\n{\"a\":\"abc\r\n5\r\n\"}\n{}\r\n0\r\n\r\n");
    assert_eq!(connection.answer().json()["stored"], 2);
    // The connection still works.
    connection.send(&head);
    for _ in 0..17 {
        connection.send(format!("1000\r\n{}\r\n", "x".repeat(0x1000)));
    }
    assert_eq!(connection.answer().status, 413);
    assert_eq!(serve.lines(), [&b"{\"a\":\"abc\"}"[..], b"{}"]);
}

#[test]
fn the_body_is_not_requested_before_the_authorization_is_checked() {
    let serve = start(CAPS);
    let expect = ("expect", "100-continue");
    let mut connection = serve.connect();
    connection.send(head("POST", "/audit-logs", &[("authorization", "x"), expect], 3));
    assert_eq!(connection.answer().status, 401);
    let mut connection = serve.connect();
    connection.send(head("POST", "/audit-logs", &[RIGHT, expect], 2));
    assert_eq!(connection.answer().status, 100);
    connection.send("{}");
    assert_eq!(connection.answer().status, 200);
}

#[test]
fn too_many_bytes_in_flight_are_answered_429() {
    let config = CAPS.replace("192KiB", "192KiB'\nqueue_timeout = '10ms");
    let serve = start(&config);
    // Three bodies, each without its last byte, reserve the whole budget.
    let length = 64 << 10;
    let body = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(length - 14));
    let mut holding: Vec<_> = (0..3)
        .map(|n| {
            let mut connection = serve.connect();
            connection.send(head("POST", "/audit-logs", &[RIGHT], body(n).len()));
            connection.send(&body(n).as_bytes()[..body(n).len() - 1]);
            connection
        })
        .collect();
    let mut refused = None;
    wait_until("a 429", || {
        let answer = serve.post("/audit-logs", &[RIGHT], b"{\"n\":9}");
        refused = (answer.status != 200).then_some(answer);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.status, 429);
    check_problem(&refused, "429");
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    for connection in &mut holding {
        connection.send("}");
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    // The whole budget is free again.
    assert_eq!(serve.deliver(body(7))["stored"], 1);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(120 << 10));
    assert_eq!(serve.deliver(gzip(large.as_bytes()))["stored"], 1);
}

#[test]
fn a_body_that_does_not_fit_the_quarantine_is_answered_500() {
    let serve = start("[store]\nquarantine_size = '30B'\n");
    let broken = &gzip(b"hello")[..20];
    assert_eq!(serve.post("/audit-logs", &[RIGHT], broken).status, 400);
    let answer = serve.post("/audit-logs", &[RIGHT], broken);
    assert_eq!(answer.status, 500);
    check_problem(&answer, "500");
    assert_eq!(stored::quarantined(&serve.data()).len(), 1);
    // A valid body is still accepted.
    assert_eq!(serve.deliver("{}")["stored"], 1);
}
