//! What is wrong with a query, and where.

/// The longest text that a message repeats, in characters.
const SHOWN: usize = 60;

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("query, character {}: found {found}, expected {expected}", .position.saturating_add(1))]
pub struct QueryError {
    /// Where: the number of characters (Unicode scalar values) before it. The message counts from
    /// one, as people do.
    pub position: usize,
    /// What stands there: a piece of the query in quotes, or `end of query`.
    pub found: String,
    /// What would have been right, or what to write instead.
    pub expected: String,
}

impl QueryError {
    /// At `position` stands the text `found`; none is the end of the query.
    pub(super) fn new(position: usize, found: &str, expected: impl Into<String>) -> QueryError {
        let found = if found.is_empty() { "end of query".to_owned() } else { quoted(found) };
        QueryError { position, found, expected: expected.into() }
    }
}

/// The text in quotes, cut to what fits a message, control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_place_counting_from_one() {
        let error = QueryError::new(0, "AND", "a term before it");
        assert_eq!(
            error.to_string(),
            "query, character 1: found \"AND\", expected a term before it"
        );
        let error = QueryError::new(7, "", "a value after \"status:\"");
        assert_eq!(
            error.to_string(),
            "query, character 8: found end of query, expected a value after \"status:\""
        );
    }

    #[test]
    fn what_is_long_or_no_text_is_shown_harmlessly() {
        assert_eq!(quoted("\u{1b}[2J\u{202e}"), r#""\u{1b}[2J\u{202e}""#);
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), SHOWN + 3);
    }
}
