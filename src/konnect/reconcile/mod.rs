//! Finds pulled entries that the store lacks.
//!
//! A pulled entry has another format than a delivered one, and its signature covers that format. So
//! the two are matched by their fields. Entries have the same key if kind, time, `trace_id` and
//! outcome are equal. Within a key they are matched one to one, beginning with those that are equal
//! in everything else. Identical entries are counted.
//!
//! The same line is stored once, however often it was delivered. So a stored entry matches as many
//! identical pulled entries as it was delivered times.
//!
//! [`Tally`] counts what a comparison proves, for the log.

mod candidates;
mod list;
mod parts;
mod tally;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::entry::{Fields, Kind, Millis, Record, VerdictName};

pub(crate) use self::candidates::candidates;
pub(crate) use self::list::pull_parts;
pub(crate) use self::parts::{PartError, Parts};
pub(crate) use self::tally::{Tally, vouches};

/// A pulled entry. It is written down as the API returned it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Pulled {
    pub(crate) identity: EntryIdentity,
    /// The entry as the API wrote it, a JSON object.
    text: String,
    /// Whether its time is finer than a millisecond. The stored time may be rounded up or down.
    finer: bool,
}

/// The fields that identify an entry, pulled or stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EntryIdentity {
    pub(crate) kind: Kind,
    pub(crate) at: Millis,
    /// The digits of its `trace_id`; empty if it has none.
    pub(crate) trace_id: String,
    /// `granted`, the outcome of an authentication, or the method and status of a call.
    pub(crate) outcome: String,
    /// What may be missing on one side: the resource, other fields, the principal.
    details: [String; 3],
}

#[derive(Clone, Debug)]
pub(crate) struct StoredEntry {
    pub(crate) identity: EntryIdentity,
    /// The number of deliveries.
    pub(crate) delivery_count: u64,
    pub(crate) verdict: VerdictName,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Comparison {
    /// The pulled entries that the store lacks, oldest first.
    pub(crate) missing: Vec<Pulled>,
    /// The number of missing entries for which the store has an invalid entry with another outcome.
    /// They may have been tampered with in transit.
    pub(crate) altered: usize,
}

impl Pulled {
    /// Reads an entry of `GET /v3/audit-logs`; `None` if it has no time.
    pub(crate) fn read(text: &str) -> Option<Pulled> {
        let json: Value = serde_json::from_str(text).ok()?;
        let time: Timestamp = json.get("ts")?.as_str()?.parse().ok()?;
        let at = Millis::new(time.as_millisecond())?;
        let member = |name: &str| member(&json, name);
        let (kind, outcome, details) = match json.get("type").and_then(Value::as_str) {
            Some("authorization") => {
                let resource = member("resource");
                let resource = resource.rsplit(':').next().unwrap_or_default().to_owned();
                let rest = format!("{} {}", member("service"), member("action"));
                (Kind::Authorization, member("granted"), [resource, rest])
            }
            Some("authentication") => {
                let details = [member("uri"), member("authentication_type")];
                (Kind::Authentication, member("outcome"), details)
            }
            Some("gateway_access") => {
                let outcome = format!("{} {}", member("method"), member("status_code"));
                (Kind::Access, outcome, [member("uri"), member("query")])
            }
            _ => (Kind::Other, String::new(), [member("uri"), String::new()]),
        };
        let who = format!("{} {}", member("principal_id"), member("client_ip"));
        let [first, second] = details;
        let (trace_id, details) = (member("trace_id"), [first, second, who]);
        let identity = EntryIdentity { kind, at, trace_id, outcome, details };
        let finer = time.subsec_nanosecond() % 1_000_000 != 0;
        Some(Pulled { identity, text: text.to_owned(), finer })
    }

    /// The entry as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// The entry in one line. JSON has line ends between its tokens only.
    pub(crate) fn line(&self) -> String {
        self.text.replace(['\r', '\n'], " ")
    }
}

impl From<Pulled> for String {
    fn from(pulled: Pulled) -> String {
        pulled.text
    }
}

impl TryFrom<String> for Pulled {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Pulled, &'static str> {
        Pulled::read(&text).ok_or("an entry has no time")
    }
}

/// The keys of entries that are looked for, with the details of those that have them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys(HashMap<IdentityKey, HashSet<[String; 3]>>);

impl Keys {
    /// The keys that stored entries may have if they match one of these.
    pub(crate) fn of<'a>(pulled: impl IntoIterator<Item = &'a Pulled>) -> Keys {
        let mut keys = Keys::default();
        for one in pulled {
            let rounded_up = one.finer.then(|| one.identity.key_rounded_up());
            for key in [one.identity.key()].into_iter().chain(rounded_up) {
                keys.0.entry(key).or_default().insert(one.identity.details.clone());
            }
        }
        keys
    }

    pub(crate) fn has(&self, identity: &EntryIdentity) -> bool {
        self.0.contains_key(&identity.key())
    }

    /// Whether one of these is the same in everything that is compared.
    pub(crate) fn has_exactly(&self, identity: &EntryIdentity) -> bool {
        self.0.get(&identity.key()).is_some_and(|details| details.contains(&identity.details))
    }

    /// Whether a stored entry could match one of these and the pulled entry.
    pub(crate) fn touch(&self, pulled: &Pulled) -> bool {
        Keys::of([pulled]).0.keys().any(|key| self.0.contains_key(key))
    }
}

impl EntryIdentity {
    /// The identity of a delivered entry.
    pub(crate) fn of(kind: Kind, at: Millis, fields: &Fields) -> EntryIdentity {
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

    /// The identity of a stored entry, delivered or pulled. `None` for a malformed line.
    pub(crate) fn of_record(record: &Record) -> Option<EntryIdentity> {
        Some(EntryIdentity::of(record.kind?, record.time?, &record.fields))
    }

    /// Whether a delivered entry is the same as this one, which was pulled, in everything that is
    /// compared. The time of the delivered one may be rounded up.
    pub(crate) fn is_same_as(&self, delivered: &EntryIdentity) -> bool {
        [self.key(), self.key_rounded_up()].contains(&delivered.key())
            && delivered.details == self.details
    }

    /// The resource or the URI.
    pub(crate) fn what(&self) -> &str {
        &self.details[0]
    }

    fn key(&self) -> IdentityKey {
        (self.kind, self.at, self.trace_id.clone(), self.outcome.clone())
    }

    fn key_rounded_up(&self) -> IdentityKey {
        let (kind, at, trace_id, outcome) = self.key();
        (kind, Millis::saturating(at.get().saturating_add(1)), trace_id, outcome)
    }
}

pub(crate) fn compare(pulled: Vec<Pulled>, stored: &[StoredEntry]) -> Comparison {
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
    for (key, items) in by_key(again, EntryIdentity::key_rounded_up) {
        missing.extend(unmatched(items, rows.get_mut(&key)));
    }
    missing.sort_by(|one, other| {
        let order =
            |one: &Pulled| (one.identity.at, one.identity.kind, one.identity.trace_id.clone());
        order(one).cmp(&order(other))
    });
    let same = |identity: &EntryIdentity| (identity.kind, identity.at, identity.trace_id.clone());
    let invalid = stored.iter().filter(|one| one.verdict == VerdictName::Invalid);
    let invalid: HashSet<_> = invalid.map(|one| same(&one.identity)).collect();
    let altered = missing.iter().filter(|one| invalid.contains(&same(&one.identity))).count();
    Comparison { missing, altered }
}

type IdentityKey = (Kind, Millis, String, String);

/// A stored entry that can still match `left` pulled entries.
struct UnmatchedEntry {
    details: [String; 3],
    left: u64,
}

/// Pulled entries that are equal in every field.
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

/// The details that must be equal in each pass, from all to none.
const PASSES: [[bool; 3]; 5] = [
    [true, true, true],
    [true, true, false],
    [true, false, false],
    [false, true, false],
    [false, false, false],
];

/// The pulled entries of one key that match no stored entry.
fn unmatched(pulled: Vec<Pulled>, rows: Option<&mut Vec<UnmatchedEntry>>) -> Vec<Pulled> {
    let Some(rows) = rows else { return pulled };
    let mut items: Vec<Alike> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for one in pulled {
        let at = *known.entry(one.text.clone()).or_insert(items.len());
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
                // The other deliveries can only be of identical entries.
                let taken = row.left.min(item.entries.len() as u64);
                item.entries.truncate(item.entries.len() - usize::try_from(taken).unwrap_or(0));
                row.left = 0;
                break;
            }
        }
    }
    items.into_iter().flat_map(|item| item.entries).collect()
}

/// A member as text; empty if it is missing.
fn member(json: &Value, name: &str) -> String {
    match json.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// The number of entries of each kind.
pub(crate) fn by_kind(pulled: &[Pulled]) -> BTreeMap<String, usize> {
    let count = |kind: Kind| pulled.iter().filter(|one| one.identity.kind == kind).count();
    let kinds = Kind::ALL.iter().map(|kind| (kind.to_string(), count(*kind)));
    kinds.filter(|(_, count)| *count > 0).collect()
}

#[cfg(test)]
mod tests;
