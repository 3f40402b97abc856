//! The table, the data collection rule and the queries for Microsoft Sentinel have the columns that
//! the program sends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use vidimus::entry::fields::{FieldType, KNOWN};

use super::{file, json, sent};
use crate::harness::Received;

const STREAM: &str = "/dataCollectionRules/dcr-1/streams/Custom-KonnectAudit";

type Columns = BTreeMap<String, String>;

/// The columns of a list with their types. A table has `dateTime` where a stream has `datetime`.
fn columns(list: &Value) -> Columns {
    let text = |one: &Value, key: &str| one[key].as_str().unwrap().to_owned();
    let list = list.as_array().unwrap();
    let columns: Columns =
        list.iter().map(|one| (text(one, "name"), text(one, "type").to_lowercase())).collect();
    assert_eq!(columns.len(), list.len(), "a column stands twice");
    columns
}

/// The properties of the only resource of a template.
fn properties(template: &str) -> Value {
    let template = json(&format!("sentinel/{template}"));
    let [resource] = &template["resources"].as_array().unwrap()[..] else { panic!("{template}") };
    resource["properties"].clone()
}

fn table() -> (String, Columns) {
    let schema = &properties("table.json")["schema"];
    (schema["name"].as_str().unwrap().to_owned(), columns(&schema["columns"]))
}

fn stream() -> Columns {
    let rule = properties("data-collection-rule.json");
    columns(&rule["streamDeclarations"]["Custom-KonnectAudit"]["columns"])
}

#[test]
fn the_stream_has_every_column_of_a_record_and_no_other() {
    let keys = "body = 'logs_ingestion'";
    let records = |request: &Received| -> Vec<serde_json::Map<String, Value>> {
        serde_json::from_slice(&request.body).unwrap()
    };
    let url = format!("{STREAM}?api-version=2023-01-01");
    let (requests, _) = sent(&url, keys, |request| records(request).len());
    let stream = stream();
    let mut seen = BTreeSet::new();
    for record in requests.iter().flat_map(records) {
        for (name, value) in record {
            let Some(kind) = stream.get(&name) else { panic!("{name} is not in the stream") };
            let fits = match kind.as_str() {
                "string" => value.is_string(),
                "long" => value.is_i64(),
                "boolean" => value.is_boolean(),
                "datetime" => value.as_str().is_some_and(|text| text.len() == 24),
                "dynamic" => value.is_object() || value.is_array(),
                other => panic!("{name} has the type {other}"),
            };
            assert!(fits, "{name} is {value}, and {kind} in the stream");
            seen.insert(name);
        }
    }
    assert_eq!(seen, stream.into_keys().collect::<BTreeSet<_>>());
}

#[test]
fn every_known_field_has_a_column() {
    let stream = stream();
    for (name, kind) in KNOWN {
        let words = name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        let expected = match kind {
            FieldType::Text | FieldType::Digits => "string",
            FieldType::Integer => "long",
            FieldType::Boolean => "boolean",
        };
        let column = words.collect::<String>();
        assert_eq!(stream.get(&column).map(String::as_str), Some(expected), "{column}");
    }
}

#[test]
fn the_rule_fills_the_table() {
    let (name, table) = table();
    let rule = properties("data-collection-rule.json");
    let [flow] = &rule["dataFlows"].as_array().unwrap()[..] else { panic!("{rule}") };
    assert_eq!(flow["streams"], serde_json::json!(["Custom-KonnectAudit"]));
    assert_eq!(flow["outputStream"], format!("Custom-{name}"));
    let workspace = &rule["destinations"]["logAnalytics"][0]["name"];
    assert_eq!(flow["destinations"], serde_json::json!([workspace]));
    // All that the transformation adds.
    assert_eq!(flow["transformKql"], "source | extend TimeGenerated = EventTime");
    let mut filled = stream();
    filled.insert("TimeGenerated".to_owned(), "datetime".to_owned());
    assert_eq!(filled, table);
    assert!(name.ends_with("_CL"));
    // Microsoft, "Logs Ingestion API in Azure Monitor", on names of columns.
    let reserved =
        ["id", "_ResourceId", "_SubscriptionId", "TenantId", "Type", "UniqueId", "Title"];
    for column in table.keys() {
        assert!(column.len() <= 45 && column.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert!(column.starts_with(|c: char| c.is_ascii_alphabetic()), "{column}");
        assert!(!reserved.iter().any(|one| one.eq_ignore_ascii_case(column)), "{column}");
    }
}

/// The words of a query outside texts and comments.
fn words(query: &str) -> Vec<String> {
    let lines = query.lines().map(|line| line.split("//").next().unwrap());
    let code = lines.collect::<Vec<_>>().join("\n");
    let outside: String = code.split('"').step_by(2).collect::<Vec<_>>().join(" ");
    let words = outside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn the_queries_use_columns_of_the_table() {
    let (table, columns) = table();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("integrations/sentinel/rules");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| format!("rules/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    names.push("latest.kql".to_owned());
    let readme = file("sentinel/README.md");
    let (mut used, mut of_vidimus) = (BTreeSet::new(), 0);
    for name in names {
        assert!(readme.contains(&format!("`{name}`")), "{name} is not in the README");
        let query = file(&format!("sentinel/{name}"));
        assert!(query.starts_with("// "), "{name} does not say what it finds");
        let words = words(&query);
        assert!(words.contains(&table), "{name} does not read {table}");
        // A name that the query gives stands before `=`.
        let given: BTreeSet<&str> = query
            .split_inclusive(" = ")
            .filter_map(|part| part.strip_suffix(" = ")?.rsplit([' ', '\n', '(']).next())
            .collect();
        for word in words.iter().filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())) {
            if *word == table || given.contains(word.as_str()) {
                continue;
            }
            assert!(columns.contains_key(word), "{name} uses {word}, which is no column");
            of_vidimus += usize::from(word.starts_with("Vidimus"));
            used.insert(word.clone());
        }
    }
    assert!(used.len() > 12 && of_vidimus > 10, "{used:?}");
}
