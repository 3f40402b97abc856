//! Checks answers of Konnect's API against the schemas in `fixtures/konnect/`. The README there
//! explains the files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use jsonschema::{Retrieve, Uri, Validator};
use serde::Deserialize;
use serde_json::{Value, json};

/// A documented operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Operation {
    /// The documented `operationId`.
    pub(crate) operation: String,
    /// The versions of the API with this operation: `v2`, `v3`.
    pub(crate) versions: Vec<String>,
    pub(crate) method: String,
    /// The path after the version, with `{auditLogDestinationId}` and `{portalId}`.
    pub(crate) path: String,
    /// The schema of the answer for each status, or `None` if the answer has no body.
    pub(crate) answers: BTreeMap<u16, Option<String>>,
}

/// All documented operations.
pub(crate) fn operations() -> Vec<Operation> {
    serde_json::from_value(json_of(&folder().join("operations.json"))).unwrap()
}

/// Checks the answer of `operation` with `status` against its schema. An answer without a body is
/// `null`.
pub(crate) fn conforms(operation: &str, status: u16, answer: &Value) {
    let operations = operations();
    let Some(found) = operations.iter().find(|one| one.operation == operation) else {
        panic!("{operation} is no documented operation")
    };
    let Some(schema) = found.answers.get(&status) else {
        let documented: Vec<_> = found.answers.keys().collect();
        panic!("{operation} is answered {documented:?}, not {status}:\n{answer:#}")
    };
    let errors = match schema {
        Some(schema) => errors(schema, answer),
        None if answer.is_null() => vec![],
        None => vec!["there is a body, and none is documented".to_owned()],
    };
    assert!(
        errors.is_empty(),
        "{operation}, {} {} answered {status}, which is to be {}:\n{}\nthe answer:\n{answer:#}",
        found.method,
        found.path,
        schema.as_deref().unwrap_or("without a body"),
        errors.join("\n"),
    );
}

/// The request bodies in `fixtures/konnect/examples/requests/`: the parts of the name (operation,
/// variant) and the body. The names in `bad` have the wrong field between the two parts.
pub(crate) fn requests(bad: bool) -> Vec<(Vec<String>, Value)> {
    examples(if bad { "requests/bad" } else { "requests" })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/konnect")
}

fn json_of(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The files of a directory with the parts of their names, in order of the names.
fn files(name: &str) -> Vec<(Vec<String>, Value)> {
    let mut files: Vec<_> = fs::read_dir(folder().join(name))
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| {
            let stem = path.file_stem().unwrap().to_str().unwrap();
            (stem.split('.').map(str::to_owned).collect::<Vec<_>>(), json_of(&path))
        })
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!files.is_empty(), "{name} is empty");
    files
}

fn examples(name: &str) -> Vec<(Vec<String>, Value)> {
    files(&format!("examples/{name}"))
}

/// Resolves references to schemas, in their directory only.
struct Schemas;

const BASE: &str = "vidimus:///";

impl Retrieve for Schemas {
    fn retrieve(
        &self,
        uri: &Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let name = uri.as_str().strip_prefix(BASE).ok_or("it is none of the schemas")?;
        Ok(json_of(&folder().join("schemas").join(name)))
    }
}

fn validator(schema: &str) -> Validator {
    jsonschema::options()
        .with_base_uri(format!("{BASE}{schema}.json"))
        .with_retriever(Schemas)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        .build(&json_of(&folder().join(format!("schemas/{schema}.json"))))
        .unwrap_or_else(|error| panic!("{schema}: {error}"))
}

/// The violations of a schema, with their places.
fn errors(schema: &str, answer: &Value) -> Vec<String> {
    let validator = validator(schema);
    let place = |path: String| if path.is_empty() { "the whole".to_owned() } else { path };
    validator
        .iter_errors(answer)
        .map(|error| format!("- {}: {error}", place(error.instance_path().to_string())))
        .collect()
}

#[test]
fn every_example_conforms_and_every_schema_has_an_example() {
    let mut seen = BTreeSet::new();
    for (name, answer) in examples("answers") {
        assert_eq!(errors(&name[0], &answer), [""; 0], "{}", name.join("."));
        seen.insert(name[0].clone());
    }
    let answered: BTreeSet<_> =
        operations().into_iter().flat_map(|one| one.answers.into_values().flatten()).collect();
    assert_eq!(seen, answered);
    for (name, _) in files("schemas") {
        validator(&name[0]);
    }
}

/// Checks that the example violates its schema when the value at `pointer` is `value`, or is
/// removed if `value` is `None`. The error contains `expected`.
fn check_bad(example: &str, pointer: &str, value: impl Into<Option<Value>>, expected: &str) {
    let mut answer = json_of(&folder().join(format!("examples/answers/{example}.json")));
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    let object = answer.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value.into() {
        Some(value) => drop(object.insert(member.to_owned(), value)),
        None => assert!(object.remove(member).is_some(), "{example} has no {pointer}"),
    }
    let errors = errors(example.split('.').next().unwrap(), &answer).join("\n");
    assert!(errors.contains(expected), "{example}, {pointer}: {expected:?} is not in {errors:?}");
}

#[test]
fn a_bad_twin_of_each_example_is_refused() {
    check_bad("destination", "/authorization", json!("Bearer x"), "'authorization' was unexpected");
    check_bad("destination", "/id", json!("1"), "/id");
    check_bad("destination", "/log_format", json!("leef"), "/log_format");
    check_bad("destination", "/created_at", json!("2023-03-20"), "/created_at");
    check_bad("destination-list", "/data/0/authorization", json!("x"), "/data/0");
    check_bad("destination-list", "/meta/next", None, "\"next\" is a required property");
    check_bad("destination-list", "/meta/size", json!("10"), "/meta/size");
    check_bad("webhook", "/enabled", None, "\"enabled\" is a required property");
    check_bad("webhook.deleted", "/audit_log_destination_id", json!(null), "/audit_log_destinati");
    check_bad("webhook-v2", "/authorization", json!("Bearer x"), "'authorization' was unexpected");
    check_bad("portal-webhook", "/enabled", json!("true"), "/enabled");
    check_bad("portal-webhook", "/audit_log_destination_id", json!("x"), "/audit_log_destination");
    check_bad("webhook-status", "/webhook_status", json!("enabled"), "/webhook_status");
    check_bad("webhook-status", "/last_response_code", json!("401"), "/last_response_code");
    check_bad("replay-job", "/status", json!("done"), "/status");
    check_bad("replay-job.unconfigured", "/end_at", json!("0001-01-01T00:00:0Z"), "/end_at");
    check_bad("jwk-set", "/keys/0/d", json!("AAAA"), "'d' was unexpected");
    check_bad("audit-log-list", "/data/0/granted", json!("true"), "/data/0/granted");
    check_bad("audit-log-list", "/data/1/actor_id", None, "\"actor_id\" is a required property");
    check_bad("audit-log-list", "/data/2/outcome", json!("SUCCESS"), "/data/2/outcome");
    check_bad("audit-log-list", "/data/2/type", None, "\"type\" is a required property");
    check_bad("audit-log-list", "/data/2/type", json!("Authz"), "/data/2/type");
    check_bad("audit-log-list", "/data/2/sig", json!("A"), "'sig' was unexpected");
    check_bad("audit-log-list", "/meta/page", None, "\"page\" is a required property");
    check_bad("unauthorized", "/status", json!(403), "/status");
    check_bad("forbidden", "/instance", json!("2723154947768991354"), "/instance");
    check_bad("not-found", "/detail", None, "\"detail\" is a required property");
    check_bad("conflict", "/authorization", json!("Bearer x"), "authorization");
    check_bad("bad-request.every-sort", "/invalid_parameters", json!([]), "/invalid_parameters");
    check_bad("bad-request.every-sort", "/invalid_parameters", None, "is a required property");
    check_bad("bad-request.every-sort", "/invalid_parameters/1/minimum", None, "_parameters/1");
    check_bad("bad-request.every-sort", "/invalid_parameters/3/rule", json!("max"), "meters/3");
}

#[test]
fn every_example_request_belongs_to_an_operation_with_a_body() {
    let operations = operations();
    let takes_one = |name: &str| {
        let found = operations.iter().find(|one| one.operation == name);
        let found = found.unwrap_or_else(|| panic!("{name} is no documented operation"));
        found.answers.contains_key(&400)
    };
    assert!(requests(false).iter().all(|(name, _)| takes_one(&name[0])));
    assert!(requests(true).iter().all(|(name, _)| takes_one(&name[0]) && name.len() == 3));
    let with_examples: BTreeSet<_> =
        requests(false).into_iter().map(|(mut name, _)| name.swap_remove(0)).collect();
    // The pull takes its parameters in the query string.
    let expected = operations.iter().filter(|one| takes_one(&one.operation) && one.method != "GET");
    assert_eq!(with_examples, expected.map(|one| one.operation.clone()).collect());
}

#[test]
fn each_call_is_one_operation_per_version() {
    let mut seen = BTreeSet::new();
    for Operation { operation, versions, method, path, answers } in operations() {
        for version in versions {
            assert!(["v2", "v3"].contains(&version.as_str()), "{operation}: {version}");
            assert!(seen.insert((version, method.clone(), path.clone())), "{operation}");
        }
        let good = answers.keys().filter(|status| (200..300).contains(*status)).count();
        assert_eq!(good, 1, "{operation}");
    }
    assert_eq!(seen.len(), 35);
}

#[test]
fn a_documented_answer_conforms() {
    let answer = |name: &str| json_of(&folder().join(format!("examples/answers/{name}.json")));
    conforms("create-audit-log-destination", 201, &answer("destination"));
    conforms("get-audit-logs-webhook", 401, &answer("unauthorized"));
    conforms("delete-audit-log-destination", 204, &Value::Null);
}

#[test]
#[should_panic(expected = "'authorization' was unexpected")]
fn a_leaked_authorization_is_reported() {
    conforms("get-audit-log-destination", 200, &json!({"authorization": "Bearer x"}));
}

#[test]
#[should_panic(expected = "is answered [200, 401, 403], not 500")]
fn an_undocumented_status_is_reported() {
    conforms("get-audit-log-webhook", 500, &Value::Null);
}

#[test]
#[should_panic(expected = "none is documented")]
fn an_unexpected_body_is_reported() {
    conforms("delete-audit-log-destination", 204, &json!({}));
}
