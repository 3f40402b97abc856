//! The keys that may verify an entry: those of the sources of its input, unless a key had retired
//! when the entry was received; or those that the caller gives, for every entry.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::entry::Millis;
use crate::signature::{Key, KeySet};
use crate::store::catalog::Catalog;
use crate::store::catalog::retirements;
use crate::store::catalog::sightings::{self, Sighting, Source};
use crate::store::error::StoreError;

/// The keys that signatures are verified with.
pub(super) enum Trusted {
    /// All keys that were ever seen, for each time of receipt from which another period of retirement
    /// is in force.
    Seen(Vec<(Millis, Judged)>),
    /// The same keys for all entries.
    Given(Arc<KeySet>),
}

/// The keys under one period of retirement, by input.
pub(super) struct Judged {
    inputs: HashMap<String, Lasting>,
    all: Lasting,
}

/// Keys, ordered by their retirement.
struct Lasting {
    /// For each key, the last time of receipt for which it verifies, the latest first.
    until: Vec<i64>,
    /// The empty set, the set of the first key, of the first two, and so on.
    sets: Vec<KeySet>,
}

impl Lasting {
    fn new(mut keys: Vec<(i64, Arc<Key>)>) -> Lasting {
        keys.sort_by_key(|(until, _)| std::cmp::Reverse(*until));
        let set =
            |count: usize| KeySet::new(keys.iter().take(count).map(|(_, key)| Arc::clone(key)));
        Lasting {
            sets: (0..=keys.len()).map(set).collect(),
            until: keys.iter().map(|(until, _)| *until).collect(),
        }
    }

    fn at(&self, received_at: Millis) -> Option<&KeySet> {
        self.sets.get(self.until.partition_point(|until| received_at.get() <= *until))
    }
}

impl Trusted {
    pub(super) fn load(catalog: &Catalog) -> Result<Trusted, StoreError> {
        let ((keys, sources), inputs) = (sightings::all(catalog)?, sightings::inputs(catalog)?);
        let retirements = retirements::all(catalog)?;
        let judged = |period| Judged::new(&keys, &sources, &inputs, period);
        let each = retirements.each().iter().map(|(from, period)| (*from, judged(*period)));
        Ok(Trusted::Seen(each.collect()))
    }

    /// The keys that verify what `input` received at `received_at`.
    pub(super) fn of(&self, input: &str, received_at: Millis) -> Option<&KeySet> {
        self.select(received_at, |judged| judged.of(input, received_at))
    }

    /// The keys of all sources, because an input may have had other sources before.
    pub(super) fn any(&self, received_at: Millis) -> Option<&KeySet> {
        self.select(received_at, |judged| judged.all.at(received_at))
    }

    fn select<'a>(
        &'a self,
        received_at: Millis,
        of: impl FnOnce(&'a Judged) -> Option<&'a KeySet>,
    ) -> Option<&'a KeySet> {
        match self {
            Trusted::Given(keys) => Some(keys),
            Trusted::Seen(each) => {
                let in_force = each.iter().rev().find(|(from, _)| *from <= received_at);
                in_force.or(each.first()).and_then(|(_, judged)| of(judged))
            }
        }
    }
}

impl Judged {
    fn new(
        keys: &[Sighting],
        sources: &[Source],
        inputs: &[(String, String)],
        retire_after: Duration,
    ) -> Judged {
        let retire_after = i64::try_from(retire_after.as_millis()).unwrap_or(i64::MAX);
        let lasting = |wanted: &dyn Fn(&str) -> bool| {
            let keys = keys.iter().filter(|one| wanted(&one.source)).map(|one| {
                let source = sources.iter().find(|source| source.source == one.source);
                let read_at = source.and_then(|source| source.succeeded_at);
                // A key that is still in its set does not retire.
                let until = match read_at.is_none_or(|at| at <= one.last_seen) {
                    true => i64::MAX,
                    false => one.last_seen.get().saturating_add(retire_after),
                };
                (until, Arc::new(one.key.clone()))
            });
            Lasting::new(keys.collect())
        };
        let names: BTreeSet<_> = inputs.iter().map(|(input, _)| input).collect();
        let of = |input: &String| {
            lasting(&|source| inputs.iter().any(|one| one.0 == *input && one.1 == source))
        };
        Judged {
            inputs: names.into_iter().map(|input| (input.clone(), of(input))).collect(),
            all: lasting(&|_| true),
        }
    }

    fn of(&self, input: &str, received_at: Millis) -> Option<&KeySet> {
        self.inputs.get(input).unwrap_or(&self.all).at(received_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_verifies_until_it_has_retired_and_only_for_its_inputs() {
        let sighting = |source: &str, n: u8, last_seen: i64| Sighting {
            source: source.into(),
            key: Key::new(Some(n.to_string()), [n; 32]),
            first_seen: Millis::MIN,
            last_seen: Millis::saturating(last_seen),
        };
        let source = |name: &str, at: i64| Source {
            source: name.into(),
            attempted_at: Millis::saturating(at),
            succeeded_at: Some(Millis::saturating(at)),
            error: None,
        };
        let judged = |period: u64| {
            Judged::new(
                &[sighting("a", 1, 100), sighting("a", 2, 500), sighting("b", 3, 500)],
                &[source("a", 500), source("b", 500)],
                &[("in".into(), "a".into())],
                Duration::from_millis(period),
            )
        };
        let from = |at: i64, period: u64| (Millis::saturating(at), judged(period));
        let trusted = Trusted::Seen(vec![from(0, 50), from(1000, 2000)]);
        let kids = |set: Option<&KeySet>| -> Vec<String> {
            let mut kids: Vec<_> =
                set.unwrap().keys().iter().map(|key| key.kid().to_owned()).collect();
            kids.sort();
            kids
        };
        let at = Millis::saturating;
        assert_eq!(kids(trusted.of("in", at(150))), ["1", "2"]);
        assert_eq!(kids(trusted.of("in", at(151))), ["2"]);
        assert_eq!(kids(trusted.of("in", at(10_000))), ["2"]);
        // Received when keys retired later.
        assert_eq!(kids(trusted.of("in", at(1000))), ["1", "2"]);
        assert_eq!(kids(trusted.of("in", at(2100))), ["1", "2"]);
        assert_eq!(kids(trusted.of("in", at(2101))), ["2"]);
        assert_eq!(kids(trusted.of("another", at(151))), ["2", "3"]);
        assert_eq!(kids(trusted.any(at(1))), ["1", "2", "3"]);
    }
}
