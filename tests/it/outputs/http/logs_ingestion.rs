//! The Logs Ingestion API of Azure Monitor, with tokens of Microsoft Entra ID: a local server for
//! each.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::*;
use crate::harness::{Received, write_private};
use crate::outputs::command::run;

const STREAM: &str =
    "/dataCollectionRules/dcr-1/streams/Custom-KonnectAudit?api-version=2023-01-01";

const SECRET: &str = "s3cret~value+/=&%";

/// The maximum size of a request, compressed or not.
const MAX: usize = 1 << 20;

/// A server for tokens: `the-token-1`, `the-token-2` and so on, which live for so many seconds.
fn tokens(expires_in: u64) -> Endpoint {
    let mut count = 0;
    Endpoint::start(move |_| {
        count += 1;
        Reply::Answer(200, "content-type: application/json\r\n", token(count, expires_in))
    })
}

fn token(number: usize, expires_in: u64) -> String {
    let token = format!("the-token-{number}");
    json!({"token_type": "Bearer", "expires_in": expires_in, "access_token": token}).to_string()
}

/// The configuration of an output with additional keys.
fn output(api: &Endpoint, tokens: &Endpoint, keys: &str) -> String {
    let keys = format!(
        "body = 'logs_ingestion'\nclient_id = 'the app'\nclient_secret_file = 'secret'\n\
         token_url = '{}'\nscope = 'https://monitor.azure.com/.default'\n{keys}",
        tokens.url("/tenant/oauth2/v2.0/token")
    );
    http_output(&api.url(STREAM), &keys)
}

fn start(config: &str) -> Serve {
    Setup::new().config(config).file("secret", format!("{SECRET}\n")).start()
}

fn records(request: &Received) -> Vec<Value> {
    serde_json::from_slice(&request.body).unwrap()
}

/// The lines of the accepted records, in the order in which they came.
fn lines_at(api: &Endpoint) -> Vec<String> {
    let records = api.taken().iter().flat_map(records).collect::<Vec<_>>();
    records.iter().map(|record| record["RawData"].as_str().unwrap().to_owned()).collect()
}

fn wait_for_records(api: &Endpoint, count: usize) -> Vec<String> {
    wait_until("records at the API", || lines_at(api).len() >= count);
    lines_at(api)
}

/// The tokens of the requests so far.
fn used(api: &Endpoint) -> Vec<String> {
    let received = api.received();
    let values = received.iter().map(|(request, _)| request.header("authorization").unwrap());
    values.map(str::to_owned).collect()
}

fn check_secret_is_not_logged(serve: &Serve) {
    let log = serve.stderr();
    for secret in ["s3cret", "token-"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Like the API: it refuses a request that is larger than it takes, and no JSON array of objects.
fn no_content(request: &Received) -> Reply {
    if request.body.len() > MAX {
        let error = r#"{"error":{"code":"ContentLengthLimitExceeded","message":"too long"}}"#;
        return Reply::Answer(413, "", error.to_owned());
    }
    assert!(records(request).iter().all(Value::is_object));
    Reply::status(204)
}

#[test]
fn a_token_is_fetched_once_and_used() {
    let (api, tokens) = (Endpoint::start(no_content), tokens(3600));
    let mut serve = start(&output(&api, &tokens, "batch_entries = 2"));
    serve.deliver(lines(0..10).join("\n"));
    assert_eq!(wait_for_records(&api, 10), lines(0..10));
    serve.stop();
    let received = tokens.received();
    let [(request, _)] = &received[..] else { panic!("{received:?}") };
    assert_eq!(request.target, "/tenant/oauth2/v2.0/token");
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    let form = "grant_type=client_credentials&client_id=the%20app\
                &client_secret=s3cret~value%2B%2F%3D%26%25\
                &scope=https%3A%2F%2Fmonitor.azure.com%2F.default";
    assert_eq!(request.lines(), [form]);
    assert_eq!(used(&api), vec!["Bearer the-token-1"; 5]);
    let first = &api.taken()[0];
    assert_eq!(first.target, STREAM);
    assert_eq!(first.header("content-type"), Some("application/json"));
    assert_eq!(first.header("content-encoding"), Some("gzip"));
    let record = &records(first)[0];
    assert_eq!(record["EventTime"], "2025-06-18T21:02:36.000Z");
    assert_eq!((&record["Status"], &record["VidimusVerdict"]), (&201.into(), &"unsigned".into()));
    check_secret_is_not_logged(&serve);
}

#[test]
fn a_token_is_fetched_anew_when_it_expires() {
    let (api, tokens) = (Endpoint::start(no_content), tokens(0));
    let serve = start(&output(&api, &tokens, "batch_entries = 1"));
    serve.deliver(lines(0..3).join("\n"));
    assert_eq!(wait_for_records(&api, 3), lines(0..3));
    assert_eq!(used(&api), ["Bearer the-token-1", "Bearer the-token-2", "Bearer the-token-3"]);

    // A token that lives for a second is used for half of it.
    let (api, tokens) = (Endpoint::start(no_content), self::tokens(1));
    let serve = start(&output(&api, &tokens, "batch_entries = 1"));
    let mut count = 0;
    wait_until("a second token", || {
        serve.deliver(lines(count..count + 1).join("\n"));
        count += 1;
        used(&api).last().is_some_and(|last| last == "Bearer the-token-2")
    });
    assert_eq!(wait_for_records(&api, count), lines(0..count));
    assert!(serve.stderr().lines().all(|line| !line.contains("the output waits")));
}

#[test]
fn a_token_that_the_api_refuses_is_fetched_anew_once() {
    // The number of the token that is good.
    let good = Arc::new(AtomicUsize::new(1));
    let is_good = Arc::clone(&good);
    let api = Endpoint::start(move |request| {
        let expected = format!("Bearer the-token-{}", is_good.load(Ordering::SeqCst));
        match request.header("authorization").unwrap() {
            token if token == expected => Reply::status(204),
            token => Reply::Answer(401, "", format!("{token} is not good")),
        }
    });
    let tokens = tokens(3600);
    let serve = start(&output(&api, &tokens, ""));
    serve.deliver(lines(0..2).join("\n"));
    wait_for_records(&api, 2);
    good.store(2, Ordering::SeqCst);
    serve.deliver(lines(2..4).join("\n"));
    assert_eq!(wait_for_records(&api, 4), lines(0..4));
    assert_eq!(used(&api), ["Bearer the-token-1", "Bearer the-token-1", "Bearer the-token-2"]);
    assert!(!serve.stderr().contains("the output waits"), "{}", serve.stderr());

    // The next token is not good either. Then the output waits, and says what to look at.
    good.store(4, Ordering::SeqCst);
    serve.deliver(lines(4..6).join("\n"));
    serve.wait_for_log(
        "it answered 401 Unauthorized: Bearer (hidden) is not good; look at what the credentials are",
    );
    assert_eq!(wait_for_records(&api, 6), lines(0..6));
    let last: Vec<_> = used(&api).split_off(3);
    assert_eq!(last, ["Bearer the-token-2", "Bearer the-token-3", "Bearer the-token-4"]);
    assert!(dead_letters(&serve).is_empty());
    check_secret_is_not_logged(&serve);
}

#[test]
fn the_api_and_the_token_server_say_how_long_to_wait() {
    let mut replies = [Reply::Answer(429, "retry-after: 3\r\n", "slow down".into())].into_iter();
    let api = Endpoint::start(move |request| replies.next().unwrap_or_else(|| no_content(request)));
    let mut replies = [
        Reply::Answer(429, "retry-after: 2\r\n", String::new()),
        Reply::Answer(200, "", token(1, 3600)),
    ]
    .into_iter();
    let tokens = Endpoint::start(move |_| replies.next().unwrap());
    let serve = start(&output(&api, &tokens, ""));
    serve.deliver(lines(0..2).join("\n"));
    assert_eq!(wait_for_records(&api, 2), lines(0..2));
    let log = serve.stderr();
    let waits: Vec<_> = log.lines().filter(|line| line.contains("the output waits")).collect();
    let [one, other] = &waits[..] else { panic!("{log}") };
    assert!(one.contains("cannot get a token: it answered 429 Too Many Requests"), "{one}");
    assert!(one.contains("2.0"), "{one}");
    assert!(other.contains("it answered 429 Too Many Requests: slow down"), "{other}");
    assert!(other.contains("3.0"), "{other}");
}

#[test]
fn a_wrong_secret_makes_the_output_wait_until_it_is_replaced() {
    let api = Endpoint::start(no_content);
    let tokens = Endpoint::start(|request| match request.lines()[0].contains("=new-secret&") {
        true => Reply::Answer(200, "", token(7, 3600)),
        // Hostile: it repeats what it was sent.
        false => Reply::Answer(
            401,
            "",
            format!("{{\"error\":\"invalid_client\",\"x\":\"{}\"}}", request.lines()[0]),
        ),
    });
    let mut serve = start(&output(&api, &tokens, ""));
    serve.deliver(lines(0..3).join("\n"));
    serve.wait_for_log(
        "cannot get a token: it answered 401 Unauthorized: {\"error\":\"invalid_client",
    );
    wait_until("the error in the catalog", || !status(&serve)["error"].is_null());
    let error = status(&serve)["error"].as_str().unwrap().to_owned();
    let url = tokens.url("/tenant/oauth2/v2.0/token");
    assert!(error.starts_with(&format!("{url}: cannot get a token: ")), "{error}");
    assert!(
        error.contains("client_secret=(hidden)") && error.contains("; look at client_id"),
        "{error}"
    );
    let (code, _, stderr) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("cannot get a token") && !stderr.contains("s3cret"), "{stderr}");
    assert!(api.received().is_empty());

    write_private(&serve.home().join("secret"), b"new-secret\n");
    serve.signal(Signal::HUP);
    assert_eq!(wait_for_records(&api, 3), lines(0..3));
    let (code, line, stderr) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(0), "{stderr}");
    assert!(line.contains("\"VidimusVerdict\":\"unsigned\""), "{line}");
    assert!(stderr.contains(" answered 204 in ") && !stderr.contains("the-token-7"), "{stderr}");
    serve.stop();
    assert!(dead_letters(&serve).is_empty());
    check_secret_is_not_logged(&serve);
}

#[test]
fn an_answer_without_a_token_is_not_shown() {
    let api = Endpoint::start(no_content);
    let mut replies = [
        Reply::Answer(200, "", r#"{"access_token":"the-token-0","token_type":"mac"}"#.into()),
        Reply::Answer(200, "", token(1, 60)),
    ]
    .into_iter();
    let tokens = Endpoint::start(move |_| replies.next().unwrap());
    let serve = start(&output(&api, &tokens, ""));
    serve.deliver(cef(0));
    serve.wait_for_log("cannot get a token: it answered 200 OK without a bearer token");
    assert_eq!(wait_for_records(&api, 1), lines(0..1));
    check_secret_is_not_logged(&serve);
}

/// An entry whose line has about so many bytes.
fn long(n: usize, bytes: usize) -> String {
    format!("{} {}", cef(n), "x".repeat(bytes))
}

#[test]
fn no_request_is_larger_than_the_api_takes() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&sizes);
    let api = Endpoint::start(move |request| {
        seen.lock().unwrap().push(request.body.len());
        no_content(request)
    });
    let tokens = tokens(3600);
    let keys = "batch_entries = 10000\nstart = 'oldest'";
    // Without the output, so that many entries wait.
    let serve = Setup::new().file("secret", SECRET).start();
    // The line of the middle one is in the record twice, as the user agent and as a part of the
    // line. So the record does not fit into any request.
    let mut expected: Vec<String> = (0..300).map(|n| long(n, 9_000 + n)).collect();
    expected.insert(150, long(999, 700_000));
    for part in expected.chunks(100) {
        serve.deliver(part.join("\n"));
    }
    let mut serve = serve.with_config(&output(&api, &tokens, keys));
    expected.remove(150);
    assert_eq!(wait_for_records(&api, 300), expected);
    wait_until("a saved cursor", || status(&serve)["next_id"] == 302);
    serve.stop();
    let letters = dead_letters(&serve);
    let [letter] = &letters[..] else { panic!("{} dead letters", letters.len()) };
    assert_eq!(letter["status"], 413);
    assert_eq!(letter["entry"]["fields"]["trace_id"], "999");
    let sizes = sizes.lock().unwrap();
    let larger: Vec<_> = sizes.iter().filter(|size| **size > MAX).collect();
    // Only that one was too large, alone.
    assert_eq!(larger.len(), 1, "{sizes:?}");
    assert!(sizes.iter().any(|size| (MAX - 30_000..=MAX).contains(size)), "{sizes:?}");
}

#[test]
fn a_restart_goes_on_from_the_cursor_with_a_new_token() {
    let (api, tokens) = (Endpoint::start(no_content), tokens(3600));
    let mut serve = start(&output(&api, &tokens, ""));
    serve.deliver(lines(0..3).join("\n"));
    wait_for_records(&api, 3);
    serve.stop();
    serve.restart();
    serve.deliver(lines(3..6).join("\n"));
    wait_for_records(&api, 6);
    serve.stop();
    assert_eq!(lines_at(&api), lines(0..6));
    assert_eq!(used(&api), ["Bearer the-token-1", "Bearer the-token-2"]);
    // A token is nowhere on the disk.
    for path in files_below(serve.home()) {
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"token-"), "{}", path.display());
    }
}

#[test]
fn an_error_of_the_rule_makes_the_output_wait() {
    let mut replies = [
        Reply::Answer(400, "", r#"{"error":{"code":"InvalidStream"}}"#.into()),
        Reply::Answer(403, "", r#"{"error":{"code":"OperationFailed"}}"#.into()),
        Reply::Answer(404, "", String::new()),
    ]
    .into_iter();
    let api = Endpoint::start(move |request| replies.next().unwrap_or_else(|| no_content(request)));
    let tokens = tokens(3600);
    let mut serve = start(&output(&api, &tokens, ""));
    serve.deliver(lines(0..3).join("\n"));
    assert_eq!(wait_for_records(&api, 3), lines(0..3));
    serve.stop();
    let log = serve.stderr();
    for message in [
        "that is about the stream in url, its columns, or api-version",
        "the application needs the role Monitoring Metrics Publisher",
        "is url the logs ingestion endpoint of the rule, with its immutable id?",
    ] {
        assert!(log.contains(message), "{message:?} is not in\n{log}");
    }
    assert!(dead_letters(&serve).is_empty());
}
