//! Konnect's side: the commands that work with its API, against the stand-in.

mod client;
