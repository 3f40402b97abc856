//! Splits a JSON object (RFC 8259) into its members. Nested values are kept as they were sent.
//!
//! Nesting cannot overflow the stack: the depth is checked before parsing, and serde_json reads raw
//! values without recursion.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The maximum nesting depth of arrays and objects. The outermost object counts as one.
pub(super) const MAX_DEPTH: usize = 64;

/// A member of an object.
pub(super) struct Member<'a> {
    /// The key, unescaped.
    pub(super) key: Cow<'a, str>,
    /// The value, as sent.
    pub(super) value: &'a RawValue,
}

impl<'a> Member<'a> {
    /// The byte range of the value in `text`, the text that the member was read from.
    pub(super) fn value_in(&self, text: &str) -> Range<usize> {
        let value = self.value.get();
        let start = value.as_ptr() as usize - text.as_ptr() as usize;
        start..start + value.len()
    }

    /// The unescaped text of a string, or `None` for any other value. A lone surrogate becomes
    /// U+FFFD.
    pub(super) fn string(&self) -> Option<Cow<'a, str>> {
        if !self.value.get().starts_with('"') {
            return None;
        }
        serde_json::from_str::<Text<'a>>(self.value.get()).ok().map(|text| text.0)
    }
}

/// The members of the object in `text`, in order. White space around the object is allowed. `None`
/// if `text` is not a JSON object.
pub(super) fn object(text: &str) -> Option<Vec<Member<'_>>> {
    serde_json::from_str::<Members<'_>>(text).ok().map(|members| members.0)
}

/// Whether arrays and objects are nested deeper than [`MAX_DEPTH`].
pub(super) fn too_deep(text: &str) -> bool {
    // Fast path: most lines have too few brackets to be nested too deeply.
    if text.bytes().filter(|byte| matches!(byte, b'{' | b'[')).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(24);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push(Member { key, value });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

/// The key of a member. It is borrowed if it has no escapes.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// The contents of a JSON string. They are read as bytes, because serde_json refuses lone
/// surrogates in text.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Contents;

        impl<'de> Visitor<'de> for Contents {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON string")
            }

            fn visit_borrowed_bytes<E: de::Error>(self, text: &'de [u8]) -> Result<Text<'de>, E> {
                Ok(Text(String::from_utf8_lossy(text)))
            }

            fn visit_bytes<E: de::Error>(self, text: &[u8]) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(text).into_owned())))
            }
        }

        deserializer.deserialize_bytes(Contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_their_place_and_their_spelling() {
        let text = r#" {"a":1, "\u0062" : {"a":[null]} ,"a":"x\ny"} "#;
        let members = object(text).unwrap();
        let found: Vec<_> = members.iter().map(|m| (m.key.as_ref(), m.value.get())).collect();
        assert_eq!(found, [("a", "1"), ("b", r#"{"a":[null]}"#), ("a", r#""x\ny""#)]);
        assert!(members.iter().all(|m| &text[m.value_in(text)] == m.value.get()));
        assert_eq!(members[2].string().unwrap(), "x\ny");
        assert_eq!(members[0].string(), None);
    }

    #[test]
    fn other_json_than_an_object_is_refused() {
        for text in ["", "{", "[]", "1", r#"{"a":1} x"#, r#"{"a":1,}"#, "{\"a\":\"\t\"}", "{a:1}"] {
            assert!(object(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_lone_surrogate_is_replaced() {
        let text = r#"{"a":"x\ud800y"}"#;
        assert_eq!(object(text).unwrap()[0].string().unwrap(), "x\u{fffd}\u{fffd}\u{fffd}y");
    }

    #[test]
    fn depth_is_counted_outside_strings_and_without_the_stack() {
        let nested =
            |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(!too_deep(&nested(64)) && object(&nested(64)).is_some());
        assert!(too_deep(&nested(65)));
        assert!(too_deep(&"[".repeat(1 << 20)));
        assert!(!too_deep(&format!(r#"{{"a":"\"{}"}}"#, "[".repeat(100))));
    }
}
