//! Turns the words of a query into tests, typed by the field.

use std::ops::Bound;

use super::QueryError;
use super::cursor::Word;
use super::filter::{Field, Filter, Operand, Test};
use super::time;
use crate::entry::fields::FieldType;
use crate::entry::{Format, Kind, VerdictName, Warning};

/// The type of the values of a field.
enum ValueType {
    /// One of these words.
    Words(Vec<&'static str>),
    /// Milliseconds since the Unix epoch.
    Time,
    Integer,
    Boolean,
    /// Text that has no useful order.
    Digits,
    Text,
    /// Text that may be a number.
    Untyped,
}

impl ValueType {
    fn of(field: &Field) -> ValueType {
        match field {
            Field::Verdict => {
                ValueType::Words(VerdictName::ALL.iter().map(|one| one.as_str()).collect())
            }
            Field::Format => {
                let known = Format::ALL.iter().map(|one| one.as_str());
                ValueType::Words(known.chain([Format::UNKNOWN]).collect())
            }
            Field::Kind => ValueType::Words(Kind::ALL.iter().map(|one| one.as_str()).collect()),
            Field::Warning => {
                ValueType::Words(Warning::ALL.iter().map(|one| one.as_str()).collect())
            }
            Field::ReceivedAt | Field::Time => ValueType::Time,
            Field::Id | Field::Delivery | Field::Known(_, FieldType::Integer) => ValueType::Integer,
            Field::Known(_, FieldType::Boolean) => ValueType::Boolean,
            Field::Known(_, FieldType::Digits) => ValueType::Digits,
            Field::Reason | Field::Kid | Field::Input | Field::Known(_, FieldType::Text) => {
                ValueType::Text
            }
            Field::Extension(_) => ValueType::Untyped,
        }
    }
}

impl Field {
    /// The type of the values, as docs/query-language.md names it: `text`, `integer`, `boolean`,
    /// `time`, `digits`, or `word` for one of a few words.
    pub fn type_name(&self) -> &'static str {
        match ValueType::of(self) {
            ValueType::Words(_) => "word",
            ValueType::Time => "time",
            ValueType::Integer => "integer",
            ValueType::Boolean => "boolean",
            ValueType::Digits => "digits",
            ValueType::Text | ValueType::Untyped => "text",
        }
    }
}

/// `field:word`, or `field:word*` for a prefix.
pub(super) fn equal(field: Field, word: &Word) -> Result<Filter, QueryError> {
    let text = || Operand::Text(word.text.clone());
    let holds = ValueType::of(&field);
    if word.prefix && word.text.is_empty() {
        return Ok(Filter::Field(field, Test::Exists));
    }
    let test = match holds {
        ValueType::Words(known) => return one_of(field, &known, word),
        ValueType::Text | ValueType::Digits | ValueType::Untyped if word.prefix => {
            Test::Prefix(word.text.clone())
        }
        ValueType::Text | ValueType::Digits | ValueType::Untyped => Test::Equals(text()),
        ValueType::Integer => Test::Equals(integer(word)?),
        ValueType::Boolean => Test::Equals(boolean(word)?),
        ValueType::Time => during(&field, word)?,
    };
    Ok(Filter::Field(field, test))
}

/// `field:[lower TO upper]`.
pub(super) fn between(
    field: Field,
    lower: Bound<&Word>,
    upper: Bound<&Word>,
    now: i64,
) -> Result<Filter, QueryError> {
    let operand: &dyn Fn(&Word) -> Result<Operand, QueryError> = match ValueType::of(&field) {
        ValueType::Integer => &integer,
        ValueType::Time => &|word| {
            let time = time::parse(&word.text, now).map_err(|error| word.error(error.expected))?;
            Ok(Operand::Integer(time))
        },
        // If every bound is a number, the range is one of numbers.
        ValueType::Untyped if [lower, upper].iter().all(is_integer_or_none) => &integer,
        ValueType::Text | ValueType::Untyped => &|word| Ok(Operand::Text(word.text.clone())),
        ValueType::Words(_) | ValueType::Boolean | ValueType::Digits => {
            &|word| Err(word.error(format!("no range, as {} has no order", field.name())))
        }
    };
    let typed = |bound: Bound<&Word>| match bound {
        Bound::Included(word) => operand(word).map(Bound::Included),
        Bound::Excluded(word) => operand(word).map(Bound::Excluded),
        Bound::Unbounded => Ok(Bound::Unbounded),
    };
    let test = match (typed(lower)?, typed(upper)?) {
        (Bound::Unbounded, Bound::Unbounded) => Test::Exists,
        (lower, upper) => Test::Range { lower, upper },
    };
    // With ages this mistake is easy: [7d TO 1d] is right, [1d TO 7d] is not.
    if let (Test::Range { lower: from, upper: to }, Bound::Included(word) | Bound::Excluded(word)) =
        (&test, lower)
        && is_above(from, to)
    {
        return Err(word.error("a lower bound that is not above the upper one"));
    }
    Ok(Filter::Field(field, test))
}

fn is_above(lower: &Bound<Operand>, upper: &Bound<Operand>) -> bool {
    let number = |bound: &Bound<Operand>| match bound {
        Bound::Included(Operand::Integer(number)) | Bound::Excluded(Operand::Integer(number)) => {
            Some(*number)
        }
        _ => None,
    };
    number(lower).zip(number(upper)).is_some_and(|(lower, upper)| lower > upper)
}

/// The test for a field that holds one of the words `known`: one word, or all words with a prefix.
fn one_of(field: Field, known: &[&str], word: &Word) -> Result<Filter, QueryError> {
    let written = match (&field, word.text.as_str()) {
        // The name in the vendor's API.
        (Field::Kind, "gateway_access") => "access",
        (_, written) => written,
    };
    let meant = |one: &&&str| **one == written || (word.prefix && one.starts_with(written));
    let tests: Vec<_> = known
        .iter()
        .filter(meant)
        .map(|one| Filter::Field(field.clone(), Test::Equals(Operand::Text((*one).to_owned()))))
        .collect();
    if tests.is_empty() {
        return Err(word.error(format!("one of {}", known.join(", "))));
    }
    Ok(Filter::any(tests))
}

fn integer(word: &Word) -> Result<Operand, QueryError> {
    let number = word.text.parse().ok().filter(|_| !word.prefix);
    number
        .map(Operand::Integer)
        .ok_or_else(|| word.error("a whole number, or a range of them such as >=6 or [400 TO 499]"))
}

fn is_integer_or_none(bound: &Bound<&Word>) -> bool {
    match bound {
        Bound::Included(word) | Bound::Excluded(word) => word.text.parse::<i64>().is_ok(),
        Bound::Unbounded => true,
    }
}

fn boolean(word: &Word) -> Result<Operand, QueryError> {
    let boolean = word.text.parse().ok().filter(|_| !word.prefix);
    boolean.map(Operand::Boolean).ok_or_else(|| word.error("true or false"))
}

/// The test for a time within the day, minute, second or millisecond that is written.
fn during(field: &Field, word: &Word) -> Result<Test, QueryError> {
    let span = if word.prefix { None } else { time::span(&word.text) };
    let (start, end) = span.ok_or_else(|| {
        let name = field.name();
        word.error(format!(
            "a time such as 2025-05-16 or 2025-05-16T20:09:54Z, or a comparison such as {name}:>=6h"
        ))
    })?;
    Ok(Test::Range {
        lower: Bound::Included(Operand::Integer(start)),
        upper: Bound::Excluded(Operand::Integer(end)),
    })
}
