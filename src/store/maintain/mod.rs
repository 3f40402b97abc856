//! Maintenance: sealing, late verdicts and retention in the background; checks, backups and repairs
//! on request.

pub(in crate::store) mod background;
pub mod backup;
mod backup_log;
pub(in crate::store) mod check;
pub(in crate::store) mod events;
pub(in crate::store) mod late;
pub(in crate::store) mod leftovers;
pub(in crate::store) mod rebuild;
pub mod repair;
pub(in crate::store) mod reseal;
pub(in crate::store) mod retention;
pub(in crate::store) mod seal;
pub mod snapshot;
pub(in crate::store) mod tiles;
pub(in crate::store) mod unfinished;
