//! The page of an entry: its fields, its raw line, its verification, its delivery and related
//! entries.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::StatusCode;

use super::HtmlProblem;
use super::explanation::{Explanation, SHOWN};
use super::explore::view::View;
use super::link::{Link, Selection};
use super::part::{Part, parts};
use super::shell::Shell;
use super::text::{Badge, SafeText, TimeTag, bytes, count, plural};
use super::timeline::{self, Timeline};
use crate::console::Console;
use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::entry::record::Origin;
use crate::entry::{Format, Kind, Malformed, Record, Warning};
use crate::signature::KeySet;
use crate::store::{Provenance, SpellingLine, StoredDelivery};

/// A longer value is shown in a block that scrolls, in bytes.
const LONG: usize = 300;

/// The part that is shown of another line with the same signature, in characters.
const LONGEST_SPELLING: usize = 2000;

#[derive(Template)]
#[template(path = "entry.html", blocks = ["main"])]
pub(super) struct EntryPage {
    pub(super) shell: Shell,
    pub(super) id: u64,
    pub(super) time: Option<TimeTag>,
    pub(super) received_at: Option<TimeTag>,
    pub(super) kind: &'static str,
    pub(super) format: &'static str,
    pub(super) input: SafeText,
    pub(super) verdict: Badge,
    pub(super) reason: SafeText,
    pub(super) warnings: Vec<&'static str>,
    pub(super) related: Vec<Related>,
    pub(super) explanation: Explanation,
    /// A message, if a new check gives another verdict than the stored one.
    pub(super) changed: Option<String>,
    pub(super) fields: Vec<FieldRow>,
    /// The length of the line.
    pub(super) length: String,
    /// The SHA-256 of the line in hexadecimal, if only its beginning is kept with the entry.
    pub(super) sha256: Option<String>,
    /// Whether only the beginning of the line is shown.
    pub(super) is_beginning: bool,
    /// Whether the API has the whole line, so that the script can copy it.
    pub(super) can_be_copied: bool,
    /// The download of the line.
    pub(super) line: Link,
    /// The download of the evidence bundle.
    pub(super) evidence: Link,
    pub(super) delivery: Option<DeliveryFacts>,
    pub(super) delivered: String,
    pub(super) spellings: Vec<SpellingRow>,
    pub(super) api: Link,
    pub(super) neighbours: Neighbours,
    pub(super) timelines: Vec<Timeline>,
}

parts!(EntryPage: "main" => as_main);

/// The entries before and after this one in the query that led here.
#[derive(Default)]
pub(super) struct Neighbours {
    pub(super) newer: Option<Link>,
    pub(super) older: Option<Link>,
    /// The page of the query.
    pub(super) back: Option<Link>,
}

/// A link to related entries.
pub(super) struct Related {
    pub(super) name: &'static str,
    pub(super) link: Link,
}

pub(super) struct FieldRow {
    pub(super) name: SafeText,
    pub(super) value: SafeText,
    pub(super) long: bool,
    /// The link to entries with the same value.
    pub(super) link: Option<Link>,
}

/// Another line with the same signature.
pub(super) struct SpellingRow {
    /// `None` for lines that are only counted.
    pub(super) line: Option<SafeText>,
    pub(super) delivery: u64,
    pub(super) link: Link,
    pub(super) times: String,
}

pub(super) struct DeliveryFacts {
    pub(super) id: u64,
    pub(super) link: Link,
    pub(super) at: TimeTag,
    pub(super) peer: SafeText,
    pub(super) size: String,
    pub(super) lines: String,
}

/// `GET /entries/{id}?q=&since=&until=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    Path(id): Path<String>,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let params = params?;
    let missing =
        || Problem::not_found("there is no entry with this id; retention may have deleted it");
    let number: u64 = id.parse().map_err(|_| missing())?;
    let (filter, range) = (params.filter()?, params.range()?);
    let found = console
        .read(move |reader| {
            let Some(record) = reader.entry(number)? else { return Ok(None) };
            let near = reader.neighbours(&filter, range, number)?;
            let timelines = timeline::read(reader, &record)?;
            Ok(Some((record, reader.provenance(number)?, near, timelines)))
        })
        .await?;
    let Some((record, provenance, (newer, older), timelines)) = found else {
        return Err(missing().into());
    };
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let selection = Selection {
        query: text(&params.q),
        since: text(&params.since),
        until: text(&params.until),
        view: View::of(&params)?,
        ..Selection::default()
    };
    let shell = console.shell(format!("Entry {number}"), "/").await.at(&Link::to_entry(number));
    let mut entry = EntryPage::new(shell, &record, provenance, console.ring.all());
    entry.neighbours = Neighbours {
        newer: newer.map(|id| selection.to_entry(id)),
        older: older.map(|id| selection.to_entry(id)),
        back: Some(selection.here()),
    };
    entry.timelines = timelines;
    Ok(part.of(StatusCode::OK, &entry))
}

impl EntryPage {
    pub(super) fn new(
        shell: Shell,
        record: &Record,
        provenance: Option<Provenance>,
        known: KeySet,
    ) -> EntryPage {
        let (delivery, key, spellings) = match provenance {
            Some(from) => (from.delivery, from.key, from.spellings),
            None => (None, None, Vec::new()),
        };
        // The key that verified the entry may be retired by now.
        let keys = key.map_or(known, |key| KeySet::new([Arc::new(key)]));
        let explanation = match record.whole {
            Some(_) => Explanation::malformed(&record.raw, Malformed::TooLong),
            None => Explanation::of(&record.raw, &keys),
        };
        let mut warnings = record.warnings.clone();
        if explanation.is_odd {
            Warning::OddSignature.note(&mut warnings);
        }
        let length = record.raw.len() as u64;
        let verdict = Badge(record.verdict.as_str());
        let (id, input, received_at, delivery_count) = match &record.origin {
            Origin::Stored { id, input, received_at, delivery_count } => {
                (*id, input.as_str(), Some(TimeTag(*received_at)), *delivery_count)
            }
            Origin::File { source } => (0, source.as_str(), None, 0),
        };
        EntryPage {
            shell,
            id,
            time: record.time.map(TimeTag),
            received_at,
            kind: record.kind.map_or("none", Kind::as_str),
            format: Format::word(record.format),
            input: SafeText::new(input),
            verdict,
            reason: SafeText::truncated(record.reason.as_deref().unwrap_or_default(), 80),
            warnings: warnings.iter().map(|warning| warning.as_str()).collect(),
            related: related(record),
            changed: changed(verdict, explanation.verdict),
            explanation,
            fields: fields(record),
            length: bytes(record.whole.and_then(|whole| whole.bytes).unwrap_or(length)),
            sha256: record.whole.and_then(|whole| whole.sha256()),
            is_beginning: record.raw.len() > SHOWN,
            can_be_copied: record.whole.is_none(),
            line: Link::new(&format!("/entries/{id}/raw"), &[]),
            evidence: Link::new(&format!("/entries/{id}/evidence.zip"), &[]),
            delivery: delivery.map(DeliveryFacts::new),
            spellings: spellings.iter().map(SpellingRow::new).collect(),
            delivered: match delivery_count {
                1 => "once".to_owned(),
                times => format!("{} times", count(times)),
            },
            api: Link::new(&format!("/api/v1/entries/{id}"), &[]),
            neighbours: Neighbours::default(),
            timelines: Vec::new(),
        }
    }
}

/// A message if checking the line with the current keys gives another verdict.
fn changed(recorded: Badge, now: Badge) -> Option<String> {
    if recorded == now {
        return None;
    }
    let advice = match recorded.0 {
        "valid" => "The line or its key has changed: run vidimus store check.",
        _ => "The keys may have changed since.",
    };
    Some(format!("Stored as {}; checked again now: {}. {advice}", recorded.0, now.0))
}

fn related(record: &Record) -> Vec<Related> {
    let fields =
        [("trace_id", "same trace"), ("principal_id", "same principal"), ("src", "same source")];
    let related = |(field, name)| {
        let value = record.fields.get(field)?.as_text();
        let link = Link::to_equal(field, &value).filter(|_| !value.is_empty())?;
        Some(Related { name, link })
    };
    fields.into_iter().filter_map(related).collect()
}

fn fields(record: &Record) -> Vec<FieldRow> {
    let known = record.fields.known().filter_map(|(name, value)| Some((name, value?, true)));
    // A query cannot reach an extension with the name of a defined field.
    let others = record.fields.extensions().map(|(name, value)| {
        let hidden = crate::search::Field::names().any(|ours| ours == name) || name == "warnings";
        (name, value, !hidden)
    });
    let row = |(name, value, reachable): (&str, &crate::entry::Value, bool)| {
        let value = value.as_text();
        FieldRow {
            name: SafeText::truncated(name, 200),
            long: value.len() > LONG,
            link: reachable.then(|| Link::to_equal(name, &value)).flatten(),
            value: SafeText::truncated(&value, SHOWN),
        }
    };
    known.chain(others).map(row).collect()
}

impl SpellingRow {
    fn new(spelled: &SpellingLine) -> SpellingRow {
        let line = spelled.line.as_deref().map(String::from_utf8_lossy);
        SpellingRow {
            line: line.map(|line| SafeText::truncated(&line, LONGEST_SPELLING)),
            link: Link::to_delivery(spelled.delivery),
            delivery: spelled.delivery,
            times: plural(spelled.count, "time", "times"),
        }
    }
}

impl DeliveryFacts {
    fn new(delivered: StoredDelivery) -> DeliveryFacts {
        DeliveryFacts {
            id: delivered.id,
            link: Link::to_delivery(delivered.id),
            at: TimeTag(delivered.received_at),
            peer: SafeText::truncated(&delivered.peer, 200),
            size: bytes(delivered.bytes),
            lines: plural(delivered.received, "line", "lines"),
        }
    }
}
