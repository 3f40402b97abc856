//! The keys at hand: read from files and URLs, kept in the catalog, refreshed, retired.
//!
//! - [`source`]: one JWK set, read from where it is.
//! - [`ring`]: which keys verify what which input receives; what late verdicts are judged by.
//! - [`refresh`]: the task that keeps the ring current.

pub mod refresh;
pub mod ring;
pub mod source;

pub use refresh::{Refresher, Suspicion, Watcher};
pub use ring::KeyRing;
pub use source::{SourceError, read};
