//! An entry before it is signed, and its text in each format.
//!
//! CEF is escaped by "Implementing ArcSight Common Event Format", chapter "Character encoding". JSON
//! keys are in alphabetical order, as in Kong's examples.

use std::fmt::Write;

use serde_json::{Map, Number, Value as Json};

use crate::entry::Format;
use crate::entry::fields::{FieldType, type_of};
use crate::entry::words::words;
use crate::entry::{Millis, Value};

/// The version of Konnect's entries.
const EVENT_VERSION: &str = "1.0";
const VENDOR: &str = "KongInc";

/// An unsigned entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: Millis,
    /// `Konnect` or `Dev-Portal`.
    pub product: &'static str,
    /// The event class id.
    pub class_id: String,
    /// The event name. It determines the kind.
    pub name: String,
    /// 0 to 10.
    pub severity: i64,
    /// The other fields in order, without `rt`, which is `at`.
    pub extensions: Vec<(&'static str, Value)>,
    /// The types of the values in JSON.
    pub json_types: JsonTypes,
}

words! {
    /// The types of the values in a JSON entry. Kong's pages disagree about them.
    pub enum JsonTypes {
        /// As in the examples: `cef_version` is the number 0, and `rt` is a string.
        Examples = "examples",
        /// As in the descriptions: `rt` is a number, and `cef_version` is a string.
        Descriptions = "descriptions",
        /// Numbers and booleans are strings, but for `status` and `trace_id`.
        Strings = "strings",
    }
}

impl Event {
    /// The value of an extension.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.extensions.iter().find_map(|(known, value)| (*known == name).then_some(value))
    }

    /// The signed text: the CEF line or the flat JSON object.
    pub fn text(&self, format: Format) -> String {
        match format {
            Format::Cef => self.cef(),
            Format::Json | Format::Cps | Format::Pulled => self.json(),
        }
    }

    /// All fields by their normalised names, as a receiver reads them.
    pub fn fields(&self) -> Vec<(&'static str, Value)> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut fields = vec![
            ("event_ts", Value::Text(self.timestamp())),
            ("cef_version", text("0")),
            ("event_vendor", text(VENDOR)),
            ("event_product", text(self.product)),
            ("event_version", text(EVENT_VERSION)),
            ("event_class_id", text(&self.class_id)),
            ("name", text(&self.name)),
            ("severity", Value::Integer(self.severity)),
            ("rt", Value::Integer(self.at.get())),
        ];
        fields.extend(self.extensions.iter().cloned());
        fields
    }

    /// The same entry with the opposite outcome, as an attacker would change it. An entry without an
    /// outcome gets another source address.
    pub fn tampered(&self) -> Event {
        let mut event = self.clone();
        let outcome = |name: &str| matches!(name, "granted" | "success" | "status");
        let extensions = &mut event.extensions;
        let at = extensions.iter().position(|(name, _)| outcome(name));
        match at.and_then(|at| extensions.get_mut(at)).map(|(_, value)| value) {
            Some(Value::Boolean(outcome)) => *outcome = !*outcome,
            Some(Value::Integer(status)) => *status = if *status == 200 { 403 } else { 200 },
            _ => extensions.insert(0, ("src", Value::Text("192.0.2.66".to_owned()))),
        }
        event
    }

    /// RFC 3339 in UTC, to the second.
    fn timestamp(&self) -> String {
        let mut text = self.at.to_string();
        text.truncate("YYYY-MM-DDTHH:MM:SS".len());
        text + "Z"
    }

    fn cef(&self) -> String {
        let mut line = format!("{} konghq.com CEF:0", self.timestamp());
        for field in [VENDOR, self.product, EVENT_VERSION, &self.class_id, &self.name] {
            line.push('|');
            escape(field, |c| if "\\|".contains(c) { Some(c) } else { None }, &mut line);
        }
        // Writing to a string cannot fail.
        let _ = write!(line, "|{}|rt={}", self.severity, self.at.get());
        for (name, value) in &self.extensions {
            let _ = write!(line, " {name}=");
            let escape_of = |c| match c {
                '\\' | '=' => Some(c),
                '\n' => Some('n'),
                '\r' => Some('r'),
                _ => None,
            };
            escape(&value.as_text(), escape_of, &mut line);
        }
        line
    }

    fn json(&self) -> String {
        let object: Map<_, _> = self
            .fields()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), self.json_value(name, &value)))
            .collect();
        Json::Object(object).to_string()
    }

    fn json_value(&self, name: &str, value: &Value) -> Json {
        let text = value.as_text();
        let number = || text.parse::<Number>().map_or_else(|_| text.as_ref().into(), Json::Number);
        match (value, self.json_types) {
            (_, JsonTypes::Examples) if name == "cef_version" => number(),
            (_, JsonTypes::Examples) if name == "rt" => text.as_ref().into(),
            (Value::Boolean(_) | Value::Integer(_), JsonTypes::Strings) if name != "status" => {
                text.as_ref().into()
            }
            (Value::Boolean(boolean), _) => (*boolean).into(),
            (Value::Integer(_), _) => number(),
            (Value::Text(_), _) if type_of(name) == Some(FieldType::Digits) => number(),
            (Value::Text(_) | Value::Json(_), _) => text.as_ref().into(),
        }
    }
}

/// Appends `text` to `line`. A character for which `escape_of` returns one is replaced by a backslash
/// and that one.
fn escape(text: &str, escape_of: impl Fn(char) -> Option<char>, line: &mut String) {
    for c in text.chars() {
        match escape_of(c) {
            Some(escaped) => line.extend(['\\', escaped]),
            None => line.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event {
            at: Millis::saturating(1_750_280_466_889),
            product: "Konnect",
            class_id: "konnect".to_owned(),
            name: "Authz.a|b\\c".to_owned(),
            severity: 1,
            extensions: vec![
                ("granted", Value::Boolean(true)),
                ("trace_id", Value::Text("18446744073709551615".to_owned())),
                ("user_agent", Value::Text("a=\\b\n\"|".to_owned())),
            ],
            json_types: JsonTypes::Descriptions,
        }
    }

    #[test]
    fn cef_is_escaped() {
        assert_eq!(
            event().text(Format::Cef),
            "2025-06-18T21:01:06Z konghq.com CEF:0|KongInc|Konnect|1.0|konnect|Authz.a\\|b\\\\c|1|\
             rt=1750280466889 granted=true trace_id=18446744073709551615 user_agent=a\\=\\\\b\\n\"|"
        );
    }

    #[test]
    fn json_has_values_of_different_types() {
        let mut event = event();
        let strings = r#""rt":"1750280466889","severity":"1","#;
        for (json_types, version, granted, values) in [
            (JsonTypes::Examples, "0", "true", r#""rt":"1750280466889","severity":1,"#),
            (JsonTypes::Descriptions, r#""0""#, "true", r#""rt":1750280466889,"severity":1,"#),
            (JsonTypes::Strings, r#""0""#, r#""true""#, strings),
        ] {
            event.json_types = json_types;
            assert_eq!(
                event.text(Format::Json),
                format!(
                    r#"{{"cef_version":{version},"event_class_id":"konnect","event_product":"Konnect","event_ts":"2025-06-18T21:01:06Z","event_vendor":"KongInc","event_version":"1.0","granted":{granted},"name":"Authz.a|b\\c",{values}"trace_id":18446744073709551615,"user_agent":"a=\\b\n\"|"}}"#
                )
            );
        }
    }

    #[test]
    fn tampering_turns_the_outcome_around() {
        let tampered = event().tampered();
        assert_eq!(tampered.extensions[0], ("granted", Value::Boolean(false)));
        assert_eq!(tampered.extensions[1..], event().extensions[1..]);
        let none = Event { extensions: vec![], ..event() };
        assert_ne!(none.tampered(), none);
    }
}
