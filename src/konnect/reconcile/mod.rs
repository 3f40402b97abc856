//! Which pulled entries the store does not have.
//!
//! A pulled entry has another shape than a delivered one, and its
//! signature is of that shape, so the two are matched by their fields. Two entries are of one key if
//! kind, time, `trace_id` and outcome are the same. Within a key they are matched one to one, those
//! first that agree in everything else too: entries can look alike, and then the number counts.
//!
//! The same line is stored once however often it came. So a stored entry stands for as many pulled
//! ones that are alike in every field as it was delivered times.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::entry::{Fields, Kind, Millis};

/// An entry as it was pulled.
#[derive(Clone, Debug, PartialEq)]
pub struct Pulled {
    /// What identifies it.
    pub identity: EntryIdentity,
    /// As the API gave it.
    pub json: Value,
    /// Whether its time is finer than a millisecond: it may have been rounded either way.
    finer: bool,
}

/// What identifies an entry, pulled or stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryIdentity {
    /// The kind of event.
    pub kind: Kind,
    /// When it happened.
    pub at: Millis,
    /// The digits of its `trace_id`; empty if it has none.
    pub trace_id: String,
    /// How it ended: `granted`, the outcome of an authentication, method and status of a call.
    pub outcome: String,
    /// What may be missing on one side: the resource, the rest, who.
    details: [String; 3],
}

/// An entry of the store.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// What identifies it.
    pub identity: EntryIdentity,
    /// How often it was delivered.
    pub delivery_count: u64,
    /// Whether it has a signature that does not verify.
    pub invalid: bool,
}

/// What came of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// What was pulled and is not in the store, oldest first.
    pub missing: Vec<Pulled>,
    /// How many were pulled and are.
    pub matched: usize,
    /// For how many of the missing the store has an invalid entry with another outcome: they may
    /// have been tampered with on their way.
    pub altered: usize,
}

impl Pulled {
    /// Reads an entry of `GET /v3/audit-logs`; `None` if it has no time.
    pub fn read(json: Value) -> Option<Pulled> {
        let time: Timestamp = json.get("ts")?.as_str()?.parse().ok()?;
        let at = Millis::new(time.as_millisecond())?;
        let text = |name: &str| text(&json, name);
        let (kind, outcome, details) = match json.get("type").and_then(Value::as_str) {
            Some("authorization") => {
                let resource = text("resource");
                let resource = resource.rsplit(':').next().unwrap_or_default().to_owned();
                let rest = format!("{} {}", text("service"), text("action"));
                (Kind::Authorization, text("granted"), [resource, rest])
            }
            Some("authentication") => {
                let details = [text("uri"), text("authentication_type")];
                (Kind::Authentication, text("outcome"), details)
            }
            Some("gateway_access") => {
                let outcome = format!("{} {}", text("method"), text("status_code"));
                (Kind::Access, outcome, [text("uri"), text("query")])
            }
            _ => (Kind::Other, String::new(), [text("uri"), String::new()]),
        };
        let who = format!("{} {}", text("principal_id"), text("client_ip"));
        let [first, second] = details;
        let (trace_id, details) = (text("trace_id"), [first, second, who]);
        let identity = EntryIdentity { kind, at, trace_id, outcome, details };
        Some(Pulled { finer: time.subsec_nanosecond() % 1_000_000 != 0, identity, json })
    }
}

impl EntryIdentity {
    /// What identifies a delivered entry of this kind, which orders at `at` and has these fields.
    pub fn of(kind: Kind, at: Millis, fields: &Fields) -> EntryIdentity {
        let text = |name: &str| {
            fields.get(name).map(|value| value.as_text().into_owned()).unwrap_or_default()
        };
        let end = |name: &str, start: &str| {
            let text = text(name);
            text.strip_prefix(start).unwrap_or(&text).to_ascii_lowercase()
        };
        let (outcome, [first, second]) = match kind {
            Kind::Authorization => {
                let name = text("name");
                let resource = name.strip_prefix("Authz.").unwrap_or(&name).to_owned();
                let rest = format!("{} {}", text("event_class_id"), text("action"));
                (text("granted"), [resource, rest])
            }
            Kind::Authentication => {
                let details = [text("request"), end("event_class_id", "AUTHENTICATION_TYPE_")];
                (end("name", "AUTHENTICATION_OUTCOME_"), details)
            }
            Kind::Access => {
                let outcome = format!("{} {}", text("act"), text("status"));
                (outcome, [text("request"), text("query")])
            }
            Kind::Other => (String::new(), [text("request"), String::new()]),
        };
        let who = format!("{} {}", text("principal_id"), text("src"));
        EntryIdentity {
            kind,
            at,
            trace_id: text("trace_id"),
            outcome,
            details: [first, second, who],
        }
    }

    /// What it was about: the resource, or the URI.
    pub fn what(&self) -> &str {
        &self.details[0]
    }

    fn key(&self) -> IdentityKey {
        (self.kind, self.at, self.trace_id.clone(), self.outcome.clone())
    }
}

/// Finds what is not in the store.
pub fn compare(pulled: Vec<Pulled>, stored: &[StoredEntry]) -> Comparison {
    let total = pulled.len();
    let mut rows: HashMap<IdentityKey, Vec<UnmatchedEntry>> = HashMap::new();
    for one in stored {
        let row = UnmatchedEntry {
            details: one.identity.details.clone(),
            left: one.delivery_count.max(1),
        };
        rows.entry(one.identity.key()).or_default().push(row);
    }
    let (mut missing, mut again) = (Vec::new(), Vec::new());
    for (key, items) in by_key(pulled, EntryIdentity::key) {
        for left in unmatched(items, rows.get_mut(&key)) {
            if left.finer { again.push(left) } else { missing.push(left) }
        }
    }
    for (key, items) in by_key(again, |identity| {
        let (kind, at, trace_id, outcome) = identity.key();
        (kind, Millis::saturating(at.get().saturating_add(1)), trace_id, outcome)
    }) {
        missing.extend(unmatched(items, rows.get_mut(&key)));
    }
    missing.sort_by(|one, other| {
        let order =
            |one: &Pulled| (one.identity.at, one.identity.kind, one.identity.trace_id.clone());
        order(one).cmp(&order(other))
    });
    let same = |identity: &EntryIdentity| (identity.kind, identity.at, identity.trace_id.clone());
    let invalid: HashSet<_> =
        stored.iter().filter(|one| one.invalid).map(|one| same(&one.identity)).collect();
    let altered = missing.iter().filter(|one| invalid.contains(&same(&one.identity))).count();
    Comparison { matched: total - missing.len(), missing, altered }
}

type IdentityKey = (Kind, Millis, String, String);

/// A stored entry that was matched with `delivery_count - left` pulled ones.
struct UnmatchedEntry {
    details: [String; 3],
    left: u64,
}

/// Pulled entries that are alike in every field.
struct Alike {
    entries: Vec<Pulled>,
    details: [String; 3],
}

fn by_key(
    pulled: Vec<Pulled>,
    key: impl Fn(&EntryIdentity) -> IdentityKey,
) -> HashMap<IdentityKey, Vec<Pulled>> {
    let mut keys: HashMap<IdentityKey, Vec<Pulled>> = HashMap::new();
    for one in pulled {
        keys.entry(key(&one.identity)).or_default().push(one);
    }
    keys
}

/// Which of the details must agree, from all of them to none.
const PASSES: [[bool; 3]; 5] = [
    [true, true, true],
    [true, true, false],
    [true, false, false],
    [false, true, false],
    [false, false, false],
];

/// Those of one key that no row is left for.
fn unmatched(pulled: Vec<Pulled>, rows: Option<&mut Vec<UnmatchedEntry>>) -> Vec<Pulled> {
    let Some(rows) = rows else { return pulled };
    let mut items: Vec<Alike> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for one in pulled {
        let at = *known.entry(one.json.to_string()).or_insert(items.len());
        match items.get_mut(at) {
            Some(alike) => alike.entries.push(one),
            None => items.push(Alike { details: one.identity.details.clone(), entries: vec![one] }),
        }
    }
    for pass in PASSES {
        let mut waiting: HashMap<[String; 3], Vec<usize>> = HashMap::new();
        let seen = |details: &[String; 3]| -> [String; 3] {
            std::array::from_fn(|at| if pass[at] { details[at].clone() } else { String::new() })
        };
        for (at, item) in items.iter().enumerate().rev() {
            waiting.entry(seen(&item.details)).or_default().push(at);
        }
        for row in rows.iter_mut().filter(|row| row.left > 0) {
            let Some(same) = waiting.get_mut(&seen(&row.details)) else { continue };
            while let Some(item) = same.last().and_then(|at| items.get_mut(*at)) {
                if item.entries.is_empty() {
                    same.pop();
                    continue;
                }
                // Its other deliveries can be of entries that are alike only.
                let taken = row.left.min(item.entries.len() as u64);
                item.entries.truncate(item.entries.len() - usize::try_from(taken).unwrap_or(0));
                row.left = 0;
                break;
            }
        }
    }
    items.into_iter().flat_map(|item| item.entries).collect()
}

/// A member as text; empty if it is not there.
fn text(json: &Value, name: &str) -> String {
    match json.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// How many entries there are of each kind.
pub fn by_kind(pulled: &[Pulled]) -> Map<String, Value> {
    let count = |kind: Kind| pulled.iter().filter(|one| one.identity.kind == kind).count();
    let kinds = Kind::ALL.iter().map(|kind| (kind.to_string(), count(*kind)));
    kinds.filter(|(_, count)| *count > 0).map(|(kind, count)| (kind, count.into())).collect()
}

#[cfg(test)]
mod tests;
