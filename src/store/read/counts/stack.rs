//! What the counts of a stretch of time are split by.

use std::borrow::Cow;

use rusqlite::types::ValueRef;

use crate::search::Field;

/// What the counts of a bucket are split by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stack {
    /// By the words of the verdict.
    #[default]
    Verdict,
    /// By the words of the kind, and `none` for malformed lines.
    Kind,
    /// By the class of the status: `2xx`, `3xx`, `4xx`, `5xx`, `other`, and `none` without a status.
    Status,
    /// By the name of the input.
    Input,
}

impl Stack {
    /// All of them.
    pub const ALL: [Stack; 4] = [Stack::Verdict, Stack::Kind, Stack::Status, Stack::Input];

    /// The field whose values they are.
    pub fn field(self) -> Field {
        match self {
            Stack::Verdict => Field::Verdict,
            Stack::Kind => Field::Kind,
            Stack::Status => Field::named("status"),
            Stack::Input => Field::Input,
        }
    }

    /// The word for a value of the field.
    pub(super) fn word(self, value: ValueRef<'_>) -> Cow<'_, str> {
        match (self, value) {
            (_, ValueRef::Null) => "none".into(),
            (Stack::Status, ValueRef::Integer(200..=299)) => "2xx".into(),
            (Stack::Status, ValueRef::Integer(300..=399)) => "3xx".into(),
            (Stack::Status, ValueRef::Integer(400..=499)) => "4xx".into(),
            (Stack::Status, ValueRef::Integer(500..=599)) => "5xx".into(),
            (Stack::Verdict | Stack::Kind | Stack::Input, ValueRef::Text(text)) => {
                String::from_utf8_lossy(text)
            }
            // A status that is no number is kept as text.
            _ => "other".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_has_a_class() {
        let check = |value: ValueRef<'_>, expected: &str| {
            assert_eq!(Stack::Status.word(value), expected, "{value:?}");
        };
        for (status, expected) in [
            (-1, "other"),
            (0, "other"),
            (101, "other"),
            (199, "other"),
            (200, "2xx"),
            (299, "2xx"),
            (304, "3xx"),
            (499, "4xx"),
            (500, "5xx"),
            (599, "5xx"),
            (600, "other"),
        ] {
            check(ValueRef::Integer(status), expected);
        }
        check(ValueRef::Text(b"200"), "other");
        check(ValueRef::Null, "none");
    }

    #[test]
    fn other_values_are_their_own_words() {
        assert_eq!(Stack::Kind.word(ValueRef::Text(b"access")), "access");
        assert_eq!(Stack::Kind.word(ValueRef::Null), "none");
        assert_eq!(Stack::Input.word(ValueRef::Text(b"portal")), "portal");
    }
}
