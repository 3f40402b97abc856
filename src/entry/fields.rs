//! The normalised fields of an entry: their names, their types, and the container that holds them.
//!
//! A field has one name in code, columns, queries and output: its name in Konnect's JSON format.
//! The types of the known fields are defined here. A value that does not fit the type is kept as
//! text, never dropped. Unknown fields keep the name that the sender gave them.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::Warning;

/// The type of a known field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Text, the empty string included.
    Text,
    /// A signed 64-bit integer.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// An unsigned 64-bit number, kept as text because a double cannot hold all its digits.
    Digits,
}

/// The known fields with their types, in the order in which they are shown and stored.
///
/// Source: the vendor's page "Konnect and Dev Portal audit logs".
pub const KNOWN: [(&str, FieldType); 25] = [
    ("event_ts", FieldType::Text),
    ("cef_version", FieldType::Text),
    ("event_vendor", FieldType::Text),
    ("event_product", FieldType::Text),
    ("event_version", FieldType::Text),
    ("event_class_id", FieldType::Text),
    ("name", FieldType::Text),
    ("severity", FieldType::Integer),
    ("rt", FieldType::Integer),
    ("src", FieldType::Text),
    ("org_id", FieldType::Text),
    ("portal_id", FieldType::Text),
    ("principal_id", FieldType::Text),
    ("principal_name", FieldType::Text),
    ("actor_id", FieldType::Text),
    ("kong_initiated", FieldType::Boolean),
    ("success", FieldType::Boolean),
    ("action", FieldType::Text),
    ("granted", FieldType::Boolean),
    ("act", FieldType::Text),
    ("status", FieldType::Integer),
    ("request", FieldType::Text),
    ("query", FieldType::Text),
    ("trace_id", FieldType::Digits),
    ("user_agent", FieldType::Text),
];

/// The type of the known field `name`, or `None` if the field is unknown.
pub fn type_of(name: &str) -> Option<FieldType> {
    position(name).map(|at| KNOWN[at].1)
}

fn position(name: &str) -> Option<usize> {
    KNOWN.iter().position(|(known, _)| *known == name)
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text, unescaped.
    Text(String),
    /// An integer, in a known field.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// Any other value of an unknown JSON field, as the JSON text that was sent: a number with all
    /// its digits, `null`, an array or an object.
    Json(String),
}

impl Value {
    /// The value as text, as searches compare it and tables show it.
    pub fn as_text(&self) -> std::borrow::Cow<'_, str> {
        match self {
            Value::Text(text) => text.into(),
            Value::Integer(number) => number.to_string().into(),
            Value::Boolean(true) => "true".into(),
            Value::Boolean(false) => "false".into(),
            Value::Json(json) => json.into(),
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Text(text) => serializer.serialize_str(text),
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Boolean(boolean) => serializer.serialize_bool(*boolean),
            // The JSON is written as it was sent, so that a large number keeps all its digits. Line
            // breaks become spaces, because many readers of JSON lines end a line at CR. In valid
            // JSON they can only be white space.
            Value::Json(json) => match RawValue::from_string(json.replace(['\t', '\r', '\n'], " "))
            {
                Ok(raw) => raw.serialize(serializer),
                Err(_) => serializer.serialize_str(json),
            },
        }
    }
}

/// The maximum number of unknown fields that are kept of an entry. Real entries have less than a
/// tenth of this. Without a cap, a line full of tiny fields would take thirty times its size in
/// memory. The raw line is always kept whole.
pub const MAX_EXTENSIONS: usize = 1000;

/// The fields of an entry. If a name occurs twice, the first value is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    known: [Option<Value>; KNOWN.len()],
    extensions: BTreeMap<String, Value>,
}

impl Fields {
    /// The value of the field `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match position(name) {
            Some(at) => self.known[at].as_ref(),
            None => self.extensions.get(name),
        }
    }

    /// The value of the field `name` if it is text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of the field `name` if it is an integer.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The known fields in the order of [`KNOWN`], each with its value if the entry has it.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, Option<&Value>)> {
        KNOWN.iter().zip(&self.known).map(|((name, _), value)| (*name, value.as_ref()))
    }

    /// The unknown fields, sorted by name.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.extensions.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// All fields of the entry: the known fields, then the unknown ones.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.known().filter_map(|(name, value)| Some((name, value?))).chain(self.extensions())
    }

    /// Sets a field to a value that was read before. The value is not converted again.
    pub fn restore(&mut self, name: &str, value: Value) {
        match position(name) {
            Some(at) => self.known[at] = Some(value),
            None => {
                self.extensions.insert(name.to_owned(), value);
            }
        }
    }

    /// Adds the field `name` as a line gives it. The value of a known field is converted to its
    /// type.
    pub(super) fn add(&mut self, name: &str, sent: SentValue<'_>, warnings: &mut Vec<Warning>) {
        let taken = match position(name) {
            Some(at) => match (&self.known[at], sent) {
                (Some(_), _) => true,
                (None, SentValue::Json(json)) if json.get() == "null" => false,
                (None, sent) => {
                    self.known[at] = Some(typed(KNOWN[at].1, sent));
                    false
                }
            },
            None if self.extensions.contains_key(name) => true,
            None if self.extensions.len() == MAX_EXTENSIONS => {
                Warning::TooManyFields.note(warnings);
                false
            }
            None => {
                self.extensions.insert(name.to_owned(), untyped(sent));
                false
            }
        };
        if taken {
            Warning::DuplicateField.note(warnings);
        }
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.iter() {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A value as a line gives it, before it is converted.
pub(super) enum SentValue<'a> {
    /// A CEF value or the contents of a JSON string, unescaped.
    Text(std::borrow::Cow<'a, str>),
    /// Any other JSON value, as sent.
    Json(&'a RawValue),
}

fn typed(wanted: FieldType, sent: SentValue<'_>) -> Value {
    let text = match sent {
        SentValue::Text(text) => text.into_owned(),
        SentValue::Json(json) => json.get().to_owned(),
    };
    let value = match wanted {
        FieldType::Text | FieldType::Digits => return Value::Text(text),
        FieldType::Integer => text.parse().ok().map(Value::Integer),
        FieldType::Boolean => text.parse().ok().map(Value::Boolean),
    };
    value.unwrap_or(Value::Text(text))
}

fn untyped(sent: SentValue<'_>) -> Value {
    match sent {
        SentValue::Text(text) => Value::Text(text.into_owned()),
        SentValue::Json(json) => match json.get() {
            "true" => Value::Boolean(true),
            "false" => Value::Boolean(false),
            json => Value::Json(json.to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, sent: &str, expected: Value) {
        let mut fields = Fields::default();
        fields.add(name, SentValue::Text(sent.into()), &mut Vec::new());
        assert_eq!(fields.get(name), Some(&expected), "{name}={sent}");
    }

    #[test]
    fn values_are_typed_by_the_field() {
        check("status", "403", Value::Integer(403));
        check("granted", "true", Value::Boolean(true));
        check("trace_id", "18446744073709551615", Value::Text("18446744073709551615".into()));
        check("severity", "High", Value::Text("High".into()));
        check("granted", "yes", Value::Text("yes".into()));
        check("cs1", "true", Value::Text("true".into()));
    }

    #[test]
    fn the_first_of_a_name_wins() {
        let (mut fields, mut warnings) = (Fields::default(), Vec::new());
        for value in ["true", "false", "x"] {
            fields.add("granted", SentValue::Text(value.into()), &mut warnings);
            fields.add("other", SentValue::Text(value.into()), &mut warnings);
        }
        assert_eq!(fields.get("granted"), Some(&Value::Boolean(true)));
        assert_eq!(fields.text("other"), Some("true"));
        assert_eq!(warnings, [Warning::DuplicateField]);
    }

    #[test]
    fn fields_over_the_cap_are_not_kept_and_known_ones_are() {
        let (mut fields, mut warnings) = (Fields::default(), Vec::new());
        for n in 0..MAX_EXTENSIONS {
            fields.add(&format!("x{n}"), SentValue::Text("".into()), &mut warnings);
        }
        assert_eq!(warnings, []);
        fields.add("one.more", SentValue::Text("".into()), &mut warnings);
        fields.add("granted", SentValue::Text("true".into()), &mut warnings);
        assert_eq!(warnings, [Warning::TooManyFields]);
        assert_eq!(fields.iter().count(), MAX_EXTENSIONS + 1);
        assert_eq!(fields.get("granted"), Some(&Value::Boolean(true)));
    }

    #[test]
    fn a_number_keeps_all_its_digits() {
        let json: Box<RawValue> = serde_json::from_str("123456789012345678901234567890").unwrap();
        let mut fields = Fields::default();
        fields.add("n", SentValue::Json(&json), &mut Vec::new());
        assert_eq!(serde_json::to_string(&fields).unwrap(), format!("{{\"n\":{}}}", json.get()));
    }

    #[test]
    fn a_value_stays_on_its_line() {
        let json: Box<RawValue> = serde_json::from_str("[\"a\\r\",\r\t1e400]").unwrap();
        let mut fields = Fields::default();
        fields.add("n", SentValue::Json(&json), &mut Vec::new());
        assert_eq!(serde_json::to_string(&fields).unwrap(), r#"{"n":["a\r",  1e400]}"#);
    }
}
