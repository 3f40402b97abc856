//! The overview: counts over time, coverage, verdicts, conditions that are worth an alert, the most frequent
//! values, rates, the store, and one line each about the log, the journal, the archive and the
//! outputs.
//!
//! - [`mod@top`]: the most frequent values of a field. [`lag`]: the chart of the outputs' lag.
//!   [`mod@coverage`]: which times are proved complete.

mod archive;
pub(super) mod coverage;
mod journal;
mod lag;
mod log;
mod top;

use std::collections::BTreeMap;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use hyper::StatusCode;

use self::archive::ArchiveLine;
use self::coverage::CoverageChart;
use self::journal::JournalLine;
use self::lag::LagChart;
use self::log::LogLine;
use self::top::{MOST, Top, TopTable};
use super::HtmlProblem;
use super::explore::view::View;
use super::histogram::Histogram;
use super::link::{Choice, Link, Selection};
use super::outputs;
use super::part::{Part, parts};
use super::shell::Shell;
use super::text::{Badge, SafeText, TimeTag, VERDICTS, bytes, count};
use crate::archive::archiver::status::ArchiveStatus;
use crate::clock::now;
use crate::console::Console;
use crate::console::lag::Lag;
use crate::console::params::Params;
use crate::console::problem::Problem;
use crate::log::coverage::CoverageReport;
use crate::log::status::LogStanding;
use crate::search::{self, Field, Filter};
use crate::store::{
    CountRequest, Counts, Gap, OutputStanding, Reader, Receipts, Received, Stack, Stats,
    StoreError, TimeRange,
};

/// The conditions that are worth an alert, each with its query. The first two are warnings. The
/// vendor recommends the others on the page "Konnect and Dev Portal audit logs". Actions that Kong
/// initiated are left out.
pub(super) const CONDITIONS: [(&str, &str); 9] = [
    ("Entry of another organization or Dev Portal", "warning:foreign_*"),
    ("Entry with another warning", "warning:* NOT warning:foreign_*"),
    ("Access answered with a server error", "kind:access severity:10 NOT kong_initiated:true"),
    ("Access refused (401, 403)", "kind:access severity:6 NOT kong_initiated:true"),
    ("Locked account", "name:AUTHENTICATION_OUTCOME_LOCKED NOT kong_initiated:true"),
    ("Disabled account", "name:AUTHENTICATION_OUTCOME_DISABLED NOT kong_initiated:true"),
    (
        "Authentication with an unknown outcome",
        "kind:authentication severity:7 NOT kong_initiated:true",
    ),
    ("Failed authentication", "kind:authentication success:false NOT kong_initiated:true"),
    ("Authorization denied", "kind:authorization granted:false NOT kong_initiated:true"),
];

/// The maximum number of bars in a chart.
const BARS: usize = 60;

/// The fields whose most frequent values are shown: the name of the field, the id, the title.
const TOP: [(&str, &str, &str); 3] = [
    ("principal_id", "top-principals", "Principals"),
    ("src", "top-sources", "Sources"),
    ("status", "top-statuses", "Statuses"),
];

/// The query for permissions that were denied, of which the most frequent names are shown.
pub(super) const DENIED: &str = "kind:authorization granted:false";

/// The query for invalid entries whose signature was not tried yet.
pub(super) const NOT_TRIED: &str = "verdict:invalid reason:not_tried";

/// The periods that the rates cover: the label, the age in a query, and the length in minutes.
const RATES: [(&str, &str, i64); 4] = [
    ("15 min", "15m", 15),
    ("1 h", "1h", 60),
    ("24 h", "24h", 24 * 60),
    ("7 d", "7d", 7 * 24 * 60),
];

#[derive(Template)]
#[template(path = "overview.html", blocks = ["main"])]
pub(super) struct OverviewPage {
    pub(super) shell: Shell,
    pub(super) choices: Vec<Choice>,
    /// Entries that the store has lost.
    pub(super) gaps: Vec<GapRow>,
    pub(super) range_name: &'static str,
    pub(super) charts: Vec<Chart>,
    /// Present if there are outputs.
    pub(super) lag: Option<LagChart>,
    pub(super) coverage: CoverageChart,
    pub(super) top: Vec<TopTable>,
    /// Whether there is a span before the range to compare with.
    pub(super) is_compared: bool,
    pub(super) verdicts: Vec<VerdictRow>,
    pub(super) conditions: Vec<ConditionRow>,
    pub(super) rates: Vec<RateRow>,
    /// One line about the outputs, if there are any.
    pub(super) outputs: Option<String>,
    /// The source that reads the journal, if there is one.
    pub(super) journal: Option<JournalLine>,
    /// The archive, if there is one.
    pub(super) archive: Option<ArchiveLine>,
    /// The transparency log.
    pub(super) log: LogLine,
    pub(super) facts: StoreFacts,
}

parts!(OverviewPage: "main" => as_main);

/// Counts over time.
pub(super) struct Chart {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// Which times it is about.
    pub(super) about: &'static str,
    /// `None` if there is nothing.
    pub(super) histogram: Option<Histogram>,
}

/// A range of ids that no segment has.
pub(super) struct GapRow {
    pub(super) first_id: u64,
    pub(super) last_id: u64,
    pub(super) found_at: TimeTag,
    pub(super) reason: SafeText,
}

pub(super) struct VerdictRow {
    pub(super) verdict: Badge,
    pub(super) count: String,
    pub(super) link: Link,
    /// The number of entries that were not tried yet, with a link, if there are any.
    pub(super) not_tried: Option<(String, Link)>,
}

pub(super) struct ConditionRow {
    pub(super) name: &'static str,
    pub(super) query: &'static str,
    pub(super) count: String,
    pub(super) some: bool,
    pub(super) link: Link,
}

pub(super) struct RateRow {
    pub(super) name: &'static str,
    pub(super) entries: String,
    pub(super) rate: String,
    pub(super) link: Link,
}

pub(super) struct StoreFacts {
    pub(super) entries: String,
    pub(super) bytes: String,
    pub(super) time: Option<(TimeTag, TimeTag)>,
    pub(super) received_at: Option<(TimeTag, TimeTag)>,
    pub(super) segments: String,
    pub(super) quarantine: String,
}
/// What the overview counts.
pub(super) struct OverviewCounts {
    pub(super) range: TimeRange,
    /// Over time by verdict, with the values of the fields in [`TOP`].
    pub(super) by_verdict: Counts,
    /// Over time by kind.
    pub(super) by_kind: Counts,
    /// By the time of receipt.
    pub(super) receipts: Receipts,
    /// The names of what [`DENIED`] matches.
    pub(super) denied: Counts,
    /// The fields in [`TOP`] and the denied names in the span before the range, if it has a start.
    pub(super) before: Option<(Counts, Counts)>,
    /// The samples of the outputs' lag.
    pub(super) lag: BTreeMap<String, Vec<Lag>>,
    /// The number of entries with each verdict of [`VERDICTS`].
    pub(super) verdicts: Vec<u64>,
    /// The number of entries for each of [`CONDITIONS`].
    pub(super) conditions: Vec<u64>,
    /// The number of entries that [`NOT_TRIED`] matches.
    pub(super) not_tried: u64,
    /// The number of entries received in each period of [`RATES`].
    pub(super) rates: Vec<u64>,
    pub(super) outputs: Vec<OutputStanding>,
    pub(super) coverage: CoverageReport,
}

/// `GET /overview?since=&until=`
pub(super) async fn show(
    State(console): State<Arc<Console>>,
    part: Part,
    params: Result<Params, Problem>,
) -> Result<Response, HtmlProblem> {
    let params = params?;
    let range = params.range()?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (since, until) = (text(&params.since), text(&params.until));
    let selection = Selection { since, until, ..Selection::default() };
    let lag = console.lag.all();
    let (archive, region) = (console.archive.clone(), console.receiver.region.clone());
    let (stats, counted, archived) = console
        .read(move |reader| {
            let progress = |status: Arc<ArchiveStatus>| reader.archive_progress(status.place());
            let archived = archive.map(progress).transpose()?;
            Ok((reader.stats(0)?, OverviewCounts::read(reader, range, lag, region)?, archived))
        })
        .await?;
    let shell =
        console.shell("Overview", "/overview").await.at(&selection.link("/overview", ("", "")));
    let log = console.log.standing();
    let mut overview = OverviewPage::new(shell, &selection, &stats, &counted, &log);
    overview.journal =
        console.journal.as_ref().map(|status| JournalLine::new(&status.standing(), now()));
    overview.archive = console
        .archive
        .as_ref()
        .zip(archived)
        .map(|(status, progress)| ArchiveLine::new(&status.standing(), &progress));
    Ok(part.of(StatusCode::OK, &overview))
}

impl OverviewCounts {
    fn read(
        reader: &Reader,
        range: TimeRange,
        lag: BTreeMap<String, Vec<Lag>>,
        region: Option<String>,
    ) -> Result<OverviewCounts, StoreError> {
        let outputs = reader.output_standings(now())?;
        let now = now().get();
        let filter = |query: &str| {
            let nothing = || Filter::Not(Box::new(Filter::All));
            search::parse(query, now).unwrap_or_else(|_| nothing())
        };
        let verdicts = VERDICTS.iter().map(|(name, _)| filter(&format!("verdict:{name}")));
        let conditions = CONDITIONS.iter().map(|(_, query)| filter(query));
        let filters: Vec<_> = verdicts.chain(conditions).chain([filter(NOT_TRIED)]).collect();
        let mut counts = reader.totals(&filters, range)?.into_iter();
        let verdicts = counts.by_ref().take(VERDICTS.len()).collect();
        let conditions = counts.by_ref().take(CONDITIONS.len()).collect();
        let fields = TOP.map(|(field, ..)| Field::named(field));
        let (all, denied) = (Filter::All, filter(DENIED));
        let of = |filter, range, fields, values| CountRequest {
            fields,
            values,
            ..CountRequest::of(filter, range, now)
        };
        let name = [Field::named("name")];
        let over_time =
            |by, fields| CountRequest { buckets: BARS, by, ..of(&all, range, fields, MOST) };
        let before = match before(range, now) {
            Some(before) => {
                let all = reader.counts(&of(&all, before, &fields, usize::MAX))?;
                Some((all, reader.counts(&of(&denied, before, &name, usize::MAX))?))
            }
            None => None,
        };
        let begins = RATES.map(|(_, _, minutes)| now.saturating_sub(minutes * 60_000));
        Ok(OverviewCounts {
            range,
            by_verdict: reader.counts(&over_time(Stack::Verdict, &fields))?,
            by_kind: reader.counts(&over_time(Stack::Kind, &[]))?,
            receipts: reader.receipts(range, now, BARS)?,
            denied: reader.counts(&of(&denied, range, &name, MOST))?,
            before,
            lag,
            verdicts,
            conditions,
            not_tried: counts.next().unwrap_or(0),
            rates: reader.received_since(&begins)?,
            outputs,
            coverage: CoverageReport::read(reader, range, region)?,
        })
    }
}

/// The span of the same length directly before `range`, if it has a start.
fn before(range: TimeRange, now: i64) -> Option<TimeRange> {
    let since = range.since?;
    let length = range.until.unwrap_or(now).saturating_sub(since);
    let before = TimeRange { since: Some(since.saturating_sub(length)), until: Some(since) };
    (length > 0).then_some(before)
}

/// The charts over time.
fn charts(selection: &Selection, counted: &OverviewCounts) -> Vec<Chart> {
    let by_kind = selection.with_view(View { by: "kind".to_owned(), ..selection.view.clone() });
    let entries = |selection: &Selection, counts: &Counts| {
        Histogram::new(counts, counted.range, |since, until| selection.between(since, until).here())
    };
    let received = |since: &str, until: &str| {
        Link::new("/", &[("q", &format!("received_at:[{since} TO {until}}}"))])
    };
    let stated = "By the time that each entry states.";
    let chart = |id, title, about, histogram| Chart { id, title, about, histogram };
    vec![
        chart("by-verdict", "Entries by verdict", stated, entries(selection, &counted.by_verdict)),
        chart("by-kind", "Entries by kind", stated, entries(&by_kind, &counted.by_kind)),
        chart(
            "by-receipt",
            "Received over time",
            "By the time when Vidimus received them, however old they are. An entry that is sent \
             again counts again.",
            Histogram::new(&by_receipt(&counted.receipts), counted.range, received),
        ),
    ]
}

/// What was received, as counts of lines.
fn by_receipt(receipts: &Receipts) -> Counts {
    let bucket = |(start, received): &(i64, Received)| {
        let words = [("new", received.stored), ("sent again", received.duplicates)];
        let some = words.into_iter().filter(|(_, number)| *number > 0);
        (*start, some.map(|(word, number)| (word.to_owned(), number)).collect())
    };
    let buckets = receipts.buckets.iter().map(bucket).collect();
    Counts { complete: true, width: receipts.width, buckets, ..Counts::default() }
}

/// The tables of the most frequent values.
fn top(selection: &Selection, counted: &OverviewCounts) -> Vec<TopTable> {
    let all = TOP.iter().map(|(_, id, title)| Top { id, title, query: "" });
    let tops = all.chain([Top { id: "top-denied", title: "Denied", query: DENIED }]);
    let found = counted.by_verdict.fields.iter().chain(&counted.denied.fields);
    let before = counted.before.as_ref();
    let mut before = before.map(|(all, denied)| all.fields.iter().chain(&denied.fields));
    let table = |(top, found)| {
        let before = before.as_mut().and_then(Iterator::next);
        TopTable::new(top, selection, found, before)
    };
    tops.zip(found).map(table).collect()
}

impl OverviewPage {
    pub(super) fn new(
        shell: Shell,
        selection: &Selection,
        stats: &Stats,
        counted: &OverviewCounts,
        log: &LogStanding,
    ) -> OverviewPage {
        let choices = selection.choices("/overview");
        let range_name =
            choices.iter().find(|choice| choice.current).map_or("custom range", |one| one.name);
        let link = |query: &str| {
            Selection { query: query.to_owned(), ..selection.clone() }.link("/", ("", ""))
        };
        let verdict = |((name, _), entries): ((&'static str, &str), &u64)| {
            let has_not_tried = name == "invalid" && counted.not_tried > 0;
            VerdictRow {
                verdict: Badge(name),
                count: count(*entries),
                link: link(&format!("verdict:{name}")),
                not_tried: has_not_tried.then(|| (count(counted.not_tried), link(NOT_TRIED))),
            }
        };
        let condition =
            |((name, query), entries): (&(&'static str, &'static str), &u64)| ConditionRow {
                name,
                query,
                count: count(*entries),
                some: *entries > 0,
                link: link(query),
            };
        let rate =
            |((name, since, minutes), entries): (&(&'static str, &str, i64), &u64)| RateRow {
                name,
                entries: count(*entries),
                rate: format!("{:.1}", *entries as f64 / *minutes as f64),
                link: Link::new("/", &[("q", &format!("received_at:>={since}"))]),
            };
        let gap = |gap: &Gap| GapRow {
            first_id: gap.first_id,
            last_id: gap.last_id,
            found_at: TimeTag(gap.found_at),
            reason: SafeText::new(&gap.reason),
        };
        OverviewPage {
            shell,
            gaps: stats.gaps.iter().map(gap).collect(),
            range_name,
            choices,
            charts: charts(selection, counted),
            lag: LagChart::new(&counted.lag, &counted.outputs, counted.range, now()),
            coverage: CoverageChart::new(&counted.coverage),
            top: top(selection, counted),
            is_compared: counted.before.is_some(),
            verdicts: VERDICTS.into_iter().zip(&counted.verdicts).map(verdict).collect(),
            conditions: CONDITIONS.iter().zip(&counted.conditions).map(condition).collect(),
            rates: RATES.iter().zip(&counted.rates).map(rate).collect(),
            outputs: outputs::summary(&counted.outputs, now()),
            journal: None,
            archive: None,
            log: LogLine::new(log),
            facts: StoreFacts::new(stats),
        }
    }
}

impl StoreFacts {
    fn new(stats: &Stats) -> StoreFacts {
        let states = stats.states.iter().map(|(state, number)| format!("{number} {state}"));
        let times = |(from, to)| (TimeTag(from), TimeTag(to));
        let held: u64 = stats.quarantine.iter().map(|one| one.bytes).sum();
        StoreFacts {
            entries: count(stats.entries),
            bytes: bytes(stats.bytes),
            time: stats.time.map(times),
            received_at: stats.received_at.map(times),
            segments: states.collect::<Vec<_>>().join(", "),
            quarantine: match stats.quarantine.len() {
                0 => "empty".to_owned(),
                number => format!("{} ({})", count(number as u64), bytes(held)),
            },
        }
    }
}
