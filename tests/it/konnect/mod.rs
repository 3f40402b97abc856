//! Konnect's side: the stand-in, and the commands that work with its API.

mod client;
mod simulate;
