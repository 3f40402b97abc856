//! Counts are compared with a list in memory, as reading is.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use rusqlite::types::ValueRef;

use super::buckets::{HOUR, MINUTE};
use super::tally::{Tally, What};
use super::{CountRequest, Counts, NEWEST, Stack, totals};
use crate::entry::Kind;
use crate::search::{Field, Filter};
use crate::store::TimeRange;
use crate::store::tests::{Both, Known, NAMES, QUERIES, filter, range, step};

/// Queries over what each minute is counted by.
const MINUTELY: [&str; 5] =
    ["NOT status:403", "verdict:no_key", "verdict:invalid", "verdict:valid", "NOT verdict:valid"];

/// The fields that are counted, and in how many buckets of time.
const FIELDS: [(&[&str], usize); 4] = [
    (&["name", "warning", "verdict", "status"], 10),
    (&["cs1", "status"], 10),
    (&["name"], 0),
    (&[], 10),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn counts_are_those_of_the_newest_that_match(
        steps in vec(step(), 0..120),
        range in range(),
        values in 0..4_usize,
        now in prop::sample::select(vec![0, 3 * 24 * HOUR]),
        offset in 0..Stack::ALL.len(),
        prefix in prop::sample::select(vec!["", "iNGR", "O", "4", "x"]),
        newest in prop::sample::select(vec![NEWEST, 7]),
    ) {
        let mut both = Both::new();
        // It keeps counts while the store changes.
        let reader = both.reader();
        let (first, second) = steps.split_at(steps.len() / 2);
        for steps in [first, second] {
            steps.iter().for_each(|step| both.step(step));
            for (at, (query, matches)) in QUERIES.into_iter().enumerate() {
                let filter = &filter(query);
                let by = Stack::ALL[(offset + at) % Stack::ALL.len()];
                for (fields, buckets) in FIELDS {
                    let fields: Vec<_> = fields.iter().map(|name| Field::named(name)).collect();
                    let fields = &fields;
                    let all = CountRequest::of(filter, range, now);
                    let wanted =
                        CountRequest { buckets, by, fields, values, prefix, newest, ..all };
                    let counts = reader.counts(&wanted).unwrap();
                    let mut expected = both.newest(matches, range);
                    let exact = match query {
                        "*" => !fields.contains(&Field::named("cs1")),
                        query if fields.is_empty() => MINUTELY.contains(&query),
                        _ => buckets == 0 && fields.len() == 1 && totals::is_of_classes(filter),
                    };
                    prop_assert_eq!(counts.complete, exact || expected.len() <= newest);
                    if !exact {
                        expected.truncate(newest);
                    }
                    check_counts(&counts, &expected, &wanted);
                    // Without buckets, what they are split by makes no difference.
                    let wanted = CountRequest { buckets: 0, ..wanted };
                    let alone = reader.counts(&wanted).unwrap();
                    prop_assert_eq!((alone.entries, alone.complete, &alone.fields),
                        (counts.entries, counts.complete, &counts.fields));
                    prop_assert!(alone.buckets.is_empty() && alone.not_valid.is_empty());
                }
            }
        }
    }
}

#[test]
fn wide_buckets_are_the_same_by_hours_and_by_minutes() {
    let counts = |stretch: i64| {
        let all = CountRequest::of(&Filter::All, TimeRange::default(), 0);
        let wanted = CountRequest { buckets: 100, ..all };
        let mut tally = Tally::new(What::of(&wanted, Filter::All, stretch));
        for minute in [61, 119, 120, 121, 5000, 5039, 5040, 9999] {
            tally.count_entries(minute, minute % 2 == 0, ValueRef::Text(b"valid"), minute);
        }
        tally.counts(&wanted, true)
    };
    let by_minutes = counts(MINUTE);
    assert_eq!(by_minutes.width, 2 * HOUR);
    assert_eq!(by_minutes.not_valid.iter().sum::<u64>(), 61 + 119 + 121 + 5039 + 9999);
    assert_eq!(counts(HOUR), by_minutes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn totals_are_those_of_all_that_match(steps in vec(step(), 0..120), range in range()) {
        let mut both = Both::new();
        // It keeps counts while the store changes.
        let reader = both.reader();
        let filters = QUERIES.map(|(query, _)| filter(query));
        for some in steps.chunks(20) {
            some.iter().for_each(|step| both.step(step));
            for range in [range, TimeRange::default(), range] {
                let totals = reader.totals(&filters, range).unwrap();
                let expected = QUERIES.map(|(_, matches)| both.newest(matches, range).len() as u64);
                prop_assert_eq!(totals, expected);
            }
        }
    }
}

#[test]
fn names_that_may_be_cut_are_not_compared_with_the_classes() {
    let check = |query: &str, expected| {
        assert_eq!(totals::is_of_classes(&filter(query)), expected, "{query}");
    };
    check("kind:access NOT (verdict:valid OR reason:* OR warning:foreign_*)", true);
    check("name:Ingress status:>=500", true);
    check("name:Ing*", false);
    check("name:*", false);
    check(&format!("name:{}", "x".repeat(256)), true);
    check(&format!("name:{}", "x".repeat(257)), false);
    check("principal_id:x", false);
    check("word", false);
}

/// The word that an entry is counted by.
fn word(known: &Known, by: Stack) -> String {
    match (by, known.made.status) {
        (Stack::Verdict, _) => known.verdict.name().to_string(),
        (Stack::Kind, _) => Kind::of(Some(NAMES[usize::from(known.made.name)])).as_str().to_owned(),
        (Stack::Status, None) => "none".to_owned(),
        (Stack::Status, Some(status)) => format!("{}xx", status / 100),
        (Stack::Input, _) => known.input().to_owned(),
    }
}

fn check_counts(counts: &Counts, expected: &[&Known], wanted: &CountRequest<'_>) {
    let (fields, most) = (wanted.fields, wanted.values);
    assert_eq!(counts.entries, expected.len() as u64);
    let mut words: BTreeMap<String, u64> = BTreeMap::new();
    for known in expected {
        *words.entry(word(known, wanted.by)).or_default() += 1;
    }
    // All times lie in one minute, and no entry is valid.
    assert!(counts.buckets.iter().skip(1).all(|(_, words)| words.is_empty()));
    if wanted.buckets > 0 {
        let bucket = counts.buckets.first().map(|(_, words)| words.clone());
        assert_eq!(bucket.unwrap_or_default(), words, "{:?}", wanted.by);
        assert_eq!(counts.not_valid.iter().sum::<u64>(), expected.len() as u64);
    }
    assert_eq!(counts.not_valid.len(), counts.buckets.len());
    for (field, counted) in fields.iter().zip(&counts.fields) {
        assert_eq!(counted.field, *field);
        let mut values: BTreeMap<String, u64> = BTreeMap::new();
        let mut missing = 0;
        for known in expected {
            let value = match field.name() {
                "name" => Some(NAMES[usize::from(known.made.name)].to_owned()),
                "warning" => known.has_warning().then(|| "duplicate_field".to_owned()),
                "verdict" => Some(known.verdict.name().to_string()),
                "cs1" => Some(format!("x{}", known.made.name)),
                _ => known.made.status.map(|status| status.to_string()),
            };
            match value {
                Some(value) => *values.entry(value).or_default() += 1,
                None => missing += 1,
            }
        }
        let all: u64 = values.values().sum();
        let mut values: Vec<_> = values.into_iter().collect();
        let typed = wanted.prefix.to_lowercase();
        values.retain(|(value, _)| value.to_lowercase().starts_with(&typed));
        values.sort_by_key(|(value, entries)| (std::cmp::Reverse(*entries), value.clone()));
        values.truncate(most);
        let other = all - values.iter().map(|(_, entries)| entries).sum::<u64>();
        assert_eq!((&counted.values, counted.other, counted.missing), (&values, other, missing));
    }
}
