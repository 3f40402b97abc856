//! An entry as a document of the Elastic Common Schema, version 8.11.0.
//!
//! `docs/formats.md` has the table of what goes where. What the schema has no field for is under
//! `vidimus`; a name that the sender chose never becomes the name of a field, so that an index does
//! not grow with what comes in.
//!
//! Defined by: Elastic, "Elastic Common Schema (ECS) Reference", field sets base, ecs, error, event,
//! http, observer, organization, related, source, tracing, url, user and user_agent, and the allowed
//! values of the categorization fields.

use std::net::IpAddr;

use serde_json::Value as Json;

use super::mapping::{self, Mapping, Outcome, list, object, path_and_query, some};
use crate::entry::{Kind, Record};

/// The version of the schema.
pub(super) const VERSION: &str = "8.11.0";

/// Appends the entry to `out` as one JSON object, without a line end within it or after it.
pub(super) fn write(record: &Record, out: &mut Vec<u8>) {
    // Every key is text, so this cannot fail, and JSON escapes line ends.
    drop(serde_json::to_writer(out, &document(record)));
}

fn document(record: &Record) -> Option<Json> {
    let mut fields = Mapping::of(record);
    let src = fields.text("src");
    let ip = src.filter(|src| src.parse::<IpAddr>().is_ok());
    let (user, user_name) = (fields.text("principal_id"), fields.text("principal_name"));
    let actor = fields.text("actor_id");
    let request = fields.text("request");
    let (path, query) = path_and_query(request);
    let agent = fields.text("user_agent");
    let call = Call::of(record.kind, &mut fields);
    object([
        ("@timestamp", some(mapping::time(record).to_string())),
        ("ecs", object([("version", some(VERSION))])),
        ("message", fields.text("name").map(Json::from)),
        ("error", error(record)),
        ("event", event(record, &call, &mut fields)),
        (
            "http",
            object([
                ("request", object([("method", call.method.map(Json::from))])),
                ("response", object([("status_code", call.status.map(Json::from))])),
            ]),
        ),
        (
            "observer",
            object([
                ("vendor", fields.text("event_vendor").map(Json::from)),
                ("product", fields.text("event_product").map(Json::from)),
                ("version", fields.text("event_version").map(Json::from)),
            ]),
        ),
        ("organization", object([("id", fields.text("org_id").map(Json::from))])),
        (
            "related",
            object([("ip", list([ip])), ("user", list(distinct([user, user_name, actor])))]),
        ),
        ("source", object([("address", src.map(Json::from)), ("ip", ip.map(Json::from))])),
        ("trace", object([("id", fields.text("trace_id").map(Json::from))])),
        (
            "url",
            object([
                ("original", request.map(Json::from)),
                ("path", path.map(Json::from)),
                ("query", query.map(Json::from)),
            ]),
        ),
        ("user", object([("id", user.map(Json::from)), ("name", user_name.map(Json::from))])),
        ("user_agent", object([("original", agent.map(Json::from))])),
        // The last, for it takes what is left over.
        ("vidimus", vidimus(record, actor, &mut fields)),
    ])
}

/// The method and the status code of an API call. In an entry of another kind it is not known what
/// fields of these names hold.
struct Call<'a> {
    method: Option<&'a str>,
    status: Option<i64>,
}

impl<'a> Call<'a> {
    fn of(kind: Option<Kind>, fields: &mut Mapping<'a>) -> Call<'a> {
        match kind {
            Some(Kind::Access) => {
                Call { method: fields.text("act"), status: fields.integer("status") }
            }
            _ => Call { method: None, status: None },
        }
    }
}

fn event(record: &Record, call: &Call<'_>, fields: &mut Mapping<'_>) -> Option<Json> {
    let sequence = record.id().and_then(|id| i64::try_from(id).ok());
    let name = fields.text("name");
    let outcome = fields.outcome(record.kind);
    let action = match record.kind {
        Some(Kind::Access) => call.method,
        Some(Kind::Authorization) => fields.text("action"),
        Some(Kind::Authentication | Kind::Other) => name,
        None => None,
    };
    let failed = name.filter(|_| outcome == Outcome::Failure);
    let reason = failed.and_then(|name| name.strip_prefix("AUTHENTICATION_OUTCOME_"));
    let (category, types) = categories(record.kind, outcome, call);
    let outcome = match outcome {
        Outcome::Success => "success",
        Outcome::Failure => "failure",
        Outcome::Unknown => "unknown",
    };
    object([
        ("kind", some(if record.kind.is_some() { "event" } else { "pipeline_error" })),
        ("category", list(category.iter().copied().map(Some))),
        ("type", list(types)),
        ("outcome", some(outcome)),
        ("action", action.map(Json::from)),
        ("reason", reason.map(Json::from)),
        ("code", fields.text("event_class_id").map(Json::from)),
        ("severity", fields.integer("severity").map(Json::from)),
        ("module", some("kong")),
        ("dataset", some("kong.audit")),
        ("created", record.received_at().map(|at| at.to_string().into())),
        ("sequence", sequence.map(Json::from)),
        ("original", some(mapping::raw(record))),
    ])
}

/// The values of `event.category` and `event.type`.
fn categories(
    kind: Option<Kind>,
    outcome: Outcome,
    call: &Call<'_>,
) -> (&'static [&'static str], [Option<&'static str>; 3]) {
    match kind {
        Some(Kind::Authentication) => (&["authentication"], [Some("start"), None, None]),
        Some(Kind::Authorization) => {
            let decision = match outcome {
                Outcome::Success => Some("allowed"),
                Outcome::Failure => Some("denied"),
                Outcome::Unknown => None,
            };
            (&["api"], [Some("access"), decision, None])
        }
        Some(Kind::Access) => {
            let change = match call.method {
                Some("POST") => Some("creation"),
                Some("PUT" | "PATCH") => Some("change"),
                Some("DELETE") => Some("deletion"),
                _ => None,
            };
            let refused = match call.status {
                Some(401 | 403) => Some("denied"),
                Some(500..=599) => Some("error"),
                _ => None,
            };
            (&["api", "web"], [Some("access"), change, refused])
        }
        // The reference says to leave them empty where no allowed value fits.
        Some(Kind::Other) | None => (&[], [None; 3]),
    }
}

fn error(record: &Record) -> Option<Json> {
    if record.kind.is_some() {
        return None;
    }
    let code = record.reason.as_deref().map(Json::from);
    object([("message", some("the line is no entry")), ("code", code)])
}

fn vidimus(record: &Record, actor: Option<&str>, fields: &mut Mapping<'_>) -> Option<Json> {
    let mut members = mapping::provenance(record);
    members.extend([
        ("actor_id", actor.map(Json::from)),
        ("cef_version", fields.text("cef_version").map(Json::from)),
        ("event_ts", fields.text("event_ts").map(Json::from)),
        ("kong_initiated", fields.boolean("kong_initiated").map(Json::from)),
        ("portal_id", fields.text("portal_id").map(Json::from)),
        ("query", fields.text("query").map(Json::from)),
        ("rt", fields.integer("rt").map(Json::from)),
    ]);
    let rest: Vec<_> = fields.rest().map(|(name, v)| format!("{name}={}", v.as_text())).collect();
    members.push(("fields", if rest.is_empty() { None } else { some(rest) }));
    object(members)
}

fn distinct<const N: usize>(texts: [Option<&str>; N]) -> impl Iterator<Item = Option<&str>> {
    (0..N).map(move |at| texts[at].filter(|text| !texts[..at].contains(&Some(text))))
}
