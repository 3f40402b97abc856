//! The newest or the oldest entries of one segment that match a query, as keys.
//!
//! There are two ways to find them. A walk follows an index in order of time and checks each entry.
//! It is fast if many entries match. A sweep checks every entry of the segment in the order of the
//! file, or those that an index finds. Its cost is bounded by the size of the segment. So a walk is
//! tried for a few thousand entries, and then a sweep.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::RangeInclusive;

use rayon::prelude::*;
use rusqlite::params_from_iter;

use crate::store::catalog::overlay::Overlay;
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::query::{Query, SortKey, Window};
use crate::store::schema::Columns;
use crate::store::segment::condition::Sql;
use crate::store::segment::packed::SEARCHED;
use crate::store::segment::row::{Entries, Ids, as_integer};
use crate::store::sqlite::Database;

/// The number of entries after which a walk decides whether to continue.
const WALK: usize = if cfg!(test) { 4 } else { 2048 };

/// The same for a query with words in a packed segment, where a sweep passes over whole blocks.
const WALK_FOR_WORDS: usize = if cfg!(test) { 2 } else { 256 };

/// A walk ends after this many times [`WALK`] entries. At 16,000 entries it costs as much as a sweep.
const LONGER: usize = if cfg!(test) { 3 } else { 8 };

/// The number of ids per snapshot when an unsealed segment is swept.
const SWEEP: usize = if cfg!(test) { 5 } else { 10_000 };

/// Which entries come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Order {
    /// Those with the largest keys.
    Newest,
    /// Those with the smallest keys.
    Oldest,
}

impl Order {
    /// The rank of a key: what comes first has the largest. The key of a rank is found in the same way.
    fn rank(self, SortKey { time, id }: SortKey) -> SortKey {
        match self {
            Order::Newest => SortKey { time, id },
            Order::Oldest => SortKey { time: !time, id: !id },
        }
    }
}

impl Reader {
    /// The first `most` keys in `window` of matching entries of the segment `first_id`, in order. Empty
    /// if the segment no longer exists.
    pub(in crate::store) fn first_of(
        &self,
        first_id: u64,
        query: &Query,
        window: &Window,
        order: Order,
        most: usize,
    ) -> Result<Vec<SortKey>, StoreError> {
        let found = self.visit(
            first_id,
            |overlay, segment| overlaid(overlay, query, &window.within(segment), order, most),
            |database, segment, (mut top, overlaid)| {
                let window = window.within(segment);
                let search = Search { database, query, overlaid: &overlaid };
                let walked = match (query.is_direct(), segment.is_sealed()) {
                    (true, _) => false,
                    (false, true) => search.walk(&window, &mut top)?,
                    (false, false) => search.walk_unsealed(&window, &mut top)?,
                };
                if !walked && !segment.is_sealed() {
                    return greatest_id(database, segment).map(SearchResult::TooLong);
                }
                if !walked {
                    search.sweep(&window, By::Any, &mut top)?;
                }
                Ok(SearchResult::Keys(top.keys()))
            },
        )?;
        match found {
            None => Ok(Vec::new()),
            Some(SearchResult::Keys(keys)) => Ok(keys),
            Some(SearchResult::TooLong(last_id)) => {
                self.sweep_unsealed(first_id..=last_id, query, window, order, most)
            }
        }
    }

    /// Sweeps over these ids of a segment in parallel, with a snapshot per slice.
    fn sweep_unsealed(
        &self,
        ids: RangeInclusive<u64>,
        query: &Query,
        window: &Window,
        order: Order,
        most: usize,
    ) -> Result<Vec<SortKey>, StoreError> {
        let first_id = *ids.start();
        let (first, last) = (first_id.max(*window.ids.start()), *ids.end().min(window.ids.end()));
        let starts: Vec<u64> = (first..=last).step_by(SWEEP).collect();
        let sweep = |start: &u64| {
            let end = start.saturating_add(SWEEP as u64 - 1).min(last);
            let slice = Window { ids: *start..=end, ..window.clone() };
            self.visit(
                first_id,
                |overlay, _| overlaid(overlay, query, &slice, order, most),
                |database, _, (mut top, overlaid)| {
                    let search = Search { database, query, overlaid: &overlaid };
                    search.sweep(&slice, By::Id, &mut top)?;
                    Ok(top.keys())
                },
            )
        };
        let found: Vec<_> = starts.par_iter().map(sweep).collect::<Result<_, _>>()?;
        let mut top = Top::new(order, most);
        found.into_iter().flatten().flatten().for_each(|key| top.push(key));
        Ok(top.keys())
    }
}

/// The result of a search in a segment.
enum SearchResult {
    Keys(Vec<SortKey>),
    /// The walk was given up. The segment is unsealed, so it is swept in slices up to this id.
    TooLong(u64),
}

/// How a sweep reads the entries.
#[derive(Clone, Copy)]
enum By {
    /// By their ids.
    Id,
    /// By an index for the condition if there is one, else all.
    Any,
}

/// The overlay of the entries in `window`: the first keys of the changed entries that match, and the
/// ids of all overlaid entries, in order.
fn overlaid(
    overlay: &Overlay<'_>,
    query: &Query,
    window: &Window,
    order: Order,
    most: usize,
) -> rusqlite::Result<(Top, Vec<u64>)> {
    let (mut top, ids) = (Top::new(order, most), Ids::Range(window.ids.clone()));
    let overlaid = overlay.overlaid(&ids)?;
    if !overlaid.is_empty() {
        let condition = query.condition(overlay.columns());
        overlay.each(&Sql::from("time, id"), condition, &ids, |row| {
            let key = SortKey { time: row.get(0)?, id: row.get(1)? };
            if window.contains(key) {
                top.push(key);
            }
            Ok(())
        })?;
    }
    Ok((top, overlaid))
}

fn greatest_id(database: &Database, segment: &Segment) -> rusqlite::Result<u64> {
    let sql = "SELECT max(id) FROM entries";
    let found: Option<u64> = database.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(found.unwrap_or(segment.first_id.saturating_sub(1)))
}

/// A search in a segment.
struct Search<'a> {
    database: &'a Database,
    query: &'a Query,
    /// The ids of overlaid entries, in order. The segment's version of these is skipped.
    overlaid: &'a [u64],
}

impl Search<'_> {
    /// Walks through the best index for the query. Returns `false` if it gave up.
    fn walk(&self, window: &Window, top: &mut Top) -> rusqlite::Result<bool> {
        let mut tried = Top::new(top.order, top.most);
        let finished = self.step(
            &walk(self.query, self.database.columns(), window, top.order),
            window,
            &mut tried,
            true,
        )?;
        if finished {
            tried.keys().into_iter().for_each(|key| top.push(key));
        }
        Ok(finished)
    }

    /// Walks through the only index of an unsealed segment. Entries without a time of their own are
    /// not in order there, so they are checked first.
    fn walk_unsealed(&self, window: &Window, top: &mut Top) -> rusqlite::Result<bool> {
        let columns = self.database.columns();
        let [without_time, with_time] = walk_unsealed(self.query, columns, window, top.order);
        let empty = || Top::new(top.order, top.most);
        let (mut tried, mut ordered) = (empty(), empty());
        let finished = self.step(&without_time, window, &mut tried, false)?
            && self.step(&with_time, window, &mut ordered, true)?;
        if finished {
            tried.keys().into_iter().chain(ordered.keys()).for_each(|key| top.push(key));
        }
        Ok(finished)
    }

    /// Runs a statement that returns time, id, and whether the entry matches. Returns `false` if it
    /// gave up because too few match. If the rows are in order, it ends when `top` is full.
    fn step(
        &self,
        sql: &Sql,
        window: &Window,
        top: &mut Top,
        ordered: bool,
    ) -> rusqlite::Result<bool> {
        let mut statement = self.database.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        let is_for_words = self.query.words().is_some() && self.database.columns().are_packed();
        let walk = if is_for_words { WALK_FOR_WORDS } else { WALK };
        for looked_at in 0..walk * LONGER {
            if ordered && top.is_full() {
                return Ok(true);
            }
            if looked_at == walk && top.keys.len() * LONGER < top.most {
                return Ok(false);
            }
            let Some(row) = rows.next()? else { return Ok(true) };
            if row.get::<_, Option<bool>>(2)? == Some(true) {
                self.found(SortKey { time: row.get(0)?, id: row.get(1)? }, window, top);
            }
        }
        Ok(false)
    }

    /// Checks every entry, or those that SQLite finds by an index for the condition.
    fn sweep(&self, window: &Window, by: By, top: &mut Top) -> rusqlite::Result<()> {
        let sql = sweep(self.query, self.database.columns(), window, by);
        let mut statement = self.database.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(row) = rows.next()? {
            self.found(SortKey { time: row.get(0)?, id: row.get(1)? }, window, top);
        }
        Ok(())
    }

    fn found(&self, key: SortKey, window: &Window, top: &mut Top) {
        if window.contains(key) && self.overlaid.binary_search(&key.id).is_err() {
            top.push(key);
        }
    }
}

/// Selects time, id, and whether the entry matches, from a sealed segment, in order.
fn walk(query: &Query, columns: Columns, window: &Window, order: Order) -> Sql {
    let (index, wanted) = query.index(columns);
    let mut sql = Sql::default();
    sql.push("SELECT time, id, (").add(query.condition(columns)).push(") FROM ");
    match columns.are_packed() {
        // Its indexes are made for these conditions, so SQLite finds them.
        true => drop(sql.push(SEARCHED)),
        false => drop(sql.push("entries INDEXED BY ").push(index)),
    }
    sql.push(" WHERE ").add(wanted);
    let (Window { from, before, .. }, bound) = (window, |sql: &mut Sql, sign, key: SortKey| {
        sql.push(" AND (time, id) ").push(sign).push(" (").bind(key.time);
        sql.push(", ").bind(as_integer(key.id)).push(")");
    });
    match order {
        Order::Newest => {
            sql.push(" AND time >= ").bind(from.time);
            bound(&mut sql, "<", *before);
            sql.push(" ORDER BY time DESC, id DESC");
        }
        Order::Oldest => {
            bound(&mut sql, ">=", *from);
            sql.push(" AND time <= ").bind(before.time).push(" ORDER BY time, id");
        }
    }
    sql
}

/// The same for an unsealed segment: entries without a time of their own, and the others in order.
fn walk_unsealed(query: &Query, columns: Columns, window: &Window, order: Order) -> [Sql; 2] {
    let mut sql = Sql::default();
    sql.push("SELECT time, id, (").add(query.condition(columns));
    sql.push(") FROM entries INDEXED BY entries_identity WHERE event_time");
    let (mut without_time, mut with_time) = (sql.clone(), sql);
    without_time.push(" = 0");
    with_time.push(" > 0 AND event_time >= ").bind(window.from.time);
    with_time.push(" AND event_time <= ").bind(window.before.time);
    with_time.push(match order {
        Order::Newest => " ORDER BY event_time DESC, id DESC",
        Order::Oldest => " ORDER BY event_time, id",
    });
    [without_time, with_time]
}

/// Selects time and id of the entries that match, in any order.
fn sweep(query: &Query, columns: Columns, window: &Window, by: By) -> Sql {
    // A plus keeps SQLite from using an index.
    let id = match by {
        By::Id => "id",
        By::Any => "+id",
    };
    let mut sql = Sql::default();
    sql.push("SELECT time, id FROM ");
    match query.words().filter(|_| columns.are_packed()) {
        // Most blocks lack a rare word. Their lines are not looked at one by one.
        Some(words) => {
            sql.push("blocks CROSS JOIN ").push(SEARCHED);
            sql.push(
                " ON entries.id BETWEEN first_id AND last_id WHERE may_contain(first_id, lines, ",
            );
            sql.bind(words.to_owned()).push(") AND ");
        }
        None if columns.are_packed() => drop(sql.push(SEARCHED).push(" WHERE ")),
        None => drop(sql.push("entries WHERE ")),
    }
    sql.push("+time >= ").bind(window.from.time);
    sql.push(" AND +time <= ").bind(window.before.time);
    sql.push(" AND ").push(id).push(" >= ").bind(as_integer(*window.ids.start()));
    sql.push(" AND ").push(id).push(" <= ").bind(as_integer(*window.ids.end()));
    sql.push(" AND (").add(query.condition(columns)).push(")");
    sql
}

/// The first keys of those that were pushed.
struct Top {
    /// The ranks of the keys.
    keys: BinaryHeap<Reverse<SortKey>>,
    order: Order,
    most: usize,
}

impl Top {
    fn new(order: Order, most: usize) -> Top {
        Top { keys: BinaryHeap::new(), order, most }
    }

    fn is_full(&self) -> bool {
        self.keys.len() >= self.most
    }

    fn push(&mut self, key: SortKey) {
        let rank = self.order.rank(key);
        if !self.is_full() {
            self.keys.push(Reverse(rank));
        } else if let Some(mut least) = self.keys.peek_mut()
            && least.0 < rank
        {
            *least = Reverse(rank);
        }
    }

    /// The keys, in order.
    fn keys(self) -> Vec<SortKey> {
        let ranks = self.keys.into_sorted_vec().into_iter();
        ranks.map(|Reverse(rank)| self.order.rank(rank)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;
    use crate::entry::fields::KNOWN;
    use crate::store::read::query::TimeRange;
    use crate::store::segment::packed::Packer;
    use crate::store::segment::{SCHEMA, SEALED, blocks, condition};
    use crate::store::sqlite;

    /// The steps of the plan that SQLite makes for a segment of version 2, joined.
    fn plan(sql: &Sql, sealed: bool) -> String {
        let temporary = tempfile::tempdir().unwrap();
        let connection = sqlite::open(&temporary.path().join("x.db"), &SCHEMA).unwrap();
        if sealed {
            connection.execute_batch(SEALED).unwrap();
        }
        plan_in(&connection, sql)
    }

    /// The plan for a packed segment.
    fn packed_plan(sql: &Sql) -> String {
        let temporary = tempfile::tempdir().unwrap();
        let source = sqlite::open(&temporary.path().join("x.db"), &SCHEMA).unwrap();
        let packed = Connection::open_in_memory().unwrap();
        Packer::new(&source, &packed, false, (None, &[])).unwrap().finish().unwrap();
        blocks::register(&packed).unwrap();
        plan_in(&packed, sql)
    }

    fn plan_in(connection: &Connection, sql: &Sql) -> String {
        condition::register(connection).unwrap();
        let mut statement =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {}", sql.text)).unwrap();
        let steps = statement
            .query_map(params_from_iter(&sql.parameters), |row| row.get::<_, String>(3))
            .unwrap();
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    fn query(text: &str) -> (Query, Window) {
        let query = Query::new(&crate::search::parse(text, 0).unwrap());
        let window = query.window(TimeRange::default(), 50_000);
        (query, window)
    }

    #[test]
    fn a_walk_goes_through_the_index_that_fits_best_and_sorts_nothing() {
        for (text, index) in [
            ("*", "entries_time (time>? AND time<?)"),
            ("time:>2025-01-01", "entries_time (time>? AND time<?)"),
            ("status:500", "entries_time (time>? AND time<?)"),
            ("principal_id:a", "entries_principal_id (principal_id=? AND time>? AND time<?)"),
            ("name:a status:3", "entries_name (name=? AND time>? AND time<?)"),
            ("src:a name:b", "entries_src (src=? AND time>? AND time<?)"),
            ("verdict:no_key", "entries_not_valid (verdict=? AND time>? AND time<?)"),
        ] {
            let (query, window) = query(text);
            let expected = format!("SEARCH entries USING INDEX {index}");
            for order in [Order::Newest, Order::Oldest] {
                let plan = plan(&walk(&query, Columns::NEWEST, &window, order), true);
                assert_eq!(plan.replace("COVERING ", ""), expected, "{text}");
            }
        }
    }

    #[test]
    fn a_walk_of_a_packed_segment_does_the_same() {
        for (text, index) in [
            ("*", "packed_time (time>? AND time<?)"),
            ("time:>2025-01-01", "packed_time (time>? AND time<?)"),
            ("status:500", "packed_time (time>? AND time<?)"),
            ("needle", "packed_time (time>? AND time<?)"),
            ("principal_id:a", "packed_principal_id (principal_id=? AND time>? AND time<?)"),
            ("name:a status:3", "packed_name (name=? AND time>? AND time<?)"),
            ("src:a name:b", "packed_src (src=? AND time>? AND time<?)"),
            ("verdict:no_key", "packed_not_valid (verdict=? AND time>? AND time<?)"),
        ] {
            let (query, window) = query(text);
            for order in [Order::Newest, Order::Oldest] {
                let plan = packed_plan(&walk(&query, Columns::PACKED, &window, order));
                let first = format!("SEARCH packed USING INDEX {index}");
                assert!(plan.replace("COVERING ", "").starts_with(&first), "{text}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{text}: {plan}");
            }
        }
    }

    #[test]
    fn every_field_can_be_searched_in_a_packed_segment() {
        let system = ["id", "verdict", "reason", "format", "kind", "warning", "kid", "input"];
        let others = ["delivery", "received_at", "time", "no_column"];
        let known = KNOWN.iter().map(|(name, _)| *name);
        for name in system.into_iter().chain(others).chain(known) {
            for text in [format!("{name}:*"), format!("NOT {name}:*")] {
                let (query, window) = query(&text);
                packed_plan(&walk(&query, Columns::PACKED, &window, Order::Newest));
                packed_plan(&sweep(&query, Columns::PACKED, &window, By::Any));
                let condition = &query.condition(Columns::PACKED);
                let mut sql = Sql::from("SELECT id FROM entries WHERE ");
                packed_plan(sql.add(condition));
            }
        }
    }

    #[test]
    fn a_sweep_of_a_packed_segment_uses_the_index_of_the_condition() {
        for (text, expected) in [
            ("trace_id:7", "SEARCH packed USING INDEX packed_trace_id (<expr>=?)"),
            ("trace_id:7 src:a status:3", "packed_trace_id (<expr>=?)"),
            ("id:7", "SEARCH packed USING INTEGER PRIMARY KEY (rowid=?)"),
            ("name:Authz.*", "packed_name (name=?)"),
            ("NOT verdict:valid", "packed_not_valid"),
            ("warning:foreign_*", "packed_warnings"),
            ("status:500", "SCAN packed"),
            (
                "needle",
                "SCAN blocks; SEARCH packed USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)",
            ),
        ] {
            let (query, window) = query(text);
            let plan = packed_plan(&sweep(&query, Columns::PACKED, &window, By::Any));
            assert!(plan.contains(expected), "{text}: {plan}");
        }
    }

    #[test]
    fn a_sweep_of_a_sealed_segment_uses_the_index_of_the_condition() {
        for (text, expected) in [
            ("trace_id:7", "SEARCH entries USING INDEX entries_trace_id (trace_id=?)"),
            ("trace_id:7 src:a status:3", "entries_trace_id (trace_id=?)"),
            ("id:7", "SEARCH entries USING INTEGER PRIMARY KEY (rowid=?)"),
            ("name:Authz.*", "USING COVERING INDEX entries_name (name>? AND name<?)"),
            ("NOT verdict:valid", "entries_not_valid"),
            ("warning:foreign_*", "entries_warnings"),
            ("status:500", "SCAN entries"),
            ("needle", "SCAN entries"),
        ] {
            let (query, window) = query(text);
            let plan = plan(&sweep(&query, Columns::NEWEST, &window, By::Any), true);
            assert!(plan.contains(expected), "{text}: {plan}");
        }
    }

    #[test]
    fn an_unsealed_segment_is_read_by_its_one_index_or_by_its_ids() {
        let (query, window) = query("principal_id:a");
        for order in [Order::Newest, Order::Oldest] {
            let [without_time, with_time] = walk_unsealed(&query, Columns::NEWEST, &window, order);
            let without_time = plan(&without_time, false);
            assert!(without_time.ends_with("entries_identity (event_time=?)"), "{without_time}");
            let with_time = plan(&with_time, false);
            assert_eq!(
                with_time,
                "SEARCH entries USING INDEX entries_identity (event_time>? AND event_time<?); \
                 USE TEMP B-TREE FOR LAST TERM OF ORDER BY"
            );
        }
        let slice = plan(&sweep(&query, Columns::NEWEST, &window, By::Id), false);
        assert_eq!(slice, "SEARCH entries USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)");
    }
}
