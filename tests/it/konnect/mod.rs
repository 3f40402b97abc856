//! Konnect's side: the stand-in, and what is done with it.

mod simulate;
