//! The page of entries: the query, the histogram, the facets and the newest entries.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use super::histogram::Histogram;
use super::link::{Choice, Link, Selection};
use super::text::{Badge, Cell, SafeText, TimeTag, plural};
use super::{HtmlProblem, Shell, page};
use crate::clock::now;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::console::receiver_info::ReceiverInfo;
use crate::entry::{Fields, Kind, Record, Value};
use crate::search::{Field, Filter};
use crate::store::counts::{NEWEST, SUMMARISED};
use crate::store::{CountRequest, Counts, FieldCounts, Page, PageCursor, TimeRange};

/// The default number of entries on a page.
const LIMIT: usize = 50;

/// The maximum number of bars in the histogram.
const BARS: usize = 60;

/// The example in the empty query field.
pub(super) const EXAMPLE: &str = "kind:access status:>=400";

/// The number of values in a facet.
const VALUES: usize = 8;

#[derive(Template)]
#[template(path = "entries.html")]
pub(super) struct EntriesPage {
    pub(super) shell: Shell,
    pub(super) selection: Selection,
    pub(super) choices: Vec<Choice>,
    /// A wider range around this one, if this one has an end.
    pub(super) wider: Option<Link>,
    pub(super) query_fault: Option<QueryFault>,
    pub(super) range_fault: Option<SafeText>,
    pub(super) content: Content,
}

/// The content below the query.
pub(super) enum Content {
    /// The query or the range is not valid.
    Invalid,
    /// The store has no entries.
    EmptyStore(FirstDelivery),
    Results(Box<Results>),
}

/// How to make a first delivery.
pub(super) struct FirstDelivery {
    pub(super) curl: String,
    pub(super) loopback: bool,
    pub(super) base: String,
}

/// What is wrong with a query, and where.
pub(super) struct QueryFault {
    pub(super) message: SafeText,
    pub(super) before: SafeText,
    pub(super) rest: SafeText,
}

pub(super) struct Results {
    pub(super) total: String,
    /// The number of entries that were counted, if not all were.
    pub(super) partial: Option<String>,
    pub(super) histogram: Option<Histogram>,
    pub(super) facets: Vec<Facet>,
    pub(super) rows: Vec<EntryRow>,
    pub(super) older: Option<Link>,
    pub(super) newest: Option<Link>,
    pub(super) live: Live,
    /// Likely mistakes in the query, if nothing matches.
    pub(super) hints: Vec<SafeText>,
}

/// Whether the page can show new entries live.
pub(super) enum Live {
    /// The address of the stream.
    From(Link),
    /// The reason why not, and a page that can.
    Off(&'static str, Link),
}

/// The most common values of a field.
pub(super) struct Facet {
    pub(super) field: &'static str,
    pub(super) name: &'static str,
    pub(super) values: Vec<FacetValue>,
    pub(super) other: Option<String>,
    pub(super) missing: Option<String>,
}

pub(super) struct FacetValue {
    pub(super) value: Cell,
    pub(super) count: String,
    pub(super) link: Option<Link>,
    /// Whether the query already selects the value.
    pub(super) current: bool,
}

pub(super) struct EntryRow {
    pub(super) link: Link,
    pub(super) id: u64,
    pub(super) time: Option<TimeTag>,
    pub(super) kind: &'static str,
    pub(super) name: Cell,
    pub(super) principal: Cell,
    pub(super) src: Cell,
    pub(super) outcome: Cell,
    pub(super) bad: bool,
    pub(super) verdict: Badge,
    pub(super) reason: SafeText,
    pub(super) warnings: Vec<&'static str>,
}

/// `GET /?q=&since=&until=&limit=&cursor=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let params = params?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default().trim().to_owned();
    let selection = Selection {
        query: text(&params.q),
        since: text(&params.since),
        until: text(&params.until),
    };
    let (limit, cursor) = (params.limit(LIMIT, MAX_LIMIT)?, params.cursor()?);
    let (filter, range) = (params.filter(), params.range());
    let mut shown = EntriesPage {
        shell: console.shell("Entries", "/").at(&selection.link("/", ("", ""))),
        choices: selection.choices("/"),
        wider: range.as_ref().ok().and_then(|range| selection.wider("/", *range, now().get())),
        query_fault: filter.as_ref().err().map(|problem| fault(problem, params.q.as_deref())),
        range_fault: range.as_ref().err().map(|problem| SafeText::truncated(&problem.detail, 300)),
        content: Content::Invalid,
        selection,
    };
    let (Ok(filter), Ok(range)) = (filter, range) else {
        return Ok(page(StatusCode::BAD_REQUEST, &shown));
    };
    let everything = filter == Filter::All && range == TimeRange::default() && cursor.is_none();
    let fields: Vec<Field> = SUMMARISED.into_iter().map(Field::named).collect();
    let (found, counts, hints) = console
        .read(move |reader| {
            let page = reader.page(&filter, range, limit, cursor)?;
            let hints = match page.records.is_empty() && cursor.is_none() {
                true => reader.hints(&filter)?,
                false => Vec::new(),
            };
            let wanted = CountRequest {
                buckets: BARS,
                fields: &fields,
                values: VALUES,
                ..CountRequest::of(&filter, range, now().get())
            };
            let counts = reader.counts(&wanted)?;
            Ok((page, counts, hints))
        })
        .await?;
    shown.content = match everything && found.records.is_empty() {
        true => Content::EmptyStore(FirstDelivery::new(&console.receiver)),
        false => {
            let mut results = results(&shown.selection, range, &found, &counts, cursor);
            results.hints =
                hints.iter().map(|hint| SafeText::truncated(&hint.to_string(), 300)).collect();
            Content::Results(Box::new(results))
        }
    };
    Ok(page(StatusCode::OK, &shown))
}

impl FirstDelivery {
    pub(super) fn new(receiver: &ReceiverInfo) -> FirstDelivery {
        FirstDelivery {
            curl: receiver.curl(),
            loopback: receiver.loopback,
            base: receiver.base.clone(),
        }
    }
}

/// The error, with the query split at its position.
fn fault(problem: &Problem, query: Option<&str>) -> QueryFault {
    let query = query.unwrap_or_default();
    let position = problem.position.unwrap_or(0);
    let at = query.char_indices().nth(position).map_or(query.len(), |(at, _)| at);
    let (before, rest) = query.split_at_checked(at).unwrap_or((query, ""));
    QueryFault {
        message: SafeText::truncated(&problem.detail, 500),
        before: SafeText::new(before),
        rest: SafeText::new(if rest.is_empty() { " " } else { rest }),
    }
}

pub(super) fn results(
    selection: &Selection,
    range: TimeRange,
    found: &Page,
    counts: &Counts,
    cursor: Option<PageCursor>,
) -> Results {
    let newest = NEWEST as u64;
    let older = found.next.map(|next| selection.link("/", ("cursor", &next.to_string())));
    Results {
        total: match counts.complete {
            true => plural(counts.entries, "entry", "entries"),
            false => format!("more than {}", plural(counts.entries, "entry", "entries")),
        },
        partial: (!counts.complete).then(|| plural(newest, "match", "matches")),
        histogram: Histogram::new(counts, selection, range),
        facets: counts.fields.iter().filter_map(|field| facet(selection, field)).collect(),
        rows: found.records.iter().map(row).collect(),
        older,
        newest: cursor.map(|_| selection.link("/", ("", ""))),
        live: live(selection, range, cursor),
        hints: Vec::new(),
    }
}

fn live(selection: &Selection, range: TimeRange, cursor: Option<PageCursor>) -> Live {
    if range.until.is_some_and(|until| until <= now().get()) {
        let without_end = selection.between(&selection.since, "");
        return Live::Off("the range is over", without_end.link("/", ("", "")));
    }
    match cursor {
        Some(_) => Live::Off("this is an older page", selection.link("/", ("", ""))),
        None => Live::From(selection.link("/api/v1/stream", ("", ""))),
    }
}

/// The facet of a field. `None` if there is nothing to choose: most entries have no warning.
fn facet(selection: &Selection, counts: &FieldCounts) -> Option<Facet> {
    if counts.values.is_empty() && (counts.missing == 0 || counts.field == Field::Warning) {
        return None;
    }
    let (field, name, none) = match counts.field.name() {
        "kind" => ("kind", "Kind", "malformed"),
        "verdict" => ("verdict", "Verdict", "none"),
        "warning" => ("warning", "Warning", "none"),
        "name" => ("name", "Name", "none"),
        "principal_id" => ("principal_id", "Principal", "none"),
        _ => ("src", "Source", "none"),
    };
    let value = |(value, number): &(String, u64)| {
        let narrowed = selection.narrowed(&counts.field, value);
        FacetValue {
            value: Cell::short(if value.is_empty() { "(empty)" } else { value }),
            count: super::text::count(*number),
            current: narrowed.as_ref().is_some_and(|narrowed| narrowed.query == selection.query),
            link: narrowed.map(|narrowed| narrowed.link("/", ("", ""))),
        }
    };
    let some = |number: u64| (number > 0).then(|| super::text::count(number));
    Some(Facet {
        field,
        name,
        values: counts.values.iter().map(value).collect(),
        other: some(counts.other),
        missing: some(counts.missing).map(|number| format!("{none}: {number}")),
    })
}

pub(super) fn row(record: &Record) -> EntryRow {
    let fields = &record.fields;
    let id = record.id().unwrap_or_default();
    let name = match fields.get("name") {
        Some(name) => Cell::short(&name.as_text()),
        None => Cell::bytes(&record.raw),
    };
    let principal = fields.text("principal_name").filter(|name| !name.is_empty());
    let principal = principal.or(fields.text("principal_id")).unwrap_or_default();
    let (outcome, bad) = outcome(record.kind, fields);
    EntryRow {
        link: Link::entry(id),
        id,
        time: record.time.map(TimeTag),
        kind: record.kind.map_or("none", Kind::as_str),
        name,
        principal: Cell::short(principal),
        src: Cell::new(fields.text("src").unwrap_or_default()),
        outcome: Cell::new(&outcome),
        bad,
        verdict: Badge(record.verdict.as_str()),
        reason: SafeText::truncated(record.reason.as_deref().unwrap_or_default(), 80),
        warnings: record.warnings.iter().map(|one| one.as_str()).collect(),
    }
}

/// The outcome in a few words, and whether it is a refusal or a failure.
fn outcome(kind: Option<Kind>, fields: &Fields) -> (String, bool) {
    let text = |name: &str| fields.get(name).map(Value::as_text).unwrap_or_default();
    let says = |name: &str, yes: &str, no: &str| match fields.get(name) {
        Some(Value::Boolean(true)) => (yes.to_owned(), false),
        Some(Value::Boolean(false)) => (no.to_owned(), true),
        _ => (String::new(), false),
    };
    let joined = |parts: &[&str]| {
        let parts: Vec<_> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
        parts.join(" ")
    };
    match kind {
        Some(Kind::Access) => {
            let refused = fields.integer("status").is_some_and(|status| status >= 400);
            (joined(&[&text("status"), &text("act"), &text("request")]), refused)
        }
        Some(Kind::Authorization) => {
            let (granted, bad) = says("granted", "granted", "denied");
            (joined(&[&granted, &text("action")]), bad)
        }
        Some(Kind::Authentication) => {
            let (success, bad) = says("success", "success", "failed");
            // These names differ only at the end.
            let (name, class) = (text("name"), text("event_class_id"));
            let name = name.strip_prefix("AUTHENTICATION_OUTCOME_").unwrap_or(&name);
            let class = class.strip_prefix("AUTHENTICATION_TYPE_").unwrap_or(&class);
            let name = if name == "SUCCESS" { "" } else { name };
            (joined(&[&success, name, class]), bad)
        }
        Some(Kind::Other) | None => (String::new(), false),
    }
}
