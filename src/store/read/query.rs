//! A query: its condition, its window of times and ids, and the index it uses.
//!
//! SQLite has no statistics of a segment, so the index is chosen here.

use std::ops::{Bound, RangeInclusive};

use crate::search::{Field, Filter, Operand, Test};
use crate::store::catalog::segments::Segment;
use crate::store::schema::Columns;
use crate::store::segment::condition::{Sql, not_valid};
use crate::store::segment::text::Words;
use crate::store::sqlite::MAX_ID;

/// The position of an entry in the order. The newest entry has the largest key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::store) struct SortKey {
    /// Milliseconds since the epoch.
    pub(in crate::store) time: i64,
    pub(in crate::store) id: u64,
}

impl SortKey {
    /// Larger than the key of any entry.
    pub(in crate::store) const MAX: SortKey = SortKey { time: i64::MAX, id: MAX_ID };

    /// The smallest key of entries with this time.
    pub(in crate::store) fn first_at(time: i64) -> SortKey {
        SortKey { time, id: 0 }
    }
}

/// A range of time, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first millisecond that belongs to it.
    pub since: Option<i64>,
    /// The first millisecond after it.
    pub until: Option<i64>,
}

impl TimeRange {
    /// A filter for entries that match `filter` and are in the range.
    pub fn and(self, filter: &Filter) -> Filter {
        if self == TimeRange::default() {
            return filter.clone();
        }
        let lower = self.since.map_or(Bound::Unbounded, |t| Bound::Included(Operand::Integer(t)));
        let upper = self.until.map_or(Bound::Unbounded, |t| Bound::Excluded(Operand::Integer(t)));
        let range = Filter::Field(Field::Time, Test::Range { lower, upper });
        Filter::And(vec![range, filter.clone()])
    }
}

/// The times, ids and deliveries to search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Window {
    /// The start: smaller keys are not in the window.
    pub(in crate::store) from: SortKey,
    /// The end: only smaller keys are in the window.
    pub(in crate::store) before: SortKey,
    pub(in crate::store) ids: RangeInclusive<u64>,
    /// The numbers of the deliveries.
    pub(in crate::store) deliveries: RangeInclusive<u64>,
    /// The times of receipt.
    pub(in crate::store) received_at: RangeInclusive<i64>,
}

impl Window {
    pub(in crate::store) fn contains(&self, key: SortKey) -> bool {
        self.from <= key && key < self.before && self.ids.contains(&key.id)
    }

    /// The window, limited to the ids of a segment.
    pub(in crate::store) fn within(&self, segment: &Segment) -> Window {
        let (first, last) = (*self.ids.start(), *self.ids.end());
        Window { ids: first.max(segment.first_id)..=last.min(segment.end()), ..self.clone() }
    }

    /// The largest key that a segment may have in the window. `None` if it has none.
    pub(in crate::store) fn greatest(&self, segment: &Segment) -> Option<SortKey> {
        self.bounds(segment).map(|(_, greatest)| greatest)
    }

    /// The smallest and the largest key that a segment may have in the window. `None` if it has none.
    pub(in crate::store) fn bounds(&self, segment: &Segment) -> Option<(SortKey, SortKey)> {
        if segment.first_id > *self.ids.end()
            || segment.end() < *self.ids.start().max(&segment.first_id)
        {
            return None;
        }
        let (first, last) = (self.deliveries.start(), self.deliveries.end());
        if segment.first_delivery > *last {
            return None;
        }
        let Some(closed) = &segment.closed else { return Some((self.from, self.before)) };
        if closed.last_delivery < *first {
            return None;
        }
        let overlaps = |one: &RangeInclusive<i64>, (least, greatest)| {
            *one.start() <= greatest && least <= *one.end()
        };
        if closed.received_at.is_some_and(|times| !overlaps(&self.received_at, times)) {
            return None;
        }
        let (least, greatest) = closed.time?;
        let (least, greatest) = (
            SortKey { time: least, id: segment.first_id },
            SortKey { time: greatest, id: closed.last_id },
        );
        let is_in = greatest >= self.from && least.time <= self.before.time;
        is_in.then(|| (least.max(self.from), greatest.min(self.before)))
    }
}

/// A filter compiled to SQL.
#[derive(Debug)]
pub(in crate::store) struct Query {
    /// The same for each kind of table.
    compiled: [Compiled; Columns::ALL.len()],
    direct: bool,
    words: Option<String>,
    window: Window,
}

/// A filter compiled for a table `entries` with some columns.
#[derive(Debug)]
struct Compiled {
    columns: Columns,
    condition: Sql,
    /// The index of a sealed segment that returns the entries in order, and the condition on its
    /// first column.
    index: &'static str,
    wanted: Sql,
}

impl Query {
    pub(in crate::store) fn new(filter: &Filter) -> Query {
        let times = range(filter, &Field::Time);
        let numbers = |field| {
            let range = range(filter, &field);
            as_id(*range.start())..=as_id(*range.end())
        };
        Query {
            compiled: Columns::ALL.map(|columns| {
                let (index, wanted) = index(filter, columns);
                Compiled { columns, condition: Sql::condition(filter, columns), index, wanted }
            }),
            words: Words::of_all(conjuncts(filter)),
            direct: has_warning(filter)
                || [Field::Id, Field::named("trace_id")]
                    .iter()
                    .any(|field| equal_to(filter, field).is_some()),
            window: Window {
                from: SortKey::first_at(*times.start()),
                before: SortKey::first_at(times.end().saturating_add(1)),
                ids: numbers(Field::Id),
                deliveries: numbers(Field::Delivery),
                received_at: range(filter, &Field::ReceivedAt),
            },
        }
    }

    /// The condition, for a table `entries` with these columns.
    pub(in crate::store) fn condition(&self, columns: Columns) -> &Sql {
        &self.compiled(columns).condition
    }

    /// The index of a sealed segment that returns the entries in order, and the condition on its
    /// first column.
    pub(in crate::store) fn index(&self, columns: Columns) -> (&'static str, &Sql) {
        let Compiled { index, wanted, .. } = self.compiled(columns);
        (index, wanted)
    }

    /// The words that a line must have, for `may_contain`.
    pub(in crate::store) fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    fn compiled(&self, columns: Columns) -> &Compiled {
        let [newest, others @ ..] = &self.compiled;
        others.iter().find(|one| one.columns == columns).unwrap_or(newest)
    }

    /// Whether an index of a sealed segment finds the few entries that may match.
    pub(in crate::store) fn is_direct(&self) -> bool {
        self.direct
    }

    /// The window for the query in `range`, with ids up to `greatest`.
    pub(in crate::store) fn window(&self, range: TimeRange, greatest: u64) -> Window {
        let Window { from, before, ids, deliveries, received_at } = self.window.clone();
        let until = range.until.map_or(SortKey::MAX, SortKey::first_at);
        Window {
            from: range.since.map_or(from, |time| SortKey::first_at(time).max(from)),
            before: until.min(before),
            ids: *ids.start()..=greatest.min(*ids.end()),
            deliveries,
            received_at,
        }
    }
}

/// The parts of a filter that must all be true.
fn conjuncts(filter: &Filter) -> &[Filter] {
    match filter {
        Filter::And(parts) => parts,
        other => std::slice::from_ref(other),
    }
}

/// Whether `filter` requires a warning. Few entries have one.
fn has_warning(filter: &Filter) -> bool {
    conjuncts(filter).iter().any(|part| matches!(part, Filter::Field(Field::Warning, _)))
}

/// The value that `filter` requires of `field`.
fn equal_to<'a>(filter: &'a Filter, field: &Field) -> Option<&'a Operand> {
    conjuncts(filter).iter().find_map(|part| match part {
        Filter::Field(one, Test::Equals(operand)) if one == field => Some(operand),
        _ => None,
    })
}

/// The range that `filter` requires of `field`.
fn range(filter: &Filter, field: &Field) -> RangeInclusive<i64> {
    let mut range = (i64::MIN, i64::MAX);
    for part in conjuncts(filter) {
        let (lower, upper) = match part {
            Filter::Field(one, Test::Range { lower, upper }) if one == field => (lower, upper),
            Filter::Field(one, Test::Equals(operand)) if one == field => {
                (&Bound::Included(operand.clone()), &Bound::Included(operand.clone()))
            }
            _ => continue,
        };
        range.0 = range.0.max(match lower {
            Bound::Included(Operand::Integer(number)) => *number,
            Bound::Excluded(Operand::Integer(number)) => number.saturating_add(1),
            _ => i64::MIN,
        });
        range.1 = range.1.min(match upper {
            Bound::Included(Operand::Integer(number)) => *number,
            Bound::Excluded(Operand::Integer(number)) => number.saturating_sub(1),
            _ => i64::MAX,
        });
    }
    range.0..=range.1
}

fn as_id(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn index(filter: &Filter, columns: Columns) -> (&'static str, Sql) {
    for (column, index) in
        [("principal_id", "entries_principal_id"), ("src", "entries_src"), ("name", "entries_name")]
    {
        if let Some(Operand::Text(text)) = equal_to(filter, &Field::named(column)) {
            return (index, Sql::has_value(column, text, columns));
        }
    }
    match equal_to(filter, &Field::Verdict) {
        Some(Operand::Text(verdict)) if verdict != "valid" => {
            let mut wanted = Sql::has_value("verdict", verdict, columns);
            wanted.push(" AND ").push(not_valid(columns));
            ("entries_not_valid", wanted)
        }
        _ => ("entries_time", Sql::from("1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::segment::Closed;

    fn check(query: &str, window: Window) {
        let query = Query::new(&crate::search::parse(query, 0).unwrap());
        assert_eq!(query.window(TimeRange { since: Some(5), until: Some(90) }, 50), window);
    }

    #[test]
    fn a_query_narrows_the_window() {
        let deliveries = 0..=MAX_ID;
        let received_at = i64::MIN..=i64::MAX;
        let before = SortKey { time: 90, id: 0 };
        let all =
            Window { from: SortKey::first_at(5), before, ids: 0..=50, deliveries, received_at };
        check("*", all.clone());
        check("NOT id:7", all.clone());
        check("id:7 OR status:4", all.clone());
        check("id:7 status:4", Window { ids: 7..=7, ..all.clone() });
        check("delivery:7 status:4", Window { deliveries: 7..=7, ..all.clone() });
        check("delivery:7 OR status:4", all.clone());
        check("id:>3 id:<=60 id:<20", Window { ids: 4..=19, ..all.clone() });
        check(
            "time:<1970-01-01T00:00:00.020Z",
            Window { before: SortKey { time: 20, id: 0 }, ..all.clone() },
        );
        check(
            "time:>=1970-01-01T00:00:00.020Z",
            Window { from: SortKey::first_at(20), ..all.clone() },
        );
        let received_at = i64::MIN..=19;
        check("received_at:<1970-01-01T00:00:00.020Z", Window { received_at, ..all });
    }

    #[test]
    fn a_segment_is_left_out_if_it_has_nothing_in_the_window() {
        let segment = |last_id: Option<u64>, time| Segment {
            first_id: 10,
            first_delivery: 4,
            state: crate::store::State::Closed,
            file: String::new(),
            created_at: crate::entry::Millis::MIN,
            closed: last_id.map(|last_id| Closed {
                last_id,
                last_delivery: 6,
                event_time: None,
                without_time: 0,
                time,
                received_at: Some((40, 49)),
                stored_at: Some((40, 49)),
                awaiting_key: 0,
            }),
            sealed: None,
        };
        let window = Window {
            from: SortKey::first_at(5),
            before: SortKey { time: 90, id: 3 },
            ids: 0..=50,
            deliveries: 0..=MAX_ID,
            received_at: i64::MIN..=i64::MAX,
        };
        let key = |time, id| Some(SortKey { time, id });
        let (from, before) = (SortKey::first_at(5), SortKey { time: 90, id: 3 });
        assert_eq!(window.bounds(&segment(None, None)), Some((from, before)));
        let least = SortKey { time: 20, id: 10 };
        assert_eq!(window.bounds(&segment(Some(19), Some((20, 99)))), Some((least, before)));
        let greatest = SortKey { time: 5, id: 19 };
        assert_eq!(window.bounds(&segment(Some(19), Some((1, 5)))), Some((from, greatest)));
        let after = |id| Window { from: SortKey { time: 5, id }, ..window.clone() };
        assert!(after(19).bounds(&segment(Some(19), Some((1, 5)))).is_some());
        assert!(after(20).bounds(&segment(Some(19), Some((1, 5)))).is_none());
        assert_eq!(window.greatest(&segment(None, None)), key(90, 3));
        assert_eq!(window.greatest(&segment(Some(9), None)), None);
        assert_eq!(window.greatest(&segment(Some(19), Some((1, 4)))), None);
        assert_eq!(window.greatest(&segment(Some(19), Some((1, 5)))), key(5, 19));
        assert_eq!(window.greatest(&segment(Some(19), Some((90, 99)))), key(90, 3));
        assert_eq!(window.greatest(&segment(Some(19), Some((91, 99)))), None);
        let within = |deliveries| Window { deliveries, ..window.clone() };
        let (taking, closed) = (segment(None, None), segment(Some(19), Some((1, 5))));
        assert_eq!(within(7..=9).greatest(&taking), key(90, 3));
        assert_eq!(within(1..=3).greatest(&taking), None);
        assert_eq!(within(6..=9).greatest(&closed), key(5, 19));
        assert_eq!(within(7..=9).greatest(&closed), None);
        let received = |received_at| Window { received_at, ..window.clone() };
        assert_eq!(received(49..=60).greatest(&closed), key(5, 19));
        assert_eq!(received(0..=40).greatest(&closed), key(5, 19));
        assert_eq!(received(50..=60).greatest(&closed), None);
        assert_eq!(received(0..=39).greatest(&closed), None);
        let window = Window { ids: 0..=9, ..window };
        assert_eq!(window.greatest(&segment(None, None)), None);
    }
}
