//! Faults that `vidimus fault` injects into a running server.

use serde_json::{Value, json};

use crate::harness::http::post_http2;
use crate::harness::{Answer, Serve, Setup, cef, json_lines, output_of, stored, wait_until};

const ALLOWED: &str = "[console]\nactions = true\n";

/// A server with one input, the default, that allows faults.
fn start() -> Serve {
    Setup::new().config(ALLOWED).start()
}

/// Runs `vidimus fault` with these arguments, separated by spaces, on the directory of a server.
fn fault(serve: &Serve, arguments: &str) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.arg("fault").args(arguments.split(' ')).arg("--data-dir").arg(serve.data());
    output_of(&mut command)
}

/// Runs a command that must succeed. Returns what it says.
#[track_caller]
fn done(serve: &Serve, arguments: &str) -> String {
    let (code, stdout, stderr) = fault(serve, arguments);
    assert_eq!(code, Some(0), "{arguments}: {stdout}{stderr}");
    stdout + &stderr
}

/// Runs a command that must fail with this code and message.
#[track_caller]
fn fails(serve: &Serve, arguments: &str, code: i32, message: &str) {
    let (found, stdout, stderr) = fault(serve, arguments);
    assert_eq!(found, Some(code), "{arguments}: {stderr}");
    assert!(stderr.contains(message) && stdout.is_empty(), "{arguments}: {stdout}{stderr}");
}

/// Delivers, and returns the answer, or `None` if the connection is closed without one.
fn deliver(serve: &Serve, body: &str) -> Option<Answer> {
    let mut connection = serve.connect();
    let headers = [("authorization", serve.authorization.as_str())];
    connection.request("POST", "/audit-logs", &headers, body.as_bytes());
    connection.try_answer()
}

fn status(answer: Option<Answer>) -> Option<u16> {
    answer.map(|answer| answer.status)
}

#[test]
fn nothing_is_stored_with_a_fault_and_everything_after_it() {
    let mut serve = start();
    for (fault, expected) in [("500", Some(500)), ("429", Some(429)), ("reset", None)] {
        let said = done(&serve, &format!("set --next 2 {fault}"));
        let line = format!("input default: the next 2 deliveries get the fault {fault}\n");
        assert_eq!(said, line);
        for _ in 0..2 {
            let answer = deliver(&serve, &cef(1));
            let retry =
                answer.as_ref().and_then(|one| one.header("retry-after").map(str::to_owned));
            assert_eq!(retry.is_some(), expected == Some(429), "{fault}");
            if let Some(answer) = &answer {
                let kind = answer.header("content-type");
                assert_eq!(kind, Some("application/problem+json"), "{fault}");
            }
            assert_eq!(status(answer), expected, "{fault}");
        }
        assert_eq!(serve.lines().len(), 0, "{fault}");
        assert!(stored::deliveries(&serve.data()).is_empty(), "{fault}");
    }
    // What the sender sends again is stored.
    assert_eq!(serve.deliver(cef(1))["stored"], 1);
    assert_eq!(serve.text_lines(), [cef(1)]);
    serve.stop();
    let refused = stored::refused(&serve.data());
    let found: Vec<_> = refused.iter().map(|one| (one.status, one.reason.as_str())).collect();
    let reason = |fault| format!("input default: a fault was injected: {fault}");
    let reasons = [reason("500"), reason("429"), reason("reset")];
    let expected: Vec<_> = [Some(500), Some(429), None]
        .into_iter()
        .zip(&reasons)
        .flat_map(|(status, reason)| [(status, reason.as_str()); 2])
        .collect();
    assert_eq!(found, expected);
    let log = serve.stderr();
    let injected = log.lines().filter(|line| line.contains("a fault was injected input=")).count();
    assert_eq!(injected, 6, "{log}");
    assert!(log.contains("WARN") && log.contains("fault=reset left=1"), "{log}");
}

#[test]
fn a_delayed_answer_is_for_a_stored_delivery() {
    let mut serve = start();
    done(&serve, "set --next 1 delay=10ms");
    assert_eq!(serve.deliver(cef(1))["stored"], 1);
    done(&serve, "set --next 1 delay=5m");
    let mut connection = serve.connect();
    let headers = [("authorization", serve.authorization.as_str())];
    connection.request("POST", "/audit-logs", &headers, cef(2).as_bytes());
    wait_until("the entry", || serve.lines().len() == 2);
    // Other deliveries do not wait. A duplicate is one of the stored entry.
    assert_eq!(serve.deliver(cef(2))["duplicates"], 1);
    serve.kill();
    assert!(connection.try_answer().is_none(), "the answer did not wait");
    serve.restart();
    assert_eq!(serve.text_lines(), [cef(1), cef(2)]);
}

#[test]
fn faults_are_for_authorized_deliveries_of_their_input() {
    let inputs = "[[input]]\nname = 'a'\npath = '/a'\nauthorization = 'Bearer a'\n\
                  [[input]]\nname = 'b'\npath = '/b'\nauthorization = 'Bearer b'\n";
    let serve = Setup::new().config(&format!("{ALLOWED}{inputs}")).start();
    done(&serve, "set --input a --next 2 500");
    let post = |path, value| serve.post(path, &[("authorization", value)], b"{}").status;
    assert_eq!(post("/a", "Bearer b"), 401);
    assert_eq!(post("/b", "Bearer b"), 200);
    assert_eq!(serve.post("/a", &[], b"{}").status, 401);
    assert_eq!(post("/a", "Bearer a"), 500);

    let listed = json_lines(&done(&serve, "list --json"));
    assert_eq!(listed, [json!({"input": "a", "fault": "500", "left": 1, "injected": 1})]);
    let table = done(&serve, "list");
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["INPUT", "FAULT", "LEFT", "INJECTED"]);
    assert_eq!(lines.next().unwrap(), ["a", "500", "1", "1"]);
    assert_eq!(lines.next(), None);

    fails(&serve, "set --next 1 500", 3, "there are several inputs: name one of them, a or b");
    fails(&serve, "set --input c --next 1 500", 3, "there is no input \"c\", expected a or b");
    fails(&serve, "clear --input c", 3, "there is no input \"c\", expected a or b");
    done(&serve, "set --input b --next 7 reset");
    assert_eq!(done(&serve, "clear --input a"), "input a: cleared the fault 500, 1 left\n");
    assert_eq!(post("/a", "Bearer a"), 200);
    assert_eq!(done(&serve, "clear"), "input b: cleared the fault reset, 7 left\n");
    assert_eq!(done(&serve, "clear"), "no faults\n");
    assert_eq!(done(&serve, "list"), "no faults\n");
    assert_eq!(done(&serve, "list --json"), "");
    assert_eq!(post("/b", "Bearer b"), 200);
}

#[test]
fn faults_need_a_running_server_that_allows_them() {
    let mut serve = Serve::start();
    for arguments in ["list", "list --json", "set --next 1 500", "clear", "clear --input x"] {
        fails(&serve, arguments, 3, "they need actions = true under [console]");
    }
    for (arguments, message) in [
        ("set --next 1 503", "a fault is \"503\", expected 500, 429, reset, or delay="),
        ("set --next 1 delay=6m", "a fault is \"delay=6m\", expected 500"),
        ("set --next 0 500", "expected a whole number from 1 to 1000000"),
        ("set --next 1000001 500", "expected a whole number from 1 to 1000000"),
        ("set 500", "--next <N>"),
        ("set --next 1", "<FAULT>"),
    ] {
        fails(&serve, arguments, 2, message);
    }
    assert_eq!(serve.deliver("{}")["stored"], 1);
    serve.stop();
    for arguments in ["list", "set --next 1 500", "clear"] {
        fails(&serve, arguments, 3, "no vidimus serve runs on ");
    }
    // A restart clears faults.
    let mut serve = serve.with_config(ALLOWED);
    done(&serve, "set --next 1 500");
    serve.restart();
    assert_eq!(done(&serve, "list"), "no faults\n");
    assert_eq!(serve.deliver("{}")["duplicates"], 1);
}

#[test]
fn an_answer_has_the_profile_of_its_input_and_http_two_gets_the_same() {
    let input = "[[input]]\nname = 'lab'\npath = '/lab'\nauthorization = 'Splunk 0'\n\
                 response_profile = 'splunk-hec'\n";
    let serve = Setup::new().config(&format!("{ALLOWED}{input}")).start();
    let headers = [("authorization", "Splunk 0")];
    for (fault, code, body) in [
        ("500", 500, json!({"text": "Internal server error", "code": 8})),
        ("429", 429, json!({"text": "Server is busy", "code": 9})),
    ] {
        done(&serve, &format!("set --next 2 {fault}"));
        let over_one = serve.post("/lab", &headers, b"{}");
        let over_two = post_http2(&serve, "/lab", &headers, b"{}").unwrap();
        for answer in [over_one, over_two] {
            assert_eq!((answer.status, answer.json()), (code, body.clone()), "{fault}");
            assert_eq!(answer.header("retry-after").is_some(), code == 429, "{fault}");
        }
    }
    done(&serve, "set --next 1 reset");
    assert!(post_http2(&serve, "/lab", &headers, b"{}").is_err());
    done(&serve, "set --next 1 delay=1ms");
    let answer = post_http2(&serve, "/lab", &headers, b"{}").unwrap();
    assert_eq!((answer.status, &answer.json()["code"]), (200, &Value::from(0)));
    assert_eq!(serve.lines().len(), 1);
}

#[test]
fn a_body_over_a_limit_and_a_broken_one_do_not_hide_a_fault() {
    let config = format!("{ALLOWED}[receiver]\nmax_body = '1KiB'\n");
    let serve = Setup::new().config(&config).start();
    done(&serve, "set --next 1 429");
    // The body is not read to its end, so the fault stays for the next delivery.
    assert_eq!(status(deliver(&serve, &"x".repeat(1025))), Some(413));
    // What cannot be decoded is not put in quarantine.
    let headers = [("authorization", serve.authorization.as_str())];
    let broken = || serve.post("/audit-logs", &headers, b"\x1f\x8b no more").status;
    assert_eq!(broken(), 429);
    assert!(stored::quarantined(&serve.data()).is_empty());
    assert_eq!(broken(), 400);
    assert_eq!(stored::quarantined(&serve.data()).len(), 1);
    assert_eq!(status(deliver(&serve, "{}")), Some(200));
}
