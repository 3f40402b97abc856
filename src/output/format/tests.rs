//! Each format: raw lines and JSON, the mappings against the published schemas in
//! `fixtures/formats/`, and all against what they wrote for an entry of each kind before.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::Value as Json;

use super::{OutputFormat, ecs, ocsf, sentinel};
use crate::entry::fields::{FieldType, KNOWN};
use crate::entry::record::Origin;
use crate::entry::{Kind, Millis, Record, Value, VerdictName};
use crate::ingest::{Batch, Caps, ExpectedIds};
use crate::output::settings::NotValid;
use crate::output::testing;
use crate::signature::{KeySet, Seed};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema(name: &str) -> Json {
    serde_json::from_str(&text(&fixture("formats").join(name))).unwrap()
}

/// A record as it is read from the store.
fn record(line: &[u8]) -> Record {
    let set = std::fs::read(fixture("vectors/jwks.json")).unwrap();
    let (keys, _) = KeySet::parse(&set).unwrap();
    let caps = Caps { max_line: 1 << 20, max_lines: 10 };
    let received_at = Millis::new(1_760_000_000_000).unwrap();
    let batch = Batch::new(Bytes::copy_from_slice(line), &keys, caps, &Seed::new([7; 32])).unwrap();
    let entry = batch.entries(&ExpectedIds::default(), received_at).next().expect("an entry");
    let origin = Origin::Stored { id: 17, input: "default".into(), received_at, delivery_count: 1 };
    let time = entry.event_time.unwrap_or(received_at);
    entry.into_record(origin, Some(time))
}

fn vector(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(fixture("vectors").join(name).with_extension("vec")).unwrap();
    let at = bytes.windows(5).position(|window| window == b"\n---\n").unwrap();
    bytes[at + 5..].to_vec()
}

/// An entry of each kind, and unusual ones.
fn examples() -> Vec<(&'static str, Record)> {
    let header = "2025-05-16T20:09:54Z konghq.com CEF:0|KongInc|Konnect|1.0";
    let made = |rest: &str| record(format!("{header}|{rest}").as_bytes());
    let of_file = Record {
        origin: Origin::File { source: "old.log:3".into() },
        time: None,
        ..made("other|Something|0|")
    };
    vec![
        ("authentication-dev-portal", record(&vector("cef-authentication-dev-portal"))),
        ("authentication-locked", record(&vector("json-authentication-locked"))),
        ("authorization-granted", record(&vector("cef-authorization"))),
        (
            "authorization-denied",
            made("konnect|Authz.control-planes/7|6|rt=1750280466889 src=10.0.0.1 action=edit granted=false principal_id=p principal_name=Ann"),
        ),
        ("authorization-sparse", made("konnect|Authz.|1|")),
        ("access-ok", record(&vector("cef-access"))),
        ("access-denied", record(&vector("json-access-denied"))),
        (
            "access-failed",
            made("KongGateway|Ingress|10|rt=1684267794226 src=2001:db8::1 request=/v2/things/1?dry=true act=PATCH status=500 org_id=o principal_id=p trace_id=18446744073709551615 kong_initiated=true"),
        ),
        (
            "access-odd",
            made("KongGateway|Ingress|High|src=gateway.internal act=BREW status=teapot granted=true"),
        ),
        ("other", made("billing|Invoice.sent|3|src=10.0.0.1 success=false cs1=a cs1Label=b c")),
        ("of-a-file", of_file),
        ("malformed", record(&vector("malformed-text"))),
        ("malformed-not-utf8", record(&vector("malformed-not-utf8"))),
        ("invalid", record(&vector("cef-denied-made-granted"))),
        (
            "hostile",
            record(r#"{"name":"Ingress","@timestamp":"x","ecs":{"version":1},"a.b":1,"a":"\u0000\u2028\n","vidimus":{"verdict":"valid"},"class_uid":3002,"big":123456789012345678901234567890,"huge":1e999,"src":"127.0.0.1 <script>","status":9223372036854775807,"severity":-1,"act":"GET\r\nX","request":"?=1+1"}"#.as_bytes()),
        ),
    ]
}

fn written(write: fn(&Record, &mut Vec<u8>), record: &Record) -> String {
    let mut out = b"before ".to_vec();
    write(record, &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
}

fn check_golden(format: &str, write: fn(&Record, &mut Vec<u8>)) {
    for (name, record) in examples() {
        let found: Json = serde_json::from_str(&written(write, &record)).unwrap();
        let path = fixture("formats/golden").join(format!("{name}.{format}.json"));
        if std::env::var_os("VIDIMUS_UPDATE").is_some() {
            let pretty = serde_json::to_string_pretty(&found).unwrap();
            std::fs::write(&path, pretty + "\n").unwrap();
        }
        let expected: Json = serde_json::from_str(&text(&path)).unwrap();
        assert_eq!(found, expected, "{name} as {format}");
    }
}

#[test]
fn ecs_is_as_it_was() {
    check_golden("ecs", ecs::write);
}

#[test]
fn ocsf_is_as_it_was() {
    check_golden("ocsf", ocsf::write);
}

#[test]
fn sentinel_is_as_it_was() {
    check_golden("sentinel", sentinel::write);
}

/// Checks that a document has only fields of the list, each of its type.
fn conforms_to_ecs(document: &Json, list: &Json, name: &str) {
    let Some(members) = document.as_object() else { panic!("{name} is no object") };
    for (key, value) in members {
        let path = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
        let field = list["fields"].get(&path).or(list["custom"].get(&path));
        match field {
            Some(field) if field["array"] == true => {
                let values = value.as_array().unwrap_or_else(|| panic!("{path} is no array"));
                assert!(values.iter().all(|value| is_of_type(value, &field["type"])), "{path}");
            }
            Some(field) => assert!(is_of_type(value, &field["type"]), "{path}: {value}"),
            None => {
                assert!(value.is_object(), "{path} is no field");
                conforms_to_ecs(value, list, &path);
            }
        }
    }
}

fn is_of_type(value: &Json, name: &Json) -> bool {
    match name.as_str().unwrap() {
        "keyword" | "match_only_text" | "wildcard" => value.is_string(),
        "long" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "ip" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "date" => value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z')),
        other => panic!("no such type: {other}"),
    }
}

fn check_ecs(record: &Record, list: &Json) {
    let document: Json = serde_json::from_str(&written(ecs::write, record)).unwrap();
    conforms_to_ecs(&document, list, "");
    let event = &document["event"];
    assert_eq!(document["ecs"]["version"], list["version"]);
    assert!(document.get("@timestamp").is_some());
    assert!(["event", "pipeline_error"].map(Json::from).contains(&event["kind"]));
    assert!(["success", "failure", "unknown"].map(Json::from).contains(&event["outcome"]));
    let none = Vec::new();
    let categories = event["category"].as_array().unwrap_or(&none);
    for one in event["type"].as_array().unwrap_or(&none) {
        let expects = |category: &Json| {
            list["categories"][category.as_str().unwrap()].as_array().unwrap().contains(one)
        };
        assert!(categories.iter().any(expects), "{one} in {categories:?}");
    }
    has_the_line_and_verdict(record, &event["original"], &document["vidimus"]);
}

fn has_the_line_and_verdict(record: &Record, raw: &Json, vidimus: &Json) {
    use base64::Engine;
    let raw = raw.as_str().unwrap();
    let raw = match vidimus["raw_encoding"].as_str().unwrap() {
        "utf-8" => raw.as_bytes().to_vec(),
        "base64" => base64::engine::general_purpose::STANDARD.decode(raw).unwrap(),
        other => panic!("no such encoding: {other}"),
    };
    assert_eq!(raw, record.raw);
    assert_eq!(vidimus["verdict"], record.verdict.as_str());
    assert_eq!(vidimus["reason"].as_str(), record.reason.as_deref());
    assert_eq!(vidimus["kid"].as_str(), record.kid.as_deref());
    assert_eq!(
        vidimus["warnings"],
        Json::from(record.warnings.iter().map(|one| one.as_str()).collect::<Vec<_>>())
    );
}

/// Checks that an object has the required attributes of its class, and no unknown ones.
fn conforms_to_ocsf(value: &Json, shape: &Json, schema: &Json, path: &str) {
    let Some(members) = value.as_object() else { panic!("{path} is no object") };
    for (name, attribute) in shape["attributes"].as_object().unwrap() {
        let path = format!("{path}.{name}");
        match members.get(name) {
            None => assert_ne!(attribute["requirement"], "required", "{path} is missing"),
            Some(value) if attribute["is_array"] == true => {
                let values = value.as_array().unwrap_or_else(|| panic!("{path} is no array"));
                values.iter().for_each(|value| has_ocsf_type(value, attribute, schema, &path));
            }
            Some(value) => has_ocsf_type(value, attribute, schema, &path),
        }
    }
    for name in members.keys() {
        assert!(shape["attributes"].get(name).is_some(), "{path} has no attribute {name}");
    }
    for (constraint, names) in shape["constraints"].as_object().unwrap() {
        let names = names.as_array().unwrap().iter();
        let there = names.filter(|name| members.contains_key(name.as_str().unwrap())).count();
        match constraint.as_str() {
            "at_least_one" => assert!(there > 0, "{path}: {constraint}"),
            other => panic!("no such constraint: {other}"),
        }
    }
}

fn has_ocsf_type(value: &Json, attribute: &Json, schema: &Json, path: &str) {
    let fits = match attribute["type"].as_str().unwrap() {
        "object_t" if attribute["object_type"] == "object" => value.is_object(),
        "object_t" => {
            let shape = &schema["objects"][attribute["object_type"].as_str().unwrap()];
            assert!(shape.is_object(), "{path}: its object is not in the extract");
            return conforms_to_ocsf(value, shape, schema, path);
        }
        "integer_t" | "long_t" | "timestamp_t" => value.is_i64(),
        "boolean_t" => value.is_boolean(),
        "ip_t" => value.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok()),
        "string_t" | "username_t" | "hostname_t" | "resource_uid_t" | "url_t" => value.is_string(),
        other => panic!("{path}: no such type: {other}"),
    };
    assert!(fits, "{path}: {value}");
    if let Some(values) = attribute.get("enum") {
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        assert!(values.get(&word).is_some(), "{path}: {word} is none of {values}");
    }
}

fn check_ocsf(record: &Record, schema: &Json) {
    let event: Json = serde_json::from_str(&written(ocsf::write, record)).unwrap();
    let (class, uid) = match record.kind {
        Some(Kind::Authentication) => ("authentication", 3002),
        Some(Kind::Authorization | Kind::Access) => ("api_activity", 6003),
        Some(Kind::Other) | None => ("base_event", 0),
    };
    let class = &schema["classes"][class];
    conforms_to_ocsf(&event, class, schema, "");
    let number = |name: &str| event[name].as_i64().unwrap();
    assert_eq!((number("class_uid"), &event["class_name"]), (uid, &class["caption"]));
    assert_eq!(number("type_uid"), uid * 100 + number("activity_id"));
    let type_name = &class["attributes"]["type_uid"]["enum"][&number("type_uid").to_string()];
    assert_eq!(&event["type_name"], type_name);
    let category =
        &class["attributes"]["category_uid"]["enum"][&number("category_uid").to_string()];
    assert_eq!(&event["category_name"], category);
    assert_eq!(event["metadata"]["version"], schema["version"]);
    assert!(event["metadata"]["correlation_uid"].as_i64().is_none());
    has_the_line_and_verdict(record, &event["raw_data"], &event["unmapped"]["vidimus"]);
}

/// The columns that are not those of a known field.
const OTHER_COLUMNS: [&str; 16] = [
    "AdditionalFields",
    "EventTime",
    "Outcome",
    "RawData",
    "VidimusDeliveryCount",
    "VidimusFingerprint",
    "VidimusFormat",
    "VidimusId",
    "VidimusInput",
    "VidimusKid",
    "VidimusKind",
    "VidimusRawEncoding",
    "VidimusReason",
    "VidimusReceivedAt",
    "VidimusVerdict",
    "VidimusWarnings",
];

fn check_sentinel(record: &Record) {
    let json: Json = serde_json::from_str(&written(sentinel::write, record)).unwrap();
    let columns = json.as_object().unwrap();
    let of_field = |column: &str| {
        let letters = |name: &str| name.replace('_', "").to_lowercase();
        KNOWN.iter().find(|(name, _)| letters(name) == letters(column))
    };
    for (name, value) in columns {
        match of_field(name) {
            Some((_, FieldType::Text | FieldType::Digits)) => assert!(value.is_string(), "{name}"),
            Some((_, FieldType::Integer)) => assert!(value.is_i64(), "{name}"),
            Some((_, FieldType::Boolean)) => assert!(value.is_boolean(), "{name}"),
            None => assert!(OTHER_COLUMNS.contains(&name.as_str()), "{name} is no column"),
        }
    }
    let additional = json["AdditionalFields"].as_object();
    assert!(additional.is_none_or(|all| all.values().all(Json::is_string)));
    // No field is lost, but empty ones.
    let not_empty = record.fields.iter().filter(|(_, value)| !value.as_text().is_empty()).count();
    let known = columns.keys().filter(|name| of_field(name).is_some()).count();
    assert_eq!(known + additional.map_or(0, serde_json::Map::len), not_empty);
    let member = |name: &str| match &json[name] {
        Json::Null => None,
        value => Some(value.clone()),
    };
    let vidimus = ["Verdict", "Reason", "Kid", "Warnings", "RawEncoding"].map(|name| {
        let lower = if name == "RawEncoding" { "raw_encoding".into() } else { name.to_lowercase() };
        Some((lower, member(&format!("Vidimus{name}"))?))
    });
    let vidimus: Json = vidimus.into_iter().flatten().collect::<serde_json::Map<_, _>>().into();
    has_the_line_and_verdict(record, &json["RawData"], &vidimus);
}

#[test]
fn every_example_conforms_to_the_schemas() {
    let (list, schema) = (schema("ecs-8.11.0.json"), schema("ocsf-1.5.0.json"));
    for (_, record) in examples() {
        check_ecs(&record, &list);
        check_ocsf(&record, &schema);
        check_sentinel(&record);
    }
}

#[test]
fn the_checks_find_what_is_wrong() {
    let (list, schema) = (schema("ecs-8.11.0.json"), schema("ocsf-1.5.0.json"));
    let fails = |check: &dyn Fn()| {
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_err());
    };
    for document in [
        r#"{"event":{"severity":"6"}}"#,
        r#"{"event":{"sevrity":6}}"#,
        r#"{"source":{"ip":"localhost"}}"#,
        r#"{"event":{"type":"start"}}"#,
    ] {
        let document: Json = serde_json::from_str(document).unwrap();
        fails(&|| conforms_to_ecs(&document, &list, ""));
    }
    let (_, entry) = examples().swap_remove(0);
    let event: Json = serde_json::from_str(&written(ocsf::write, &entry)).unwrap();
    let class = &schema["classes"]["authentication"];
    conforms_to_ocsf(&event, class, &schema, "");
    for (path, to) in [
        ("/user", Json::Null),
        ("/time", "2025".into()),
        ("/activity_id", 98.into()),
        ("/service", serde_json::json!({"version": "1"})),
        ("/src_endpoint/ip", "localhost".into()),
    ] {
        let mut event = event.clone();
        *event.pointer_mut(path).unwrap() = to;
        fails(&|| conforms_to_ocsf(&event, class, &schema, ""));
    }
}

#[test]
fn the_tables_name_every_field() {
    let page = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md"));
    let (ecs, rest) = page.split_once("\n## OCSF").expect("a part on each format");
    let (ocsf, sentinel) = rest.split_once("\n## Sentinel").expect("a part on each format");
    for column in OTHER_COLUMNS {
        assert!(sentinel.contains(&format!("`{column}`")), "{column} is not on the page");
    }
    for (part, text) in [("ecs", ecs), ("ocsf", ocsf)] {
        for (name, _) in KNOWN {
            assert!(
                text.contains(&format!("\n| `{name}` |")),
                "`{name}` is not in the table of {part}"
            );
        }
    }
    let list = schema("ecs-8.11.0.json");
    for part in ["fields", "custom"] {
        for name in list[part].as_object().unwrap().keys() {
            assert!(ecs.contains(&format!("`{name}`")), "{name} is not on the page");
        }
    }
}

/// Any value that a field may have.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<String>().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        "(-?[1-9][0-9]{0,40}(e[0-9]{3})?|null|\\[\"\n\", 1\\]|\\{\\})".prop_map(Value::Json),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_record_is_one_line_of_json_that_conforms(
        kind in prop::option::of(prop::sample::select(Kind::ALL)),
        known in prop::collection::vec((0..KNOWN.len(), value()), 0..KNOWN.len()),
        unknown in prop::collection::vec((any::<String>(), value()), 0..4),
        raw in prop::collection::vec(any::<u8>(), 0..40),
        time in prop::option::of(any::<i64>()),
        stored in any::<bool>(),
    ) {
        let mut one = record(b"x");
        (one.kind, one.raw, one.time) = (kind, raw, time.map(Millis::saturating));
        if !stored {
            one.origin = Origin::File { source: "\n:1".into() };
        }
        known.into_iter().for_each(|(at, value)| one.fields.restore(KNOWN[at].0, value));
        unknown.into_iter().for_each(|(name, value)| one.fields.restore(&name, value));
        for write in [ecs::write, ocsf::write, sentinel::write] {
            let line = written(write, &one);
            prop_assert!(!line.contains(|c| c < ' '), "{line:?}");
            prop_assert!(serde_json::from_str::<IgnoredAny>(&line).is_ok(), "{line:?}");
        }
        check_ecs(&one, &schema("ecs-8.11.0.json"));
        check_ocsf(&one, &schema("ocsf-1.5.0.json"));
        check_sentinel(&one);
    }
}

fn check(
    format: OutputFormat,
    not_valid: NotValid,
    verdict: VerdictName,
    raw: &[u8],
    expected: &str,
) {
    let mut record = testing::record(7, 0);
    (record.verdict, record.raw) = (verdict, raw.to_vec());
    let mut line = b"before ".to_vec();
    format.write_line(&record, not_valid, &mut line);
    assert_eq!(String::from_utf8_lossy(&line), format!("before {expected}\n"));
}

#[test]
fn a_raw_line_is_unchanged_and_marked_only_if_asked() {
    use NotValid::{Forward, Mark};
    check(OutputFormat::Raw, Forward, VerdictName::Invalid, b"a b", "a b");
    check(OutputFormat::Raw, Mark, VerdictName::Valid, b"a b", "a b");
    check(OutputFormat::Raw, Mark, VerdictName::NoKey, b"a b", "[vidimus verdict=no_key] a b");
    check(OutputFormat::Raw, Mark, VerdictName::Valid, b"a\nb", "ab");
}

#[test]
fn json_is_the_entry_and_one_line() {
    let mut record = testing::record(7, 0);
    record.raw = b"a\n\"b".to_vec();
    let mut line = Vec::new();
    OutputFormat::Json.write_line(&record, NotValid::Mark, &mut line);
    assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
    let json: Json = serde_json::from_slice(&line).unwrap();
    assert_eq!((&json["id"], &json["raw"]), (&7.into(), &"a\n\"b".into()));
}
