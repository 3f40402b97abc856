//! The language: what queries mean, what is refused, and the examples of its page.

use std::ops::Bound::{Excluded, Included, Unbounded};

use proptest::prelude::*;

use super::*;

/// 2025-05-16T20:09:54Z.
const NOW: i64 = 1_747_426_194_000;
const MIDNIGHT: i64 = 1_747_353_600_000;
const HOUR: i64 = 3_600_000;

fn check(query: &str, expected: Filter) {
    match parse(query, NOW) {
        Ok(filter) => assert_eq!(filter, expected, "{query}"),
        Err(error) => panic!("{query}\n{error}"),
    }
}

fn refused(query: &str, message: &str) {
    match parse(query, NOW) {
        Ok(filter) => panic!("{query}: {filter:?}"),
        Err(error) => {
            assert_eq!(error.to_string(), format!("query, character {message}"), "{query}")
        }
    }
}

fn anywhere(text: &str) -> Filter {
    Filter::Text(text.into())
}

fn text(text: &str) -> Operand {
    Operand::Text(text.into())
}

fn is(field: &str, operand: Operand) -> Filter {
    Filter::Field(Field::named(field), Test::Equals(operand))
}

fn test(field: &str, test: Test) -> Filter {
    Filter::Field(Field::named(field), test)
}

fn number(number: i64) -> Operand {
    Operand::Integer(number)
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

#[test]
fn nothing_asked_is_everything() {
    check("", Filter::All);
    check(" \t\n\u{a0}", Filter::All);
    check("*", Filter::All);
    check("(*)", Filter::All);
}

#[test]
fn values_have_the_type_of_the_field() {
    check("verdict:no_key", is("verdict", text("no_key")));
    check("kind:gateway_access", is("kind", text("access")));
    check(
        "kind:auth*",
        Filter::Or(vec![is("kind", text("authentication")), is("kind", text("authorization"))]),
    );
    check("status:200", is("status", number(200)));
    check("status: 200", is("status", number(200)));
    check("status:\"200\"", is("status", number(200)));
    check("\"status\":403", is("status", number(403)));
    check("id:17", is("id", number(17)));
    check("granted:false", is("granted", Operand::Boolean(false)));
    check("trace_id:3895213347334635099", is("trace_id", text("3895213347334635099")));
    check("cs1:true", is("cs1", text("true")));
    check("portal_id:*", test("portal_id", Test::Exists));
    check("portal_id:(*)", test("portal_id", Test::Exists));
    check("portal_id:[* TO *]", test("portal_id", Test::Exists));
    check("name:\"\"*", test("name", Test::Exists));
    check("principal_name:\"\"", is("principal_name", text("")));
}

#[test]
fn values_are_taken_as_people_type_them() {
    for value in [
        "127.0.0.1",
        "::1",
        "fe80::1",
        "/api/v1/x?a=b",
        "/api/",
        "/",
        "87655c36-8d63-48fe-9a1e-53b28dfbc19b",
        "http://example.com:8443/x",
        "2025-05-16T20:09:54Z",
        "a:b:c",
        "-1",
        "O'Brien",
        "+49",
        "IN",
        "TO",
        "and",
        "a[0]{1}",
        "ünïcödé😀",
        "user@example.com",
    ] {
        check(&format!("src:{value}"), is("src", text(value)));
        check(&format!("(src:{value})"), is("src", text(value)));
    }
    for value in ["127.0.0.1", "::1", "fe80::1", "/a?b=c", "http://x/", "2025-05-16T20:09:54Z"] {
        check(&format!("src:(-{value})"), not(is("src", text(value))));
    }
}

#[test]
fn prefixes() {
    check("name:Authz.*", test("name", Test::Prefix("Authz.".into())));
    check(
        "name:Authz.control-planes/*",
        test("name", Test::Prefix("Authz.control-planes/".into())),
    );
    check("name:\"Authz.*\"", is("name", text("Authz.*")));
    check("name:Authz.\\*", is("name", text("Authz.*")));
    check("request:\"/a b\"*", test("request", Test::Prefix("/a b".into())));
    check("curl*", anywhere("curl"));
}

#[test]
fn text_anywhere() {
    check("curl", anywhere("curl"));
    check("\"two words\"", anywhere("two words"));
    check("'two words'", anywhere("two words"));
    check("a\\:b", anywhere("a:b"));
    check("20:09:54", anywhere("20:09:54"));
    check("2025-05-16T20:09:54Z", anywhere("2025-05-16T20:09:54Z"));
    check("::1", anywhere("::1"));
    check("fe80::1", anywhere("fe80::1"));
    check("https://x.y/z", anywhere("https://x.y/z"));
    check("request=/a?b=c", anywhere("request=/a?b=c"));
    check("\\-5", anywhere("-5"));
    check("time! a->b", Filter::And(vec![anywhere("time!"), anywhere("a->b")]));
}

#[test]
fn ranges() {
    let range = |field, lower, upper| test(field, Test::Range { lower, upper });
    check("severity:>=6", range("severity", Included(number(6)), Unbounded));
    check("severity:> 6", range("severity", Excluded(number(6)), Unbounded));
    check("severity:<6", range("severity", Unbounded, Excluded(number(6))));
    check("severity:<=-6", range("severity", Unbounded, Included(number(-6))));
    check("severity:[6 TO 10]", range("severity", Included(number(6)), Included(number(10))));
    check("severity:{6 TO 10}", range("severity", Excluded(number(6)), Excluded(number(10))));
    check("severity:[ 6 TO * ]", range("severity", Included(number(6)), Unbounded));
    check(
        "src:[10.0 TO \"10.1 x\"]",
        range("src", Included(text("10.0")), Included(text("10.1 x"))),
    );
    check("cnt:>9", range("cnt", Excluded(number(9)), Unbounded));
    check("cnt:[1 TO b]", range("cnt", Included(text("1")), Included(text("b"))));
    check(
        "status:(>=400 <500)",
        Filter::And(vec![
            range("status", Included(number(400)), Unbounded),
            range("status", Unbounded, Excluded(number(500))),
        ]),
    );
}

#[test]
fn times() {
    let range = |lower, upper| test("time", Test::Range { lower, upper });
    check("time:>=6h", range(Included(number(NOW - 6 * HOUR)), Unbounded));
    check("time:<2025-05-16", range(Unbounded, Excluded(number(MIDNIGHT))));
    check(
        "time:[2025-05-16 TO 2025-05-17T00:00:00Z]",
        range(Included(number(MIDNIGHT)), Included(number(MIDNIGHT + 24 * HOUR))),
    );
    check(
        "time:2025-05-16",
        range(Included(number(MIDNIGHT)), Excluded(number(MIDNIGHT + 24 * HOUR))),
    );
    check("time:2025-05-16T20:09:54Z", range(Included(number(NOW)), Excluded(number(NOW + 1000))));
}

#[test]
fn sets_and_groups_of_a_field() {
    let either = Filter::Or(vec![is("verdict", text("invalid")), is("verdict", text("unsigned"))]);
    check("verdict:(invalid OR unsigned)", either.clone());
    check("verdict: IN [invalid unsigned]", either.clone());
    check("verdict:IN[invalid,unsigned]", either);
    check("status: IN [200]", is("status", number(200)));
    check(
        "name: IN [a* \"b c\"]",
        Filter::Or(vec![test("name", Test::Prefix("a".into())), is("name", text("b c"))]),
    );
    check(
        "name:(a AND (b OR status:1))",
        Filter::And(vec![
            is("name", text("a")),
            Filter::Or(vec![is("name", text("b")), is("status", number(1))]),
        ]),
    );
}

#[test]
fn and_binds_closer_than_or_written_or_not() {
    let (a, b, c, d) = (anywhere("a"), anywhere("b"), anywhere("c"), anywhere("d"));
    let and = |one: &Filter, two: &Filter| Filter::And(vec![one.clone(), two.clone()]);
    check("a b", and(&a, &b));
    check("a b OR c", Filter::Or(vec![and(&a, &b), c.clone()]));
    check("a OR b c", Filter::Or(vec![a.clone(), and(&b, &c)]));
    check("a AND b c AND d", Filter::And(vec![a.clone(), b.clone(), c.clone(), d.clone()]));
    check("a AND b OR c AND d", Filter::Or(vec![and(&a, &b), and(&c, &d)]));
    check("a OR b OR c", Filter::Or(vec![a.clone(), b.clone(), c.clone()]));
    check("(a OR b) c", and(&Filter::Or(vec![a.clone(), b.clone()]), &c));
    check("a and b", Filter::And(vec![a, anywhere("and"), b]));
}

#[test]
fn negations() {
    let (a, b) = (anywhere("a"), anywhere("b"));
    check("NOT a", not(a.clone()));
    check("-a", not(a.clone()));
    check("NOT -a", a.clone());
    check("a AND NOT b", Filter::And(vec![a.clone(), not(b.clone())]));
    check("NOT a AND b", Filter::And(vec![not(a.clone()), b.clone()]));
    check("a OR -b", Filter::Or(vec![a.clone(), not(b.clone())]));
    check("NOT a OR b", Filter::Or(vec![not(a.clone()), b.clone()]));
    check("-a -b", Filter::And(vec![not(a.clone()), not(b.clone())]));
    check("NOT (a OR b)", not(Filter::Or(vec![a.clone(), b.clone()])));
    check("-src:(a b)", not(Filter::And(vec![is("src", text("a")), is("src", text("b"))])));
    check("NOT *", not(Filter::All));
    check("(NOT (a))", not(a));
    check("src:-1", is("src", text("-1")));
}

#[test]
fn errors_name_the_place_and_what_was_expected() {
    refused("a AND status:", "14: found end of query, expected a value after \"status:\"");
    refused("status:)", "8: found \")\", expected a value after \"status:\"");
    refused(
        "a verdict:good",
        "11: found \"good\", expected one of valid, invalid, unsigned, no_key, malformed",
    );
    refused(
        "format:(cef OR xml)",
        "16: found \"xml\", expected one of cef, json, cps, pulled, unknown",
    );
    refused("granted:yes", "9: found \"yes\", expected true or false");
    refused(
        "time:[1h TO soon]",
        "13: found \"soon\", expected a time such as 2025-05-16T20:09:54Z, a date such as 2025-05-16, or how long ago: 30s, 15m, 6h, 7d, 2w",
    );
    refused("kind:>a", "7: found \"a\", expected no range, as kind has no order");
    refused("trace_id:[1 TO *]", "11: found \"1\", expected no range, as trace_id has no order");
    refused("äöü (", "6: found end of query, expected a term after \"(\"");
    refused(
        "severity >= 6",
        "10: found \">=\", expected a field right before it, as in severity:>=6; put literal text in quotes",
    );
    refused(
        "severity>=6",
        "9: found \">=6\", expected \":\" after severity, as in severity:>=6 or NOT severity:6",
    );
    refused(
        "status!=6",
        "7: found \"!=6\", expected \":\" after status, as in severity:>=6 or NOT severity:6",
    );
    refused(
        "name:!=a",
        "6: found \"!=a\", expected a value after \"name:\"; put NOT before the field",
    );
    refused(
        "status : 200",
        "8: found \":\", expected a field right before it, as in severity:>=6; put literal text in quotes",
    );
    refused(
        "a OR IN [b]",
        "6: found \"IN\", expected a field right before it, as in severity:>=6; put literal text in quotes",
    );
    refused(
        "time:[1d TO 7d]",
        "7: found \"1d\", expected a lower bound that is not above the upper one",
    );
    refused(
        "severity:[6, 10]",
        "14: found \"10]\", expected TO and the upper bound, as in [6 TO 10]",
    );
    refused(
        "severity:[6 TO 10",
        "18: found end of query, expected ] or } at the end of the range, as in [6 TO 10]",
    );
    refused("severity:[6 TO 10]^2", "19: found \"^2\", expected a space before it");
    refused("severity:>=4*", "12: found \"4*\", expected a value without a *");
    refused("status: IN []", "13: found \"]\", expected a value, and ] at the end of the set");
    refused(
        "status: IN [1",
        "14: found end of query, expected a value, and ] at the end of the set",
    );
    refused(
        "name:OR",
        "6: found \"OR\", expected a value after \"name:\"; put a literal OR in quotes",
    );
    refused("\"\"", "1: found \"\", expected a text that is not empty");
    refused(
        "(a OR b)^2",
        "9: found \"^2\", expected a term without a boost; put a literal ^ in quotes",
    );
}

#[test]
fn the_size_of_a_query_has_an_end() {
    let words = |count: usize| vec!["a"; count].join(" ");
    assert!(parse(&words(MAX_TERMS), NOW).is_ok());
    let error = parse(&words(MAX_TERMS + 1), NOW).unwrap_err();
    assert_eq!(error.position, 2 * MAX_TERMS);
    assert!(parse(&"* ".repeat(MAX_TERMS), NOW).is_ok());
    assert!(parse(&"* ".repeat(MAX_TERMS + 1), NOW).is_err());
    assert!(parse(&"src:[* TO *] ".repeat(MAX_TERMS / 2 + 1), NOW).is_err());
    assert!(parse(&format!("status: IN [{}]", "1 ".repeat(MAX_TERMS + 1)), NOW).is_err());
    assert_eq!(parse(&"a".repeat(MAX_BYTES), NOW), Ok(anywhere(&"a".repeat(MAX_BYTES))));
    let error = parse(&"é".repeat(MAX_BYTES), NOW).unwrap_err();
    assert_eq!(error.position, MAX_BYTES / 2);
}

/// On a stack far smaller than a thread has.
#[test]
fn nesting_does_no_harm() {
    let patterns: Vec<String> = [
        ("(", ")"),
        ("NOT (", ")"),
        ("-(", ")"),
        ("a:(", ")"),
        ("a OR (", ")"),
        ("a b (c OR -(", "))"),
        ("(", ""),
        ("", ")"),
        ("NOT ", ""),
        ("-", ""),
        ("!", ""),
        ("a:", ""),
        ("[", "]"),
        ("a:[", "]"),
        ("IN [", "]"),
        ("a: IN [", "]"),
        ("\"", ""),
        ("'", ""),
        ("/", ""),
        ("\\", ""),
        ("a:{", "}"),
        ("a AND ", ""),
        ("* ", ""),
        ("a:* ", ""),
        ("^1 ", ""),
        ("a:>=", ""),
        ("\u{3000}", ""),
        ("() ", ""),
    ]
    .iter()
    .flat_map(|(open, close)| {
        [20, MAX_DEPTH - 1, MAX_DEPTH, 1000, 10_000]
            .map(|depth| format!("{}a{}", open.repeat(depth), close.repeat(depth)))
    })
    .collect();
    let run = move || {
        for pattern in patterns {
            let _ = parse(&pattern, NOW);
        }
    };
    std::thread::Builder::new().stack_size(512 * 1024).spawn(run).unwrap().join().unwrap();
}

#[test]
fn the_message_names_the_place_counting_from_one() {
    let error = QueryError::new(0, "AND", "a term before it");
    assert_eq!(error.to_string(), "query, character 1: found \"AND\", expected a term before it");
    let error = QueryError::new(7, "", "a value after \"status:\"");
    assert_eq!(
        error.to_string(),
        "query, character 8: found end of query, expected a value after \"status:\""
    );
}

#[test]
fn long_and_invisible_text_is_shown_safely() {
    assert_eq!(quoted("\u{1b}[2J\u{202e}"), r#""\u{1b}[2J\u{202e}""#);
    assert_eq!(quoted(&"é".repeat(100)).chars().count(), SHOWN + 3);
}

const PAGE: &str = include_str!("../../docs/query-language.md");

/// The lines of the code blocks of this language on the page.
fn examples(sort: &str) -> Vec<&'static str> {
    let fence = format!("```{sort}\n");
    let blocks = PAGE.split(fence.as_str()).skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines()).collect()
}

#[test]
fn the_examples_of_the_page_are_what_it_says() {
    let (good, bad) = (examples("query"), examples("refused"));
    assert!(good.len() > 80 && bad.len() > 10);
    for query in good {
        parse(query, NOW).unwrap_or_else(|error| panic!("{query}\n{error}"));
    }
    for query in bad {
        assert!(parse(query, NOW).is_err(), "{query}");
    }
}

#[test]
fn the_page_has_every_field_operator_and_word() {
    let queries = examples("query").join("\n");
    for name in Field::names() {
        assert!(queries.contains(&format!("{name}:")), "no example of {name}");
        assert!(PAGE.contains(&format!("`{name}`")), "{name} is not in the table");
    }
    // The tables, and the column of each that has the examples.
    for (section, column) in [("## Terms", 1), ("## Fields", 3)] {
        let table = PAGE.split(section).nth(1).unwrap().lines().skip_while(|l| !l.starts_with('|'));
        let rows: Vec<_> = table.skip(2).take_while(|line| line.starts_with('|')).collect();
        assert!(rows.len() > 10, "{section}");
        for row in rows {
            let cell = row.split('|').nth(column).unwrap();
            let example = cell.split('`').nth(1).unwrap_or_else(|| panic!("no example: {row}"));
            parse(example, NOW).unwrap_or_else(|error| panic!("{example}\n{error}"));
        }
    }
    let limits = format!("{} KiB, {MAX_TERMS} values, and {MAX_DEPTH} brackets", MAX_BYTES / 1024);
    assert!(PAGE.contains(&limits));
    for field in ["verdict", "format", "kind", "warning"] {
        let error = parse(&format!("{field}:?"), NOW).unwrap_err().expected;
        for word in error.trim_start_matches("one of ").split(", ") {
            assert!(PAGE.contains(&format!("`{word}`")), "{word} is not on the page");
        }
    }
}

/// Random filters, each with a query for it.
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
        // A backslash before a letter is text, so it cannot be escaped there.
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

/// No text panics. An error has a position and says what was expected.
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
