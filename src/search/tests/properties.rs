//! No text does harm, and a query means what it was made from.

use std::ops::Bound::{Excluded, Included};

use proptest::prelude::*;

use super::{NOW, anywhere, is, not, number, test, text};
use crate::search::{Filter, Test, parse};

/// A filter with a query that means it.
fn filters() -> impl Strategy<Value = (String, Filter)> {
    let value = "[a-z0-9 \"'\\\\*:()/^~+\\[\\]{}-]{1,8}|\\PC{1,8}";
    let quote = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let escape = |text: &str| {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.into() } else { format!("\\{c}") })
            .collect::<String>()
    };
    let leaf = prop_oneof![
        value.prop_map(move |text| (quote(&text), anywhere(&text))),
        value.prop_map(move |value| (format!("src:{}", quote(&value)), is("src", text(&value)))),
        // A backslash before a letter stands for itself, and so cannot be escaped before one.
        "[ -~&&[^\\\\]]{1,8}".prop_map(move |value| {
            (format!("src:{}*", escape(&value)), test("src", Test::Prefix(value)))
        }),
        any::<i64>().prop_map(|n| (format!("status:{n}"), is("status", number(n)))),
        (any::<i64>(), any::<i64>()).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            let range = Test::Range { lower: Included(number(a)), upper: Excluded(number(b)) };
            (format!("rt:[{a} TO {b}}}"), test("rt", range))
        }),
        Just(("portal_id:*".to_owned(), test("portal_id", Test::Exists))),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let several = || prop::collection::vec(inner.clone(), 2..4);
        let join = |parts: &[(String, Filter)], by: &str| {
            let texts: Vec<_> = parts.iter().map(|(query, _)| format!("({query})")).collect();
            texts.join(by)
        };
        let filters = |parts: Vec<(String, Filter)>| parts.into_iter().map(|part| part.1).collect();
        prop_oneof![
            several().prop_map(move |p| (join(&p, " AND "), Filter::all(filters(p)))),
            several().prop_map(move |p| (join(&p, " "), Filter::all(filters(p)))),
            several().prop_map(move |p| (join(&p, " OR "), Filter::any(filters(p)))),
            inner.clone().prop_map(|(query, filter)| (format!("NOT ({query})"), not(filter))),
            inner.clone().prop_map(|(query, filter)| (format!("-({query})"), not(filter))),
        ]
    })
}

/// Pieces of queries, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b ",
        " ",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "'",
        "\\",
        "/",
        "*",
        "^2",
        "~1",
        ":",
        "src:",
        "status:",
        "time:",
        "AND ",
        "OR ",
        "NOT ",
        "-",
        "+",
        "!",
        "&&",
        "||",
        "IN [",
        " TO ",
        ">=",
        "<",
        "10",
        "6h",
        "é",
        "\u{3000}",
        "\0",
        ",",
        "=",
        "kind:auth*",
        "\"x\":",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// No text is a panic, and what is wrong with it has a place and says what was expected.
fn unharmed(query: &str) -> Result<(), TestCaseError> {
    if let Err(error) = parse(query, NOW) {
        prop_assert!(error.position <= query.chars().count(), "{query:?}: {error}");
        prop_assert!(!error.expected.is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_a_query_or_an_error(query in "\\PC{0,40}|.{0,40}") {
        unharmed(&query)?;
    }

    #[test]
    fn any_pieces_are_a_query_or_an_error(query in pieces()) {
        unharmed(&query)?;
    }

    #[test]
    fn a_query_means_what_it_was_made_from((query, filter) in filters()) {
        prop_assert_eq!(parse(&query, NOW), Ok(filter), "{}", query);
    }
}
