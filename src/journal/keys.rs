//! The names of the journal's objects, as docs/journal.md defines them. Nothing else makes a name.
//!
//! No name is a folder of another, so that a journal can be a folder of files.

use std::fmt;
use std::str::FromStr;

/// The object that begins an epoch. Epochs are dense and are never deleted.
pub(crate) fn epoch(epoch: u64) -> String {
    format!("epochs/{epoch}")
}

/// An object of an epoch: deliveries, or the seal.
pub(crate) fn object(epoch: u64, number: u64) -> String {
    format!("journal/{epoch}/{number:020}")
}

/// An entry of the registry: the id of a store.
pub(super) fn registered(number: u64) -> String {
    format!("registry/{number}")
}

/// A published cursor of a store.
pub(super) fn cursor(store: &StoreId, number: u64) -> String {
    format!("stores/{store}/cursors/{number}")
}

/// The object that retires a store.
pub(super) fn retired(store: &StoreId) -> String {
    format!("stores/{store}/retired")
}

/// A floor: what a prune wants to delete.
pub(super) fn floor(number: u64) -> String {
    format!("floors/{number}")
}

/// Whether a floor holds.
pub(super) fn decision(floor: u64) -> String {
    format!("decisions/{floor}")
}

/// Says that everything below a floor is deleted.
pub(super) fn deletion(floor: u64) -> String {
    format!("deletions/{floor}")
}

/// The id of a store: 1 to 64 characters of `a-z`, `0-9` and `-`. It is a part of names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreId(String);

/// A text that is no id of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a store: expected 1 to 64 characters of a-z, 0-9 and -")]
pub(crate) struct BadStoreId(String);

impl FromStr for StoreId {
    type Err = BadStoreId;

    fn from_str(text: &str) -> Result<StoreId, BadStoreId> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(good) {
            return Err(BadStoreId(text.chars().take(80).collect()));
        }
        Ok(StoreId(text.to_owned()))
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_document() {
        let store: StoreId = "7d437ac9-5f99".parse().unwrap();
        let names = [
            epoch(3),
            object(3, 17),
            object(u64::MAX, u64::MAX),
            registered(0),
            cursor(&store, 12),
            retired(&store),
            floor(5),
            decision(5),
            deletion(5),
        ];
        let expected = [
            "epochs/3",
            "journal/3/00000000000000000017",
            "journal/18446744073709551615/18446744073709551615",
            "registry/0",
            "stores/7d437ac9-5f99/cursors/12",
            "stores/7d437ac9-5f99/retired",
            "floors/5",
            "decisions/5",
            "deletions/5",
        ];
        assert_eq!(names, expected);
        let document = include_str!("../../docs/journal.md");
        for folder in ["epochs", "journal", "registry", "stores", "floors", "decisions"] {
            assert!(document.contains(&format!("\n    {folder}/")), "{folder} is not documented");
        }
    }

    #[test]
    fn an_id_of_a_store_cannot_leave_its_place() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<StoreId>().is_ok(), good, "{text:?}");
        };
        check("a", true);
        check("0-9", true);
        check(&"a".repeat(64), true);
        check(&"a".repeat(65), false);
        check("", false);
        check("..", false);
        check("a/b", false);
        check("A", false);
        check("a\n", false);
    }
}
