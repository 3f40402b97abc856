//! The names of the journal's objects, as docs/journal.md defines them. Nothing else makes or reads a
//! name.
//!
//! No name is a folder of another, so that a journal can be a folder of files.

use std::fmt;
use std::str::FromStr;

/// The folder of the objects that begin epochs.
pub(crate) const EPOCHS: &str = "epochs";

/// The folder of the objects of epochs.
pub(crate) const OBJECTS: &str = "journal";

/// Which object of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectId {
    pub(crate) epoch: u64,
    pub(crate) number: u64,
}

impl ObjectId {
    /// Reads a key such as `journal/3/00000000000000000017`. `None` if it is not that of an object of an
    /// epoch.
    pub(crate) fn of_key(key: &str) -> Option<ObjectId> {
        let (epoch, number) = key.strip_prefix(OBJECTS)?.strip_prefix('/')?.split_once('/')?;
        let id = ObjectId { epoch: epoch.parse().ok()?, number: number.parse().ok()? };
        (id.key() == key).then_some(id)
    }

    /// The key of the object.
    pub(crate) fn key(self) -> String {
        object(self.epoch, self.number)
    }
}

/// The object that begins an epoch. Epochs are dense and are never deleted.
pub(crate) fn epoch(epoch: u64) -> String {
    format!("{EPOCHS}/{epoch}")
}

/// An object of an epoch: deliveries, or the seal.
pub(crate) fn object(epoch: u64, number: u64) -> String {
    format!("{OBJECTS}/{epoch}/{number:020}")
}

/// An entry of the registry: the id of a store.
pub(super) fn registered(number: u64) -> String {
    format!("registry/{number}")
}

/// A published cursor of a store.
pub(crate) fn cursor(store: &StoreId, number: u64) -> String {
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

/// An object that tells a prune the time. `id` is random.
pub(crate) fn clock(id: &str) -> String {
    format!("clock/{id}")
}

/// The folder of the objects that a check of the object store makes. `id` is random.
pub(crate) fn check(id: &str) -> String {
    format!("check/{id}")
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
            clock("ID"),
            check("ID"),
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
            "clock/ID",
            "check/ID",
        ];
        assert_eq!(names, expected);
        let document = include_str!("../../docs/journal.md");
        for name in names {
            let (folder, _) = name.split_once('/').unwrap();
            assert!(document.contains(&format!("\n    {folder}/")), "{folder} is not documented");
        }
    }

    #[test]
    fn only_a_key_of_an_object_has_an_id() {
        let check = |key: &str, expected: Option<(u64, u64)>| {
            let found = ObjectId::of_key(key).map(|id| (id.epoch, id.number));
            assert_eq!(found, expected, "{key}");
        };
        check("journal/3/00000000000000000017", Some((3, 17)));
        check("journal/3/17", None);
        check("journal/03/00000000000000000017", None);
        check("journal/3/00000000000000000017/x", None);
        check("journal/x/00000000000000000017", None);
        check("journal/3", None);
        check("epochs/3/00000000000000000017", None);
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
