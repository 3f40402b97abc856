//! Writes queries: the term for one value of a field, and a query narrowed by a term.
//!
//! Everything written is parsed again before it is returned, so it always has the right meaning. A
//! query that cannot be written gives `None`: for a value of another type than the field's, a value
//! that is longer than a query may be, and a field without a name.

use super::filter::{Field, Filter, Operand, Test};
use super::parse::parse;

/// The term for the entries whose `field` has exactly the value `value`, as text.
pub fn equals(field: &Field, value: &str) -> Option<String> {
    let known = Field::names().any(|name| name == field.name());
    let name = if known { field.name().to_owned() } else { quoted(field.name()) };
    let term = format!("{name}:{}", quoted(value));
    let is_it = match parse(&term, 0).ok()? {
        Filter::Field(one, Test::Equals(Operand::Text(text))) => one == *field && text == value,
        Filter::Field(one, Test::Equals(Operand::Integer(number))) => {
            one == *field && number.to_string() == value
        }
        Filter::Field(one, Test::Equals(Operand::Boolean(boolean))) => {
            one == *field && boolean.to_string() == value
        }
        _ => false,
    };
    is_it.then_some(term)
}

/// The query for the entries that match both `query` and `term`. If `query` contains `term`
/// already, it is returned as it is.
pub fn narrowed(query: &str, term: &str, now: i64) -> Option<String> {
    let query = query.trim();
    let (old, new) = (parse(query, now).ok()?, parse(term, now).ok()?);
    if old == Filter::All {
        return Some(term.to_owned());
    }
    let wanted = Filter::all(vec![old.clone(), new]);
    if wanted == old {
        return Some(query.to_owned());
    }
    // A query with OR needs brackets.
    let written = [format!("{query} {term}"), format!("({query}) {term}")];
    written.into_iter().find(|text| parse(text, now).as_ref() == Ok(&wanted))
}

/// The most words of a query in which [`without`] looks for a term.
const MOST_WORDS: usize = 64;

/// The query for the entries that match `query` but for its condition `term`, which stands in it
/// beside others, in any spelling. `None` if it does not stand there, or not in one piece.
pub fn without(query: &str, term: &str, now: i64) -> Option<String> {
    let (old, gone) = (parse(query, now).ok()?, parse(term, now).ok()?);
    let parts = match old {
        Filter::And(parts) => parts,
        one => vec![one],
    };
    if !parts.contains(&gone) {
        return None;
    }
    let wanted = Filter::all(parts.into_iter().filter(|part| *part != gone).collect());
    let mut ends: Vec<usize> = query.match_indices(' ').map(|(at, _)| at).collect();
    ends.push(query.len());
    if ends.len() > MOST_WORDS {
        return None;
    }
    let starts: Vec<usize> = std::iter::once(0).chain(ends.iter().map(|end| end + 1)).collect();
    let pieces = starts.iter().flat_map(|start| {
        ends.iter().filter(move |end| *end > start).map(move |end| (*start, *end))
    });
    let left = pieces.filter_map(|(start, end)| {
        let piece = query.get(start..end)?;
        (parse(piece, now).as_ref() == Ok(&gone)).then_some(())?;
        let (before, after) = (query.get(..start)?.trim(), query.get(end..)?.trim());
        Some(format!("{before} {after}").trim().to_owned())
    });
    left.into_iter().find(|text| parse(text, now).as_ref() == Ok(&wanted))
}

/// The text in double quotes. Only quotes and backslashes are escaped in it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().saturating_add(2));
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(name: &str, value: &str, expected: Option<&str>) {
        assert_eq!(equals(&Field::named(name), value).as_deref(), expected, "{name} {value}");
    }

    #[test]
    fn a_value_is_quoted_and_its_field_too_if_it_is_the_senders() {
        check("name", "Authz.*", Some(r#"name:"Authz.*""#));
        check("status", "403", Some(r#"status:"403""#));
        check("status", "High", None);
        check("status", "+403", None);
        check("granted", "true", Some(r#"granted:"true""#));
        check("kind", "access", Some(r#"kind:"access""#));
        check("kind", "gateway_access", None);
        check("src", "", Some(r#"src:"""#));
        check("user_agent", r#"C:\new "x" \"#, Some(r#"user_agent:"C:\\new \"x\" \\""#));
        check("2024-01", "x", Some(r#""2024-01":"x""#));
        check("", "x", None);
        check("src", &"x".repeat(9000), None);
    }

    fn check_narrowed(query: &str, term: &str, expected: &str) {
        assert_eq!(narrowed(query, term, 0).as_deref(), Some(expected));
    }

    #[test]
    fn a_query_is_narrowed() {
        check_narrowed("", "a", "a");
        check_narrowed(" * ", "a", "a");
        check_narrowed("b c", "a", "b c a");
        check_narrowed("b OR c", "a", "(b OR c) a");
        check_narrowed("b OR b", "a", "(b OR b) a");
        check_narrowed("b a", "a", "b a");
        check_narrowed("NOT b", "kind:access", "NOT b kind:access");
        assert_eq!(narrowed("status:x", "a", 0), None);
    }

    fn check_without(query: &str, term: &str, expected: Option<&str>) {
        assert_eq!(without(query, term, 0).as_deref(), expected, "{query} without {term}");
    }

    #[test]
    fn a_term_is_removed_in_any_spelling() {
        check_without("a kind:access b", "kind:\"access\"", Some("a b"));
        check_without("name:\"x y\"", "name:\"x y\"", Some(""));
        check_without("a name:\"x y\" NOT b", "NOT b", Some("a name:\"x y\""));
        check_without("(a OR b) src:\"1\"", "src:\"1\"", Some("(a OR b)"));
        check_without("a OR kind:access", "kind:access", None);
        check_without("a", "b", None);
        check_without("NOT kind:access", "kind:access", None);
    }

    proptest! {
        #[test]
        fn any_value_of_a_text_field_is_read_back(value in any::<String>()) {
            for field in [Field::named("name"), Field::named("cs1"), Field::Kid] {
                let term = equals(&field, &value).unwrap();
                let equal = Test::Equals(Operand::Text(value.clone()));
                prop_assert_eq!(parse(&term, 0), Ok(Filter::Field(field, equal)));
            }
        }

        #[test]
        fn any_name_is_read_back(name in "\\PC{1,20}|[a-z0-9:/\\[\\].*\"'\\\\ -]{1,12}") {
            let field = Field::named(&name);
            prop_assume!(matches!(field, Field::Extension(_)));
            let term = equals(&field, "x").unwrap();
            let equal = Test::Equals(Operand::Text("x".into()));
            prop_assert_eq!(parse(&term, 0), Ok(Filter::Field(field, equal)));
        }

        #[test]
        fn narrowing_asks_for_both(
            query in "(a|b:c|NOT d|x OR y|-z| OR | AND |\\(q OR r\\)| ){1,6}",
            value in any::<String>(),
        ) {
            let term = equals(&Field::named("name"), &value).unwrap();
            if let Ok(old) = parse(&query, 0) {
                let text = narrowed(&query, &term, 0).unwrap();
                let term = parse(&term, 0).unwrap();
                let wanted = if old == Filter::All { term } else { Filter::all(vec![old, term]) };
                prop_assert_eq!(parse(&text, 0), Ok(wanted));
            }
        }
    }
}
