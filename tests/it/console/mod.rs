//! The console of a running server without a browser: the API, the access and the metrics.

mod access;
pub(crate) mod actions;
mod alerts;
mod api;
mod counts;
pub(crate) mod export;
mod guide;
mod hostile;
mod inspector;
pub(crate) mod metrics;
mod setup;
mod stream;

use serde_json::{Value, json};

use crate::harness::{Answer, RawConnection, Serve, wait_until};

/// The OpenAPI description.
pub(crate) fn description() -> Value {
    serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap()
}

pub(crate) fn port(serve: &Serve) -> u16 {
    serve.console.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// The `Host` that the console accepts.
pub(crate) fn host(serve: &Serve) -> String {
    format!("localhost:{}", port(serve))
}

/// Connects to the console.
pub(crate) fn connect(serve: &Serve) -> RawConnection {
    match serve.console.starts_with("https") {
        true => RawConnection::tls(port(serve), &serve.certificate()),
        false => RawConnection::plain(port(serve)),
    }
}

/// Sends a request with only these headers over a new connection.
pub(crate) fn send(
    serve: &Serve,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    let mut connection = connect(serve);
    connection.send([head.as_bytes(), body].concat());
    // Reads to the end, because an answer to HEAD has a length and no body.
    let whole = connection.rest();
    let at = whole.windows(4).position(|window| window == b"\r\n\r\n");
    let at = at.unwrap_or_else(|| panic!("no answer: {}", whole.escape_ascii()));
    let head = std::str::from_utf8(&whole[..at]).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Answer { status, headers, body: whole[at + 4..].to_vec() }
}

/// Sends a `GET` with the right `Host`.
pub(crate) fn get(serve: &Serve, target: &str) -> Answer {
    send(serve, "GET", target, &[("host", &host(serve))], b"")
}

/// Sends a `GET`, checks that the answer is a 200 that conforms to the description, and returns its
/// JSON.
#[track_caller]
pub(crate) fn ask(serve: &Serve, target: &str) -> Value {
    let answer = get(serve, target);
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    conforms("get", target, &answer);
    answer.json()
}

/// Waits until the console answers 200.
pub(crate) fn wait_for(serve: &Serve, target: &str) {
    wait_until(target, || get(serve, target).status == 200);
}

/// The path in the description for a target.
pub(crate) fn path_of(target: &str) -> String {
    let path = target.split('?').next().unwrap();
    match path.strip_prefix("/api/v1/entries/") {
        Some(rest) if rest.ends_with("/raw") => "/api/v1/entries/{id}/raw".to_owned(),
        Some(rest) if rest.ends_with("/evidence") => "/api/v1/entries/{id}/evidence".to_owned(),
        Some(_) => "/api/v1/entries/{id}".to_owned(),
        None => path.to_owned(),
    }
}

/// Checks that an answer conforms to the description.
#[track_caller]
pub(crate) fn conforms(method: &str, target: &str, answer: &Answer) {
    let description = description();
    let operation = &description["paths"][path_of(target)][method.to_ascii_lowercase()];
    assert!(operation.is_object(), "{method} {target} is not described");
    let status = answer.status.to_string();
    let mut described = &operation["responses"][&status];
    assert!(described.is_object(), "{method} {target}: {status} is not described");
    if let Some(name) = described["$ref"].as_str() {
        described = description.pointer(name.strip_prefix('#').unwrap()).unwrap();
    }
    let sent = answer.header("content-type").unwrap_or_default();
    let media = sent.split(';').next().unwrap();
    let schema = &described["content"][media];
    assert!(schema.is_object(), "{method} {target}: {media:?} is not described");
    if !media.ends_with("json") {
        return;
    }
    let mut schema = schema["schema"].clone();
    schema["components"] = description["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let found = answer.json();
    let errors: Vec<_> = validator
        .iter_errors(&found)
        .map(|error| format!("{}: {error:.500}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{method} {target}: {status}\n{}", errors.join("\n"));
}

/// An unsigned JSON entry at this time.
pub(crate) fn line(rt: usize, status: usize) -> String {
    json!({"name": "Ingress", "rt": rt, "status": status}).to_string() + "\n"
}

/// The ids of the entries of a page.
pub(crate) fn ids(page: &Value) -> Vec<u64> {
    let entries = page["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["id"].as_u64().unwrap()).collect()
}
