//! Compiles a filter to an SQL condition over the tables of a segment.
//!
//! Values of a query are bound as parameters, and the names of columns are fixed. A condition never
//! fails because of the values of an entry. NULL counts as false.

use std::ops::Bound;

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::{Value, ValueRef};

use crate::search::{Field, Filter, Operand, Test};
use crate::store::schema::Columns;
use crate::store::segment::packed::{COMBINED, WORDS};
use crate::store::segment::text::{Join, Search, Words};
use crate::store::segment::{blocks, long_lines};

/// A piece of SQL and the values of its parameters, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::store) struct Sql {
    pub(in crate::store) text: String,
    pub(in crate::store) parameters: Vec<Value>,
}

impl Sql {
    /// The condition for entries that pass `filter`, in a statement over `entries` with these
    /// columns. It needs the functions of [`register`].
    pub(in crate::store) fn condition(filter: &Filter, columns: Columns) -> Sql {
        let mut sql = Sql::default();
        Condition { sql: &mut sql, columns }.filter(&columns.filter(filter));
        sql
    }

    /// The condition that the column `name` has this value. If there is an index that begins with
    /// the column, SQLite can use it.
    pub(in crate::store) fn has_value(name: &str, text: &str, columns: Columns) -> Sql {
        let equal = Test::Equals(Operand::Text(text.to_owned()));
        let mut sql = Sql::default();
        Condition { sql: &mut sql, columns }.column(name, &equal);
        sql
    }

    /// A piece without parameters.
    pub(in crate::store) fn from(text: &str) -> Sql {
        Sql { text: text.to_owned(), parameters: Vec::new() }
    }

    /// Adds text.
    pub(in crate::store) fn push(&mut self, text: &str) -> &mut Sql {
        self.text.push_str(text);
        self
    }

    /// Adds a parameter.
    pub(in crate::store) fn bind(&mut self, value: impl Into<Value>) -> &mut Sql {
        self.parameters.push(value.into());
        self.push("?")
    }

    /// Adds another piece.
    pub(in crate::store) fn add(&mut self, other: &Sql) -> &mut Sql {
        self.parameters.extend_from_slice(&other.parameters);
        self.push(&other.text)
    }

    fn test(&mut self, column: &str, test: &Test) {
        match test {
            Test::Exists => drop(self.push(column).push(" IS NOT NULL")),
            Test::Equals(operand) => drop(self.push(column).push(" = ").bind(value(operand))),
            Test::Prefix(prefix) => {
                self.push("(").push(column).push(" >= ").bind(prefix.clone());
                self.push(" AND ").push(column);
                match after_all_that_begin_with(prefix) {
                    Some(end) => self.push(" < ").bind(end),
                    // Blobs sort after all texts.
                    None => self.push(" < ").bind(Vec::new()),
                };
                self.push(")");
            }
            Test::Range { lower, upper } => self.range(column, lower, upper),
        }
    }

    /// In SQLite every number is smaller than every text, so an open range gets an end of its type.
    fn range(&mut self, column: &str, lower: &Bound<Operand>, upper: &Bound<Operand>) {
        let (above, least) = match (lower, upper) {
            (Bound::Included(operand), _) => (" >= ", value(operand)),
            (Bound::Excluded(operand), _) => (" > ", value(operand)),
            (_, Bound::Included(Operand::Text(_)) | Bound::Excluded(Operand::Text(_))) => {
                (" >= ", Value::Text(String::new()))
            }
            _ => (" >= ", Value::Integer(i64::MIN)),
        };
        let (below, greatest) = match (upper, &least) {
            (Bound::Included(operand), _) => (" <= ", value(operand)),
            (Bound::Excluded(operand), _) => (" < ", value(operand)),
            (Bound::Unbounded, Value::Text(_)) => (" < ", Value::Blob(Vec::new())),
            (Bound::Unbounded, _) => (" <= ", Value::Integer(i64::MAX)),
        };
        self.push("(").push(column).push(above).bind(least).push(" AND ");
        self.push(column).push(below).bind(greatest).push(")");
    }
}

/// A condition that is written for a table with some columns.
struct Condition<'a> {
    sql: &'a mut Sql,
    columns: Columns,
}

impl Condition<'_> {
    fn filter(&mut self, filter: &Filter) {
        match filter {
            Filter::All => drop(self.sql.push("1")),
            Filter::And(parts) => self.joined(parts, Join::All),
            Filter::Or(parts) => self.joined(parts, Join::Any),
            Filter::Not(inner) if **inner == valid() => {
                self.sql.push(not_valid(self.columns));
            }
            Filter::Not(inner) => {
                self.sql.push("NOT coalesce(");
                self.filter(inner);
                self.sql.push(", 0)");
            }
            Filter::Text(_) => self.joined(std::slice::from_ref(filter), Join::All),
            Filter::Field(field, test) => self.field(field, test),
        }
    }

    /// Cheap parts come first, because SQLite stops once the result is known. All words are one
    /// part, the last one.
    fn joined(&mut self, parts: &[Filter], join: Join) {
        let (with, none) = match join {
            Join::All => (" AND ", "1"),
            Join::Any => (" OR ", "0"),
        };
        let (mut words, mut others) = (Vec::new(), Vec::new());
        for part in parts {
            match Words::of(part) {
                Some(of_words) => words.push(of_words),
                None => others.push(part),
            }
        }
        others.sort_by_key(|part| cost(part));
        self.sql.push("(");
        for (at, part) in others.iter().enumerate() {
            self.sql.push(if at > 0 { with } else { "" });
            self.filter(part);
        }
        if !words.is_empty() {
            self.sql.push(if others.is_empty() { "" } else { with });
            self.sql.push("contains(").push(line(self.columns)).push(", ");
            self.sql.bind(Words::joined(join, words).parameter()).push(")");
        }
        self.sql.push(if parts.is_empty() { none } else { "" }).push(")");
    }

    fn field(&mut self, field: &Field, test: &Test) {
        match (field, test) {
            (Field::Kid, Test::Exists) => drop(self.sql.push("\"key\" IS NOT NULL")),
            (Field::Kid, test) => {
                self.sql.push("\"key\" IN (SELECT id FROM keys WHERE ").test("kid", test);
                self.sql.push(")");
            }
            (Field::Warning, test) => self.warning(test),
            (Field::Verdict, test) if is_not_valid(test) => {
                // This is the condition of the partial index. Without it SQLite would not use the
                // index.
                self.sql.push("(");
                self.column("verdict", test);
                self.sql.push(" AND ").push(not_valid(self.columns)).push(")");
            }
            // Packed, a valid entry has no number of a word here.
            (Field::Verdict, test) => self.sql.test("verdict", test),
            (Field::Extension(name), test) => {
                self.sql
                    .push("EXISTS (SELECT 1 FROM extensions WHERE entry = entries.id AND name = ");
                self.sql.bind(name.clone()).push(" AND ");
                let column = if is_of_integers(test) { "integer(value)" } else { "value" };
                self.sql.test(column, test);
                self.sql.push(")");
            }
            (field, test) => self.column(field.name(), test),
        }
    }

    /// A test of a column. In a packed segment most are tested by the numbers of their values, which
    /// are found first.
    fn column(&mut self, name: &str, test: &Test) {
        let is_packed = |names: &[&str]| self.columns.are_packed() && names.contains(&name);
        if is_packed(&WORDS) {
            self.sql.push(name).push("_word");
            match test {
                Test::Exists => drop(self.sql.push(" IS NOT NULL")),
                // Not IN: with one number an index gives the entries in order.
                Test::Equals(_) => self.numbers(" = (SELECT id FROM words WHERE ", "value", test),
                test => self.numbers(" IN (SELECT id FROM words WHERE ", "value", test),
            }
        } else if is_packed(&COMBINED) {
            self.numbers("combination IN (SELECT id FROM combinations WHERE ", name, test);
        } else if is_packed(&["trace_id"])
            && let Test::Equals(Operand::Text(text)) = test
        {
            // The index is over the beginning.
            self.sql.push("(substr(trace_id, 1, 8) = substr(").bind(text.clone());
            self.sql.push(", 1, 8) AND ").test("trace_id", test);
            self.sql.push(")");
        } else {
            self.sql.test(&format!("\"{name}\""), test);
        }
    }

    fn numbers(&mut self, among: &str, column: &str, test: &Test) {
        self.sql.push(among).test(column, test);
        self.sql.push(")");
    }

    /// The warnings are in one column, separated by spaces. The first part is the condition of their
    /// index. Without it SQLite would not use the index.
    fn warning(&mut self, test: &Test) {
        self.sql.push("(").push(with_warning(self.columns));
        match test {
            Test::Exists => {}
            Test::Equals(Operand::Text(word)) => {
                self.sql.push(" AND instr(' ' || warnings || ' ', ").bind(format!(" {word} "));
                self.sql.push(") > 0");
            }
            Test::Prefix(prefix) => {
                self.sql.push(" AND instr(' ' || warnings, ").bind(format!(" {prefix}"));
                self.sql.push(") > 0");
            }
            Test::Equals(_) | Test::Range { .. } => drop(self.sql.push(" AND 0")),
        }
        self.sql.push(")");
    }
}

/// The condition of the index of entries with warnings. The numbers of words are positive.
pub(in crate::store) fn with_warning(columns: Columns) -> &'static str {
    if columns.are_packed() { "warnings_word > 0" } else { "warnings IS NOT NULL" }
}

/// The condition of the index of entries that are not valid.
pub(in crate::store) fn not_valid(columns: Columns) -> &'static str {
    if columns.are_packed() { "verdict_word > 0" } else { "verdict <> 'valid'" }
}

/// The expression for the line of an entry. NULL if an earlier version stored a long line in `raw`.
pub(in crate::store) fn line(columns: Columns) -> &'static str {
    if columns.are_packed() { blocks::LINE } else { long_lines::LINE }
}

fn valid() -> Filter {
    Filter::Field(Field::Verdict, Test::Equals(Operand::Text("valid".into())))
}

/// Whether a test requires another verdict than `valid`.
fn is_not_valid(test: &Test) -> bool {
    matches!(test, Test::Equals(Operand::Text(word)) if word != "valid")
}

fn is_of_integers(test: &Test) -> bool {
    let is_integer = |bound: &Bound<Operand>| {
        matches!(bound, Bound::Included(Operand::Integer(_)) | Bound::Excluded(Operand::Integer(_)))
    };
    match test {
        Test::Equals(operand) => matches!(operand, Operand::Integer(_)),
        Test::Range { lower, upper } => is_integer(lower) || is_integer(upper),
        Test::Exists | Test::Prefix(_) => false,
    }
}

fn value(operand: &Operand) -> Value {
    match operand {
        Operand::Text(text) => Value::Text(text.clone()),
        Operand::Integer(number) => Value::Integer(*number),
        Operand::Boolean(boolean) => Value::Integer(i64::from(*boolean)),
    }
}

/// The cost of a part: 0 reads a column, 1 another table, 2 the line.
fn cost(filter: &Filter) -> u8 {
    match filter {
        Filter::All => 0,
        Filter::Text(_) => 2,
        Filter::Field(Field::Extension(_), _) => 1,
        Filter::Field(..) => 0,
        Filter::Not(inner) => cost(inner),
        Filter::And(parts) | Filter::Or(parts) => parts.iter().map(cost).max().unwrap_or(0),
    }
}

/// The smallest text that is larger than all texts that start with `prefix`, by bytes.
fn after_all_that_begin_with(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        let next = match last {
            char::MAX => continue,
            // What follows are surrogates, which are no characters.
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last).saturating_add(1)),
        };
        end.extend(next);
        return Some(end);
    }
    None
}

/// Adds the functions that conditions use: `contains(line, words)`, and `integer(text)`, which is
/// NULL if the text is no integer.
pub(in crate::store) fn register(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function("contains", 2, flags, |context| {
        let search = context.get_or_create_aux(1, |words| Search::new(words.as_str()?))?;
        Ok(match context.get_raw(0) {
            ValueRef::Blob(line) | ValueRef::Text(line) => search.is_in(line),
            _ => search.is_in(b""),
        })
    })?;
    connection.create_scalar_function("integer", 1, flags, |context| {
        Ok(context.get_raw(0).as_str().ok().and_then(|text| text.parse::<i64>().ok()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{CheckedLine, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::segment::SCHEMA;
    use crate::store::segment::row::{self, EntryMetadata};
    use crate::store::sqlite::Database;

    const LINES: [&str; 6] = [
        r#"{"name":"Ingress","status":403,"granted":"yes","rt":5,"cs1":"8"}"#,
        r#"{"name":"Authz.portals","status":"odd","granted":true,"rt":"x","cs1":"-9"}"#,
        r#"{"name":"Authz/ÄÖ","granted":false,"severity":7,"cs1":true,"rt":6}"#,
        r#"{"name":"","trace_id":18446744073709551615,"event_ts":"x","event_ts":"y","rt":7}"#,
        "garbage",
        "{\"name\":\"Authz\u{10ffff}\",\"rt\":9,\"cs1\":\"x\"}",
    ];

    fn entries() -> (tempfile::TempDir, Database) {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("x.db");
        let connection = crate::store::sqlite::open(&path, &SCHEMA).unwrap();
        register(&connection).unwrap();
        for (id, line) in (1..).zip(LINES) {
            let received_at = Millis::saturating(100);
            let entry = CheckedLine::new(line.as_bytes(), &KeySet::default(), 1000).read(
                line.to_owned().into(),
                &ExpectedIds::default(),
                received_at,
            );
            let stored =
                EntryMetadata { id, received_at, delivery: 1, input: "default", delivery_count: 1 };
            assert!(row::insert(&connection, &entry, &stored).unwrap());
        }
        (temporary, connection)
    }

    /// The ids of the entries that pass; those that do not pass the negation.
    fn check(query: &str, expected: &[u64]) {
        let (_temporary, connection) = entries();
        let ids = |filter: &Filter| -> Vec<u64> {
            let condition = Sql::condition(filter, connection.columns());
            let sql = format!("SELECT id FROM entries WHERE {} ORDER BY id", condition.text);
            let mut statement = connection.prepare(&sql).unwrap();
            let parameters = rusqlite::params_from_iter(condition.parameters);
            statement.query_map(parameters, |row| row.get(0)).unwrap().map(Result::unwrap).collect()
        };
        let filter = crate::search::parse(query, 0).unwrap();
        assert_eq!(ids(&filter), expected, "{query}");
        let others: Vec<_> = (1..=6).filter(|id| !expected.contains(id)).collect();
        assert_eq!(ids(&Filter::Not(Box::new(filter))), others, "NOT {query}");
    }

    #[test]
    fn a_condition_on_a_missing_field_is_false_and_its_negation_true() {
        check("status:403", &[1]);
        check("NOT status:403", &[2, 3, 4, 5, 6]);
        check("NOT (status:403 OR NOT kind:*)", &[2, 3, 4, 6]);
        check("status:403 OR severity:7", &[1, 3]);
        check("NOT status:403 AND NOT severity:7", &[2, 4, 5, 6]);
    }

    #[test]
    fn values_of_another_type_are_in_no_range() {
        check("status:*", &[1, 2]);
        check("status:>=400", &[1]);
        check("status:<500", &[1]);
        check("granted:true", &[2]);
        check("granted:*", &[1, 2, 3]);
        check("name:>=Authz", &[1, 2, 3, 6]);
        check("name:<Authz", &[4]);
        check("name:<=Authz.portals", &[2, 4]);
    }

    #[test]
    fn prefixes_and_words() {
        check("name:Authz*", &[2, 3, 6]);
        check("name:Authz.*", &[2]);
        check("name:Authz\u{10ffff}*", &[6]);
        check("name:\"Authz/Ä\"*", &[3]);
        check("name:\"\"", &[4]);
        check("trace_id:18446744073709551615", &[4]);
        check("trace_id:184*", &[4]);
        check("warning:bad_time", &[2]);
        check("warning:duplicate_field", &[4]);
        check("warning:*", &[2, 4]);
        check("verdict:malformed", &[5]);
        check("NOT verdict:valid", &[1, 2, 3, 4, 5, 6]);
        check("kid:*", &[]);
        check("kid:x*", &[]);
        check("id:>=5", &[5, 6]);
        check("time:<1970-01-01T00:00:00.007Z", &[1, 3]);
    }

    #[test]
    fn extensions() {
        check("cs1:8", &[1]);
        check("cs1:true", &[3]);
        check("cs1:*", &[1, 2, 3, 6]);
        check("cs1:<9", &[1, 2]);
        check("cs1:>-10", &[1, 2]);
        check("cs1:[-9 TO 7]", &[2]);
        check("cs1:>=t", &[3, 6]);
        check("cs2:x", &[]);
    }

    #[test]
    fn words_anywhere_in_the_line() {
        check("GARBAGE", &[5]);
        check("äö", &[3]);
        check("\"status\\\":\"", &[1, 2]);
        check(".*", &[2]);
        check("authz NOT portals", &[3, 6]);
    }

    #[test]
    fn the_end_of_a_prefix() {
        for (prefix, end) in [
            ("a", Some("b")),
            ("a\u{10ffff}", Some("b")),
            ("\u{d7ff}", Some("\u{e000}")),
            ("\u{10ffff}", None),
        ] {
            assert_eq!(after_all_that_begin_with(prefix).as_deref(), end, "{prefix:?}");
        }
    }
}
