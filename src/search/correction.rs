//! Corrects a query that has the field of a [`Hint`]. The rest of the text stays as it is.

use super::Hint;
use super::parse::{NamePlace, names};
use super::write::quoted;

/// A query with the field that was probably meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correction {
    /// The position of the wrong name in the original query: the number of characters before it.
    pub position: usize,
    /// The length of the wrong name there, in characters, with its quotes.
    pub length: usize,
    /// The corrected query.
    pub query: String,
}

impl Hint {
    /// `query` with the nearest field in the place of the unknown one, wherever that stands. `None`
    /// if no field is near, or if its values have another type than those of the query.
    pub fn correction(&self, query: &str, now: i64) -> Option<Correction> {
        let Hint::UnknownField { name, nearest: Some(nearest) } = self else { return None };
        let old = names(query, now).ok()?;
        let first = old.iter().find(|one| one.name == *name)?.place.clone();
        let wanted: Vec<&str> = old
            .iter()
            .map(|one| if one.name == *name { nearest.as_str() } else { one.name.as_str() })
            .collect();
        let is_right = |text: &String| {
            names(text, now).is_ok_and(|new| new.iter().map(|one| &one.name).eq(wanted.iter()))
        };
        // Some names need quotes.
        let written = [nearest.clone(), quoted(nearest)];
        let corrected = written.iter().filter_map(|new| replaced(query, &old, name, new));
        let query = corrected.into_iter().find(is_right)?;
        Some(Correction { position: first.start, length: first.len(), query })
    }
}

/// The query with `new` in the place of each name that is `name`.
fn replaced(query: &str, names: &[NamePlace], name: &str, new: &str) -> Option<String> {
    let chars: Vec<char> = query.chars().collect();
    let (mut text, mut end) = (String::with_capacity(query.len()), 0);
    for one in names.iter().filter(|one| one.name == name) {
        text.extend(chars.get(end..one.place.start)?);
        text.push_str(new);
        end = one.place.end;
    }
    text.extend(chars.get(end..)?);
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::{hints, parse};
    use super::*;

    /// The corrected query, and the wrong name as it stands in the original.
    fn check(query: &str, expected: Option<(&str, &str)>) {
        let stored = ["cs1", "a name", "device-2"].map(str::to_owned).into();
        let hints = hints(&parse(query, 0).unwrap(), &stored);
        let found = hints.iter().find_map(|hint| hint.correction(query, 0));
        let wrong = |one: &Correction| -> String {
            query.chars().skip(one.position).take(one.length).collect()
        };
        let found = found.map(|one| (wrong(&one), one.query));
        let expected = expected.map(|(wrong, query)| (wrong.to_owned(), query.to_owned()));
        assert_eq!(found, expected, "{query}");
    }

    #[test]
    fn only_the_name_is_replaced() {
        check("statuss:200", Some(("statuss", "status:200")));
        check("ä  (NOT principl_id:x )", Some(("principl_id", "ä  (NOT principal_id:x )")));
        check("-statuss: >=400", Some(("statuss", "-status: >=400")));
        check("\"statuss\":200", Some(("\"statuss\"", "status:200")));
        check("nam:(nam OR \"nam:\")", Some(("nam", "name:(nam OR \"nam:\")")));
        check("statuss:1 OR statuss:[2 TO 3]", Some(("statuss", "status:1 OR status:[2 TO 3]")));
        check("verdct: IN [valid, invalid]", Some(("verdct", "verdict: IN [valid, invalid]")));
        check("a_name:x", Some(("a_name", "\"a name\":x")));
        check("device-3:x", Some(("device-3", "device-2:x")));
    }

    #[test]
    fn what_would_be_no_query_is_not_offered() {
        check("statuss:abc", None);
        check("statuss:4*", None);
        check("quux:y", None);
        check("status:200", None);
        check("verdict=invalid", None);
    }

    #[test]
    fn a_hint_on_another_query_corrects_nothing() {
        let hint = Hint::UnknownField { name: "statuss".into(), nearest: Some("status".into()) };
        assert_eq!(hint.correction("name:statuss", 0), None);
        assert_eq!(hint.correction("statuss:", 0), None);
    }
}
