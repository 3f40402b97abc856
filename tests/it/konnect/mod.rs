//! Konnect's API as it is documented, in `fixtures/konnect/`.

pub(crate) mod schemas;
