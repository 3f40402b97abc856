//! Konnect's side: its API as it is documented, in `fixtures/konnect/`, and the stand-in.

pub(crate) mod schemas;
mod simulate;
