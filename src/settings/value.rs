//! Readers of TOML values.
//!
//! The error of a reader has the value and what was expected. The caller adds the name of the
//! setting.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use super::error::Mismatch;
use super::secret::Secret;
use super::units::{self, EXPECTED_DURATION, EXPECTED_SIZE, show_duration, show_size};

/// A string.
pub(crate) fn text<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Mismatch> {
    match value {
        DeValue::String(text) => Ok(text),
        other => Err(Mismatch::new(found(other), "a string")),
    }
}

/// `true` or `false`.
pub(crate) fn boolean(value: &DeValue<'_>) -> Result<bool, Mismatch> {
    match value {
        DeValue::Boolean(boolean) => Ok(*boolean),
        other => Err(Mismatch::new(found(other), "true or false")),
    }
}

/// A path. A relative one is relative to the working directory.
pub(crate) fn path(value: &DeValue<'_>) -> Result<PathBuf, Mismatch> {
    match value {
        DeValue::String(text) if !text.is_empty() => Ok(PathBuf::from(text.as_ref())),
        other => Err(Mismatch::new(found(other), "a path")),
    }
}

/// The name of an input or an output.
pub(crate) fn name(value: &DeValue<'_>) -> Result<String, Mismatch> {
    let name = text(value)?;
    let allowed = |c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        Ok(name.to_owned())
    } else {
        Err(Mismatch::text(name, "1 to 64 of a to z, 0 to 9, _ and -"))
    }
}

/// A secret. The error does not contain it.
pub(crate) fn secret(value: &DeValue<'_>) -> Result<Secret, Mismatch> {
    match value {
        DeValue::String(text) => Secret::new(text),
        other => Err(Mismatch::new(kind(other), "a string")),
    }
}

/// A string that is parsed with `FromStr`. `expected` describes it in the error.
pub(crate) fn parsed<T: FromStr>(
    expected: &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mismatch> {
    move |value| {
        let parsed = text(value).ok().and_then(|text| text.parse().ok());
        parsed.ok_or_else(|| Mismatch::new(found(value), expected))
    }
}

/// A word of an enum.
pub(crate) fn word<T: Copy>(
    all: &'static [T],
    as_str: impl Fn(T) -> &'static str,
) -> impl Fn(&DeValue<'_>) -> Result<T, Mismatch> {
    move |value| {
        let found = text(value)?;
        all.iter().copied().find(|one| as_str(*one) == found).ok_or_else(|| {
            let words: Vec<_> = all.iter().map(|one| as_str(*one)).collect();
            Mismatch::text(found, format!("one of {}", words.join(", ")))
        })
    }
}

/// A whole number in `range`.
pub(crate) fn count<N: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&DeValue<'_>) -> Result<N, Mismatch> {
    move |value| {
        let number = integer(value).filter(|number| range.contains(number));
        number.and_then(|number| N::try_from(number).ok()).ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            Mismatch::new(found(value), format!("a whole number from {least} to {most}"))
        })
    }
}

/// A size in bytes, in `range`.
pub(crate) fn size<N: TryFrom<u64>>(
    range: RangeInclusive<u64>,
) -> impl Fn(&DeValue<'_>) -> Result<N, Mismatch> {
    move |value| {
        let bytes = match value {
            DeValue::Integer(_) => integer(value),
            DeValue::String(text) => Some(units::size(text)?),
            _ => None,
        };
        let bytes = bytes.ok_or_else(|| Mismatch::new(found(value), EXPECTED_SIZE))?;
        if range.contains(&bytes)
            && let Ok(bytes) = N::try_from(bytes)
        {
            return Ok(bytes);
        }
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        Err(Mismatch::new(found(value), format!("a size from {least} to {most}")))
    }
}

/// A duration of at least `least`.
pub(crate) fn duration(least: Duration) -> impl Fn(&DeValue<'_>) -> Result<Duration, Mismatch> {
    move |value| {
        let DeValue::String(text) = value else {
            return Err(Mismatch::new(found(value), EXPECTED_DURATION));
        };
        let duration = units::duration(text)?;
        if duration >= least {
            return Ok(duration);
        }
        let expected = format!("a duration of at least {}", show_duration(least));
        Err(Mismatch::text(text, expected))
    }
}

/// A list whose elements are read with `read`. A single value need not be in a list.
pub(crate) fn list<T>(
    read: impl Fn(&DeValue<'_>) -> Result<T, Mismatch>,
) -> impl Fn(&DeValue<'_>) -> Result<Vec<T>, Mismatch> {
    move |value| match value {
        DeValue::Array(list) => list.iter().map(|element| read(element.get_ref())).collect(),
        one => Ok(vec![read(one)?]),
    }
}

/// A table with any keys, whose values are read with `read`.
pub(crate) fn pairs<T>(
    read: impl Fn(&DeValue<'_>) -> Result<T, Mismatch>,
) -> impl Fn(&DeValue<'_>) -> Result<Vec<(String, T)>, Mismatch> {
    move |value| match value {
        DeValue::Table(table) => table
            .iter()
            .map(|(key, value)| Ok((key.get_ref().to_string(), read(value.get_ref())?)))
            .collect(),
        other => Err(Mismatch::new(found(other), "a table")),
    }
}

/// A value as it is shown in messages.
pub(crate) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(boolean) => boolean.to_string(),
        // These may contain secrets.
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => kind(value).to_owned(),
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a floating-point number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}
