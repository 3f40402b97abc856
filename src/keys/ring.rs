//! Which keys verify what which input receives.
//!
//! A key that left its set goes on verifying what is received for a while after it was last seen; a
//! source that cannot be reached takes nothing away. A key that is new may verify what was received
//! before it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::entry::Millis;
use crate::ingest::ExpectedIds;
use crate::signature::{Key, KeySet};
use crate::store::{Judge, Sighting, Source};

/// An input as far as its entries are judged.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// The sources of its keys, by the names that the catalog has. None: whatever any source had.
    pub sources: Vec<String>,
    /// Whose entries belong to it.
    pub expected: Arc<ExpectedIds>,
}

/// The keys at hand.
#[derive(Debug)]
pub struct KeyRing {
    inputs: HashMap<String, Judged>,
    retire_after: Duration,
    max_line: usize,
    known: RwLock<Known>,
    /// Rises whenever the keys change, so that whoever verified with older ones can tell.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    keys: Vec<Held>,
    /// For each input the keys that verify what comes now.
    current: HashMap<String, Arc<KeySet>>,
}

/// A key at one of its sources.
#[derive(Debug)]
struct Held {
    source: String,
    key: Arc<Key>,
    last_seen: Millis,
    /// Whether the set had it when it was read last.
    in_set: bool,
}

impl KeyRing {
    /// A ring with what the catalog knows.
    pub fn new(
        inputs: HashMap<String, Judged>,
        retire_after: Duration,
        max_line: usize,
        (sightings, sources): (Vec<Sighting>, Vec<Source>),
        now: Millis,
    ) -> KeyRing {
        let keys = sightings.into_iter().map(|sighting| {
            let source = sources.iter().find(|source| source.source == sighting.source);
            let read_at = source.and_then(|source| source.succeeded_at);
            Held {
                in_set: read_at.is_none_or(|at| at <= sighting.last_seen),
                source: sighting.source,
                key: Arc::new(sighting.key),
                last_seen: sighting.last_seen,
            }
        });
        let known = Known { keys: keys.collect(), current: HashMap::new() };
        let ring = KeyRing {
            inputs,
            retire_after,
            max_line,
            known: RwLock::new(known),
            generation: AtomicU64::new(0),
        };
        ring.update(now, |_| ());
        ring
    }

    /// The keys that verify what `input` receives now, and the generation that they are of.
    pub fn current(&self, input: &str) -> (Arc<KeySet>, u64) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let keys = known.current.get(input).cloned().unwrap_or_default();
        (keys, self.generation())
    }

    /// The generation of the keys: it rises when they change.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The keys that verify what comes now, on all inputs together.
    pub fn all(&self) -> KeySet {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        KeySet::new(known.current.values().flat_map(|set| set.keys().iter().cloned()))
    }

    /// The inputs that have sources of keys and no key from them.
    pub fn waiting(&self) -> Vec<&str> {
        let waits = |(name, judged): &(&String, &Judged)| {
            !judged.sources.is_empty() && self.current(name).0.keys().is_empty()
        };
        let mut names: Vec<_> =
            self.inputs.iter().filter(waits).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Whether an input has sources of keys at all.
    pub fn has_sources(&self) -> bool {
        self.inputs.values().any(|judged| !judged.sources.is_empty())
    }

    /// How many keys verify what comes now, on all inputs together.
    pub fn len(&self) -> usize {
        self.all().keys().len()
    }

    /// Whether nothing can be verified.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over a key set that was read from `source`, and says whether it has a key that the set
    /// from there did not have before.
    pub fn enter(&self, source: &str, set: &KeySet, now: Millis) -> bool {
        self.update(now, |keys| {
            // One that comes back is new, too: it may verify what came after it had retired.
            let had = keys.iter().filter(|one| one.source == source && one.in_set);
            let had: Vec<_> = had.map(|one| one.key.thumbprint()).collect();
            let new = set.keys().iter().any(|key| !had.contains(&key.thumbprint()));
            keys.iter_mut().filter(|one| one.source == source).for_each(|one| one.in_set = false);
            for key in set.keys() {
                let known = keys
                    .iter_mut()
                    .find(|one| one.source == source && one.key.thumbprint() == key.thumbprint());
                if let Some(known) = known {
                    (known.in_set, known.last_seen, known.key) = (true, now, Arc::clone(key));
                } else {
                    let source = source.to_owned();
                    let key = Arc::clone(key);
                    keys.push(Held { source, key, last_seen: now, in_set: true });
                }
            }
            new
        })
    }

    /// Changes what is known, and works out anew what verifies now.
    fn update<T>(&self, now: Millis, change: impl FnOnce(&mut Vec<Held>) -> T) -> T {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut known.keys);
        for input in self.inputs.keys() {
            let keys = self.select(&known, input, now);
            // A set that stays goes on knowing which key verified last.
            if known.current.get(input).is_none_or(|before| before.keys() != keys.keys()) {
                known.current.insert(input.clone(), Arc::new(keys));
                self.generation.fetch_add(1, Ordering::SeqCst);
            }
        }
        result
    }

    fn select(&self, known: &Known, input: &str, received_at: Millis) -> KeySet {
        // An input that is configured no more, or without sources: whatever any source had.
        let sources = self.inputs.get(input).map_or(&[][..], |judged| judged.sources.as_slice());
        KeySet::new(
            known
                .keys
                .iter()
                .filter(|one| sources.is_empty() || sources.contains(&one.source))
                .filter(|one| one.in_set || self.is_within(one.last_seen, received_at))
                .map(|one| Arc::clone(&one.key)),
        )
    }

    /// Whether a key last seen at `last_seen` still verifies what is received at `received_at`.
    fn is_within(&self, last_seen: Millis, received_at: Millis) -> bool {
        let since = u128::try_from(received_at.get() - last_seen.get()).unwrap_or(0);
        since <= self.retire_after.as_millis()
    }
}

impl Judge for KeyRing {
    fn keys(&self, input: &str, received_at: Millis) -> Arc<KeySet> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        Arc::new(self.select(&known, input, received_at))
    }

    fn expected(&self, input: &str) -> Arc<ExpectedIds> {
        self.inputs.get(input).map(|judged| Arc::clone(&judged.expected)).unwrap_or_default()
    }

    fn max_line(&self) -> usize {
        self.max_line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::time::DAY;

    fn key(n: u8) -> Arc<Key> {
        Arc::new(Key::new(Some(format!("k{n}")), [n; 32]))
    }

    fn at(days: i64) -> Millis {
        Millis::saturating(days * DAY)
    }

    fn ring() -> KeyRing {
        let judged = |source: &str| Judged { sources: vec![source.into()], ..Judged::default() };
        let none = ("none".to_owned(), Judged::default());
        let inputs = [("a".to_owned(), judged("x")), ("b".to_owned(), judged("y")), none].into();
        KeyRing::new(inputs, Duration::from_secs(8 * 86_400), 100, (vec![], vec![]), at(0))
    }

    fn check(ring: &KeyRing, input: &str, day: i64, expected: &[&str]) {
        let keys = ring.keys(input, at(day));
        let found: Vec<_> = keys.keys().iter().map(|key| key.kid()).collect();
        assert_eq!(found, expected, "{input}, day {day}");
    }

    #[test]
    fn a_key_that_left_its_set_goes_on_for_a_while() {
        let ring = ring();
        assert!(ring.enter("x", &KeySet::new([key(1)]), at(10)));
        assert!(!ring.enter("x", &KeySet::new([key(1)]), at(11)));
        // Nothing was read for a year: it is still in its set.
        check(&ring, "a", 376, &["k1"]);
        assert!(ring.enter("x", &KeySet::new([key(2)]), at(12)));
        check(&ring, "a", 5, &["k1", "k2"]);
        check(&ring, "a", 19, &["k1", "k2"]);
        check(&ring, "a", 20, &["k2"]);
        assert_eq!(ring.current("a").0.keys().len(), 2);
        // It comes back: that is news to what was received meanwhile.
        assert!(ring.enter("x", &KeySet::new([key(1), key(2)]), at(30)));
        assert!(!ring.enter("x", &KeySet::new([key(2), key(1)]), at(31)));
        check(&ring, "a", 25, &["k1", "k2"]);
        check(&ring, "b", 12, &[]);
        check(&ring, "gone", 12, &["k1", "k2"]);
        check(&ring, "none", 12, &["k1", "k2"]);
    }

    #[test]
    fn the_generation_rises_with_the_keys() {
        let ring = ring();
        let (before, generation) = ring.current("a");
        assert!(before.is_empty() && ring.is_empty());
        ring.enter("x", &KeySet::new([key(1)]), at(0));
        let risen = ring.generation();
        assert!(risen > generation);
        assert_eq!(ring.len(), 1);
        ring.enter("x", &KeySet::new([key(1)]), at(1));
        assert_eq!(ring.generation(), risen);
    }
}
