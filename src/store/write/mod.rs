//! Writing: one thread stores deliveries and recognizes duplicates.

pub(in crate::store) mod duplicates;
mod ids;
mod leaves;
pub(in crate::store) mod live;
pub mod observer;
pub(in crate::store) mod pulse;
mod redeliveries;
pub(in crate::store) mod salted;
pub(in crate::store) mod spellings;
pub(in crate::store) mod writer;
