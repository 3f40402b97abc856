//! What a line is.
//!
//! - [`lines`]: a body to its lines.
//! - [`layout`]: a line to its format, and to where its signature may stand. Nothing is believed yet.
//! - [`payload`]: a payload to its fields. Called on what verified, never on bytes outside it.
//! - [`fields`], [`time`]: what an entry holds. [`record`]: an entry as JSON.
//!
//! It checks no signature and knows no keys. The formats are the vendor's ("Konnect and Dev Portal
//! audit logs") and ArcSight's ("Implementing ArcSight Common Event Format").

mod cef;
pub mod fields;
mod json;
pub mod layout;
pub mod payload;
pub mod record;
pub mod time;
pub(crate) mod words;

pub use fields::{Fields, Value};
pub use layout::{Layout, Malformed, lines};
pub use payload::ParsedPayload;
pub use record::Record;
pub use time::Millis;
pub use words::{Format, Kind, VerdictName, Warning};
