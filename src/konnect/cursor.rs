//! The position of a pull, so that the next pull continues there without repeats or gaps.
//!
//! A pull reads time windows, each from the first page to the last. The end of a window is fixed
//! before its first page is requested, so later entries do not move the pages. Konnect lists entries
//! with a delay. So each window begins [`LATE`] before the end of the last one, and entries that
//! were seen before are left out. Identical entries are counted. An entry that is listed later than
//! that is missed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::Time;
use super::client::{PULL_PAGE, PullFilter};
use crate::entry::Millis;

/// The maximum delay until an entry is listed, in milliseconds.
pub(crate) const LATE: i64 = 2 * 60 * 1000;

/// The position of a pull. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cursor {
    /// The host of the API.
    pub(crate) api: String,
    /// The requested type.
    #[serde(default, rename = "type")]
    pub(crate) kind: Option<String>,
    /// The start of the window.
    since: i64,
    /// The end of the window while its pages are read.
    until: Option<i64>,
    /// The API's cursor for the next page.
    after: Option<String>,
    /// The entries from `since` on that earlier windows returned.
    seen: BTreeMap<String, SeenCount>,
    /// The entries of this window that it or the next may see again.
    met: BTreeMap<String, SeenCount>,
}

/// The number of identical entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SeenCount {
    at: i64,
    count: u64,
}

impl Cursor {
    /// A cursor that starts at `since`.
    pub(crate) fn new(api: &str, kind: Option<String>, since: Millis) -> Cursor {
        Cursor {
            api: api.to_owned(),
            kind,
            since: since.get(),
            until: None,
            after: None,
            seen: BTreeMap::new(),
            met: BTreeMap::new(),
        }
    }

    /// The next page to request: of the current window, or of a new window that ends at `now`.
    pub(crate) fn next(&mut self, now: Millis) -> (PullFilter, Option<String>) {
        let until = *self.until.get_or_insert(now.get().max(self.since));
        let (since, until) = (Millis::saturating(self.since), Millis::saturating(until));
        (PullFilter { since, until, kind: self.kind.clone(), page: PULL_PAGE }, self.after.clone())
    }

    /// Takes that page, and returns its new entries. `after` is the cursor of the next page; without
    /// one, the window ends.
    pub(crate) fn take(&mut self, mut entries: Vec<Value>, after: Option<String>) -> Vec<Value> {
        let until = self.until.unwrap_or(self.since);
        entries.retain(|entry| {
            let at = time(entry).unwrap_or(until);
            let hash = hash(entry);
            let before = self.seen.get(&hash).map_or(0, |seen| seen.count);
            if before == 0 && at < until.saturating_sub(LATE) {
                return true;
            }
            let met = self.met.entry(hash).or_insert(SeenCount { at, count: 0 });
            met.count += 1;
            met.count > before
        });
        self.after = after;
        if self.after.is_none() {
            self.end_window(until);
        }
        entries
    }

    /// Whether the current window has ended.
    pub(crate) fn is_between_windows(&self) -> bool {
        self.until.is_none()
    }

    fn end_window(&mut self, until: i64) {
        self.since = self.since.max(until.saturating_sub(LATE));
        for (hash, met) in std::mem::take(&mut self.met) {
            let seen = self.seen.entry(hash).or_insert(met);
            seen.count = seen.count.max(met.count);
        }
        self.seen.retain(|_, seen| seen.at >= self.since);
        self.until = None;
    }
}

fn time(entry: &Value) -> Option<i64> {
    let time: Time = entry.get("ts")?.as_str()?.parse().ok()?;
    Some(time.millis()?.get())
}

fn hash(entry: &Value) -> String {
    let digest = digest(&SHA256, entry.to_string().as_bytes());
    URL_SAFE_NO_PAD.encode(digest.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;
    use serde_json::json;

    use super::*;

    const START: i64 = 1_747_426_194_000;

    /// An API whose entries are listed some time after they happened, newest first or oldest first.
    struct Api {
        entries: Vec<(i64, Value)>,
        newest_first: bool,
    }

    impl Api {
        /// A page as it is at `now`: of what is listed by then.
        fn page(
            &self,
            filter: &PullFilter,
            after: Option<String>,
            now: i64,
        ) -> (Vec<Value>, Option<String>) {
            let range = filter.since.get()..=filter.until.get();
            let listed = self.entries.iter().filter(|(listed, _)| *listed <= now);
            let mut found: Vec<_> = listed
                .map(|(_, entry)| entry)
                .filter(|entry| range.contains(&time(entry).unwrap()))
                .cloned()
                .collect();
            found.sort_by_key(|entry| time(entry).unwrap());
            if self.newest_first {
                found.reverse();
            }
            // The cursor names an entry, as a real one does.
            let key = |entry: &Value| entry["n"].as_u64().unwrap();
            let start = after.map_or(0, |after| {
                let after: u64 = after.parse().unwrap();
                found.iter().position(|entry| key(entry) == after).unwrap() + 1
            });
            let page: Vec<_> = found[start..].iter().take(3).cloned().collect();
            let more = start + page.len() < found.len();
            let next = page.last().filter(|_| more).map(|last| key(last).to_string());
            let shown = |mut entry: Value| {
                // Some are alike.
                let n = key(&entry) / 2;
                entry["n"] = n.into();
                entry
            };
            (page.into_iter().map(shown).collect(), next)
        }
    }

    #[test]
    fn nothing_is_repeated_and_nothing_missed() {
        for seed in 0..40 {
            let mut random = Rng::with_seed(seed);
            let mut entries = Vec::new();
            for n in 0..120_u64 {
                // Two that are alike happen at one time.
                let at = START + (n / 2) as i64 * 7_000;
                let listed = at + random.usize(..LATE as usize / 2) as i64;
                let at = Time::from(Millis::saturating(at)).to_string();
                entries.push((listed, json!({"ts": at, "n": n})));
            }
            let api = Api { entries, newest_first: seed % 2 == 0 };
            let mut cursor = Cursor::new("a", None, Millis::saturating(START));
            let (mut now, mut pulled) = (START, Vec::new());
            while now < START + 120 * 7_000 + 2 * LATE || !cursor.is_between_windows() {
                let (filter, after) = cursor.next(Millis::saturating(now));
                let listed = match cursor.is_between_windows() || after.is_none() {
                    true => now,
                    false => filter.until.get(),
                };
                let (page, next) = api.page(&filter, after, listed);
                pulled.extend(cursor.take(page, next));
                // It survives being written down.
                let json = serde_json::to_string(&cursor).unwrap();
                cursor = serde_json::from_str(&json).unwrap();
                if cursor.is_between_windows() {
                    now += random.usize(..60_000) as i64 + 1;
                }
            }
            let mut found: Vec<_> = pulled.iter().map(|one| one["n"].as_u64().unwrap()).collect();
            found.sort_unstable();
            let expected: Vec<_> = (0..120).map(|n| n / 2).collect();
            assert_eq!(found, expected, "seed {seed}");
            assert!(cursor.seen.len() < 40, "{}", cursor.seen.len());
        }
    }

    #[test]
    fn a_window_ends_where_it_began_to_be_read() {
        let at = |later: i64| Millis::saturating(START + later);
        let mut cursor = Cursor::new("a", Some("authentication".into()), at(0));
        let (filter, after) = cursor.next(at(10));
        assert_eq!((filter.since, filter.until, after), (at(0), at(10), None));
        assert_eq!(cursor.take(vec![json!({"ts": at(5).to_string()})], Some("c".into())).len(), 1);
        let (filter, after) = cursor.next(at(99));
        assert_eq!((filter.until, after.as_deref()), (at(10), Some("c")));
        assert_eq!(cursor.take(vec![json!({"ts": at(5).to_string()})], None).len(), 1);
        let (filter, after) = cursor.next(at(LATE + 50));
        assert_eq!((filter.since, filter.until, after), (at(0), at(LATE + 50), None));
        let again = vec![json!({"ts": at(5).to_string()}); 3];
        assert_eq!(cursor.take(again, None).len(), 1);
        assert_eq!(cursor.next(at(LATE + 60)).0.since, at(50));
    }
}
