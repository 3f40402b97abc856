//! Konnect's side: its API as it is documented, in `fixtures/konnect/`, the stand-in, and the
//! commands that work with the API.

mod client;
pub(crate) mod schemas;
mod simulate;
