//! The table of entries. A row links to the page of its entry, and opens in place.

use super::detail::Detail;
use super::view::Column;
use crate::console::pages::link::{Link, Selection};
use crate::console::pages::text::{Badge, Cell, SafeText, TimeTag};
use crate::entry::record::Origin;
use crate::entry::{Fields, Format, Kind, Record, Value};
use crate::search::{self, Field};

/// The part of a line that a row shows, in bytes.
const RAW: usize = 2000;

pub(in crate::console::pages) struct Table {
    pub(in crate::console::pages) heads: Vec<Head>,
    pub(in crate::console::pages) rows: Vec<Row>,
    /// The mode, as a class.
    pub(in crate::console::pages) mode: &'static str,
    /// Whether the columns were chosen.
    pub(in crate::console::pages) is_chosen: bool,
}

/// The head of a column.
pub(in crate::console::pages) struct Head {
    pub(in crate::console::pages) title: SafeText,
    pub(in crate::console::pages) class: &'static str,
    /// The zone stands beside the title.
    pub(in crate::console::pages) is_time: bool,
}

pub(in crate::console::pages) struct Row {
    pub(in crate::console::pages) id: u64,
    pub(in crate::console::pages) link: Link,
    pub(in crate::console::pages) time: Option<TimeTag>,
    /// The page with this row opened, or closed if it is open.
    pub(in crate::console::pages) toggle: Link,
    /// The entries without those of this name.
    pub(in crate::console::pages) exclude: Option<Link>,
    pub(in crate::console::pages) cells: Vec<RowCell>,
    /// Present if the row is open.
    pub(in crate::console::pages) detail: Option<Box<Detail>>,
}

/// A cell after the time.
pub(in crate::console::pages) struct RowCell {
    pub(in crate::console::pages) name: SafeText,
    pub(in crate::console::pages) class: &'static str,
    pub(in crate::console::pages) content: CellContent,
}

pub(in crate::console::pages) enum CellContent {
    Text(Cell),
    Verdict { verdict: Badge, reason: SafeText, warnings: Vec<&'static str> },
}

impl Table {
    /// The table of `records`. `detail` is of the row that is open.
    pub(super) fn new(
        selection: &Selection,
        records: &[Record],
        mut detail: Option<(u64, Detail)>,
    ) -> Table {
        let view = &selection.view;
        let columns = view.columns();
        let heads = columns.iter().map(|column| Head {
            title: SafeText::truncated(column.title(), 40),
            class: class(column),
            is_time: *column == Column::Time,
        });
        Table {
            heads: heads.collect(),
            rows: records
                .iter()
                .map(|record| row(selection, record, &columns, &mut detail))
                .collect(),
            mode: view.mode.name(),
            is_chosen: view.has_own_columns(),
        }
    }
}

fn row(
    selection: &Selection,
    record: &Record,
    columns: &[Column],
    open: &mut Option<(u64, Detail)>,
) -> Row {
    let id = record.id().unwrap_or_default();
    let is_open = open.as_ref().is_some_and(|(one, _)| *one == id);
    let detail = if is_open { open.take() } else { None };
    let exclude = record.fields.get("name").and_then(|name| {
        let term = search::equals(&Field::named("name"), &name.as_text())?;
        selection.with_term(&format!("NOT {term}"))
    });
    Row {
        id,
        link: selection.to_entry(id),
        time: record.time.map(TimeTag),
        toggle: selection.opened((!is_open).then_some(id)),
        exclude: exclude.map(|selection| selection.here()),
        cells: columns.iter().skip(1).map(|column| cell(record, column)).collect(),
        detail: detail.map(|(_, detail)| Box::new(detail)),
    }
}

/// The class of a column, which gives its width.
fn class(column: &Column) -> &'static str {
    match column {
        Column::Time => "c-time",
        Column::Kind => "c-kind",
        Column::Name => "c-name",
        Column::Principal => "c-principal",
        Column::Source => "c-src",
        Column::Outcome => "c-outcome",
        Column::Verdict => "c-verdict",
        Column::Raw => "c-raw",
        Column::Field(_) => "c-field",
    }
}

fn cell(record: &Record, column: &Column) -> RowCell {
    let fields = &record.fields;
    let mut class = class(column);
    let content = match column {
        Column::Time => CellContent::Text(Cell::default()),
        Column::Kind => CellContent::Text(Cell::new(record.kind.map_or("none", Kind::as_str))),
        Column::Name => CellContent::Text(match fields.get("name") {
            Some(name) => Cell::short(&name.as_text()),
            None => Cell::bytes(&record.raw),
        }),
        Column::Principal => {
            let name = fields.text("principal_name").filter(|name| !name.is_empty());
            let principal = name.or(fields.text("principal_id")).unwrap_or_default();
            CellContent::Text(Cell::short(principal))
        }
        Column::Source => CellContent::Text(Cell::new(fields.text("src").unwrap_or_default())),
        Column::Outcome => {
            let (outcome, is_bad) = outcome(record.kind, fields);
            class = if is_bad { "c-outcome bad" } else { class };
            CellContent::Text(Cell::new(&outcome))
        }
        Column::Verdict => CellContent::Verdict {
            verdict: Badge(record.verdict.as_str()),
            reason: SafeText::truncated(record.reason.as_deref().unwrap_or_default(), 80),
            warnings: record.warnings.iter().map(|one| one.as_str()).collect(),
        },
        Column::Raw => {
            CellContent::Text(Cell { text: SafeText::prefix(&record.raw, RAW), ..Cell::default() })
        }
        Column::Field(name) => {
            CellContent::Text(value(record, name).map(|one| Cell::new(&one)).unwrap_or_default())
        }
    };
    RowCell { name: SafeText::truncated(column.title(), 40), class, content }
}

/// The value of a field of the store or of the sender, as text.
pub(super) fn value(record: &Record, name: &str) -> Option<String> {
    let stored = match (&record.origin, name) {
        (Origin::Stored { id, .. }, "id") => Some(id.to_string()),
        (Origin::Stored { input, .. }, "input") => Some(input.clone()),
        (Origin::Stored { received_at, .. }, "received_at") => Some(received_at.to_string()),
        (Origin::Stored { delivery_count, .. }, "delivery_count") => {
            Some(delivery_count.to_string())
        }
        (_, "verdict") => Some(record.verdict.as_str().to_owned()),
        (_, "reason") => record.reason.clone(),
        (_, "kid") => record.kid.clone(),
        (_, "kind") => record.kind.map(|kind| kind.as_str().to_owned()),
        (_, "format") => Some(Format::word(record.format).to_owned()),
        (_, "warning") if !record.warnings.is_empty() => {
            let warnings: Vec<_> = record.warnings.iter().map(|one| one.as_str()).collect();
            Some(warnings.join(" "))
        }
        _ => None,
    };
    stored.or_else(|| record.fields.get(name).map(|value| value.as_text().into_owned()))
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
