//! `_bulk` of Elasticsearch and OpenSearch: a request has an action and a document for each entry,
//! and the response an item for each document.
//!
//! The id of a document is the fingerprint of the line as received. A document that is sent again
//! replaces itself, and so does an entry with a late verdict.
//!
//! Defined by: Elasticsearch, "Bulk index or delete documents"; OpenSearch, "Bulk".

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::settings::{Action, HttpSettings};
use crate::entry::Record;
use crate::ingest::Fingerprint;

/// The action and the document, a line each. `document` is JSON.
pub(super) fn document(settings: &HttpSettings, record: &Record, document: &[u8]) -> Vec<u8> {
    let mut target = json!({ "_id": Fingerprint::of(&record.raw).to_string() });
    if let Some(index) = &settings.index {
        target["_index"] = json!(index);
    }
    let action = json!({ settings.action.as_str(): target }).to_string();
    [action.as_bytes(), b"\n", document, b"\n"].concat()
}

/// The result of one document.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ItemOutcome {
    /// The document is in the index.
    Accepted,
    /// The document is rejected for good.
    Rejected {
        /// The status of the item.
        status: u16,
        /// The reason, as the endpoint gave it.
        why: String,
    },
    /// The document has to be sent again later.
    Retry {
        /// The reason, as the endpoint gave it.
        why: String,
    },
}

#[derive(Deserialize)]
struct BulkResponse {
    errors: bool,
    /// Missing if the URL has a `filter_path` without it.
    items: Option<Vec<HashMap<String, Item>>>,
}

#[derive(Deserialize)]
struct Item {
    status: u16,
    #[serde(default)]
    error: Json,
}

/// The result of each document, from the body of a 200.
///
/// # Errors
/// When the body is not a complete response to `sent` documents.
pub(super) fn item_outcomes(
    body: &[u8],
    sent: usize,
    action: Action,
) -> Result<Vec<ItemOutcome>, String> {
    let BulkResponse { errors, items } = serde_json::from_slice(body)
        .map_err(|error| format!("its answer is none to a _bulk, or not whole: {error}"))?;
    let items = match items {
        None if !errors => return Ok((0..sent).map(|_| ItemOutcome::Accepted).collect()),
        items => items.unwrap_or_default(),
    };
    let mut item_outcomes = Vec::with_capacity(items.len());
    // An item has one key, the action.
    item_outcomes
        .extend(items.into_iter().flat_map(HashMap::into_values).map(|item| item.outcome(action)));
    match item_outcomes.len() == sent {
        true => Ok(item_outcomes),
        false => {
            Err(format!("it answered for {} documents, and was sent {sent}", item_outcomes.len()))
        }
    }
}

/// Errors of items about the index or the credentials, whatever their status is.
const ABOUT_THE_INDEX: [&str; 7] = [
    "cluster_block_exception",
    "index_closed_exception",
    "index_not_found_exception",
    "invalid_index_name_exception",
    "no_shard_available_action_exception",
    "security_exception",
    "unavailable_shards_exception",
];

impl Item {
    fn outcome(self, action: Action) -> ItemOutcome {
        let text = |name: &str| self.error.get(name).and_then(Json::as_str);
        let kind = text("type").unwrap_or_default();
        // Old versions send a string.
        let reason = text("reason").or(self.error.as_str()).unwrap_or_default();
        let status = self.status;
        let separator = if kind.is_empty() || reason.is_empty() { "" } else { ": " };
        let why = format!("{status} {kind}{separator}{reason}");
        // Data streams accept only `create`.
        if action == Action::Index && reason.contains("op_type of create are allowed") {
            return ItemOutcome::Retry { why: format!("{why}; set action = \"create\"") };
        }
        // The default pipeline of the index, or the one in the URL.
        if reason.starts_with("pipeline with id [") && reason.ends_with("] does not exist") {
            return ItemOutcome::Retry { why };
        }
        match status {
            200..300 => ItemOutcome::Accepted,
            // The document is there already.
            409 if action == Action::Create => ItemOutcome::Accepted,
            400..500 if ABOUT_THE_INDEX.contains(&kind) => ItemOutcome::Retry { why },
            401 | 403 | 404 | 408 | 409 | 429 => ItemOutcome::Retry { why },
            400..500 => ItemOutcome::Rejected { status, why },
            _ => ItemOutcome::Retry { why },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16, kind: &str, reason: &str) -> Json {
        json!({"_id": "x", "status": status, "error": {"type": kind, "reason": reason}})
    }

    fn body(errors: bool, items: &[Json]) -> String {
        let items: Vec<_> = items.iter().map(|item| json!({ "index": item })).collect();
        json!({"took": 1, "errors": errors, "items": items}).to_string()
    }

    #[test]
    fn each_document_has_an_outcome() {
        let check = |action, item: Json, expected: &str| {
            let found = item_outcomes(body(true, &[item]).as_bytes(), 1, action).unwrap().remove(0);
            let found = match found {
                ItemOutcome::Accepted => "taken".to_owned(),
                ItemOutcome::Rejected { status, why } => format!("refused {status} {why}"),
                ItemOutcome::Retry { why } => format!("waits {why}"),
            };
            assert_eq!(found, expected);
        };
        use Action::{Create, Index};
        check(Index, json!({"status": 200}), "taken");
        check(Index, json!({"status": 201, "result": "created"}), "taken");
        let conflict = || item(409, "version_conflict_engine_exception", "it is there");
        check(Create, conflict(), "taken");
        check(Index, conflict(), "waits 409 version_conflict_engine_exception: it is there");
        check(
            Index,
            item(400, "document_parsing_exception", "r"),
            "refused 400 400 document_parsing_exception: r",
        );
        check(Index, item(413, "x", ""), "refused 413 413 x");
        for status in [401, 403, 404, 408, 429, 500, 503, 301] {
            check(Index, item(status, "x", "r"), &format!("waits {status} x: r"));
        }
        check(
            Index,
            item(400, "index_closed_exception", "r"),
            "waits 400 index_closed_exception: r",
        );
        let stream = "only write ops with an op_type of create are allowed in data streams";
        check(
            Index,
            item(400, "illegal_argument_exception", stream),
            &format!("waits 400 illegal_argument_exception: {stream}; set action = \"create\""),
        );
        let pipeline = "pipeline with id [konnect-audit] does not exist";
        check(
            Create,
            item(400, "illegal_argument_exception", pipeline),
            &format!("waits 400 illegal_argument_exception: {pipeline}"),
        );
        check(Index, json!({"status": 400, "error": "Oh"}), "refused 400 400 Oh");
    }

    #[test]
    fn a_response_has_an_item_for_each_document() {
        let check = |body: &str, sent: usize, expected: Result<usize, &str>| match (
            item_outcomes(body.as_bytes(), sent, Action::Index),
            expected,
        ) {
            (Ok(found), Ok(expected)) => assert_eq!(found.len(), expected, "{body}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
            (found, _) => panic!("{body}: {found:?}, expected {expected:?}"),
        };
        let taken = json!({"status": 201});
        let two = body(false, &[taken.clone(), taken]);
        check(&two, 2, Ok(2));
        check(&two, 3, Err("it answered for 2 documents, and was sent 3"));
        check(&two, 1, Err("it answered for 2 documents, and was sent 1"));
        check(&two[..two.len() - 9], 2, Err("not whole"));
        check(r#"{"errors":false,"took":1}"#, 3, Ok(3));
        check(r#"{"errors":true,"took":1}"#, 3, Err("it answered for 0 documents"));
        check(r#"{"errors":false,"items":[]}"#, 3, Err("it answered for 0 documents"));
        for other in ["", "ok", "[]", "{}", r#"{"errors":true,"items":[{"index":{}}]}"#] {
            check(other, 1, Err("its answer is none to a _bulk, or not whole"));
        }
    }
}
