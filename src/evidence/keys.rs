//! The keys of a bundle: a JWK set whose keys also say where and when they were seen.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::entry::Millis;
use crate::signature::Key;
use crate::signature::key::MAX_KEYS;
use crate::store::Sighting;

/// A JWK set (RFC 7517 section 5).
#[derive(Serialize)]
struct Set<'a> {
    keys: Vec<SeenKey<'a>>,
}

/// A key, with a member that other programs ignore.
#[derive(Serialize)]
struct SeenKey<'a> {
    #[serde(flatten)]
    key: &'a Key,
    seen: Vec<Seen<'a>>,
}

/// Where and when a key was seen.
#[derive(Serialize)]
struct Seen<'a> {
    /// The file or URL of the key set.
    source: &'a str,
    first_seen: Millis,
    last_seen: Millis,
}

/// The keys that were ever seen, as JSON. If there are more than a set may have, those in `used`
/// are kept, and then those that were seen last.
pub(super) fn write(
    sightings: &[Sighting],
    used: &BTreeSet<[u8; 32]>,
) -> serde_json::Result<Vec<u8>> {
    let mut by_key: BTreeMap<_, Vec<&Sighting>> = BTreeMap::new();
    for one in sightings {
        by_key.entry(one.key.thumbprint()).or_default().push(one);
    }
    let mut keys: Vec<_> = by_key.into_iter().collect();
    keys.sort_by_cached_key(|(thumbprint, seen)| {
        let last_seen = seen.iter().map(|one| one.last_seen).max();
        (!used.contains(thumbprint.bytes()), std::cmp::Reverse(last_seen))
    });
    keys.truncate(MAX_KEYS);
    let keys = keys.iter().filter_map(|(_, sightings)| {
        let seen = sightings.iter().map(|one| Seen {
            source: &one.source,
            first_seen: one.first_seen,
            last_seen: one.last_seen,
        });
        Some(SeenKey { key: &sightings.first()?.key, seen: seen.collect() })
    });
    serde_json::to_vec_pretty(&Set { keys: keys.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::KeySet;

    #[test]
    fn the_keys_can_be_verified_with_and_say_where_they_were_seen() {
        let sighting = |source: &str, n: u8, last_seen: i64| Sighting {
            source: source.into(),
            key: Key::new(Some(n.to_string()), [n; 32]),
            first_seen: Millis::saturating(0),
            last_seen: Millis::saturating(last_seen),
        };
        let two = [sighting("a", 1, 5), sighting("b", 1, 7), sighting("a", 2, 9)];
        let json: serde_json::Value =
            serde_json::from_slice(&write(&two, &BTreeSet::new()).unwrap()).unwrap();
        let found: Vec<_> =
            json["keys"].as_array().unwrap().iter().map(|one| &one["kid"]).collect();
        assert_eq!(found, ["2", "1"]);
        assert_eq!(json["keys"][1]["seen"][1]["source"], "b");
        assert_eq!(json["keys"][1]["seen"][1]["last_seen"], "1970-01-01T00:00:00.007Z");
        let many: Vec<_> = (0..=200).map(|n| sighting("a", n, n.into())).collect();
        let used = [*many[3].key.thumbprint().bytes()].into();
        let json = write(&many, &used).unwrap();
        KeySet::parse(&json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["keys"].as_array().unwrap().len(), MAX_KEYS);
        assert_eq!(
            (&json["keys"][0]["kid"], &json["keys"][1]["kid"]),
            (&"3".into(), &"200".into())
        );
    }
}
