//! The entries around an entry: those of its trace and of its principal, within 15 minutes.

use super::link::Link;
use super::text::{Badge, Cell, TimeTag};
use crate::entry::{Millis, Record};
use crate::search::{self, Field, Filter};
use crate::store::{Reader, StoreError, TimeRange};

/// The time before and after the entry, in milliseconds.
pub(super) const AROUND: i64 = 15 * 60 * 1000;

/// The most entries of a timeline.
const MOST: usize = 30;

/// The fields whose values are followed: the title, the name.
const FIELDS: [(&str, &str); 2] = [("The trace", "trace_id"), ("The principal", "principal_id")];

/// Entries with the same value of a field, newest first.
pub(super) struct Timeline {
    pub(super) title: &'static str,
    pub(super) id: &'static str,
    pub(super) rows: Vec<TimelineRow>,
    /// All of them, on the page of entries.
    pub(super) all: Link,
}

pub(super) struct TimelineRow {
    pub(super) link: Link,
    pub(super) id: u64,
    pub(super) time: Option<TimeTag>,
    /// How long before or after the entry it happened.
    pub(super) offset: String,
    pub(super) name: Cell,
    pub(super) verdict: Badge,
    pub(super) is_current: bool,
}

/// The timelines of `record`.
pub(super) fn read(reader: &Reader, record: &Record) -> Result<Vec<Timeline>, StoreError> {
    let (Some(time), Some(id)) = (record.time, record.id()) else { return Ok(Vec::new()) };
    let (since, until) = (time.get().saturating_sub(AROUND), time.get().saturating_add(AROUND));
    let range = TimeRange { since: Some(since), until: Some(until) };
    let mut timelines = Vec::new();
    for (title, field) in FIELDS {
        let value = record.fields.get(field).map(|value| value.as_text().into_owned());
        let value = value.filter(|value| !value.is_empty());
        let Some(term) = value.and_then(|value| search::equals(&Field::named(field), &value))
        else {
            continue;
        };
        let filter = search::parse(&term, 0).unwrap_or(Filter::All);
        let page = reader.page(&filter, range, MOST, None)?;
        let text = |time| Millis::saturating(time).to_string();
        let (since, until) = (text(since), text(until));
        timelines.push(Timeline {
            title,
            id: field,
            rows: page.records.iter().map(|one| row(one, id, time)).collect(),
            all: Link::new("/", &[("q", &term), ("since", &since), ("until", &until)]),
        });
    }
    Ok(timelines)
}

fn row(record: &Record, current: u64, time: Millis) -> TimelineRow {
    let id = record.id().unwrap_or_default();
    let name = record.fields.get("name").map(|name| name.as_text().into_owned());
    TimelineRow {
        link: Link::to_entry(id),
        id,
        time: record.time.map(TimeTag),
        offset: record.time.map(|at| offset(at.get() - time.get())).unwrap_or_default(),
        name: name.map_or_else(|| Cell::bytes(&record.raw), |name| Cell::short(&name)),
        verdict: Badge(record.verdict.as_str()),
        is_current: id == current,
    }
}

/// A distance in time, such as `+1.25 s` or `−3 min 2 s`.
fn offset(millis: i64) -> String {
    let sign = match millis {
        0 => return "0".to_owned(),
        ..0 => "−",
        _ => "+",
    };
    let (seconds, rest) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    match seconds / 60 {
        0 => format!("{sign}{seconds}.{rest:03} s"),
        minutes => format!("{sign}{minutes} min {} s", seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distance_has_a_sign() {
        assert_eq!([0, 1250, -40, 61_000].map(offset), ["0", "+1.250 s", "−0.040 s", "+1 min 1 s"]);
    }
}
