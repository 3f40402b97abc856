//! What is looked for, and how: the condition, the window of times and ids, the index.
//!
//! SQLite has no statistics of a segment, so the index is chosen here.

use std::ops::{Bound, RangeInclusive};

use super::filter::{NOT_VALID, Sql};
use super::read::{MAX_ID, Place};
use super::row;
use super::schema::Columns;
use crate::search::{Field, Filter, Operand, Test};

/// What orders entries: the newest has the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    /// Milliseconds since the epoch.
    pub(super) time: i64,
    pub(super) id: u64,
}

impl Key {
    /// Greater than that of any entry.
    pub(super) const MAX: Key = Key { time: i64::MAX, id: MAX_ID };
}

/// A range of time, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first millisecond that belongs to it.
    pub since: Option<i64>,
    /// The first one that does not any more.
    pub until: Option<i64>,
}

impl TimeRange {
    /// What matches `filter` and lies in the range.
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

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The least time.
    pub(super) since: i64,
    /// Keys are less than this.
    pub(super) before: Key,
    pub(super) ids: RangeInclusive<u64>,
    /// The numbers of the deliveries.
    pub(super) deliveries: RangeInclusive<u64>,
}

impl Window {
    pub(super) fn contains(&self, key: Key) -> bool {
        self.since <= key.time && key < self.before && self.ids.contains(&key.id)
    }

    /// The part of it that a segment may have.
    pub(super) fn within(&self, place: &Place) -> Window {
        let (first, last) = (*self.ids.start(), *self.ids.end());
        Window { ids: first.max(place.first_id)..=last.min(place.end()), ..self.clone() }
    }

    /// The greatest key in it that a segment may have; `None` if it has none.
    pub(super) fn greatest(&self, place: &Place) -> Option<Key> {
        if place.first_id > *self.ids.end() || place.end() < *self.ids.start().max(&place.first_id)
        {
            return None;
        }
        let (first, last) = (self.deliveries.start(), self.deliveries.end());
        if place.first_delivery > *last || place.last_delivery.is_some_and(|one| one < *first) {
            return None;
        }
        let (least, greatest) = match (place.last_id, place.time) {
            (None, _) => return Some(self.before),
            (Some(last_id), Some((least, greatest))) => {
                (least, Key { time: greatest, id: last_id })
            }
            (Some(_), None) => return None,
        };
        let overlaps = greatest.time >= self.since && least <= self.before.time;
        overlaps.then(|| greatest.min(self.before))
    }
}

/// A filter as SQL, for the segments of one version.
#[derive(Debug)]
struct Compiled {
    columns: Columns,
    condition: Sql,
    by_id: Sql,
}

impl Compiled {
    fn new(filter: &Filter, columns: Columns) -> Compiled {
        let condition = Sql::condition(&columns.filter(filter));
        let mut by_id = Sql::default();
        by_id.push(&row::select(columns)).push(" WHERE (").add(&condition);
        by_id.push(") AND entries.id = ?");
        Compiled { columns, condition, by_id }
    }
}

/// A filter that is ready to be run.
#[derive(Debug)]
pub(super) struct Query {
    newest: Compiled,
    older: Vec<Compiled>,
    /// The index that gives the entries in their order, and what is wanted of it.
    index: (&'static str, Sql),
    direct: bool,
    window: Window,
}

impl Query {
    pub(super) fn new(filter: &Filter) -> Query {
        let times = range(filter, &Field::Time);
        let numbers = |field| {
            let range = range(filter, &field);
            as_id(*range.start())..=as_id(*range.end())
        };
        Query {
            newest: Compiled::new(filter, Columns::NEWEST),
            older: Columns::ALL
                .iter()
                .filter(|columns| **columns != Columns::NEWEST)
                .map(|columns| Compiled::new(filter, *columns))
                .collect(),
            index: index(filter),
            direct: has_warning(filter)
                || [Field::Id, Field::named("trace_id")]
                    .iter()
                    .any(|field| equal_to(filter, field).is_some()),
            window: Window {
                since: *times.start(),
                before: Key { time: times.end().saturating_add(1), id: 0 },
                ids: numbers(Field::Id),
                deliveries: numbers(Field::Delivery),
            },
        }
    }

    fn compiled(&self, columns: Columns) -> &Compiled {
        self.older.iter().find(|one| one.columns == columns).unwrap_or(&self.newest)
    }

    /// The condition that an entry matches, where `entries` has these columns.
    pub(super) fn condition(&self, columns: Columns) -> &Sql {
        &self.compiled(columns).condition
    }

    /// For one parameter, the id: the entry if it matches.
    pub(super) fn by_id(&self, columns: Columns) -> &Sql {
        &self.compiled(columns).by_id
    }

    /// The index of a sealed segment through which entries are found in their order, and the
    /// condition on its first column.
    pub(super) fn index(&self) -> (&'static str, &Sql) {
        (self.index.0, &self.index.1)
    }

    /// Whether an index of a sealed segment names the few entries that may match.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// Where to look for what matches: in `range`, and among the ids up to `greatest`.
    pub(super) fn window(&self, range: TimeRange, greatest: u64) -> Window {
        let Window { since, before, ids, deliveries } = self.window.clone();
        let until = range.until.map_or(Key::MAX, |time| Key { time, id: 0 });
        Window {
            since: range.since.map_or(since, |time| time.max(since)),
            before: until.min(before),
            ids: *ids.start()..=greatest.min(*ids.end()),
            deliveries,
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

/// Whether `filter` asks for a warning, which few entries have.
fn has_warning(filter: &Filter) -> bool {
    conjuncts(filter).iter().any(|part| matches!(part, Filter::Field(Field::Warning, _)))
}

/// What `filter` says that `field` is.
fn equal_to<'a>(filter: &'a Filter, field: &Field) -> Option<&'a Operand> {
    conjuncts(filter).iter().find_map(|part| match part {
        Filter::Field(one, Test::Equals(operand)) if one == field => Some(operand),
        _ => None,
    })
}

/// Between which numbers `filter` says that `field` lies.
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

/// An id as SQLite holds it.
pub(super) fn as_integer(id: u64) -> i64 {
    i64::try_from(id).unwrap_or(i64::MAX)
}

fn as_id(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn index(filter: &Filter) -> (&'static str, Sql) {
    let mut wanted = Sql::default();
    for (column, index) in
        [("principal_id", "entries_principal_id"), ("src", "entries_src"), ("name", "entries_name")]
    {
        if let Some(Operand::Text(text)) = equal_to(filter, &Field::named(column)) {
            wanted.push(column).push(" = ").bind(text.clone());
            return (index, wanted);
        }
    }
    match equal_to(filter, &Field::Verdict) {
        Some(Operand::Text(verdict)) if verdict != "valid" => {
            wanted.push("verdict = ").bind(verdict.clone()).push(" AND ").push(NOT_VALID);
            ("entries_not_valid", wanted)
        }
        _ => {
            wanted.push("1");
            ("entries_time", wanted)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, window: Window) {
        let query = Query::new(&crate::search::parse(query, 0).unwrap());
        assert_eq!(query.window(TimeRange { since: Some(5), until: Some(90) }, 50), window);
    }

    #[test]
    fn a_query_narrows_the_window() {
        let deliveries = 0..=MAX_ID;
        let all = Window { since: 5, before: Key { time: 90, id: 0 }, ids: 0..=50, deliveries };
        check("*", all.clone());
        check("NOT id:7", all.clone());
        check("id:7 OR status:4", all.clone());
        check("id:7 status:4", Window { ids: 7..=7, ..all.clone() });
        check("delivery:7 status:4", Window { deliveries: 7..=7, ..all.clone() });
        check("delivery:7 OR status:4", all.clone());
        check("id:>3 id:<=60 id:<20", Window { ids: 4..=19, ..all.clone() });
        check(
            "time:<1970-01-01T00:00:00.020Z",
            Window { before: Key { time: 20, id: 0 }, ..all.clone() },
        );
        check("time:>=1970-01-01T00:00:00.020Z", Window { since: 20, ..all });
    }

    #[test]
    fn a_segment_is_left_out_if_it_has_nothing_in_the_window() {
        let place = |last_id, time| Place {
            first_id: 10,
            last_id,
            first_delivery: 4,
            last_delivery: last_id.map(|_| 6),
            state: crate::store::catalog::State::Closed,
            file: String::new(),
            time,
        };
        let window = Window {
            since: 5,
            before: Key { time: 90, id: 3 },
            ids: 0..=50,
            deliveries: 0..=MAX_ID,
        };
        let key = |time, id| Some(Key { time, id });
        assert_eq!(window.greatest(&place(None, None)), key(90, 3));
        assert_eq!(window.greatest(&place(Some(9), None)), None);
        assert_eq!(window.greatest(&place(Some(19), Some((1, 4)))), None);
        assert_eq!(window.greatest(&place(Some(19), Some((1, 5)))), key(5, 19));
        assert_eq!(window.greatest(&place(Some(19), Some((90, 99)))), key(90, 3));
        assert_eq!(window.greatest(&place(Some(19), Some((91, 99)))), None);
        let within = |deliveries| Window { deliveries, ..window.clone() };
        let (taking, closed) = (place(None, None), place(Some(19), Some((1, 5))));
        assert_eq!(within(7..=9).greatest(&taking), key(90, 3));
        assert_eq!(within(1..=3).greatest(&taking), None);
        assert_eq!(within(6..=9).greatest(&closed), key(5, 19));
        assert_eq!(within(7..=9).greatest(&closed), None);
        let window = Window { ids: 0..=9, ..window };
        assert_eq!(window.greatest(&place(None, None)), None);
    }
}
