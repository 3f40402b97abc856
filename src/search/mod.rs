//! The query language: parses a text into a [`Filter`].
//!
//! ```text
//! text -> words with positions -> fields, AND, OR, NOT -> values with types
//!         (cursor)                (parse)                 (values, time)
//! ```
//!
//! The language is a part of Lucene's. docs/query-language.md defines it, and a test runs the
//! examples of that page. Everything else is refused, with its position.
//!
//! All errors of a query are found here, as a [`QueryError`]. A [`Filter`] can be translated
//! without checks, and applies to any entry.

mod correction;
mod cursor;
mod filter;
mod hints;
mod matches;
mod parse;
#[cfg(test)]
mod tests;
pub mod time;
mod values;
mod write;

pub use correction::Correction;
pub use filter::{Field, Filter, Operand, Test};
pub use hints::{Hint, hints, undefined_fields};
pub use matches::{Held, Part, Values};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};
pub use write::{equals, narrowed, without};

/// The longest text that a message quotes, in characters.
const SHOWN: usize = 60;

/// Why a text is not a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("query, character {}: found {found}, expected {expected}", .position.saturating_add(1))]
pub struct QueryError {
    /// The position of the error: the number of characters (Unicode scalar values) before it. The
    /// message counts from one.
    pub position: usize,
    /// The piece of the query at the position, in quotes, or `end of query`.
    pub found: String,
    /// What was expected, or what to write instead.
    pub expected: String,
}

impl QueryError {
    /// An error at `position`. An empty `found` is the end of the query.
    fn new(position: usize, found: &str, expected: impl Into<String>) -> QueryError {
        let found = if found.is_empty() { "end of query".to_owned() } else { quoted(found) };
        QueryError { position, found, expected: expected.into() }
    }
}

/// Whether `text` begins with what was typed of it, whatever the case of ASCII letters.
pub fn completes(text: &str, typed: &str) -> bool {
    let beginning = text.as_bytes().get(..typed.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(typed.as_bytes()))
}

/// The text in quotes, shortened to fit a message, with control characters escaped.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
