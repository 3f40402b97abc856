//! The archive of a running server.

mod restoring;
mod serving;
