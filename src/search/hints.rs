//! Hints on likely mistakes in a valid query: a field that no entry has, and a `=` instead of a
//! colon.
//!
//! Any name may be an unknown field of some sender, so only the store can say that no entry has it.
//! The caller passes the names that entries have.

use std::collections::BTreeSet;

use super::filter::{Field, Filter};
use super::quoted;

/// A likely mistake in a query. The text says what may be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hint {
    /// An unknown field that no entry has.
    #[error("no entry has the field {}{}", quoted(name), meant(nearest))]
    UnknownField {
        /// The name, as in the query.
        name: String,
        /// The field with the nearest name, if one is near.
        nearest: Option<String>,
    },
    /// A text with a `=` that begins with the name of a field. It is searched for as text.
    #[error(
        "{} is searched for as text; to search the field, write {field}:{}",
        quoted(text),
        shown(value)
    )]
    EqualsSign {
        /// The text, as in the query.
        text: String,
        /// The field that may be meant.
        field: String,
        /// The text after the `=`.
        value: String,
    },
}

fn meant(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!("; did you mean {}?", quoted(name)))
}

/// The value, with quotes if a query needs them.
fn shown(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_.-*".contains(c);
    if value.chars().all(plain) { value.to_owned() } else { quoted(value) }
}

/// The unknown fields of `filter`, without duplicates. Some entries may have them.
pub fn undefined_fields(filter: &Filter) -> Vec<&str> {
    let mut names = Vec::new();
    visit(filter, &mut |part| {
        if let Filter::Field(Field::Extension(name), _) = part
            && !names.contains(&name.as_str())
        {
            names.push(name.as_str());
        }
    });
    names
}

/// Hints on `filter`, in the order of the query and without duplicates. `stored` are the names of
/// the unknown fields that entries have.
pub fn hints(filter: &Filter, stored: &BTreeSet<String>) -> Vec<Hint> {
    let mut hints = Vec::new();
    visit(filter, &mut |part| {
        let hint = match part {
            Filter::Field(Field::Extension(name), _) if !stored.contains(name) => {
                let nearest = nearest(name, stored).map(str::to_owned);
                Some(Hint::UnknownField { name: name.clone(), nearest })
            }
            Filter::Text(text) => equals_sign(text),
            _ => None,
        };
        if let Some(hint) = hint
            && !hints.contains(&hint)
        {
            hints.push(hint);
        }
    });
    hints
}

fn visit<'a>(filter: &'a Filter, f: &mut impl FnMut(&'a Filter)) {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().for_each(|part| visit(part, f)),
        Filter::Not(inner) => visit(inner, f),
        part => f(part),
    }
}

/// The hint for a text such as `verdict=invalid` or `vedict=invalid`.
fn equals_sign(text: &str) -> Option<Hint> {
    let (name, value) = text.split_once('=')?;
    let value = value.trim_start_matches('=');
    let field = nearest(name, &BTreeSet::new()).filter(|_| !value.is_empty())?.to_owned();
    Some(Hint::EqualsSign { text: text.to_owned(), field, value: value.to_owned() })
}

/// The field with the nearest name, among the defined fields and `stored`. `None` if more than a
/// third of the letters differ.
fn nearest<'a>(name: &str, stored: &'a BTreeSet<String>) -> Option<&'a str> {
    let wanted = name.to_lowercase();
    // A hostile name may be long, and the comparison takes quadratic time.
    let is_like = |known: &&str| known.len().abs_diff(wanted.len()) <= wanted.len() / 3;
    let defined = Field::names().map(|known| -> &'a str { known });
    let known = defined.chain(stored.iter().map(String::as_str)).filter(is_like);
    let far = |known: &str| strsim::damerau_levenshtein(&known.to_lowercase(), &wanted);
    known
        .map(|known| (far(known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= (wanted.chars().count() / 3).max(1))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn check(query: &str, expected: &[&str]) {
        let stored = ["cs1", "deviceAction"].map(str::to_owned).into();
        let found = hints(&parse(query, 0).unwrap(), &stored);
        assert_eq!(found.iter().map(Hint::to_string).collect::<Vec<_>>(), expected, "{query}");
    }

    #[test]
    fn a_field_that_nothing_has_is_named_with_the_nearest() {
        check("statuss:200", &["no entry has the field \"statuss\"; did you mean \"status\"?"]);
        check(
            "principl_id:x",
            &["no entry has the field \"principl_id\"; did you mean \"principal_id\"?"],
        );
        check("vedict:invalid", &["no entry has the field \"vedict\"; did you mean \"verdict\"?"]);
        check("Status:200", &["no entry has the field \"Status\"; did you mean \"status\"?"]);
        check(
            "NOT (deviceActoin:x OR quux:y quux:z)",
            &[
                "no entry has the field \"deviceActoin\"; did you mean \"deviceAction\"?",
                "no entry has the field \"quux\"",
            ],
        );
        check("\"a\u{1b}\":x", &["no entry has the field \"a\\u{1b}\""]);
        check("status:200 cs1:x deviceAction:* warnings:foreign_org", &[]);
    }

    #[test]
    fn an_equals_sign_makes_no_field() {
        let meant = "is searched for as text; to search the field, write";
        check("verdict=invalid", &[&format!("\"verdict=invalid\" {meant} verdict:invalid")]);
        check("vedict==invalid", &[&format!("\"vedict==invalid\" {meant} verdict:invalid")]);
        check("\"name=a b\"", &[&format!("\"name=a b\" {meant} name:\"a b\"")]);
        check("a=b token= =x \"x y=z\" (name:\"a=b\" OR b)", &[]);
    }

    #[test]
    fn undefined_fields_are_listed() {
        let filter = parse("status:1 a:1 (NOT b:* OR a:[1 TO 2]) c", 0).unwrap();
        assert_eq!(undefined_fields(&filter), ["a", "b"]);
    }
}
