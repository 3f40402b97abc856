//! The formats that Splunk and Elasticsearch expect, and their answers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::harness::{KeyReply, KeyServer, Received, Signer, jwks};

/// An index: documents by id.
type Index = Arc<Mutex<BTreeMap<String, Value>>>;

/// Adds documents to an index as `_bulk` does. Returns an item for each document.
fn bulk(received: &Received, index: &Index) -> Vec<Value> {
    let lines = received.json();
    let put = |pair: &[Value]| {
        let (action, target) = pair[0].as_object().unwrap().iter().next().unwrap();
        assert_eq!(target["_index"], "audit");
        let id = target["_id"].as_str().unwrap();
        let trace = pair[1]["trace"]["id"].as_str().unwrap();
        let mut index = index.lock().unwrap();
        let (status, error) = match (trace, index.contains_key(id)) {
            ("3", _) => (400, json!({"type": "document_parsing_exception", "reason": "no 3"})),
            (_, true) if action == "create" => {
                (409, json!({"type": "version_conflict_engine_exception", "reason": "there"}))
            }
            _ => {
                index.insert(id.to_owned(), pair[1].clone());
                (201, Value::Null)
            }
        };
        let mut item = json!({"_id": id, "status": status});
        if !error.is_null() {
            item["error"] = error;
        }
        json!({ action.as_str(): item })
    };
    lines.chunks(2).map(put).collect()
}

fn bulk_answer(items: &[Value]) -> String {
    let failed = |item: &Value| item.as_object().unwrap().values().any(|one| one["status"] != 201);
    json!({"took": 1, "errors": items.iter().any(failed), "items": items}).to_string()
}

fn check_bulk(action: &str) {
    let index = Index::default();
    let (shared, mut asked) = (Arc::clone(&index), 0);
    let endpoint = Endpoint::start(move |received| {
        asked += 1;
        let items = bulk(received, &shared);
        match asked {
            // Accepts all documents, but the answer is cut off.
            1 => Reply::Half(bulk_answer(&items)),
            // Answers for some of the documents only.
            2 => Reply::Answer(200, "", bulk_answer(&items[1..])),
            _ => Reply::Answer(200, "", bulk_answer(&items)),
        }
    });
    let keys = format!("format = 'ecs'\nbody = 'bulk'\nindex = 'audit'\naction = '{action}'");
    let mut serve = Setup::new().config(&http_output(&endpoint.url("/_bulk"), &keys)).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_until("a saved cursor", || status(&serve)["next_id"] == 11);
    serve.stop();
    assert_eq!(endpoint.received()[0].0.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(endpoint.received()[0].0.header("content-encoding"), Some("gzip"));
    let letters = dead_letters(&serve);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["reason"], "400 document_parsing_exception: no 3");
    assert_eq!(letters[0]["entry"]["raw"], cef(3));
    let documents = index.lock().unwrap();
    let mut found: Vec<_> =
        documents.values().map(|document| document["event"]["original"].clone()).collect();
    found.sort_by_key(|line| line.to_string());
    let mut expected = lines(0..10);
    expected.remove(3);
    assert_eq!(found, expected);
    assert!(documents.values().all(|document| document["@timestamp"].is_string()));
}

#[test]
fn bulk_documents_are_indexed_once_whatever_the_endpoint_answers() {
    check_bulk("index");
    check_bulk("create");
}

#[test]
fn a_late_verdict_changes_the_document() {
    let index = Index::default();
    let shared = Arc::clone(&index);
    let endpoint = Endpoint::start(move |received| {
        Reply::Answer(200, "", bulk_answer(&bulk(received, &shared)))
    });
    let signer = Signer::new("k1");
    let source = KeyServer::start(KeyReply::Close);
    let keys = format!("[keys]\njwks = '{}'\nrefresh = '1s'\n", source.url());
    let output = http_output(
        &endpoint.url("/_bulk"),
        "format = 'ecs'\nbody = 'bulk'\nindex = 'audit'\nbatch_entries = 2",
    );
    // Splunk's event has the received line, and the verdict as a field.
    let events = Endpoint::start(|_| ok());
    let event =
        http_output(&events.url("/services/collector/event"), "format = 'raw'\nbody = 'hec_event'");
    let config = keys + &output + &event.replace("siem", "event");
    let serve = Setup::new().config(&config).start();
    let signed: Vec<_> = [0, 1, 2, 4, 5].map(|n| signer.cef(n)).into();
    serve.deliver(signed.join("\n"));
    let verdicts = || -> Vec<Value> {
        index.lock().unwrap().values().map(|one| one["vidimus"]["verdict"].clone()).collect()
    };
    wait_until("documents", || verdicts() == ["no_key"; 5]);
    source.set_keys(jwks(&[&signer]));
    wait_until("other verdicts", || verdicts() == ["valid"; 5]);
    // Changes are batched too.
    assert!(endpoint.taken().iter().all(|taken| taken.lines().len() <= 4));
    events.wait_for_lines(10);
    let taken = events.taken();
    let sent = taken.iter().flat_map(Received::json).map(|event| {
        let verdict = event["fields"]["vidimus_verdict"].as_str().unwrap();
        (event["event"].as_str().unwrap().to_owned(), verdict.to_owned())
    });
    let both = ["no_key", "valid"]
        .iter()
        .flat_map(|verdict| signed.iter().map(|line| (line.clone(), (*verdict).to_owned())));
    assert_eq!(sent.collect::<Vec<_>>(), both.collect::<Vec<_>>());
}

#[test]
fn splunk_accepts_events_and_raw_lines() {
    let event =
        Endpoint::start(|_| Reply::Answer(200, "", r#"{"text":"Success","code":0}"#.into()));
    let raw = Endpoint::start(|_| Reply::Answer(200, "", r#"{"text":"Success","code":0}"#.into()));
    let labels = "index = 'main'\nsource = 'kong konnect'\nauthorization_file = 'token'\n";
    let config = http_output(
        &event.url("/services/collector/event"),
        &format!("body = 'hec_event'\n{labels}"),
    ) + &http_output(
        &raw.url("/services/collector/raw?auto_extract_timestamp=true"),
        &format!("body = 'hec_raw'\nformat = 'raw'\n{labels}"),
    )
    .replace("siem", "raw");
    let serve = Setup::new().config(&config).file("token", "Splunk 0123-token\n").start();
    serve.deliver(lines(0..3).join("\n"));

    event.wait_for_lines(3);
    let (events, texts) = (event.taken()[0].json(), event.taken()[0].lines());
    for (n, event) in events.iter().enumerate() {
        let start = format!("{{\"time\":1750280556.{n:03},");
        assert!(texts[n].starts_with(&start), "{}", texts[n]);
        assert_eq!((&event["index"], &event["source"]), (&"main".into(), &"kong konnect".into()));
        assert_eq!(event["event"]["raw"], cef(n));
        let fields = json!({
            "vidimus_id": (n + 1).to_string(),
            "vidimus_verdict": "unsigned",
            "vidimus_kind": "access",
        });
        assert_eq!(event["fields"], fields);
    }
    assert_eq!(raw.wait_for_lines(3), lines(0..3));
    let target =
        "/services/collector/raw?auto_extract_timestamp=true&index=main&source=kong%20konnect";
    assert_eq!(raw.taken()[0].target, target);
    for endpoint in [event, raw] {
        let taken = &endpoint.taken()[0];
        assert_eq!(taken.header("authorization"), Some("Splunk 0123-token"));
        assert_eq!(taken.header("x-splunk-request-channel").map(str::len), Some(36));
        assert_eq!(taken.header("content-encoding"), Some("gzip"));
    }
    assert!(!serve.stderr().contains("0123-token"));
}

#[test]
fn an_array_is_one_document() {
    let endpoint = Endpoint::start(|_| ok());
    let config = http_output(&endpoint.url("/in"), "body = 'array'\ncompress = 'none'");
    let serve = Setup::new().config(&config).start();
    serve.deliver(lines(0..3).join("\n"));
    endpoint.wait_for_lines(1);
    let taken = &endpoint.taken()[0];
    assert_eq!(taken.header("content-type"), Some("application/json"));
    assert_eq!(taken.header("content-encoding"), None);
    let array: Value = serde_json::from_slice(&taken.body).unwrap();
    let raws: Vec<_> = array.as_array().unwrap().iter().map(|one| one["raw"].clone()).collect();
    assert_eq!(raws, lines(0..3));
}
