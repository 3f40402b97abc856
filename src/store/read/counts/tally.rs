//! Adds up counts, of one segment and then of all.
//!
//! The summaries of a segment do not have the input of its entries. Most segments have one input;
//! those that have several are counted in groups by SQLite.
//!
//! The current versions of overlaid entries are counted, and their old versions are subtracted from
//! the summaries.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Row, params_from_iter};

use super::buckets::{Buckets, MINUTE};
use super::totals::has_classes;
use super::{CountRequest, Counts, SUMMARISED, Stack};
use crate::entry::fields::FieldType;
use crate::search::{self, Field, Filter};
use crate::store::schema::Columns;
use crate::store::segment::condition::{Sql, with_warning};
use crate::store::segment::packed::SEARCHED;
use crate::store::segment::row::{Entries, Ids};
use crate::store::sqlite::Database;

/// Longer values are long, in bytes. All long values of a field that are counted by themselves take at
/// most so many bytes together, because a sender could fill the memory with them.
const LONG: usize = 256;
const MAX_LONG: usize = 1 << 20;

/// The number of entries with each value of a field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldCounts {
    pub field: Field,
    /// The most frequent values, most frequent first.
    pub values: Vec<(String, u64)>,
    /// The number of entries with other values.
    pub other: u64,
    /// The number of entries without a value.
    pub missing: u64,
}

/// Counts by stretches of time, and by the values of some fields.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// By the beginning of each stretch, in minutes since the epoch.
    minutes: HashMap<i64, Stretch>,
    fields: Vec<FieldTally>,
    what: Arc<What>,
}

/// What is counted.
#[derive(Debug, PartialEq)]
pub(super) struct What {
    /// Only entries that pass it are counted.
    pub(super) filter: Filter,
    /// The fields whose values are counted.
    pub(super) fields: Vec<Field>,
    /// The length of a stretch, in milliseconds: a minute, an hour, or [`ENDLESS`].
    pub(super) stretch: i64,
    /// What the counts of a stretch are split by.
    pub(super) by: Stack,
}

impl What {
    /// What `wanted` counts of the entries that pass `filter`.
    pub(super) fn of(wanted: &CountRequest<'_>, filter: Filter, stretch: i64) -> What {
        let by = if stretch == ENDLESS { Stack::default() } else { wanted.by };
        What { filter, fields: wanted.fields.to_vec(), stretch, by }
    }
}

/// The length of a stretch if no buckets are wanted.
pub(super) const ENDLESS: i64 = i64::MAX;

/// The entries of a stretch of time.
#[derive(Clone, Debug, Default)]
struct Stretch {
    /// By the words of what they are split by.
    words: BTreeMap<String, i64>,
    not_valid: i64,
}

#[derive(Clone, Debug)]
struct FieldTally {
    field: Field,
    values: HashMap<String, i64>,
    /// The bytes of the long values among these.
    long: usize,
    /// Entries whose values are too long for the summary.
    unnamed: i64,
    missing: i64,
}

impl Tally {
    pub(super) fn new(what: What) -> Tally {
        let field = |field: &Field| FieldTally {
            field: field.clone(),
            values: HashMap::new(),
            long: 0,
            unnamed: 0,
            missing: 0,
        };
        let fields = what.fields.iter().map(field).collect();
        Tally { minutes: HashMap::new(), fields, what: Arc::new(what) }
    }

    pub(super) fn what(&self) -> &Arc<What> {
        &self.what
    }

    /// The number of counts that it holds.
    pub(super) fn len(&self) -> usize {
        // A long value takes the room of several.
        let values = self.fields.iter().map(|field| field.values.len() + field.long / LONG);
        self.minutes.len() + values.sum::<usize>()
    }

    /// Adds the summaries of a sealed segment.
    pub(super) fn add_summaries(&mut self, segment: &Database) -> rusqlite::Result<()> {
        if self.what.by == Stack::Input && !segment.columns().are_packed() {
            return self.add_between(segment, i64::MIN, i64::MAX);
        }
        if self.what.filter != Filter::All && !self.fields.is_empty() {
            return self.add_classes(segment);
        }
        self.add_minutes(segment)?;
        let mut statement =
            segment.prepare_cached("SELECT sort, value, entries FROM summary WHERE field = ?1")?;
        for tally in &mut self.fields {
            if tally.field == Field::Warning {
                tally.add_warnings(segment)?;
                continue;
            }
            if !SUMMARISED.contains(&tally.field.name()) {
                tally.add_of_minutes(segment)?;
                continue;
            }
            let mut rows = statement.query([tally.field.name()])?;
            while let Some(row) = rows.next()? {
                let entries: i64 = row.get(2)?;
                match row.get_ref(0)?.as_str()? {
                    "value" => tally.count(row.get_ref(1)?, entries),
                    "missing" => tally.missing += entries,
                    _ => tally.unnamed += entries,
                }
            }
        }
        Ok(())
    }

    /// Adds the entries of a sealed segment that pass the filter, by name and without their times.
    fn add_classes(&mut self, segment: &Database) -> rusqlite::Result<()> {
        if !has_classes(segment)? {
            return self.add_between(segment, i64::MIN, i64::MAX);
        }
        let mut sql = Sql::from("SELECT verdict, name, sum(entries) FROM classes WHERE ");
        sql.add(&self.condition(Columns::NEWEST)).push(" GROUP BY verdict, name");
        let mut statement = segment.prepare_cached(&sql.text)?;
        let read = |row: &Row<'_>| {
            Ok((row.get::<_, Value>(0)?, row.get::<_, Value>(1)?, row.get::<_, i64>(2)?))
        };
        let rows = statement.query_map(params_from_iter(&sql.parameters), read)?;
        let rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        // A name that is too long is not there.
        if rows.iter().any(|(_, name, _)| *name == Value::Null) {
            return self.add_between(segment, i64::MIN, i64::MAX);
        }
        for (verdict, name, entries) in &rows {
            let is_valid = ValueRef::from(verdict) == ValueRef::Text(b"valid");
            self.count_entries(0, is_valid, verdict.into(), *entries);
            self.fields.iter_mut().for_each(|tally| tally.count(name.into(), *entries));
        }
        Ok(())
    }

    /// Adds the entries of each stretch of a sealed segment.
    fn add_minutes(&mut self, segment: &Database) -> rusqlite::Result<()> {
        // The summaries have the same columns in every version.
        let summarised = self.condition(Columns::NEWEST);
        let mut sql = Sql::from("SELECT ");
        match (self.what.by, self.what.stretch) {
            (Stack::Verdict, ENDLESS) if self.what.filter == Filter::All => {
                sql.push("0, value, value, entries FROM summary WHERE field = 'verdict'");
            }
            (Stack::Input, _) => match only_input(segment)? {
                Some(input) => {
                    sql.push("minute, verdict, ").bind(input).push(", entries FROM minutes WHERE ");
                    sql.add(&summarised);
                }
                None => {
                    let minutes = self.what.stretch / MINUTE;
                    sql.push("start, CASE WHEN verdict_word IS NULL THEN 'valid' END, ");
                    sql.push("(SELECT input FROM combinations WHERE id = combination), entries");
                    sql.push(" FROM (SELECT time / 60000 / ")
                        .bind(minutes)
                        .push(" * ")
                        .bind(minutes);
                    sql.push(" AS start, combination, verdict_word, count(*) AS entries FROM ");
                    sql.push(SEARCHED).push(" WHERE ").add(&self.condition(segment.columns()));
                    sql.push(" GROUP BY 1, 2, 3)");
                }
            },
            (by, _) => {
                sql.push("minute, verdict, ").push(by.field().name());
                sql.push(", entries FROM minutes WHERE ").add(&summarised);
            }
        }
        let mut statement = segment.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(row) = rows.next()? {
            let is_valid = row.get_ref(1)?.as_str_or_null()? == Some("valid");
            self.count_entries(row.get(0)?, is_valid, row.get_ref(2)?, row.get(3)?);
        }
        Ok(())
    }

    /// Adds the entries of a segment from `since` until before `until`.
    pub(in crate::store) fn add_between(
        &mut self,
        segment: &Database,
        since: i64,
        until: i64,
    ) -> rusqlite::Result<()> {
        let mut sql = Sql::from("SELECT ");
        sql.add(&self.values(segment.columns())).push(" FROM entries");
        sql.push(" WHERE time >= ").bind(since).push(" AND time < ").bind(until);
        sql.push(" AND ").add(&self.condition(segment.columns()));
        let mut statement = segment.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(row) = rows.next()? {
            self.count_row(row, 1)?;
        }
        Ok(())
    }

    /// Adds these entries if they are within `times`, each `count` times. With -1 they are
    /// subtracted.
    pub(in crate::store) fn add(
        &mut self,
        entries: &impl Entries,
        ids: &Ids<'_>,
        times: Range<i64>,
        count: i64,
    ) -> rusqlite::Result<()> {
        let values = self.values(entries.columns());
        let condition = self.condition(entries.columns());
        entries.each(&values, &condition, ids, |row| match times.contains(&row.get(0)?) {
            true => self.count_row(row, count),
            false => Ok(()),
        })
    }

    /// Adds another count.
    pub(super) fn merge(&mut self, other: Tally) {
        self.merge_values(other, "");
    }

    /// Adds another count. Only values that begin with `prefix` are named.
    pub(super) fn merge_values(&mut self, other: Tally, prefix: &str) {
        for (minute, more) in other.minutes {
            let stretch = self.minutes.entry(minute).or_default();
            stretch.not_valid += more.not_valid;
            for (word, entries) in more.words {
                *stretch.words.entry(word).or_default() += entries;
            }
        }
        for (tally, other) in self.fields.iter_mut().zip(other.fields) {
            for (value, entries) in other.values {
                match search::completes(&value, prefix) {
                    true => tally.add(&value, entries),
                    false => tally.unnamed += entries,
                }
            }
            tally.unnamed += other.unnamed;
            tally.missing += other.missing;
        }
    }

    /// Converts to the requested result.
    pub(super) fn counts(self, wanted: &CountRequest<'_>, complete: bool) -> Counts {
        let entries: i64 = self.minutes.values().flat_map(|one| one.words.values()).sum();
        let counted = |minute: &(&i64, &Stretch)| minute.1.words.values().any(|n| *n > 0);
        let minutes = || self.minutes.iter().filter(counted).map(|(minute, _)| *minute);
        // The requested range. Where it is open, the range of the entries.
        let since = wanted.range.since.or(minutes().min().map(|at| at.saturating_mul(MINUTE)));
        let last = match wanted.range.until {
            Some(until) => Some(until.saturating_sub(1)),
            None => minutes()
                .max()
                .map(|at| at.saturating_mul(MINUTE).saturating_add(self.what.stretch - 1))
                .max(Some(wanted.now)),
        };
        let mut counts = Counts { entries: number(entries), complete, ..Counts::default() };
        if let (Some(since), Some(last), 1..) = (since, last, wanted.buckets) {
            let buckets =
                Buckets::of_width(self.what.stretch, since, last.max(since), wanted.buckets);
            let mut all: Vec<_> = buckets.starts().map(|start| (start, BTreeMap::new())).collect();
            let mut not_valid = vec![0; all.len()];
            for (minute, stretch) in &self.minutes {
                let at = buckets.of(minute.saturating_mul(MINUTE).max(buckets.first));
                let bucket = at.and_then(|at| all.get_mut(at).zip(not_valid.get_mut(at)));
                let Some(((_, words), not_valid)) = bucket else { continue };
                for (word, entries) in stretch.words.iter().filter(|(_, entries)| **entries > 0) {
                    *words.entry(word.clone()).or_default() += number(*entries);
                }
                *not_valid += number(stretch.not_valid);
            }
            (counts.width, counts.buckets, counts.not_valid) = (buckets.width, all, not_valid);
        }
        counts.fields = self.fields.into_iter().map(|field| field.counts(wanted.values)).collect();
        counts
    }

    fn condition(&self, columns: Columns) -> Sql {
        Sql::condition(&self.what.filter, columns)
    }

    /// What [`count_row`](Self::count_row) reads.
    fn values(&self, columns: Columns) -> Sql {
        let mut sql = Sql::from("time, verdict, ");
        column(&self.what.by.field(), &mut sql);
        for tally in &self.fields {
            sql.push(", ");
            column(&columns.field(&tally.field), &mut sql);
        }
        sql
    }

    fn count_row(&mut self, row: &Row<'_>, entries: i64) -> rusqlite::Result<()> {
        let time: i64 = row.get(0)?;
        let is_valid = row.get_ref(1)?.as_str()? == "valid";
        self.count_entries(time.div_euclid(MINUTE), is_valid, row.get_ref(2)?, entries);
        for (at, tally) in (3..).zip(&mut self.fields) {
            tally.count(row.get_ref(at)?, entries);
        }
        Ok(())
    }

    /// Counts entries with this value of what they are split by.
    pub(super) fn count_entries(
        &mut self,
        minute: i64,
        is_valid: bool,
        value: ValueRef<'_>,
        entries: i64,
    ) {
        let length = self.what.stretch / MINUTE;
        let stretch = self.minutes.entry(minute - minute.rem_euclid(length)).or_default();
        let word = self.what.by.word(value);
        match stretch.words.get_mut(word.as_ref()) {
            Some(count) => *count += entries,
            None => drop(stretch.words.insert(word.into_owned(), entries)),
        }
        stretch.not_valid += if is_valid { 0 } else { entries };
    }
}

impl FieldTally {
    /// Adds the warnings of a sealed segment, using their index.
    fn add_warnings(&mut self, segment: &Database) -> rusqlite::Result<()> {
        let sql = format!(
            "SELECT warnings, count(*) FROM entries WHERE {} GROUP BY warnings",
            with_warning(segment.columns())
        );
        let mut statement = segment.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        let mut with: i64 = 0;
        while let Some(row) = rows.next()? {
            let entries: i64 = row.get(1)?;
            self.count(row.get_ref(0)?, entries);
            with += entries;
        }
        let all = "SELECT coalesce(sum(entries), 0) FROM minutes";
        let all: i64 = segment.prepare_cached(all)?.query_row([], |row| row.get(0))?;
        self.missing += all - with;
        Ok(())
    }

    /// Adds the values of a field that each minute of a sealed segment is counted by.
    fn add_of_minutes(&mut self, segment: &Database) -> rusqlite::Result<()> {
        let mut sql = Sql::from("SELECT ");
        column(&self.field, &mut sql);
        sql.push(", sum(entries) FROM minutes GROUP BY 1");
        let mut statement = segment.prepare_cached(&sql.text)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.count(row.get_ref(0)?, row.get(1)?);
        }
        Ok(())
    }

    fn count(&mut self, value: ValueRef<'_>, entries: i64) {
        let number;
        let text = match value {
            ValueRef::Text(text) => String::from_utf8_lossy(text),
            ValueRef::Integer(integer) if is_boolean(&self.field) => {
                if integer == 0 { "false" } else { "true" }.into()
            }
            ValueRef::Integer(integer) => {
                number = integer.to_string();
                number.as_str().into()
            }
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => {
                self.missing += entries;
                return;
            }
        };
        // An entry may have several warnings, in one column.
        match self.field {
            Field::Warning => text.split(' ').for_each(|word| self.add(word, entries)),
            _ => self.add(&text, entries),
        }
    }

    /// Counts a value by itself, or with others if it is one long value too many.
    fn add(&mut self, value: &str, entries: i64) {
        if let Some(count) = self.values.get_mut(value) {
            *count += entries;
            return;
        }
        if value.len() > LONG {
            // What was counted with others is subtracted from them.
            if entries < 0 || self.long + value.len() > MAX_LONG {
                self.unnamed += entries;
                return;
            }
            self.long += value.len();
        }
        self.values.insert(value.to_owned(), entries);
    }

    fn counts(self, most: usize) -> FieldCounts {
        let mut values: Vec<_> =
            self.values.into_iter().filter(|(_, entries)| *entries > 0).collect();
        values.sort_by(|one, other| (other.1, &one.0).cmp(&(one.1, &other.0)));
        let rest: i64 = values.iter().skip(most).map(|(_, entries)| entries).sum();
        values.truncate(most);
        FieldCounts {
            field: self.field,
            values: values.into_iter().map(|(value, entries)| (value, number(entries))).collect(),
            other: number(rest + self.unnamed),
            missing: number(self.missing),
        }
    }
}

/// The input of a packed segment, if all its entries have the same one.
fn only_input(segment: &Database) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT DISTINCT input FROM combinations LIMIT 2";
    let mut statement = segment.prepare_cached(sql)?;
    let inputs = statement.query_map([], |row| row.get(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(<[String; 1]>::try_from(inputs).ok().map(|[only]| only))
}

/// The value of `field` in a statement over `entries`.
fn column(field: &Field, sql: &mut Sql) {
    match field {
        Field::Kid => drop(sql.push("(SELECT kid FROM keys WHERE keys.id = entries.\"key\")")),
        Field::Warning => drop(sql.push("warnings")),
        Field::Extension(name) => {
            sql.push("(SELECT value FROM extensions WHERE entry = entries.id AND name = ");
            sql.bind(name.clone()).push(")");
        }
        field => drop(sql.push("\"").push(field.name()).push("\"")),
    }
}

fn is_boolean(field: &Field) -> bool {
    matches!(field, Field::Known(_, FieldType::Boolean))
}

/// A count is never negative, unless a file was changed by hand.
fn number(entries: i64) -> u64 {
    u64::try_from(entries).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_values_take_a_bounded_amount_of_memory() {
        let filter = Filter::All;
        let fields = [Field::named("name")];
        let wanted = CountRequest {
            fields: &fields,
            ..CountRequest::of(&filter, crate::store::TimeRange::default(), 0)
        };
        let mut tally = Tally::new(What::of(&wanted, Filter::All, MINUTE));
        let [field] = &mut tally.fields[..] else { panic!() };
        let value = |n: usize| format!("{n:>1000}");
        (0..5000).for_each(|n| field.add(&value(n), 1));
        field.add("short", 2);
        assert_eq!(field.values.len(), MAX_LONG / 1000 + 1);
        assert_eq!(field.values.values().sum::<i64>() + field.unnamed, 5002);
        // What is subtracted was counted in the same way.
        (0..5000).for_each(|n| field.add(&value(n), -1));
        assert_eq!((field.unnamed, field.values["short"]), (0, 2));
    }
}
