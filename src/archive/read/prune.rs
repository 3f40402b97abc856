//! Leaves out files and row groups that have no entry that matches, by what is known of their values:
//! the smallest and the largest, and the Bloom filters.

use std::cmp::Ordering;
use std::ops::Bound;

use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;

use super::row::may_be_among_extensions;
use crate::search::{Field, Filter, Held, Operand, Part, Test};

/// What is known of the values of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// No value is smaller.
    pub(super) least: Option<Held<'static>>,
    /// No value is larger.
    pub(super) greatest: Option<Held<'static>>,
    /// Every value is NULL.
    pub(super) all_null: bool,
}

impl Bounds {
    /// Bounds of numbers.
    pub(super) fn integers((least, greatest): (i64, i64)) -> Bounds {
        Bounds {
            least: Some(Held::Integer(least)),
            greatest: Some(Held::Integer(greatest)),
            all_null: false,
        }
    }

    /// The bounds that a row group has of a column.
    pub(super) fn of(chunk: &ColumnChunkMetaData) -> Bounds {
        let Some(statistics) = chunk.statistics() else { return Bounds::default() };
        let nulls = statistics.null_count_opt();
        let all_null = nulls.is_some_and(|nulls| i64::try_from(nulls) == Ok(chunk.num_values()));
        let integer = |number: Option<&i64>| number.copied().map(Held::Integer);
        let boolean = |one: Option<&bool>| one.map(|one| Held::Integer(i64::from(*one)));
        // A text that was cut may end within a character. Then it is no bound here.
        let text = |bytes: Option<&[u8]>| {
            let text = std::str::from_utf8(bytes?).ok()?;
            Some(Held::text(text.to_owned()))
        };
        let (least, greatest) = match statistics {
            Statistics::Int64(of) => (integer(of.min_opt()), integer(of.max_opt())),
            Statistics::Boolean(of) => (boolean(of.min_opt()), boolean(of.max_opt())),
            Statistics::ByteArray(_) if statistics.is_min_max_deprecated() => (None, None),
            Statistics::ByteArray(of) => (text(of.min_bytes_opt()), text(of.max_bytes_opt())),
            _ => (None, None),
        };
        Bounds { least, greatest, all_null }
    }

    /// Whether no value passes the test.
    fn exclude(&self, field: &Field, test: &Test) -> bool {
        if self.all_null {
            return *test != Test::Exists || !may_be_among_extensions(field);
        }
        if *field == Field::Warning {
            return false;
        }
        match test {
            Test::Exists => false,
            Test::Equals(operand) => self.are_above(operand) || self.are_below(operand),
            Test::Prefix(prefix) => {
                let begins = |held: &Held<'_>| match held {
                    Held::Text(text) => text.starts_with(prefix.as_str()),
                    Held::Integer(_) => true,
                };
                let operand = Operand::Text(prefix.clone());
                self.are_below(&operand)
                    || (self.are_above(&operand) && !self.least.as_ref().is_some_and(begins))
            }
            Test::Range { lower, upper } => {
                let below = match lower {
                    Bound::Included(operand) | Bound::Excluded(operand) => self.are_below(operand),
                    Bound::Unbounded => false,
                };
                let above = match upper {
                    Bound::Included(operand) | Bound::Excluded(operand) => self.are_above(operand),
                    Bound::Unbounded => false,
                };
                below || above
            }
        }
    }

    fn are_above(&self, operand: &Operand) -> bool {
        self.least.as_ref().and_then(|held| order(held, operand)) == Some(Ordering::Greater)
    }

    fn are_below(&self, operand: &Operand) -> bool {
        self.greatest.as_ref().and_then(|held| order(held, operand)) == Some(Ordering::Less)
    }
}

fn order(held: &Held<'_>, operand: &Operand) -> Option<Ordering> {
    match (held, operand) {
        (Held::Integer(one), Operand::Integer(other)) => Some(one.cmp(other)),
        (Held::Integer(one), Operand::Boolean(other)) => Some(one.cmp(&i64::from(*other))),
        (Held::Text(one), Operand::Text(other)) => Some(one.as_ref().cmp(other.as_str())),
        _ => None,
    }
}

/// Whether no entry can match. `known` gives what is known of the column of a field, and `absent`
/// says that no entry has this text in a field.
pub(super) fn excludes(
    filter: &Filter,
    known: &impl Fn(&Field) -> Option<Bounds>,
    absent: &impl Fn(&Field, &str) -> bool,
) -> bool {
    let decided = filter.decide(&|part| match part {
        // The format of a malformed line is NULL.
        Part::Text(_) | Part::Field(Field::Extension(_) | Field::Format, _) => None,
        Part::Field(field, test) => {
            let is_excluded = known(field).is_some_and(|bounds| bounds.exclude(field, test))
                || matches!(test, Test::Equals(Operand::Text(text)) if absent(field, text));
            is_excluded.then_some(false)
        }
    });
    decided == Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(least: &'static str, greatest: &'static str) -> Bounds {
        let (least, greatest) = (Some(Held::text(least)), Some(Held::text(greatest)));
        Bounds { least, greatest, all_null: false }
    }

    fn check(query: &str, expected: bool) {
        let filter = crate::search::parse(query, 0).unwrap();
        let known = |field: &Field| match field.name() {
            "status" => Some(Bounds::integers((200, 404))),
            "granted" => Some(Bounds::integers((0, 0))),
            "name" => Some(bounds("Authz.b", "Authz.y")),
            "time" => Some(Bounds::integers((1000, 2000))),
            "kid" | "severity" | "warning" => Some(Bounds { all_null: true, ..Bounds::default() }),
            _ => None,
        };
        let absent = |field: &Field, text: &str| field.name() == "src" && text == "::1";
        assert_eq!(excludes(&filter, &known, &absent), expected, "{query}");
    }

    #[test]
    fn what_cannot_be_within_the_bounds_is_excluded() {
        for query in [
            "status:199",
            "status:405",
            "status:>=405",
            "granted:true",
            "name:Authz.a",
            "name:Authz.z*",
            "name:A.*",
            "name:>Authz.z",
            "kid:*",
            "kid:x",
            "severity:5",
            "warning:*",
            "warning:bad_time",
            "time:>=1970-01-01T00:00:03Z",
            "src:::1",
            "x status:199",
            "status:199 OR granted:true",
            "NOT (NOT status:199)",
            "cs1:x kid:*",
        ] {
            check(query, true);
        }
    }

    #[test]
    fn what_may_match_is_kept() {
        for query in [
            "*",
            "x",
            "status:>404",
            "status:<200",
            "status:200",
            "status:404",
            "status:[100 TO 200]",
            "status:*",
            "granted:false",
            "NOT granted:true",
            "NOT status:199",
            "name:Authz.*",
            "name:Authz.b*",
            "name:Authz.y",
            // Text in a column of numbers is among the extensions.
            "severity:*",
            "status:199 OR x",
            "cs1:x",
            "src:::2",
            "NOT src:::1",
            "org_id:x",
        ] {
            check(query, false);
        }
    }
}
