//! Parses audit log entries.
//!
//! - [`layout`]: splits a body into lines, and finds the format of a line and the places of its
//!   signature. Nothing is trusted yet.
//! - [`payload`]: reads the fields of a payload, never of bytes outside it.
//! - [`fields`], [`time`]: the values of an entry. [`record`]: an entry as JSON.
//!
//! This module checks no signatures and knows no keys. The formats are defined by the vendor
//! ("Konnect and Dev Portal audit logs") and by ArcSight ("Implementing ArcSight Common Event
//! Format").

mod cef;
pub mod fields;
mod json;
pub mod layout;
pub mod payload;
mod pulled;
pub mod record;
pub mod time;
pub(crate) mod words;

pub use fields::{Fields, Value};
pub use layout::{Layout, Malformed, lines};
pub use payload::ParsedPayload;
pub use record::Record;
pub use time::Millis;
pub use words::{Format, Kind, VerdictName, Warning};
