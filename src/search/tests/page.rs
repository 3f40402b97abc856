//! docs/query-language.md says what is so, and says all of it.

use super::NOW;
use crate::search::{Field, MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};

const PAGE: &str = include_str!("../../../docs/query-language.md");

/// The lines of the page's blocks of this sort.
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
    // The examples in the tables, by the column that they stand in.
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
