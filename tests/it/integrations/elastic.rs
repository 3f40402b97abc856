//! The mapping for Elasticsearch and OpenSearch has every field of a document in the format `ecs`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{json, leaves, sent};
use crate::harness::Received;

/// The fields of the mapping with their types.
fn mapping() -> BTreeMap<String, String> {
    fn add(properties: &Value, before: &str, to: &mut BTreeMap<String, String>) {
        for (name, field) in properties.as_object().unwrap() {
            let path = format!("{before}{name}");
            match field.get("properties") {
                Some(properties) => add(properties, &format!("{path}."), to),
                None => drop(to.insert(path, field["type"].as_str().unwrap().to_owned())),
            }
        }
    }
    let mut fields = BTreeMap::new();
    let template = json("elastic/component-template.json");
    let mappings = &template["template"]["mappings"];
    // A field that is not in the mapping would not be searchable.
    assert_eq!(mappings["dynamic"], false);
    add(&mappings["properties"], "", &mut fields);
    fields
}

#[test]
fn the_mapping_has_every_field_with_its_type() {
    let text = include_str!("../../../fixtures/formats/ecs-8.11.0.json");
    let list: Value = serde_json::from_str(text).unwrap();
    let mapping = mapping();
    let mut count = 0;
    for part in ["fields", "custom"] {
        for (name, field) in list[part].as_object().unwrap() {
            assert_eq!(mapping.get(name).map(String::as_str), field["type"].as_str(), "{name}");
            count += 1;
        }
    }
    assert!(count > 50, "{count}");
}

#[test]
fn every_document_fits_the_mapping() {
    let keys = "format = 'ecs'\nbody = 'bulk'\nindex = 'konnect-audit'";
    let (requests, _) = sent("/_bulk", keys, |request| request.lines().len() / 2);
    let mapping = mapping();
    for document in requests.iter().flat_map(Received::json).filter(|one| one["index"].is_null()) {
        for (path, value) in leaves(&document) {
            let Some(kind) = mapping.get(&path) else { panic!("{path} is not in the mapping") };
            let values = value.as_array().map_or(vec![value], |list| list.iter().collect());
            for value in values {
                let fits = match kind.as_str() {
                    "keyword" | "wildcard" | "match_only_text" | "ip" | "date" => value.is_string(),
                    "long" => value.is_i64(),
                    "boolean" => value.is_boolean(),
                    other => panic!("{path} has the type {other}"),
                };
                assert!(fits, "{path} is {value}, and {kind} in the mapping");
            }
        }
    }
}

#[test]
fn the_templates_name_each_other_and_the_pipeline() {
    for name in ["index-template", "data-stream-template"] {
        let template = json(&format!("elastic/{name}.json"));
        assert_eq!(template["composed_of"], serde_json::json!(["konnect-audit"]), "{name}");
    }
    let component = json("elastic/component-template.json");
    assert_eq!(component["template"]["settings"]["index.default_pipeline"], "konnect-audit");
    let readme = super::file("elastic/README.md");
    for (api, file) in [
        ("_ingest/pipeline/konnect-audit", "ingest-pipeline.json"),
        ("_component_template/konnect-audit", "component-template.json"),
        ("_index_template/konnect-audit", "index-template.json"),
        ("_index_template/konnect-audit-stream", "data-stream-template.json"),
        ("_ilm/policy/konnect-audit", "ilm-policy.json"),
        ("_plugins/_ism/policies/konnect-audit", "ism-policy.json"),
    ] {
        json(&format!("elastic/{file}"));
        let named = readme.lines().any(|line| line.contains(api) && line.contains(file));
        assert!(named, "no line of the README puts {file} to {api}");
    }
}

#[test]
fn the_pipeline_writes_fields_of_the_mapping() {
    let pipeline = json("elastic/ingest-pipeline.json");
    let mapping = mapping();
    let processors = ["processors", "on_failure"].map(|key| pipeline[key].as_array().unwrap());
    let mut count = 0;
    for processor in processors.into_iter().flatten() {
        for settings in processor.as_object().unwrap().values() {
            let field = settings["field"].as_str().unwrap();
            assert!(mapping.contains_key(field), "{field} is not in the mapping");
            count += 1;
        }
    }
    assert!(count > 5, "{count}");
    for field in ["name", "version", "device.name", "os.name", "os.version", "os.full"] {
        assert!(mapping.contains_key(&format!("user_agent.{field}")), "{field}");
    }
}
