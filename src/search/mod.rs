//! The query language: a text to a [`Filter`].
//!
//! ```text
//! text -> words with their places -> fields, AND, OR, NOT -> typed by the fields
//!         (cursor)                   (parse, terms)          (values, time)
//! ```
//!
//! The language is Lucene's as far as docs/query-language.md tells. That page is its definition;
//! its examples are run by a test here. What is not meant to be in a query is refused with its place.
//!
//! What is wrong with a query is said once, as a [`QueryError`]: a [`Filter`] can be translated
//! without a check, and never fails on what an entry holds.

mod cursor;
mod filter;
mod hints;
mod parse;
#[cfg(test)]
mod tests;
pub mod time;
mod values;
mod write;

pub use filter::{Field, Filter, Operand, Test};
pub use hints::{Hint, hints, undefined_fields};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};
pub use write::{equals, narrowed};

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
    fn new(position: usize, found: &str, expected: impl Into<String>) -> QueryError {
        let found = if found.is_empty() { "end of query".to_owned() } else { quoted(found) };
        QueryError { position, found, expected: expected.into() }
    }
}

/// The text in quotes, cut to what fits a message, control characters escaped.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}
