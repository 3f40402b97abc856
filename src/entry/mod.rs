//! What a line is: its format, its kind, its fields.

pub mod fields;
mod words;

pub use fields::{Fields, Value};
pub use words::{Format, Kind, Warning};
