//! An entry as an event of the Open Cybersecurity Schema Framework, version 1.5.0.
//!
//! Authentication entries are of class Authentication (3002); authorization and access entries of
//! API Activity (6003); what is of no kind that is known, malformed lines included, of Base Event
//! (0). Authorize Session (3003) is none of them: it tells of privileges given to a new session, and
//! Konnect tells of one action that was allowed or denied. `docs/formats.md` has the table of what
//! goes where.
//!
//! Where a class requires what an entry lacks, it is given the name `unknown`. What has no attribute
//! is in `unmapped`: what Vidimus says under `vidimus`, what the sender says under `fields`.
//!
//! Defined by: the OCSF schema, version 1.5.0, classes and objects of the core schema without
//! profiles.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::mapping::{self, Mapping, Outcome, object, path_and_query, some};
use crate::entry::{Kind, Record, Value};

/// The version of the schema.
pub(super) const VERSION: &str = "1.5.0";

/// What stands for a name that a class requires and the entry lacks.
const UNKNOWN: &str = "unknown";

/// The methods that the attribute `http_method` takes.
const METHODS: [&str; 8] = ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "POST", "PUT", "TRACE"];

/// Appends the entry to `out` as one JSON object, without a line end within it or after it.
pub(super) fn write(record: &Record, out: &mut Vec<u8>) {
    // Every key is text, so this cannot fail, and JSON escapes line ends.
    drop(serde_json::to_writer(out, &event(record)));
}

/// What is common to all events of a class.
struct Class {
    uid: u32,
    name: &'static str,
    category_uid: u32,
    category_name: &'static str,
}

const BASE_EVENT: Class =
    Class { uid: 0, name: "Base Event", category_uid: 0, category_name: "Uncategorized" };
const AUTHENTICATION: Class = Class {
    uid: 3002,
    name: "Authentication",
    category_uid: 3,
    category_name: "Identity & Access Management",
};
const API_ACTIVITY: Class = Class {
    uid: 6003,
    name: "API Activity",
    category_uid: 6,
    category_name: "Application Activity",
};

fn event(record: &Record) -> Option<Json> {
    let mut fields = Mapping::of(record);
    let outcome = fields.outcome(record.kind);
    let mut members = match record.kind {
        Some(Kind::Authentication) => authentication(outcome, &mut fields),
        Some(Kind::Authorization) => authorization(outcome, &mut fields),
        Some(Kind::Access) => access(&mut fields),
        Some(Kind::Other) => classified(&BASE_EVENT, Activity::Other(None)),
        None => classified(&BASE_EVENT, Activity::Unknown),
    };
    let (status_id, status) = match outcome {
        Outcome::Success => (1, "Success"),
        Outcome::Failure => (2, "Failure"),
        Outcome::Unknown => (0, "Unknown"),
    };
    let (severity_id, severity) = severity(&mut fields);
    members.extend([
        ("time", some(mapping::time(record).get())),
        ("message", fields.text("name").map(Json::from)),
        ("severity_id", some(severity_id)),
        ("severity", some(severity)),
        ("status_id", some(status_id)),
        ("status", some(status)),
        ("metadata", metadata(record, &mut fields)),
        ("raw_data", some(mapping::raw(record))),
    ]);
    // The last, for it takes what is left over.
    members.push((
        "unmapped",
        object([
            ("fields", object(fields.rest().map(|(name, value)| (name, some(as_json(value)))))),
            ("vidimus", object(mapping::provenance(record))),
        ]),
    ));
    object(members)
}

type Members = Vec<(&'static str, Option<Json>)>;

fn authentication(outcome: Outcome, fields: &mut Mapping<'_>) -> Members {
    let mut members = classified(&AUTHENTICATION, Activity::Is(1, "Logon"));
    let said = fields.text("name").and_then(|name| name.strip_prefix("AUTHENTICATION_OUTCOME_"));
    let product = fields.text("event_product").unwrap_or(UNKNOWN);
    let protocol =
        fields.text("event_class_id").and_then(|class| class.strip_prefix("AUTHENTICATION_TYPE_"));
    members.extend([
        ("user", user(fields)),
        (
            "service",
            object([("name", some(product)), ("uid", fields.text("portal_id").map(Json::from))]),
        ),
        ("src_endpoint", endpoint(fields)),
        ("http_request", http_request(None, fields)),
        // None of the protocols that the schema lists is one of the vendor's types.
        ("auth_protocol_id", protocol.map(|_| 99.into())),
        ("auth_protocol", protocol.map(Json::from)),
        ("status_detail", said.filter(|_| outcome == Outcome::Failure).map(Json::from)),
    ]);
    members
}

fn authorization(outcome: Outcome, fields: &mut Mapping<'_>) -> Members {
    let action = fields.text("action");
    let activity = match action {
        None => Activity::Unknown,
        Some("create") => Activity::Is(1, "Create"),
        Some("retrieve" | "list" | "read") => Activity::Is(2, "Read"),
        Some("edit" | "update") => Activity::Is(3, "Update"),
        Some("delete") => Activity::Is(4, "Delete"),
        Some(other) => Activity::Other(Some(other)),
    };
    let decision = match outcome {
        Outcome::Success => Some("allowed"),
        Outcome::Failure => Some("denied"),
        Outcome::Unknown => None,
    };
    let authorization = decision.and_then(|decision| object([("decision", some(decision))]));
    let resource = fields.text("name").and_then(|name| name.strip_prefix("Authz."));
    let resource = resource.filter(|resource| !resource.is_empty());
    let mut members = classified(&API_ACTIVITY, activity);
    members.extend([
        (
            "actor",
            object([
                ("user", user(fields)),
                ("authorizations", authorization.map(|one| vec![one].into())),
            ]),
        ),
        ("api", api(action, fields)),
        ("src_endpoint", endpoint(fields).or_else(|| object([("name", some(UNKNOWN))]))),
        ("http_request", http_request(None, fields)),
        (
            "resources",
            resource.and_then(|name| object([("name", some(name))])).map(|one| vec![one].into()),
        ),
    ]);
    members
}

fn access(fields: &mut Mapping<'_>) -> Members {
    let method = fields.text("act");
    let status = fields.integer("status");
    let activity = match method {
        None => Activity::Unknown,
        Some("POST") => Activity::Is(1, "Create"),
        Some("GET" | "HEAD" | "OPTIONS") => Activity::Is(2, "Read"),
        Some("PUT" | "PATCH") => Activity::Is(3, "Update"),
        Some("DELETE") => Activity::Is(4, "Delete"),
        Some(other) => Activity::Other(Some(other)),
    };
    let mut members = classified(&API_ACTIVITY, activity);
    members.extend([
        ("actor", object([("user", user(fields))])),
        ("api", api(method, fields)),
        ("src_endpoint", endpoint(fields).or_else(|| object([("name", some(UNKNOWN))]))),
        ("http_request", http_request(method, fields)),
        ("http_response", object([("code", status.map(Json::from))])),
        ("status_code", status.map(|status| status.to_string().into())),
    ]);
    members
}

/// What was done, as a number of the class, with its name.
enum Activity<'a> {
    Unknown,
    Is(u32, &'static str),
    Other(Option<&'a str>),
}

fn classified(class: &Class, activity: Activity<'_>) -> Members {
    let (id, caption, said) = match activity {
        Activity::Unknown => (0, "Unknown", None),
        Activity::Is(id, name) => (id, name, None),
        Activity::Other(said) => (99, "Other", said),
    };
    vec![
        ("class_uid", some(class.uid)),
        ("class_name", some(class.name)),
        ("category_uid", some(class.category_uid)),
        ("category_name", some(class.category_name)),
        ("activity_id", some(id)),
        ("activity_name", some(said.unwrap_or(caption))),
        ("type_uid", some(class.uid * 100 + id)),
        ("type_name", some(format!("{}: {caption}", class.name))),
    ]
}

/// The severity, from CEF's scale of 0 to 10.
fn severity(fields: &mut Mapping<'_>) -> (u32, String) {
    let (id, name) = match fields.integer("severity") {
        None => (0, "Unknown"),
        Some(0..=1) => (1, "Informational"),
        Some(2..=3) => (2, "Low"),
        Some(4..=6) => (3, "Medium"),
        Some(7..=8) => (4, "High"),
        Some(9..=10) => (5, "Critical"),
        // The schema wants the sender's own word here.
        Some(other) => return (99, other.to_string()),
    };
    (id, name.to_owned())
}

fn metadata(record: &Record, fields: &mut Mapping<'_>) -> Option<Json> {
    let uid = record.id().map(|id| id.to_string());
    object([
        ("version", some(VERSION)),
        (
            "product",
            object([
                ("name", some(fields.text("event_product").unwrap_or(UNKNOWN))),
                ("vendor_name", fields.text("event_vendor").map(Json::from)),
                ("version", fields.text("event_version").map(Json::from)),
            ]),
        ),
        ("uid", uid.map(Json::from)),
        ("logged_time", record.received_at().map(|at| at.get().into())),
        ("original_time", fields.text("event_ts").map(Json::from)),
        ("event_code", fields.text("event_class_id").map(Json::from)),
        ("log_version", fields.text("cef_version").map(Json::from)),
        ("tenant_uid", fields.text("org_id").map(Json::from)),
        ("correlation_uid", fields.text("trace_id").map(Json::from)),
    ])
}

fn user(fields: &mut Mapping<'_>) -> Option<Json> {
    let (uid, name) = (fields.text("principal_id"), fields.text("principal_name"));
    let name = if uid.is_none() { name.or(Some(UNKNOWN)) } else { name };
    let org = object([("uid", fields.text("org_id").map(Json::from))]);
    object([("uid", uid.map(Json::from)), ("name", name.map(Json::from)), ("org", org)])
}

fn endpoint(fields: &mut Mapping<'_>) -> Option<Json> {
    let src = fields.text("src")?;
    let name = if src.parse::<IpAddr>().is_ok() { "ip" } else { "name" };
    object([(name, some(src))])
}

fn api(operation: Option<&str>, fields: &mut Mapping<'_>) -> Option<Json> {
    let service = object([("name", fields.text("event_class_id").map(Json::from))]);
    object([("operation", some(operation.unwrap_or(UNKNOWN))), ("service", service)])
}

fn http_request(method: Option<&str>, fields: &mut Mapping<'_>) -> Option<Json> {
    let (path, query) = path_and_query(fields.text("request"));
    let url = path
        .and_then(|path| object([("path", some(path)), ("query_string", query.map(Json::from))]));
    let method = method.filter(|method| METHODS.contains(method));
    object([
        ("http_method", method.map(Json::from)),
        ("url", url),
        ("user_agent", fields.text("user_agent").map(Json::from)),
        ("args", fields.text("query").map(Json::from)),
    ])
}

/// A value as it is typed; JSON of the sender's as its text, which keeps all digits of a number.
fn as_json(value: &Value) -> Json {
    match value {
        Value::Text(text) | Value::Json(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Boolean(boolean) => (*boolean).into(),
    }
}
