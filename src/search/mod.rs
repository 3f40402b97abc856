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
mod error;
mod filter;
mod hints;
mod parse;
mod terms;
#[cfg(test)]
mod tests;
pub mod time;
mod values;
mod write;

pub use error::QueryError;
pub use filter::{Field, Filter, Operand, Test};
pub use hints::{Hint, hints, undefined_fields};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};
pub use write::{equals, narrowed};
