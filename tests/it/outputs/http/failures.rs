//! Failures of an endpoint.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::harness::Received;
use crate::outputs::command::run;

#[test]
fn nothing_is_lost_or_reordered_whatever_the_endpoint_answers() {
    let mut replies = [
        Reply::status(500),
        ok(),
        Reply::Answer(429, "retry-after: 1\r\n", "slow down".into()),
        ok(),
        Reply::Hang,
        ok(),
        Reply::Close,
        ok(),
        Reply::Half("taken, or is it?".into()),
    ]
    .into_iter();
    let endpoint = Endpoint::start(move |received: &Received| {
        let lines = received.lines();
        match lines.iter().any(|line| line.contains("trace_id=77 ")) {
            true => Reply::Answer(400, "", "I do not like 77\u{1b}[2J".into()),
            false => replies.next().unwrap_or(ok()),
        }
    });
    let keys = "format = 'raw'\nbatch_entries = 10\ntimeout = '500ms'";
    let mut serve = Setup::new().config(&http_output(&endpoint.url("/in"), keys)).start();
    serve.deliver(lines(0..100).join("\n"));
    let expected = [lines(0..77), lines(78..100)].concat();
    assert_eq!(endpoint.wait_for_lines(99), expected);
    serve.stop();
    let letters = dead_letters(&serve);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["output"], "siem");
    assert_eq!(letters[0]["status"], 400);
    assert_eq!(letters[0]["reason"], "400 Bad Request: I do not like 77\u{fffd}[2J");
    assert_eq!(letters[0]["url"], endpoint.url("/in"));
    assert_eq!(letters[0]["entry"]["raw"], cef(77));
    let log = serve.stderr();
    for message in [
        "it answered 500",
        "it answered 429 Too Many Requests: slow down",
        "no complete answer within 500ms",
        "the connection failed",
        "the endpoint refuses entries for good",
    ] {
        assert!(log.contains(message), "{message:?} is not in the log");
    }
    let status = status(&serve);
    assert_eq!((&status["written"], &status["next_id"]), (&99.into(), &101.into()));
    assert!(status["error"].is_null(), "{status}");
}

#[test]
fn an_endpoint_error_makes_the_output_wait_and_says_what_to_check() {
    let endpoint = Endpoint::start(|_| Reply::Answer(404, "", "no such page".into()));
    let config = http_output(&endpoint.url("/in?key=s3cret-key"), "format = 'raw'");
    let serve = Setup::new().config(&config).start();
    serve.deliver(lines(0..10).join("\n"));
    serve.wait_for_log("the output waits");
    wait_until("the error in the catalog", || !status(&serve)["error"].is_null());
    let status = status(&serve);
    let error = status["error"].as_str().unwrap();
    let expected = format!(
        "{}: it answered 404 Not Found: no such page; is the path of url right?",
        endpoint.url("/in")
    );
    assert_eq!(error, expected);
    assert!(dead_letters(&serve).is_empty());
    assert!(!serve.stderr().contains("s3cret-key"));
    assert_eq!(endpoint.received()[0].0.target, "/in?key=s3cret-key");
}

#[test]
fn a_hanging_endpoint_blocks_only_its_output() {
    let mut hangs = true;
    let endpoint = Endpoint::start(move |_| match std::mem::take(&mut hangs) {
        true => Reply::Hang,
        false => ok(),
    });
    let config = http_output(&endpoint.url("/in"), "format = 'raw'\ntimeout = '10m'");
    let mut serve = Setup::new().config(&config).start();
    serve.deliver(lines(0..10).join("\n"));
    endpoint.wait_for_requests(1);
    // The server accepts deliveries as before, and stops on request.
    serve.deliver(lines(10..20).join("\n"));
    serve.stop();
    let log = serve.stderr();
    assert!(log.contains("the program stopped before there was an answer"), "{log}");
    assert!(!log.contains("the shutdown timed out"), "{log}");
    serve.restart();
    assert_eq!(endpoint.wait_for_lines(20), lines(0..20));
    serve.stop();
}

#[test]
fn an_output_waits_until_dead_letters_can_be_written() {
    let endpoint = Endpoint::start(|_| Reply::status(422));
    let keys = "format = 'raw'\ndead_letters = 'out/dead.jsonl'";
    let config = http_output(&endpoint.url("/in"), keys);
    let mut serve = Setup::new().config(&config).file("out", "no folder").start();
    serve.deliver(lines(0..2).join("\n"));
    serve.wait_for_log("the output waits");
    std::fs::remove_file(serve.home().join("out")).unwrap();
    let path = serve.home().join("out/dead.jsonl");
    wait_until("dead letters", || {
        std::fs::read_to_string(&path).unwrap_or_default().lines().count() == 2
    });
    serve.stop();
    let raws = lines_of(&path).into_iter().map(|line| {
        let letter: serde_json::Value = serde_json::from_str(&line).unwrap();
        letter["entry"]["raw"].as_str().unwrap().to_owned()
    });
    assert_eq!(raws.collect::<Vec<_>>(), lines(0..2));
    assert_eq!(status(&serve)["written"], 0);
}

#[test]
fn a_reset_during_a_failure_resends_everything() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    // The endpoint refuses the batch, accepts its first half, and is not ready for the second.
    let endpoint = Endpoint::start(move |received: &Received| match received.lines().len() {
        _ if is_well.load(Ordering::SeqCst) => ok(),
        4 => Reply::status(400),
        2 if received.lines()[0] == cef(0) => ok(),
        _ => Reply::status(500),
    });
    let config = http_output(&endpoint.url("/in"), "format = 'raw'\nstart = 'oldest'");
    let serve = Setup::new().start();
    serve.deliver(lines(0..4).join("\n"));
    let serve = serve.with_config(&config);
    serve.wait_for_log("it answered 500");
    let (code, _, stderr) = run(&serve, "reset siem --since 1d");
    assert_eq!(code, Some(0), "{stderr}");
    well.store(true, Ordering::SeqCst);
    assert_eq!(endpoint.wait_for_lines(6), [lines(0..2), lines(0..4)].concat());
}
