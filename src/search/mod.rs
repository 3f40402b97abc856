//! The query language: a text to a [`Filter`].
//!
//! ```text
//! text -> words with their places -> a tree of fields, AND, OR, NOT -> typed by the fields
//!         (scan, terms, cursor)      (tantivy-query-grammar)           (parse, values, time)
//! ```
//!
//! The language is Lucene's as far as docs/query-language.md tells. That page is its definition;
//! its examples are run by a test here.
//!
//! The grammar drops the places of words, undoes some escapes and keeps others, and takes what it
//! does not understand for a word. So the words are read before it, what is not meant to be in a
//! query is refused with its place, and the grammar is handed numbers in their stead.
//!
//! What is wrong with a query is said once, as a [`QueryError`]: a [`Filter`] can be translated
//! without a check, and never fails on what an entry holds.

mod cursor;
mod error;
mod filter;
mod parse;
mod scan;
mod slips;
mod terms;
#[cfg(test)]
mod tests;
pub mod time;
mod values;
mod write;

pub use error::QueryError;
pub use filter::{Field, Filter, Operand, Test};
pub use parse::{MAX_BYTES, MAX_DEPTH, MAX_TERMS, parse};
pub use slips::{Slip, slips, undefined};
pub use write::{equals, narrowed};
