//! The destinations of the organization, in the order of their creation.

use std::collections::BTreeMap;

use super::query::{Page, Position, page_of};
use super::response::ErrorResponse;
use crate::entry::Format;
use crate::entry::Millis;
use crate::konnect::api::{CreateDestination, Destination, UpdateDestination};
use crate::settings::Secret;

/// The maximum number of destinations.
pub(super) const MAX_DESTINATIONS: usize = 10_000;

/// A destination with its secret.
#[derive(Clone, Debug)]
pub(super) struct StoredDestination {
    pub(super) shown: Destination,
    /// `None` only if version 2 of the API created it without one.
    pub(super) authorization: Option<Secret>,
}

#[derive(Debug, Default)]
pub(super) struct Destinations {
    all: BTreeMap<u64, StoredDestination>,
    next: u64,
}

/// A filter for names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NameFilter {
    /// The whole name.
    pub(super) equals: Option<String>,
    /// A part of the name.
    pub(super) contains: Option<String>,
}

impl NameFilter {
    pub(super) fn fit(&self, name: &str) -> bool {
        self.equals.as_ref().is_none_or(|whole| name == whole)
            && self.contains.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }
}

impl Destinations {
    /// Adds a destination with this id.
    pub(super) fn create(
        &mut self,
        id: String,
        create: CreateDestination,
        now: Millis,
    ) -> Result<Destination, ErrorResponse> {
        let CreateDestination { name, endpoint, authorization, log_format, skip_ssl_verification } =
            create;
        let shown = Destination {
            id,
            name,
            endpoint,
            log_format,
            skip_ssl_verification,
            created_at: Some(now.into()),
            updated_at: Some(now.into()),
        };
        self.add(StoredDestination { shown: shown.clone(), authorization: Some(authorization) })?;
        Ok(shown)
    }

    /// Adds an empty destination for a webhook that version 2 of the API sets.
    pub(super) fn create_unnamed(&mut self, id: String, now: Millis) -> Result<(), ErrorResponse> {
        let shown = Destination {
            id,
            name: "Audit log webhook".to_owned(),
            endpoint: String::new(),
            log_format: Format::Cef,
            skip_ssl_verification: false,
            created_at: Some(now.into()),
            updated_at: Some(now.into()),
        };
        self.add(StoredDestination { shown, authorization: None })
    }

    fn add(&mut self, stored: StoredDestination) -> Result<(), ErrorResponse> {
        if self.all.len() >= MAX_DESTINATIONS {
            return Err(ErrorResponse::Conflict("There are as many destinations as there may be"));
        }
        self.all.insert(self.next, stored);
        self.next += 1;
        Ok(())
    }

    pub(super) fn get(&self, id: &str) -> Option<&StoredDestination> {
        self.all.values().find(|stored| stored.shown.id == id)
    }

    pub(super) fn update(
        &mut self,
        id: &str,
        update: UpdateDestination,
        now: Millis,
    ) -> Result<Destination, ErrorResponse> {
        let stored = self.all.values_mut().find(|stored| stored.shown.id == id);
        let stored = stored.ok_or(ErrorResponse::NotFound)?;
        let shown = &mut stored.shown;
        let UpdateDestination { name, endpoint, authorization, log_format, skip_ssl_verification } =
            update;
        set(&mut shown.name, name);
        set(&mut shown.endpoint, endpoint);
        set(&mut shown.log_format, log_format);
        set(&mut shown.skip_ssl_verification, skip_ssl_verification);
        shown.updated_at = Some(now.into());
        stored.authorization = authorization.or(stored.authorization.take());
        Ok(shown.clone())
    }

    /// Deletes a destination, even if it is in use.
    pub(super) fn delete(&mut self, id: &str) {
        self.all.retain(|_, stored| stored.shown.id != id);
    }

    /// A page of the destinations that match the filter.
    pub(super) fn page(
        &self,
        position: Position,
        size: usize,
        filter: &NameFilter,
    ) -> Page<Destination> {
        let item = |(number, stored): (&u64, &StoredDestination)| {
            filter.fit(&stored.shown.name).then(|| (*number, stored.shown.clone()))
        };
        page_of(
            position,
            size,
            |after| {
                let from = after.map_or(0, |number| number.saturating_add(1));
                self.all.range(from..).filter_map(item)
            },
            |number| self.all.range(..number).rev().filter_map(item),
        )
    }
}

fn set<T>(value: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *value = new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(name: &str) -> CreateDestination {
        CreateDestination {
            name: name.to_owned(),
            endpoint: "https://example.com/".to_owned(),
            authorization: Secret::new("Bearer x").unwrap(),
            log_format: Format::Cef,
            skip_ssl_verification: false,
        }
    }

    #[test]
    fn a_thousand_destinations_page_forwards_and_backwards() {
        let mut destinations = Destinations::default();
        for n in 0..1000 {
            destinations.create(format!("{n}"), create(&format!("d-{n}")), Millis::MIN).unwrap();
        }
        for size in [1, 7, 100, 1000, 5000] {
            let (mut ids, mut position) = (Vec::new(), Some(Position::Start));
            while let Some(at) = position {
                let page = destinations.page(at, size, &NameFilter::default());
                ids.extend(page.items.iter().map(|one| one.id.parse::<usize>().unwrap()));
                position = page.next.map(Position::After);
            }
            assert_eq!(ids, (0..1000).collect::<Vec<_>>(), "{size}");
        }
        let page = destinations.page(Position::Before(500), 10, &NameFilter::default());
        assert_eq!(page.items[0].name, "d-490");
        assert_eq!((page.next, page.previous), (Some(499), Some(490)));
    }

    #[test]
    fn names_are_filtered() {
        let mut destinations = Destinations::default();
        for name in ["siem", "siem-2", "other"] {
            destinations.create(name.to_owned(), create(name), Millis::MIN).unwrap();
        }
        let check = |equals: Option<&str>, contains: Option<&str>, expected: &[&str]| {
            let owned = |text: &str| text.to_owned();
            let filter = NameFilter { equals: equals.map(owned), contains: contains.map(owned) };
            let page = destinations.page(Position::Start, 10, &filter);
            let names: Vec<_> = page.items.iter().map(|one| one.name.as_str()).collect();
            assert_eq!(names, expected);
            assert_eq!(page.next, None);
        };
        check(None, None, &["siem", "siem-2", "other"]);
        check(Some("siem"), None, &["siem"]);
        check(None, Some("iem"), &["siem", "siem-2"]);
        check(Some("x"), None, &[]);
    }

    #[test]
    fn unchanged_members_stay() {
        let mut destinations = Destinations::default();
        destinations.create("a".to_owned(), create("n"), Millis::MIN).unwrap();
        let update =
            UpdateDestination { log_format: Some(Format::Json), ..UpdateDestination::default() };
        let later = Millis::saturating(5);
        let shown = destinations.update("a", update, later).unwrap();
        assert_eq!((shown.name.as_str(), shown.log_format), ("n", Format::Json));
        assert_eq!(shown.updated_at, Some(later.into()));
        let stored = destinations.get("a").unwrap();
        assert!(stored.authorization.as_ref().unwrap().matches(b"Bearer x"));
        let missing = destinations.update("b", UpdateDestination::default(), later);
        assert_eq!(missing, Err(ErrorResponse::NotFound));
        destinations.delete("a");
        assert!(destinations.get("a").is_none());
    }
}
