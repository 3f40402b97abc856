//! The key ring: the keys that verify the entries of each input.
//!
//! A key that was removed from its set still verifies what is received within a time after it was last
//! seen. A source that cannot be read removes no keys. A new key may verify entries that were received
//! before it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::entry::Millis;
use crate::ingest::ExpectedIds;
use crate::signature::{Key, KeySet};
use crate::store::{Judge, Retirements, Sighting, Source};

/// How long a key is usually needed after it left its set: Konnect's retries and short outages. What
/// an older key verifies has a warning.
const USUAL: Duration = Duration::from_secs(8 * 86_400);

/// How the entries of an input are verified.
#[derive(Clone, Debug, Default)]
pub(crate) struct InputVerification {
    /// The sources of its keys, by their names in the catalog. If there are none, the keys of all
    /// sources are used.
    pub(crate) sources: Vec<String>,
    /// The organizations and Dev Portals whose entries it expects.
    pub(crate) expected: Arc<ExpectedIds>,
}

/// The keys for every input.
#[derive(Debug)]
pub(crate) struct KeyRing {
    inputs: HashMap<String, InputVerification>,
    retirements: Retirements,
    max_line: usize,
    state: RwLock<RingState>,
    /// Increases when the keys change, so that a delivery can tell that it used older ones.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct RingState {
    keys: Vec<SourceKey>,
    /// The keys for new entries, by input.
    current: HashMap<String, Arc<KeySet>>,
    /// The keys for new entries of inputs that are not configured, as a journal may have them.
    of_others: Arc<KeySet>,
}

/// A key of one source.
#[derive(Debug)]
struct SourceKey {
    source: String,
    key: Arc<Key>,
    last_seen: Millis,
    /// Whether the key was in the set when the set was last read.
    in_set: bool,
}

impl KeyRing {
    /// A ring with the keys and sources of the catalog. `retirements` is how long a removed key stays in
    /// use, and `max_line` the length of the longest line that is parsed, in bytes.
    pub(crate) fn new(
        inputs: HashMap<String, InputVerification>,
        retirements: Retirements,
        max_line: usize,
        (sightings, sources): (Vec<Sighting>, Vec<Source>),
        now: Millis,
    ) -> KeyRing {
        let keys = sightings.into_iter().map(|sighting| {
            let source = sources.iter().find(|source| source.source == sighting.source);
            let read_at = source.and_then(|source| source.succeeded_at);
            SourceKey {
                in_set: read_at.is_none_or(|at| at <= sighting.last_seen),
                source: sighting.source,
                key: Arc::new(sighting.key),
                last_seen: sighting.last_seen,
            }
        });
        let state = RingState { keys: keys.collect(), ..RingState::default() };
        let ring = KeyRing {
            inputs,
            retirements,
            max_line,
            state: RwLock::new(state),
            generation: AtomicU64::new(0),
        };
        ring.update(now, |_| ());
        ring
    }

    /// The keys for new entries of `input`, and their generation.
    pub(crate) fn current(&self, input: &str) -> (Arc<KeySet>, u64) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let keys = state.current.get(input).unwrap_or(&state.of_others);
        (Arc::clone(keys), self.generation())
    }

    /// A number that increases when the keys change.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// The keys for new entries of all inputs.
    pub(crate) fn all(&self) -> KeySet {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        KeySet::new(state.current.values().flat_map(|set| set.keys().iter().cloned()))
    }

    /// The names of the inputs that have key sources and no keys yet.
    pub(crate) fn waiting(&self) -> Vec<&str> {
        let is_waiting = |(name, input): &(&String, &InputVerification)| {
            !input.sources.is_empty() && self.current(name).0.keys().is_empty()
        };
        let mut names: Vec<_> =
            self.inputs.iter().filter(is_waiting).map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names
    }

    /// Whether any input has key sources.
    pub(crate) fn has_sources(&self) -> bool {
        self.inputs.values().any(|input| !input.sources.is_empty())
    }

    /// The number of keys for new entries of all inputs.
    pub(crate) fn len(&self) -> usize {
        self.all().keys().len()
    }

    /// Whether there are no keys for new entries.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Replaces the key set of `source`. Returns whether the new set has a key that the old one did not
    /// have.
    pub(crate) fn enter(&self, source: &str, set: &KeySet, now: Millis) -> bool {
        self.update(now, |keys| {
            // A key that returns is new too: it may verify entries received after it was retired.
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
                    keys.push(SourceKey { source, key, last_seen: now, in_set: true });
                }
            }
            new
        })
    }

    /// Changes the keys, and updates the keys for new entries.
    fn update<T>(&self, now: Millis, change: impl FnOnce(&mut Vec<SourceKey>) -> T) -> T {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut state.keys);
        for input in self.inputs.keys() {
            let keys = self.select(&state, input, now);
            // A set that does not change is kept, because it remembers the key that verified last.
            if state.current.get(input).is_none_or(|before| !before.is_like(&keys)) {
                state.current.insert(input.clone(), Arc::new(keys));
                self.generation.fetch_add(1, Ordering::SeqCst);
            }
        }
        let of_others = self.select_from(&state, &[], now);
        if !state.of_others.is_like(&of_others) {
            state.of_others = Arc::new(of_others);
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        result
    }

    fn select(&self, state: &RingState, input: &str, received_at: Millis) -> KeySet {
        // An input without sources, or one that is no longer configured, uses the keys of all sources.
        let sources = self.inputs.get(input).map_or(&[][..], |input| input.sources.as_slice());
        self.select_from(state, sources, received_at)
    }

    /// The keys of these sources, or of all if there are none, for what was received at a time.
    fn select_from(&self, state: &RingState, sources: &[String], received_at: Millis) -> KeySet {
        let period = self.retirements.of(received_at);
        let since = |one: &SourceKey| {
            let millis = u64::try_from(received_at.get() - one.last_seen.get()).unwrap_or(0);
            Duration::from_millis(if one.in_set { 0 } else { millis })
        };
        let keys = state
            .keys
            .iter()
            .filter(|one| sources.is_empty() || sources.contains(&one.source))
            .filter(|one| since(one) <= period);
        KeySet::with_retired(keys.map(|one| (Arc::clone(&one.key), since(one) > USUAL)))
    }
}

impl Judge for KeyRing {
    fn keys(&self, input: &str, received_at: Millis) -> Arc<KeySet> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        Arc::new(self.select(&state, input, received_at))
    }

    fn expected(&self, input: &str) -> Arc<ExpectedIds> {
        self.inputs.get(input).map(|input| Arc::clone(&input.expected)).unwrap_or_default()
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
        let input = |source: &str| InputVerification {
            sources: vec![source.into()],
            ..InputVerification::default()
        };
        let none = ("none".to_owned(), InputVerification::default());
        let inputs = [("a".to_owned(), input("x")), ("b".to_owned(), input("y")), none].into();
        let retirements = Retirements::always(Duration::from_secs(20 * 86_400));
        KeyRing::new(inputs, retirements, 100, (vec![], vec![]), at(0))
    }

    fn check(ring: &KeyRing, input: &str, day: i64, expected: &[&str]) {
        let keys = ring.keys(input, at(day));
        let found: Vec<_> = keys.keys().iter().map(|key| key.kid()).collect();
        assert_eq!(found, expected, "{input}, day {day}");
    }

    #[test]
    fn a_removed_key_stays_in_use_for_a_while() {
        let ring = ring();
        assert!(ring.enter("x", &KeySet::new([key(1)]), at(10)));
        assert!(!ring.enter("x", &KeySet::new([key(1)]), at(11)));
        // The source was not read for a year. The key is still in its set.
        check(&ring, "a", 376, &["k1"]);
        assert!(ring.enter("x", &KeySet::new([key(2)]), at(12)));
        check(&ring, "a", 5, &["k1", "k2"]);
        check(&ring, "a", 19, &["k1", "k2"]);
        let retired = |day: i64| {
            let keys = ring.keys("a", at(day));
            keys.keys().iter().map(|key| keys.is_retired(key)).collect::<Vec<_>>()
        };
        assert_eq!(retired(19), [false, false]);
        assert_eq!(retired(20), [true, false]);
        check(&ring, "a", 31, &["k1", "k2"]);
        check(&ring, "a", 32, &["k2"]);
        assert_eq!(ring.current("a").0.keys().len(), 2);
        // The key returns. It is new to the entries received meanwhile.
        assert!(ring.enter("x", &KeySet::new([key(1), key(2)]), at(30)));
        assert!(!ring.enter("x", &KeySet::new([key(2), key(1)]), at(31)));
        check(&ring, "a", 25, &["k1", "k2"]);
        check(&ring, "b", 12, &[]);
        check(&ring, "gone", 12, &["k1", "k2"]);
        check(&ring, "none", 12, &["k1", "k2"]);
        assert_eq!(ring.current("gone").0.keys().len(), 2);
    }

    #[test]
    fn the_generation_increases_with_the_keys() {
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
