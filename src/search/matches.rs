//! Tries a [`Filter`] on an entry that is in memory.
//!
//! The result is that of the SQL condition that the store compiles from the same filter; a test of
//! the store compares them. A filter can also be tried when only a part is known of an entry, or of
//! many entries: then the result may be unknown.
//!
//! It never searches a line itself. The caller says whether a line contains a text.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Bound;

use super::filter::{Field, Filter, Operand, Test};

/// The value of a field, as it is compared. A boolean is 0 or 1, and a time is in milliseconds since
/// the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held<'a> {
    /// A number, a time or a boolean.
    Integer(i64),
    /// Text or a word.
    Text(Cow<'a, str>),
}

impl<'a> Held<'a> {
    /// Text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Held<'a> {
        Held::Text(text.into())
    }
}

/// An entry on which a filter is tried.
pub trait Values {
    /// The value of a field. `None`: the entry does not have the field. Warnings are one text, with a
    /// space between two words. The value of an extension is always text.
    fn value(&self, field: &Field) -> Option<Held<'_>>;

    /// Whether the line contains the text, whatever the case. `None`: the line is not at hand.
    fn contains(&self, text: &str) -> Option<bool>;
}

impl Filter {
    /// Whether an entry passes. `None` if that depends on the line, which is not at hand.
    pub fn matches(&self, entry: &impl Values) -> Option<bool> {
        self.decide(&|part| match part {
            Part::Text(text) => entry.contains(text),
            Part::Field(field, test) => {
                Some(entry.value(field).is_some_and(|value| test.holds(field, &value)))
            }
        })
    }

    /// Joins the results for the parts. `None` is an unknown result: the whole is known if it is the
    /// same whatever the unknown ones are.
    pub fn decide(&self, result: &impl Fn(Part<'_>) -> Option<bool>) -> Option<bool> {
        match self {
            Filter::All => Some(true),
            Filter::And(parts) => joined(parts, false, result),
            Filter::Or(parts) => joined(parts, true, result),
            Filter::Not(inner) => inner.decide(result).map(|known| !known),
            Filter::Text(text) => result(Part::Text(text)),
            Filter::Field(field, test) => result(Part::Field(field, test)),
        }
    }

    /// Calls `visit` with each part.
    pub fn parts<'a>(&'a self, visit: &mut impl FnMut(Part<'a>)) {
        match self {
            Filter::All => {}
            Filter::And(parts) | Filter::Or(parts) => {
                parts.iter().for_each(|part| part.parts(visit));
            }
            Filter::Not(inner) => inner.parts(visit),
            Filter::Text(text) => visit(Part::Text(text)),
            Filter::Field(field, test) => visit(Part::Field(field, test)),
        }
    }
}

/// A part of a filter that is tried by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The line contains a text.
    Text(&'a str),
    /// A field passes a test.
    Field(&'a Field, &'a Test),
}

/// `decisive` is the result of a part that decides the whole: true for OR, false for AND.
fn joined(
    parts: &[Filter],
    decisive: bool,
    result: &impl Fn(Part<'_>) -> Option<bool>,
) -> Option<bool> {
    let mut whole = Some(!decisive);
    for part in parts {
        match part.decide(result) {
            Some(one) if one == decisive => return Some(decisive),
            Some(_) => {}
            None => whole = None,
        }
    }
    whole
}

impl Test {
    /// Whether a value of `field` passes.
    pub fn holds(&self, field: &Field, value: &Held<'_>) -> bool {
        match (field, value) {
            (Field::Warning, Held::Text(words)) => self.holds_for_a_word(words),
            (Field::Extension(_), Held::Text(text)) if self.is_of_integers() => {
                text.parse().is_ok_and(|number| self.holds_for(&Held::Integer(number)))
            }
            _ => self.holds_for(value),
        }
    }

    fn holds_for_a_word(&self, words: &str) -> bool {
        match self {
            Test::Exists => true,
            Test::Equals(Operand::Text(word)) => {
                format!(" {words} ").contains(&format!(" {word} "))
            }
            Test::Prefix(prefix) => format!(" {words}").contains(&format!(" {prefix}")),
            Test::Equals(_) | Test::Range { .. } => false,
        }
    }

    fn holds_for(&self, value: &Held<'_>) -> bool {
        match self {
            Test::Exists => true,
            Test::Equals(operand) => compared(value, operand) == Some(Ordering::Equal),
            Test::Prefix(prefix) => match value {
                Held::Text(text) => text.starts_with(prefix.as_str()),
                Held::Integer(_) => false,
            },
            Test::Range { lower, upper } => {
                let is_above = match lower {
                    Bound::Included(operand) => {
                        compared(value, operand).is_some_and(Ordering::is_ge)
                    }
                    Bound::Excluded(operand) => {
                        compared(value, operand).is_some_and(Ordering::is_gt)
                    }
                    Bound::Unbounded => true,
                };
                is_above
                    && match upper {
                        Bound::Included(operand) => {
                            compared(value, operand).is_some_and(Ordering::is_le)
                        }
                        Bound::Excluded(operand) => {
                            compared(value, operand).is_some_and(Ordering::is_lt)
                        }
                        Bound::Unbounded => true,
                    }
            }
        }
    }

    /// Whether the test compares with integers.
    fn is_of_integers(&self) -> bool {
        let is_integer = |bound: &Bound<Operand>| {
            matches!(
                bound,
                Bound::Included(Operand::Integer(_)) | Bound::Excluded(Operand::Integer(_))
            )
        };
        match self {
            Test::Equals(operand) => matches!(operand, Operand::Integer(_)),
            Test::Range { lower, upper } => is_integer(lower) || is_integer(upper),
            Test::Exists | Test::Prefix(_) => false,
        }
    }
}

/// The order of a value and an operand. `None` if they have different types. Texts are compared byte
/// by byte.
fn compared(value: &Held<'_>, operand: &Operand) -> Option<Ordering> {
    match (value, operand) {
        (Held::Integer(value), Operand::Integer(operand)) => Some(value.cmp(operand)),
        (Held::Integer(value), Operand::Boolean(operand)) => Some(value.cmp(&i64::from(*operand))),
        (Held::Text(value), Operand::Text(operand)) => Some(value.as_ref().cmp(operand.as_str())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// An entry with a status, a name, warnings and an extension. Its line may not be at hand.
    struct Entry(Option<&'static str>);

    impl Values for Entry {
        fn value(&self, field: &Field) -> Option<Held<'_>> {
            match field.name() {
                "status" => Some(Held::Integer(403)),
                "granted" => Some(Held::Integer(0)),
                "severity" => Some(Held::text("High")),
                "name" => Some(Held::text("Authz.portals")),
                "warning" => Some(Held::text("bad_time foreign_org")),
                "cs1" => Some(Held::text("-9")),
                _ => None,
            }
        }

        fn contains(&self, text: &str) -> Option<bool> {
            self.0.map(|line| line.contains(text))
        }
    }

    fn check(query: &str, line: Option<&'static str>, expected: Option<bool>) {
        let filter = parse(query, 0).unwrap();
        assert_eq!(filter.matches(&Entry(line)), expected, "{query}");
        let negated = Filter::Not(Box::new(filter));
        assert_eq!(negated.matches(&Entry(line)), expected.map(|known| !known), "NOT {query}");
    }

    #[test]
    fn tests_of_fields() {
        let yes = |query: &str| check(query, None, Some(true));
        let no = |query: &str| check(query, None, Some(false));
        yes("*");
        yes("status:403");
        no("status:404");
        no("status:>403");
        yes("status:[403 TO 404}");
        yes("granted:false");
        no("granted:true");
        // Text where a number is usual: it is there, and in no range.
        yes("severity:*");
        no("severity:>=0");
        yes("name:Authz.*");
        no("name:authz.*");
        yes("name:>=Authz");
        no("src:*");
        no("src:1");
        yes("warning:foreign_*");
        yes("warning:bad_time");
        no("warning:retired_key");
        yes("cs1:<0");
        yes("cs1:<t");
        no("cs1:>=-8");
        no("cs2:*");
    }

    #[test]
    fn a_line_that_is_not_at_hand_leaves_only_what_depends_on_it_unknown() {
        check("x", None, None);
        check("x status:403", None, None);
        check("x status:404", None, Some(false));
        check("x OR status:403", None, Some(true));
        check("x OR status:404", None, None);
        check("NOT (x OR status:404) status:404", None, Some(false));
        check("x status:403", Some("xy"), Some(true));
        check("x status:403", Some("y"), Some(false));
    }

    #[test]
    fn every_part_is_visited() {
        let filter = parse("a status:1 NOT (b OR name:x)", 0).unwrap();
        let mut names = Vec::new();
        filter.parts(&mut |part| match part {
            Part::Text(text) => names.push(text.to_owned()),
            Part::Field(field, _) => names.push(field.name().to_owned()),
        });
        assert_eq!(names, ["a", "status", "b", "name"]);
    }
}
