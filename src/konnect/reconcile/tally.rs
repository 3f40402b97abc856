//! What a comparison proves, in numbers, for the log.
//!
//! A range is proved complete if every entry that Konnect lists of it is in the store. So the range must be
//! one that Konnect lists: not older than what it gives, and not so young that an entry may be listed
//! later. And what is in the store must be the entry, and not a line that only resembles it.

use serde::{Deserialize, Serialize};

use super::{EntryIdentity, Keys, Pulled, StoredEntry, compare};
use crate::entry::{Millis, VerdictName};
use crate::konnect::client::LISTED_LATE;
use crate::store::{Reconciled, Scope};

/// The numbers of a comparison so far. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tally {
    since: i64,
    /// The first millisecond after the range.
    until: i64,
    compared: u64,
    missing: u64,
}

impl Tally {
    /// Nothing yet of the part of a range that can be proved. `oldest` is the time before which Konnect
    /// gives no entries, and `asked_at` is when its list was asked for. `None` if there is no such part,
    /// or if Konnect gives no entry at all.
    pub(crate) fn new(
        since: Millis,
        until: Millis,
        oldest: Option<Millis>,
        asked_at: Millis,
    ) -> Option<Tally> {
        let since = since.max(oldest?).get();
        let until = until.get().min(asked_at.get().saturating_sub(LISTED_LATE));
        (since < until).then_some(Tally { since, until, compared: 0, missing: 0 })
    }

    /// The beginning of the range.
    pub(crate) fn since(&self) -> Millis {
        Millis::saturating(self.since)
    }

    /// The last millisecond of the range.
    pub(crate) fn last(&self) -> Millis {
        Millis::saturating(self.until - 1)
    }

    /// Counts a part of the list. `stored` has every stored entry that may match one of the part.
    pub(crate) fn add(&mut self, part: &[Pulled], stored: &[StoredEntry]) {
        self.compared += part.iter().filter(|one| self.is_in(one)).count() as u64;
        self.missing += self.missing_of(part, stored);
    }

    /// Counts entries that cannot be compared: as missing.
    pub(crate) fn add_unread(&mut self, count: usize) {
        self.compared += count as u64;
        self.missing += count as u64;
    }

    /// How many of these are in the range and not in the store.
    pub(crate) fn missing_of(&self, pulled: &[Pulled], stored: &[StoredEntry]) -> u64 {
        let keys = Keys::of(pulled);
        let vouching = stored.iter().filter(|one| vouches(&keys, &one.identity, one.verdict));
        let found = compare(pulled.to_vec(), &vouching.cloned().collect::<Vec<_>>());
        found.missing.iter().filter(|one| self.is_in(one)).count() as u64
    }

    /// The result, when a replay brought `fetched` of the missing entries.
    pub(crate) fn result(&self, scope: Scope, fetched: u64) -> Reconciled {
        let Tally { since, until, compared, missing } = *self;
        Reconciled { scope, since, until, compared, missing, fetched: fetched.min(missing) }
    }

    fn is_in(&self, pulled: &Pulled) -> bool {
        (self.since..self.until).contains(&pulled.identity.at.get())
    }
}

/// Whether a delivered entry may stand for a pulled one. A line that nobody verified may be a forged copy:
/// it stands for an entry only if it says the same.
pub(crate) fn vouches(keys: &Keys, identity: &EntryIdentity, verdict: VerdictName) -> bool {
    match verdict {
        VerdictName::Valid => keys.has(identity),
        VerdictName::Unsigned | VerdictName::NoKey => keys.has_exactly(identity),
        VerdictName::Invalid | VerdictName::Malformed => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINUTE: i64 = 60_000;

    fn tally(oldest: Option<i64>) -> Option<Tally> {
        let at = |minute: i64| Millis::saturating(minute * MINUTE);
        Tally::new(at(100), at(200), oldest.map(at), at(205))
    }

    #[test]
    fn only_what_konnect_certainly_lists_can_be_proved() {
        let check = |oldest, expected: Option<(i64, i64)>| {
            let found = tally(oldest).map(|one| (one.since / MINUTE, one.until / MINUTE));
            assert_eq!(found, expected, "{oldest:?}");
        };
        check(Some(7), Some((100, 195)));
        check(Some(150), Some((150, 195)));
        check(Some(195), None);
        check(None, None);
    }

    #[test]
    fn a_line_that_does_not_vouch_for_an_entry_leaves_it_missing() {
        let pulled = |minute: i64, who: &str| {
            let ts = Millis::saturating(minute * MINUTE).to_string();
            let json = json!({"type": "authorization", "ts": ts, "trace_id": "7", "granted": true,
                "principal_id": who});
            Pulled::read(&json.to_string()).unwrap()
        };
        let check = |verdict, who: &str, expected: u64| {
            let identity = pulled(150, who).identity;
            let stored = StoredEntry { identity, delivery_count: 1, verdict };
            let mut tally = tally(Some(0)).unwrap();
            // The first and the last are not in the range.
            let part = [pulled(99, "a"), pulled(150, "a"), pulled(195, "a")];
            tally.add(&part, &[stored]);
            assert_eq!((tally.compared, tally.missing), (1, expected), "{verdict} {who}");
        };
        check(VerdictName::Valid, "a", 0);
        check(VerdictName::Valid, "b", 0);
        check(VerdictName::Unsigned, "a", 0);
        check(VerdictName::Unsigned, "b", 1);
        check(VerdictName::NoKey, "b", 1);
        check(VerdictName::Invalid, "a", 1);
    }
}
