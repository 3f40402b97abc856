//! The page of entries: the query, the time range, the histogram, the facets and the table.
//!
//! - [`view`]: the columns, the mode and what else the address says of the layout.
//! - [`facets`], [`table`]: parts of the page. [`detail`]: a row that is open.
//!
//! The script asks for the parts `main` (everything), `table`, and `counts` (the histogram and the
//! facets). Only what a part shows is read from the store.

pub(super) mod detail;
mod facets;
mod table;
pub(super) mod view;

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use self::detail::Detail;
use self::facets::{Facet, MORE, VALUES};
use self::table::{CellContent, Table};
use self::view::{Mode, View};
use super::HtmlProblem;
use super::histogram::Histogram;
use super::link::{Choice, Link, Selection};
use super::part::{Part, parts};
use super::shell::Shell;
use super::text::{SafeText, plural};
use crate::clock::now;
use crate::console::Console;
use crate::console::params::{MAX_LIMIT, Params};
use crate::console::problem::Problem;
use crate::console::receiver_info::ReceiverInfo;
use crate::entry::Millis;
use crate::search::{Correction, Field, Filter, Hint};
use crate::store::counts::NEWEST;
use crate::store::{CountRequest, Counts, Page, PageCursor, Reader, Stack, StoreError, TimeRange};

/// The default number of entries on a page.
const LIMIT: usize = 50;

/// The maximum number of bars in the histogram.
const BARS: usize = 120;

/// The maximum number of matches whose values are counted one by one.
const NEWEST_FACETS: usize = if cfg!(test) { 40 } else { 10_000 };

/// The example in the empty query field.
pub(super) const EXAMPLE: &str = "kind:access status:>=400";

#[derive(Template)]
#[template(path = "explore.html", blocks = ["main", "table", "counts"])]
pub(super) struct ExplorePage {
    pub(super) shell: Shell,
    pub(super) selection: Selection,
    pub(super) range: RangePicker,
    pub(super) query_fault: Option<QueryFault>,
    pub(super) content: Content,
}

parts!(ExplorePage: "main" => as_main, "table" => as_table, "counts" => as_counts);

/// The picker of the time range.
pub(super) struct RangePicker {
    /// The chosen range in words.
    pub(super) name: String,
    pub(super) choices: Vec<Choice>,
    /// A wider range around this one, if this one has an end.
    pub(super) wider: Option<Link>,
    /// The same range with fixed times.
    pub(super) fixed: Option<Link>,
    pub(super) fault: Option<SafeText>,
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
    /// If not, nobody can deliver here.
    pub(super) has_receiver: bool,
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
    pub(super) counted: Counted,
    pub(super) table: Table,
    pub(super) modes: Vec<Choice>,
    pub(super) older: Option<Link>,
    pub(super) newest: Option<Link>,
    pub(super) live: Live,
    /// Likely mistakes in the query, if nothing matches.
    pub(super) hints: Vec<HintLine>,
}

/// A likely mistake, and the page of the query that may be meant.
pub(super) struct HintLine {
    pub(super) text: SafeText,
    pub(super) link: Option<(SafeText, Link)>,
}

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) total: String,
    /// The number of entries that were counted, if not all were.
    pub(super) partial: Option<String>,
    pub(super) histogram: Option<Histogram>,
    /// What the histogram can be coloured by.
    pub(super) colours: Vec<Choice>,
    pub(super) facets: Vec<Facet>,
}

/// Whether the page can show new entries live.
pub(super) enum Live {
    /// The address of the stream.
    From(Link),
    /// The reason why not, and a page that can.
    Off(&'static str, Link),
}

/// What is asked of the store.
struct Wanted {
    filter: Filter,
    range: TimeRange,
    limit: usize,
    cursor: Option<PageCursor>,
    open: Option<u64>,
    /// The fields that are counted: those in the summaries, and others.
    fields: (Vec<Field>, Vec<Field>),
    /// The field of which more values are shown.
    more: Option<Field>,
    /// What the histogram is coloured by.
    by: Stack,
    rows: bool,
    counts: bool,
}

/// What the store has.
#[derive(Default)]
struct Found {
    page: Page,
    counts: Counts,
    /// Of the fields that the summaries lack.
    others: Counts,
    hints: Vec<Hint>,
    detail: Option<(crate::entry::Record, Option<crate::signature::Key>)>,
}

/// `GET /?q=&since=&until=&limit=&cursor=&columns=&view=&by=&facets=&more=&open=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let params = params?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default().trim().to_owned();
    let mut selection = Selection {
        query: text(&params.q),
        since: text(&params.since),
        until: text(&params.until),
        view: View::of(&params)?,
        cursor: text(&params.cursor),
    };
    let more = params.more.as_deref().map(str::trim).filter(|name| !name.is_empty());
    if let Some(more) = more {
        selection.view.show_facet(more);
    }
    let (limit, cursor) = (params.limit(LIMIT, MAX_LIMIT)?, params.cursor()?);
    let (filter, range, by) = (params.filter(), params.range(), params.by()?);
    let mut shown = ExplorePage {
        shell: console.shell("Explore", "/").await.at(&selection.here()),
        range: RangePicker::new(&selection, &range),
        query_fault: filter.as_ref().err().map(|problem| fault(problem, params.q.as_deref())),
        content: Content::Invalid,
        selection,
    };
    let (Ok(filter), Ok(range)) = (filter, range) else {
        return Ok(part.of(StatusCode::BAD_REQUEST, &shown));
    };
    let wanted = Wanted {
        filter,
        range,
        limit,
        cursor,
        open: params.open.as_deref().and_then(|id| id.parse().ok()),
        fields: shown.selection.view.facets(),
        more: more.map(Field::named),
        by,
        rows: part.includes("table"),
        counts: part.includes("counts"),
    };
    let reading = Arc::clone(&console);
    // A page may be large, so it is made on the thread of the read.
    let answer = console.read(move |reader| {
        shown.content = wanted.content(reader, &shown.selection, &reading)?;
        Ok(part.of(StatusCode::OK, &shown))
    });
    Ok(answer.await?)
}

impl Wanted {
    /// Reads what the page shows.
    fn content(
        &self,
        reader: &Reader,
        selection: &Selection,
        console: &Console,
    ) -> Result<Content, StoreError> {
        let found = self.read(reader)?;
        let is_everything = self.filter == Filter::All && self.range == TimeRange::default();
        let is_first = self.rows && self.cursor.is_none();
        if is_everything && is_first && found.page.records.is_empty() {
            return Ok(Content::EmptyStore(FirstDelivery::new(&console.receiver)));
        }
        let detail = found.detail.map(|(record, key)| {
            let detail = Detail::new(selection, &record, key, console.ring.all());
            (record.id().unwrap_or_default(), detail)
        });
        let mut results = Results::new(selection, self.range, &found.page, self.cursor, detail);
        results.counted = Counted::new(selection, self.range, &found.counts, &found.others);
        results.hints = found.hints.iter().map(|hint| HintLine::new(selection, hint)).collect();
        Ok(Content::Results(Box::new(results)))
    }

    fn read(&self, reader: &Reader) -> Result<Found, StoreError> {
        let mut found = Found::default();
        if self.rows {
            found.page = reader.page(&self.filter, self.range, self.limit, self.cursor)?;
            if found.page.records.is_empty() && self.cursor.is_none() {
                found.hints = reader.hints(&self.filter)?;
            }
            if let Some(id) = self.open {
                let key = reader.provenance(id)?.and_then(|from| from.key);
                found.detail = reader.entry(id)?.map(|record| (record, key));
            }
        }
        if self.counts {
            // The summaries have all entries over time, for many filters too, and the values of
            // some fields without a filter.
            let (summarised, mut others) = self.fields.clone();
            let summarised = match self.filter {
                Filter::All => summarised,
                _ => {
                    others = [summarised, others].concat();
                    Vec::new()
                }
            };
            found.counts = self.count(reader, BARS, &summarised, NEWEST)?;
            if !others.is_empty() {
                found.others = self.count(reader, 0, &others, NEWEST_FACETS)?;
            }
        }
        Ok(found)
    }

    fn count(
        &self,
        reader: &Reader,
        buckets: usize,
        fields: &[Field],
        newest: usize,
    ) -> Result<Counts, StoreError> {
        let mut counts = reader.counts(&CountRequest {
            buckets,
            by: self.by,
            fields,
            values: if self.more.is_some() { MORE } else { VALUES },
            newest,
            ..CountRequest::of(&self.filter, self.range, now().get())
        })?;
        for field in counts.fields.iter_mut().filter(|one| self.more.as_ref() != Some(&one.field)) {
            let rest = field.values.split_off(field.values.len().min(VALUES));
            field.other += rest.into_iter().map(|(_, entries)| entries).sum::<u64>();
        }
        Ok(counts)
    }
}

impl FirstDelivery {
    pub(super) fn new(receiver: &ReceiverInfo) -> FirstDelivery {
        FirstDelivery {
            has_receiver: receiver.exists,
            curl: receiver.curl(),
            loopback: receiver.loopback,
            base: receiver.base.clone(),
        }
    }
}

impl RangePicker {
    pub(super) fn new(selection: &Selection, range: &Result<TimeRange, Problem>) -> RangePicker {
        let choices = selection.choices("/");
        let chosen = choices.iter().find(|choice| choice.current).map(|choice| choice.name);
        let name = match (chosen, selection.since.as_str(), selection.until.as_str()) {
            (Some("all"), ..) => "All times".to_owned(),
            (Some(name), ..) => format!("Last {name}"),
            (None, since, "") => format!("Since {since}"),
            (None, "", until) => format!("Until {until}"),
            (None, since, until) => format!("{since} – {until}"),
        };
        let now = now().get();
        let valid = range.as_ref().ok();
        let exact = |time| Millis::saturating(time).to_string();
        RangePicker {
            name: SafeText::truncated(&name, 80).to_string(),
            choices,
            wider: valid.and_then(|range| selection.wider("/", *range, now)),
            fixed: valid.map(|range| {
                let since = range.since.map(exact).unwrap_or_default();
                selection.between(&since, &exact(range.until.unwrap_or(now))).here()
            }),
            fault: range.as_ref().err().map(|problem| SafeText::truncated(&problem.detail, 300)),
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

impl HintLine {
    pub(super) fn new(selection: &Selection, hint: &Hint) -> HintLine {
        let correction = hint.correction(&selection.query, now().get());
        let link = |correction: Correction| {
            let text = SafeText::truncated(&correction.query, 300);
            let selection = Selection { query: correction.query, ..selection.clone() };
            (text, selection.here())
        };
        HintLine { text: SafeText::truncated(&hint.to_string(), 300), link: correction.map(link) }
    }
}

impl Results {
    pub(super) fn new(
        selection: &Selection,
        range: TimeRange,
        found: &Page,
        cursor: Option<PageCursor>,
        detail: Option<(u64, Detail)>,
    ) -> Results {
        let mode = |(mode, name): (Mode, &'static str)| Choice {
            name,
            link: selection.with_view(View { mode, ..selection.view.clone() }).here(),
            current: mode == selection.view.mode,
        };
        Results {
            counted: Counted::default(),
            table: Table::new(selection, &found.records, detail),
            modes: Mode::ALL.into_iter().map(mode).collect(),
            older: found.next.map(|next| selection.link("/", ("cursor", &next.to_string()))),
            newest: cursor.map(|_| selection.here()),
            live: live(selection, range, cursor),
            hints: Vec::new(),
        }
    }
}

impl Counted {
    pub(super) fn new(
        selection: &Selection,
        range: TimeRange,
        counts: &Counts,
        others: &Counts,
    ) -> Counted {
        let fields = counts.fields.iter().map(|field| (field, false));
        let others = others.fields.iter().map(|field| (field, !others.complete));
        let facet =
            |(number, (field, is_partial))| Facet::new(number, selection, field, is_partial);
        Counted {
            total: match counts.complete {
                true => plural(counts.entries, "entry", "entries"),
                false => format!("more than {}", plural(counts.entries, "entry", "entries")),
            },
            partial: (!counts.complete).then(|| plural(NEWEST as u64, "match", "matches")),
            histogram: Histogram::new(counts, range, |since, until| {
                selection.between(since, until).here()
            }),
            colours: selection.colours(),
            facets: fields.chain(others).enumerate().filter_map(facet).collect(),
        }
    }
}

fn live(selection: &Selection, range: TimeRange, cursor: Option<PageCursor>) -> Live {
    if range.until.is_some_and(|until| until <= now().get()) {
        return Live::Off("the range is over", selection.between(&selection.since, "").here());
    }
    match cursor {
        Some(_) => Live::Off("this is an older page", selection.here()),
        None => Live::From(selection.link("/api/v1/stream", ("", ""))),
    }
}
