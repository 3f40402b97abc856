//! Hostile entries come back unchanged, so that a client can show them in full.

use serde_json::{Value, json};

use super::{ask, get};
use crate::harness::Serve;

fn values() -> Vec<String> {
    let mut values: Vec<String> = [
        "<script>alert(1)</script><img src=x onerror=alert(1)>",
        "\"'><svg/onload=alert(1)>",
        "{{7*7}} ${7*7} {% include x %}",
        "\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mred",
        "\u{202e}txt.exe\u{202c}\u{2066}\u{200f}",
        "=cmd|' /C calc'!A0",
        "a\0b\r\nHTTP/1.1 200 OK\r\n\r\n",
        "\ndata: forged\n\nevent: entry\n",
        "\u{2028}\u{2029}\u{feff}\u{fffd}",
    ]
    .map(str::to_owned)
    .to_vec();
    values.push("<b>\u{1b}[5m".repeat(100_000 / 7));
    values
}

#[test]
fn hostile_entries_come_back_unchanged() {
    let serve = Serve::start();
    const FIELDS: [&str; 6] =
        ["user_agent", "request", "principal_name", "name", "trace_id", "an_own_field"];
    let mut sent = Vec::new();
    for value in values() {
        let mut entry = json!({"rt": 1_000_000 + sent.len()});
        for field in FIELDS {
            entry[field] = value.clone().into();
        }
        sent.push((value, entry.to_string()));
    }
    let body: String = sent.iter().map(|(_, line)| line.clone() + "\n").collect();
    assert_eq!(serve.deliver(body)["malformed"], 0);

    let page = ask(&serve, "/api/v1/entries");
    let entries = page["entries"].as_array().unwrap();
    assert_eq!(entries.len(), sent.len());
    for (entry, (value, line)) in entries.iter().rev().zip(&sent) {
        assert_eq!(entry["raw"], Value::from(line.as_str()));
        for field in FIELDS {
            assert_eq!(entry["fields"][field], Value::from(value.as_str()), "{field}");
        }
        let one = ask(&serve, &format!("/api/v1/entries/{}", entry["id"]));
        assert_eq!(one, *entry);
    }
    let facets = ask(&serve, "/api/v1/facets?field=name&limit=1000");
    let listed = facets["values"].as_array().unwrap();
    for (value, _) in &sent {
        assert!(listed.iter().any(|one| one["value"] == value.as_str()), "{value:.80}");
    }
}

#[test]
fn hostile_requests_are_answered_with_a_problem() {
    let serve = Serve::start();
    for target in [
        "/api/v1/entries?q=%00",
        "/api/v1/entries?q=%ff",
        "/api/v1/entries?q=%3Cscript%3E:%22",
        "/api/v1/facets?field=%27;DROP%20TABLE%20entries;--",
        "/api/v1/entries/..%2f..%2fetc%2fpasswd",
        "/api/v1/../../etc/passwd",
        "/%00",
    ] {
        let answer = get(&serve, target);
        assert!([200, 400, 404].contains(&answer.status), "{target}: {}", answer.text());
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.ends_with("json"), "{target}: {kind}");
    }
    let many = "(".repeat(20_000);
    assert_eq!(get(&serve, &format!("/api/v1/entries?q={many}")).status, 400);
    assert_eq!(get(&serve, "/healthz").status, 200);
}
