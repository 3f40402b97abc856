//! Stored entries out to files, and on to other programs.

pub mod format;
