//! The JSON body of a request, read member by member.
//!
//! Required members must be present, and members must have the documented types. Unknown members
//! are ignored, because the documents' own examples have some. A member that is `null` is a missing
//! one: Kong's Terraform provider sends every member. All errors are reported at once.

use hyper::Uri;
use serde_json::{Map, Value, json};
use uuid::fmt::Hyphenated;

use super::response::ErrorResponse;
use crate::entry::Format;
use crate::konnect::api::{InvalidParameter, Time};
use crate::konnect::request::AuthOutcome;
use crate::settings::Secret;

/// The maximum length of a text in characters.
pub(super) const MAX_TEXT: usize = 2048;

/// The members of a body, and the errors in them.
#[derive(Debug)]
pub(super) struct JsonBody {
    members: Map<String, Value>,
    detail: Option<&'static str>,
    wrong: Vec<InvalidParameter>,
}

impl JsonBody {
    /// Parses an object.
    pub(super) fn parse(bytes: &[u8]) -> Result<JsonBody, ErrorResponse> {
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(mut members)) => {
                members.retain(|_, value| !value.is_null());
                Ok(JsonBody { members, detail: None, wrong: Vec::new() })
            }
            _ => {
                let parameter = InvalidParameter {
                    field: "body".to_owned(),
                    reason: "request format is invalid".to_owned(),
                    ..InvalidParameter::default()
                };
                Err(ErrorResponse::invalid("Could not parse request body", parameter))
            }
        }
    }

    /// Parses an object. An empty body is an empty object.
    pub(super) fn parse_optional(bytes: &[u8]) -> Result<JsonBody, ErrorResponse> {
        JsonBody::parse(if bytes.trim_ascii().is_empty() { b"{}" } else { bytes })
    }

    /// Adds an error if the member is missing.
    pub(super) fn require<T>(&mut self, name: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.members.contains_key(name) {
            self.blank::<()>(name);
        }
        value
    }

    /// A text of at most [`MAX_TEXT`] characters.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.members.get(name)? {
            Value::String(text) if text.chars().count() > MAX_TEXT => {
                let parameter = InvalidParameter {
                    maximum: Some(MAX_TEXT as i64),
                    ..parameter(name, "max_length", "has too many characters")
                };
                self.note("Invalid request body", parameter);
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => self.wrong(name, "is_string", "must be a string"),
        }
    }

    /// A text that is not blank.
    pub(super) fn name(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if text.trim().is_empty() { self.blank(name) } else { Some(text) }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        match self.members.get(name)? {
            Value::Bool(boolean) => Some(*boolean),
            _ => self.wrong(name, "is_boolean", "must be a boolean"),
        }
    }

    /// A whole number from `least` to `most`.
    pub(super) fn number(&mut self, name: &str, least: u64, most: u64) -> Option<u64> {
        match self.members.get(name)?.as_u64() {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.wrong(name, "is_integer", "must be a whole number within its bounds"),
        }
    }

    pub(super) fn word<T: Copy + std::str::FromStr>(
        &mut self,
        name: &str,
        words: &[&'static str],
    ) -> Option<T> {
        let text = self.text(name)?;
        match text.parse() {
            Ok(word) => Some(word),
            Err(_) => {
                let parameter = InvalidParameter {
                    choices: Some(words.iter().map(|word| json!(word)).collect()),
                    ..parameter(name, "enum", &format!("must be one of {}", words.join(", ")))
                };
                self.note("Invalid request body", parameter);
                None
            }
        }
    }

    /// The outcome of a login, in upper or lower case.
    pub(super) fn outcome(&mut self, name: &str) -> Option<AuthOutcome> {
        let words: Vec<_> = AuthOutcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        if let Some(Value::String(text)) = self.members.get_mut(name) {
            text.make_ascii_uppercase();
        }
        self.word(name, &words)
    }

    /// `cef`, `json` or `cps`.
    pub(super) fn log_format(&mut self, name: &str) -> Option<Format> {
        let words: Vec<_> = Format::DELIVERED.iter().map(|format| format.as_str()).collect();
        self.word(name, &words)
    }

    /// An absolute URL of `http` or `https`, without credentials.
    pub(super) fn endpoint(&mut self, name: &str) -> Option<String> {
        let text = self.name(name)?;
        if is_url(&text) {
            return Some(text);
        }
        self.note("Invalid endpoint", parameter(name, "invalid", "must be a valid URL"));
        None
    }

    /// A value for the header `Authorization`.
    pub(super) fn authorization(&mut self, name: &str) -> Option<Secret> {
        let text = self.name(name)?;
        match Secret::new(&text) {
            Ok(secret) => Some(secret),
            Err(_) => self.wrong(name, "invalid", "must be what an HTTP header can hold"),
        }
    }

    /// A UUID.
    pub(super) fn destination_id(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        if let Ok(id) = text.parse::<Hyphenated>() {
            return Some(id.to_string());
        }
        let parameter = parameter(name, "is_uuid", "destination id format is invalid");
        self.note("Could not parse destination id", parameter);
        None
    }

    pub(super) fn time(&mut self, name: &str) -> Option<Time> {
        match self.text(name)?.parse() {
            Ok(time) => Some(time),
            Err(_) => self.wrong(name, "is_date_time", "must be a date-time in RFC 3339"),
        }
    }

    /// Adds an error about a member.
    pub(super) fn wrong<T>(&mut self, name: &str, rule: &'static str, reason: &str) -> Option<T> {
        self.note("Invalid request body", parameter(name, rule, reason));
        None
    }

    /// Fails with all errors, if there are any.
    pub(super) fn done(self) -> Result<(), ErrorResponse> {
        match self.detail {
            None => Ok(()),
            Some(detail) => Err(ErrorResponse::Invalid { detail, parameters: self.wrong }),
        }
    }

    fn blank<T>(&mut self, name: &str) -> Option<T> {
        self.note("Required field missing", parameter(name, "required", "cannot be blank"));
        None
    }

    fn note(&mut self, detail: &'static str, parameter: InvalidParameter) {
        self.detail.get_or_insert(detail);
        self.wrong.push(parameter);
    }
}

fn parameter(field: &str, rule: &str, reason: &str) -> InvalidParameter {
    InvalidParameter {
        field: field.to_owned(),
        reason: reason.to_owned(),
        rule: Some(rule.to_owned()),
        source: Some("body".to_owned()),
        ..InvalidParameter::default()
    }
}

fn is_url(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some("http" | "https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    // `Authority` accepts a port that is out of range, but does not return it.
    let whole = match authority.port_u16() {
        Some(port) => authority.as_str() == format!("{}:{port}", authority.host()),
        None => authority.as_str() == authority.host(),
    };
    whole && !authority.host().is_empty() && !text.contains('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with the member `x` of a body, as `read` reads it.
    fn check<T>(body: &str, read: impl Fn(&mut JsonBody) -> Option<T>, expected: Option<&str>) {
        let mut parsed = JsonBody::parse(body.as_bytes()).unwrap();
        let value = read(&mut parsed);
        let done = parsed.done();
        let rule = match done {
            Ok(()) => None,
            Err(ErrorResponse::Invalid { parameters, .. }) => {
                assert_eq!(parameters[0].field, "x");
                parameters[0].rule.clone()
            }
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(rule.as_deref(), expected, "{body}");
        assert!(rule.is_none() || value.is_none(), "{body}");
    }

    #[test]
    fn members_are_of_their_types() {
        check(r#"{}"#, |body| body.text("x"), None);
        check(r#"{"x":"a"}"#, |body| body.text("x"), None);
        check(r#"{"x":null}"#, |body| body.text("x"), None);
        let long = format!(r#"{{"x":"{}"}}"#, "a".repeat(MAX_TEXT + 1));
        check(&long, |body| body.text("x"), Some("max_length"));
        check(r#"{"x":" "}"#, |body| body.name("x"), Some("required"));
        check(r#"{"x":1}"#, |body| body.boolean("x"), Some("is_boolean"));
        check(r#"{"x":"xml"}"#, |body| body.log_format("x"), Some("enum"));
        check(r#"{"x":"cps"}"#, |body| body.log_format("x"), None);
        check(r#"{"x":"a\nb"}"#, |body| body.authorization("x"), Some("invalid"));
        check(r#"{"x":"Splunk 1"}"#, |body| body.authorization("x"), None);
        check(r#"{"x":"x"}"#, |body| body.destination_id("x"), Some("is_uuid"));
        check(r#"{"x":"2017-07-21"}"#, |body| body.time("x"), Some("is_date_time"));
        check(r#"{"x":11}"#, |body| body.number("x", 1, 10), Some("is_integer"));
    }

    #[test]
    fn an_endpoint_is_an_absolute_url() {
        let url = |text: &str| format!(r#"{{"x":"{text}"}}"#);
        for good in ["https://example.com/audit-logs", "http://127.0.0.1:8443", "https://[::1]:1/"]
        {
            check(&url(good), |body| body.endpoint("x"), None);
        }
        check(&url(""), |body| body.endpoint("x"), Some("required"));
        for bad in ["example.com", "/x", "ftp://a", "https://", "https://u:p@a", "https://a:99999"]
        {
            check(&url(bad), |body| body.endpoint("x"), Some("invalid"));
        }
    }

    #[test]
    fn missing_members_and_all_other_problems_are_reported_together() {
        let mut body = JsonBody::parse(br#"{"b":1,"other":true}"#).unwrap();
        let a = body.name("a");
        assert_eq!(body.require("a", a), None);
        let b = body.name("b");
        assert_eq!(body.require("b", b), None);
        let Err(ErrorResponse::Invalid { detail, parameters }) = body.done() else { panic!() };
        assert_eq!(detail, "Required field missing");
        let fields: Vec<_> = parameters.iter().map(|one| (&*one.field, &*one.reason)).collect();
        assert_eq!(fields, [("a", "cannot be blank"), ("b", "must be a string")]);
    }

    #[test]
    fn a_body_must_be_an_object() {
        for bad in ["", "{", "[]", "null", "\"x\"", "{}{}", "\u{1}"] {
            let Err(ErrorResponse::Invalid { detail, parameters }) =
                JsonBody::parse(bad.as_bytes())
            else {
                panic!("{bad}");
            };
            assert_eq!(detail, "Could not parse request body");
            assert_eq!(parameters[0].reason, "request format is invalid");
        }
        assert!(JsonBody::parse_optional(b" ").is_ok());
    }
}
