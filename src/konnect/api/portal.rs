//! Dev Portals, as far as their audit logs need them.

use serde::{Deserialize, Serialize};

/// A Dev Portal in a response: `list-portals`, `get-portal`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Portal {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) name: String,
    /// The domain that Konnect assigned.
    #[serde(default)]
    pub(crate) default_domain: String,
}

/// A numbered page of `list-portals`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct PortalPage {
    pub(crate) data: Vec<Portal>,
    #[serde(default)]
    pub(crate) meta: NumberedMeta,
}

/// The place of a numbered page (`PaginatedMeta`).
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct NumberedMeta {
    #[serde(default)]
    pub(crate) page: NumberedPage,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct NumberedPage {
    /// The number of all items. The documents have it as a number that may have a fraction.
    #[serde(default)]
    pub(crate) total: f64,
}
