//! Filters are tried in SQL and in memory on the same entries, and must give the same.

use std::borrow::Cow;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use regex::bytes::RegexBuilder;
use rusqlite::{Connection, params_from_iter};

use crate::entry::fields::Value;
use crate::entry::record::{Origin, Record};
use crate::entry::{Format, Kind, Millis, Warning};
use crate::ingest::{CheckedLine, ExpectedIds};
use crate::konnect::sign::{Signer, place};
use crate::search::{Field, Filter, Held, Values, parse};
use crate::signature::KeySet;
use crate::store::schema::Columns;
use crate::store::segment::blocks;
use crate::store::segment::condition::{self, Sql};
use crate::store::segment::packed::Packer;
use crate::store::segment::row::{self, Entries, EntryMetadata, Ids};
use crate::store::sqlite::Database;

/// A record, and what it lacks.
struct Known {
    record: Record,
    delivery: u64,
}

impl Values for Known {
    fn value(&self, field: &Field) -> Option<Held<'_>> {
        let record = &self.record;
        let Origin::Stored { id, input, received_at, .. } = &record.origin else { return None };
        let integer = |number: u64| Some(Held::Integer(i64::try_from(number).unwrap()));
        match field {
            Field::Id => integer(*id),
            Field::Delivery => integer(self.delivery),
            Field::Verdict => Some(Held::text(record.verdict.as_str())),
            Field::Reason => record.reason.as_deref().map(Held::text),
            Field::Format => Some(Held::text(Format::word(record.format))),
            Field::Kind => record.kind.map(Kind::as_str).map(Held::text),
            Field::Warning => {
                let words = Warning::join(&record.warnings, " ");
                (!words.is_empty()).then(|| Held::text(words))
            }
            Field::Kid => record.kid.as_deref().map(Held::text),
            Field::Input => Some(Held::text(input.as_str())),
            Field::ReceivedAt => Some(Held::Integer(received_at.get())),
            Field::Time => record.time.map(|time| Held::Integer(time.get())),
            Field::Known(name, _) => record.fields.get(name).map(|value| match value {
                Value::Integer(number) => Held::Integer(*number),
                Value::Boolean(boolean) => Held::Integer(i64::from(*boolean)),
                Value::Text(text) | Value::Json(text) => Held::Text(Cow::from(text.as_str())),
            }),
            Field::Extension(name) => {
                record.fields.get(name).map(|value| Held::Text(value.as_text()))
            }
        }
    }

    fn contains(&self, text: &str) -> Option<bool> {
        let word = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
        Some(word.unwrap().is_match(&self.record.raw))
    }
}

/// Values that are alike, so that tests often decide differently.
const TEXTS: [&str; 14] = [
    "",
    "a",
    "A",
    "Authz.",
    "Authz.a",
    "authz.b",
    "Ä",
    "ſk",
    "SK",
    "\u{10ffff}",
    "5",
    "-9",
    "true",
    "18446744073709551615",
];
const NUMBERS: [&str; 7] = ["5", "0", "-9", "403", "9223372036854775807", "\"odd\"", "1.5"];
const BOOLEANS: [&str; 4] = ["true", "false", "\"yes\"", "1"];

const WITH_TEXT: [&str; 6] = ["name", "src", "principal_id", "trace_id", "cs1", "a name"];
const WITH_NUMBER: [&str; 4] = ["status", "severity", "rt", "cs2"];
const WITH_BOOLEAN: [&str; 3] = ["granted", "success", "cs3"];

fn member() -> impl Strategy<Value = String> {
    let of = |names: &'static [&'static str]| prop::sample::select(names);
    prop_oneof![
        (of(&WITH_TEXT), of(&TEXTS)).prop_map(|(name, text)| format!("{name:?}:{}", quoted(text))),
        (of(&WITH_NUMBER), of(&NUMBERS)).prop_map(|(name, value)| format!("{name:?}:{value}")),
        (of(&WITH_BOOLEAN), of(&BOOLEANS)).prop_map(|(name, value)| format!("{name:?}:{value}")),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A line, which may be signed.
fn line() -> impl Strategy<Value = (String, bool)> {
    let json = vec(member(), 0..6).prop_map(|members| format!("{{{}}}", members.join(",")));
    let text = prop::sample::select(TEXTS.as_slice()).prop_map(|text| format!("{text} garbage"));
    (prop_oneof![9 => json, 1 => text], any::<bool>())
}

fn term() -> impl Strategy<Value = String> {
    let of = |names: &'static [&'static str]| prop::sample::select(names);
    let text = || of(&TEXTS).prop_map(quoted);
    let number = || of(&["5", "0", "-9", "403", "9223372036854775807", "-9223372036854775808"]);
    let ranged = of(&["name", "src", "principal_id", "cs1", "a name", "reason", "input"]);
    let with_number = of(&["status", "severity", "rt", "cs2", "id", "delivery"]);
    let comparison = || of(&[">", ">=", "<", "<="]);
    let word = of(&[
        "*",
        "verdict:valid",
        "verdict:*",
        "verdict:(invalid OR unsigned)",
        "verdict:malformed",
        "reason:unknown_*",
        "reason:*",
        "format:json",
        "format:unknown",
        "kind:*",
        "kind:auth*",
        "kind:other",
        "warning:*",
        "warning:bad_time",
        "warning:duplicate_field",
        "kid:*",
        "kid:k",
        "kid:>=a",
        "input:default",
        "granted:true",
        "granted:false",
        "success:*",
        "cs3:true",
        "time:>=1970-01-01T00:00:00.003Z",
        "time:[1970-01-01T00:00:00.005Z TO 1970-01-01T00:00:00.403Z}",
        "received_at:<1970-01-01T00:00:00.102Z",
        "received_at:1970-01-01",
    ]);
    prop_oneof![
        3 => word.prop_map(str::to_owned),
        2 => (of(&WITH_TEXT), text()).prop_map(|(name, text)| format!("{name:?}:{text}")),
        2 => (of(&WITH_TEXT), text()).prop_map(|(name, text)| format!("{name:?}:{text}*")),
        1 => (of(&WITH_NUMBER), any::<bool>()).prop_map(|(name, _)| format!("{name}:*")),
        2 => (ranged, comparison(), text())
            .prop_map(|(name, comparison, text)| format!("{name:?}:{comparison}{text}")),
        2 => (with_number, number()).prop_map(|(name, number)| format!("{name}:{number}")),
        2 => (of(&["status", "rt", "cs1", "cs2"]), comparison(), number())
            .prop_map(|(name, comparison, number)| format!("{name}:{comparison}{number}")),
        1 => (of(&["status", "cs1", "cs2", "id"]), number())
            .prop_map(|(name, number)| format!("{name}:[-9 TO {number}]")),
        2 => text(),
    ]
}

fn query() -> impl Strategy<Value = String> {
    term().prop_recursive(4, 12, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|one| format!("NOT ({one})")),
            vec(inner.clone(), 2..4).prop_map(|all| format!("({})", all.join(" "))),
            vec(inner, 2..4).prop_map(|all| format!("({})", all.join(" OR "))),
        ]
    })
}

/// A segment with these lines, and the same one packed.
struct Segments {
    _temporary: tempfile::TempDir,
    plain: Database,
    packed: Connection,
    known: Vec<Known>,
}

impl Segments {
    fn new(lines: &[(String, bool)]) -> Segments {
        let temporary = tempfile::tempdir().unwrap();
        let plain =
            crate::store::sqlite::open(&temporary.path().join("x.db"), &super::SCHEMA).unwrap();
        let (signer, _) = Signer::generate(Some("k".into())).unwrap();
        let keys = KeySet::new([Arc::new(signer.key().clone())]);
        condition::register(&plain).unwrap();
        let mut known = Vec::new();
        for (at, (line, is_signed)) in lines.iter().enumerate() {
            let id = known.len() as u64 + 1;
            let signature = is_signed.then(|| signer.signature(line));
            let line = place(Format::Json, line, signature.as_deref());
            let received_at = Millis::saturating(100 + at as i64);
            let checked = CheckedLine::new(line.as_bytes(), &keys, 1000);
            let entry = checked.read(line.into(), &ExpectedIds::default(), received_at);
            let input = if at % 2 == 0 { "default" } else { "portal" };
            let (delivery, delivery_count) = (id / 2, 1);
            let stored = EntryMetadata { id, received_at, delivery, input, delivery_count };
            // A line that is there already is not inserted.
            if row::insert(&plain, &entry, &stored).unwrap() {
                let ids = Ids::Range(id..=id);
                let record = plain.records(&Sql::from("1"), &ids).unwrap().remove(0);
                known.push(Known { record, delivery });
            }
        }
        let packed = Connection::open_in_memory().unwrap();
        {
            let mut packer = Packer::new(&plain, &packed, false, (None, &[])).unwrap();
            packer.lines(&plain, 1).unwrap();
            packer.add(&plain, &Ids::Range(1..=known.len() as u64), |_| true).unwrap();
            packer.finish().unwrap();
        }
        condition::register(&packed).unwrap();
        blocks::register(&packed).unwrap();
        Segments { _temporary: temporary, plain, packed, known }
    }

    fn in_memory(&self, filter: &Filter) -> Vec<u64> {
        let passes = |one: &&Known| filter.matches(*one).unwrap();
        self.known.iter().filter(passes).filter_map(|one| one.record.id()).collect()
    }
}

fn in_sql(segment: &Connection, filter: &Filter, columns: Columns) -> Vec<u64> {
    let condition = Sql::condition(filter, columns);
    let sql = format!("SELECT id FROM entries WHERE {} ORDER BY id", condition.text);
    let mut statement = segment.prepare(&blocks::with_raw(columns, &sql)).unwrap();
    let found = statement.query_map(params_from_iter(condition.parameters), |row| row.get(0));
    found.unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_filter_gives_the_same_in_memory_as_in_sql(
        lines in vec(line(), 1..30),
        queries in vec(query(), 40),
    ) {
        let segments = Segments::new(&lines);
        for query in &queries {
            // Few generated queries have bounds in the wrong order.
            let Ok(filter) = parse(query, 0) else { continue };
            let found = segments.in_memory(&filter);
            let plain = in_sql(&segments.plain, &filter, Columns::NEWEST);
            prop_assert_eq!(&found, &plain, "{}", query);
            let packed = in_sql(&segments.packed, &filter, Columns::PACKED);
            prop_assert_eq!(&found, &packed, "packed, {}", query);
        }
    }
}

#[test]
fn most_generated_queries_are_valid_and_find_some_entries_but_not_all() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let lines = vec(line(), 30).new_tree(&mut runner).unwrap().current();
    let segments = Segments::new(&lines);
    let (mut valid, mut telling) = (0, 0);
    for _ in 0..400 {
        let query = query().new_tree(&mut runner).unwrap().current();
        let Ok(filter) = parse(&query, 0) else { continue };
        valid += 1;
        let found = segments.in_memory(&filter).len();
        telling += usize::from(found > 0 && found < segments.known.len());
    }
    assert!(valid > 350 && telling > 120, "{valid} valid, {telling} of them telling");
}
