//! What keeps a store in order: sealing, late verdicts and retention in the background; checks,
//! backups and repairs when they are asked for.

pub(in crate::store) mod background;
pub mod backup;
pub(in crate::store) mod check;
pub(in crate::store) mod late;
pub(in crate::store) mod leftovers;
pub mod repair;
pub(in crate::store) mod retention;
pub(in crate::store) mod seal;
