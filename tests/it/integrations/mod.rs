//! The files in `integrations/` agree with what the program sends.
//!
//! - `splunk`: the extractions of `props.conf` and `transforms.conf` find the fields of an entry.
//!   `eval` evaluates the expressions there.
//! - `elastic`: the mapping has every field of a document.
//! - `sentinel`: the table has every column of a record.

mod elastic;
mod eval;
mod sentinel;
mod splunk;

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Endpoint, Received, Reply, Setup, exported, wait_until};
use crate::vectors::{fixture, vectors};

/// A file in `integrations/`.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A JSON file in `integrations/`.
fn json(path: &str) -> Value {
    serde_json::from_str(&file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// An entry that has every known field, and one that is unknown.
const EVERY_FIELD: &str = "2025-05-16T20:09:54Z konghq.com \
    CEF:0|KongInc|Dev-Portal|1.0|AUTHENTICATION_TYPE_BASIC|AUTHENTICATION_OUTCOME_DISABLED|6|\
    rt=1747426194123 src=10.0.0.1 org_id=o portal_id=p principal_id=a principal_name=Ada B \
    actor_id=b kong_initiated=true success=false action=edit granted=false act=PUT status=403 \
    request=/a?b query={} trace_id=18446744073709551615 user_agent=curl/8 (x) color=red";

/// Delivers the vectors and an entry with every field, with an output to an endpoint. Returns what
/// was sent and the entries as the store has them.
fn sent(path: &str, keys: &str, count: impl Fn(&Received) -> usize) -> (Vec<Received>, Vec<Value>) {
    let endpoint = Endpoint::start(|received| match received.target.ends_with("/_bulk") {
        true => Reply::Answer(200, "", r#"{"errors":false}"#.to_owned()),
        false => Reply::status(200),
    });
    let url = endpoint.url(path);
    let jwks = fixture("jwks.json");
    let config = format!(
        "[keys]\njwks = '{}'\n\
         [[output]]\nname = 'siem'\ntype = 'http'\nurl = '{url}'\nbatch_every = '100ms'\n{keys}\n",
        jwks.display()
    );
    let serve = Setup::new().config(&config).start();
    let mut lines: Vec<Vec<u8>> = vectors().into_iter().map(|vector| vector.line).collect();
    lines.push(EVERY_FIELD.into());
    let stored = serve.deliver(lines.join(&b'\n'))["stored"].as_u64().unwrap();
    let total = || endpoint.taken().iter().map(&count).sum::<usize>();
    wait_until("all entries", || total() as u64 >= stored);
    let entries = exported(&serve.data());
    assert_eq!((entries.len() as u64, total() as u64), (stored, stored));
    assert!(stored > 50, "{stored}");
    (endpoint.taken(), entries)
}

/// The leaves of an object: the path of each with dots, and its value. A list is a leaf.
fn leaves(object: &Value) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, value) in object.as_object().unwrap() {
        match value {
            Value::Object(_) => {
                let below = leaves(value).into_iter();
                found.extend(below.map(|(path, leaf)| (format!("{name}.{path}"), leaf)));
            }
            leaf => found.push((name.clone(), leaf)),
        }
    }
    found
}

#[test]
fn every_file_is_named_in_the_readme_of_its_folder() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations");
    let mut seen = 0;
    for folder in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(readme) = fs::read_to_string(folder.join("README.md")) else {
            assert!(folder.is_file(), "{} has no README.md", folder.display());
            continue;
        };
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            assert!(
                name == "README.md" || readme.contains(&format!("`{name}`")) || path.is_dir(),
                "{name} is not in the README of {}",
                folder.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 12, "only {seen} files");
}
