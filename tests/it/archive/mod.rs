//! The archive of a running server.

mod engines;
mod querying;
mod restoring;
mod serving;
