//! The Dev Portals of the organization, as far as audit logs need them: their ids and names.
//!
//! The answers have the members that the operations `list-portals` and `get-portal` of "Portal
//! Management" 3.9.8 require, with the defaults of a new portal. Lists have numbered pages.

use serde_json::{Value, json};

use super::query::ListQuery;
use super::response::ErrorResponse;
use crate::entry::Millis;

/// A Dev Portal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Portal {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// The default and the maximum page size.
const SIZES: (usize, usize) = (10, 100);

impl Portal {
    /// The portal with the number `at`, from 1, of those that nobody named.
    pub(crate) fn unnamed(id: String, at: usize) -> Portal {
        Portal { id, name: format!("dev-portal-{at}") }
    }

    /// The portal as the API shows it, made at `made_at`.
    fn shown(&self, made_at: Millis) -> Value {
        let domain = format!("{}.us.kongportals.com", self.id);
        json!({
            "id": self.id,
            "name": self.name,
            "display_name": self.name,
            "description": null,
            "authentication_enabled": true,
            "rbac_enabled": false,
            "default_api_visibility": "private",
            "default_page_visibility": "private",
            "default_application_auth_strategy_id": null,
            "auto_approve_developers": false,
            "auto_approve_applications": false,
            "default_domain": domain,
            "canonical_domain": domain,
            "labels": {},
            "created_at": made_at,
            "updated_at": made_at,
        })
    }
}

/// `get-portal`.
pub(super) fn read(portals: &[Portal], id: &str, made_at: Millis) -> Result<Value, ErrorResponse> {
    let portal = portals.iter().find(|portal| portal.id == id).ok_or(ErrorResponse::NotFound)?;
    Ok(portal.shown(made_at))
}

/// `list-portals`: a page of those whose name fits the filter.
pub(super) fn list(
    portals: &[Portal],
    mut query: ListQuery,
    made_at: Millis,
) -> Result<Value, ErrorResponse> {
    let size = query.page(SIZES.0, SIZES.1, true).size;
    let number = query.whole_number("page[number]").unwrap_or(1);
    query.check()?;
    let names = query.names();
    let found: Vec<_> = portals.iter().filter(|portal| names.fit(&portal.name)).collect();
    let before = size.saturating_mul(number.saturating_sub(1));
    let page = found.iter().skip(before).take(size);
    Ok(json!({
        "data": page.map(|portal| portal.shown(made_at)).collect::<Vec<_>>(),
        "meta": {"page": {"number": number, "size": size, "total": found.len()}},
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(query: &str) -> (Vec<String>, Value) {
        let portals: Vec<_> = (1..=25).map(|at| Portal::unnamed(format!("p{at}"), at)).collect();
        let query = ListQuery::of(&format!("/v3/portals?{query}").parse().unwrap());
        let page = list(&portals, query, Millis::MIN).unwrap();
        let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
        (page["data"].as_array().unwrap().iter().map(name).collect(), page["meta"]["page"].clone())
    }

    #[test]
    fn portals_page_by_number_and_are_filtered_by_name() {
        let (first, page) = names("");
        assert_eq!((first.len(), page), (10, json!({"number": 1, "size": 10, "total": 25})));
        assert_eq!(names("page[size]=20&page[number]=2").0[0], "dev-portal-21");
        assert_eq!(names("page[number]=9").0, [""; 0]);
        assert_eq!(names("filter[name][eq]=dev-portal-7").0, ["dev-portal-7"]);
        let (contains, page) = names("filter[name][contains]=-1&page[size]=3");
        assert_eq!(contains, ["dev-portal-1", "dev-portal-10", "dev-portal-11"]);
        assert_eq!(page["total"], 11);
        let bad = ListQuery::of(&"/v3/portals?page[number]=0".parse().unwrap());
        assert!(list(&[], bad, Millis::MIN).is_err());
    }
}
