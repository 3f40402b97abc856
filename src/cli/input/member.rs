//! Reads a line from a member of a JSON object, for files that other programs exported.
//!
//! The member is a name such as `_raw`, or a path with dots such as `event.original`. A string is
//! unescaped. An object is used as written, byte for byte. If there is no member `x`, the string
//! `x_base64` is decoded: `vidimus export` writes lines that are not UTF-8 to `raw_base64`.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::column::without_line_end;
use crate::entry::words::words;

words! {
    /// Why a wrapper has no line.
    pub(crate) enum NoLine {
        /// It is not a JSON object.
        WrapperNotJson = "wrapper_not_json",
        /// It does not have the member.
        FieldNotFound = "field_not_found",
        /// The member is neither a string nor an object.
        FieldNotText = "field_not_text",
    }
}

/// The line in the member `name` of `wrapper`, without the line end.
pub(crate) fn line_in(wrapper: &[u8], name: &str) -> Result<Vec<u8>, NoLine> {
    // The file may begin with a byte order mark.
    let wrapper = wrapper.strip_prefix(b"\xef\xbb\xbf").unwrap_or(wrapper);
    let object = object(wrapper).ok_or(NoLine::WrapperNotJson)?;
    if let Some(value) = find(&object, name) {
        let mut line = value_of(value).ok_or(NoLine::FieldNotText)?;
        line.truncate(without_line_end(&line).len());
        return Ok(line);
    }
    let encoded = find(&object, &format!("{name}_base64")).ok_or(NoLine::FieldNotFound)?;
    let encoded = value_of(encoded).ok_or(NoLine::FieldNotText)?;
    STANDARD.decode(encoded).map_err(|_| NoLine::FieldNotText)
}

/// Whether the line is a record that Vidimus printed, which contains the line of an entry.
pub(crate) fn is_record(line: &[u8]) -> bool {
    let Some(object) = object(line) else { return false };
    let has = |name: &str| object.contains_key(name);
    (has("id") || has("source")) && has("verdict") && (has("raw") || has("raw_base64"))
}

type Object<'a> = HashMap<Cow<'a, str>, &'a RawValue>;

/// A key, borrowed if it has no escapes.
#[derive(Deserialize, PartialEq, Eq, Hash)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

fn object(text: &[u8]) -> Option<Object<'_>> {
    let object: HashMap<Key<'_>, &RawValue> = serde_json::from_slice(text).ok()?;
    Some(object.into_iter().map(|(key, value)| (key.0, value)).collect())
}

/// The member with the exact name, or else the nested member with this path.
fn find<'a>(object: &Object<'a>, name: &str) -> Option<&'a RawValue> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    name.match_indices('.').find_map(|(dot, _)| {
        let (outer, inner) = (name.get(..dot)?, name.get(dot + 1..)?);
        let nested = self::object(object.get(outer)?.get().as_bytes())?;
        find(&nested, inner)
    })
}

fn value_of(value: &RawValue) -> Option<Vec<u8>> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(value.get()).ok().map(String::into_bytes),
        b'{' => Some(value.get().as_bytes().to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(wrapper: &str, name: &str, expected: Result<&str, NoLine>) {
        let found = line_in(wrapper.as_bytes(), name);
        assert_eq!(found, expected.map(|line| line.as_bytes().to_vec()), "{wrapper} {name}");
    }

    #[test]
    fn a_line_is_read_from_its_wrapper() {
        check(r#"{"a":1,"_raw":"x \"y\"\\\u00e9"}"#, "_raw", Ok("x \"y\"\\é"));
        check(r#"{"event":{"original":"x"}}"#, "event.original", Ok("x"));
        check(r#"{"event.original":"x"}"#, "event.original", Ok("x"));
        check(r#"{"a":{"b.c":{"d":"x"}}}"#, "a.b.c.d", Ok("x"));
        check(r#"{"a.b":{"c":"x"},"a":{"b":"y"}}"#, "a.b.c", Ok("x"));
        check(r#"{"result":{"_raw":"x\r\n"}}"#, "result._raw", Ok("x"));
        check(r#"{"event": {"a":1, "sig":"x"} }"#, "event", Ok(r#"{"a":1, "sig":"x"}"#));
        check(r#"{"raw_base64":"eA=="}"#, "raw", Ok("x"));
        check(r#"{"_r\u0061w":"x"}"#, "_raw", Ok("x"));
        check("\u{feff}{\"_raw\":\"x\"}", "_raw", Ok("x"));
    }

    #[test]
    fn a_wrapper_without_a_line_has_a_reason() {
        check("x", "_raw", Err(NoLine::WrapperNotJson));
        check("[]", "_raw", Err(NoLine::WrapperNotJson));
        check("{}", "_raw", Err(NoLine::FieldNotFound));
        check(r#"{"event":"x"}"#, "event.original", Err(NoLine::FieldNotFound));
        check(r#"{"event":{}}"#, "event.original", Err(NoLine::FieldNotFound));
        check(r#"{"_raw":7}"#, "_raw", Err(NoLine::FieldNotText));
        check(r#"{"_raw":null}"#, "_raw", Err(NoLine::FieldNotText));
        check(r#"{"raw_base64":"?"}"#, "raw", Err(NoLine::FieldNotText));
    }

    #[test]
    fn vidimus_records_are_recognised() {
        assert!(is_record(br#"{"id":1,"verdict":"valid","raw":"x"}"#));
        assert!(is_record(br#"{"source":"a:1","verdict":"valid","raw_base64":"eA=="}"#));
        assert!(!is_record(br#"{"id":1,"name":"Ingress"}"#));
        assert!(!is_record(b"CEF:0|"));
    }
}
