//! The entries next to an entry, in the order of pages.

use std::sync::Arc;

use rayon::prelude::*;

use crate::search::Filter;
use crate::store::catalog::segments::Segment;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::merge::{Merge, wider};
use crate::store::read::newest::Order;
use crate::store::read::query::{Query, SortKey, TimeRange, Window};

impl Reader {
    /// The ids of the entries next to the entry `id` among those that match: the newer and the older
    /// one. It need not match itself. Both are `None` if there is no such entry.
    pub fn neighbours(
        &self,
        filter: &Filter,
        range: TimeRange,
        id: u64,
    ) -> Result<(Option<u64>, Option<u64>), StoreError> {
        let Some(time) = self.entry(id)?.and_then(|record| record.time) else {
            return Ok((None, None));
        };
        let (key, next) = (SortKey { time: time.get(), id }, id.saturating_add(1));
        let query = Arc::new(Query::new(filter));
        let window = query.window(range, self.greatest_id()?);
        let after = window.from.max(SortKey { id: next, ..key });
        let newer = self.oldest(&query, &Window { from: after, ..window.clone() })?;
        let older = Window { before: window.before.min(key), ..window };
        let older = Merge::new(self, query, older, 1)?.next()?;
        Ok((newer.map(|key| key.id), older.map(|found| found.key.id)))
    }

    /// The smallest key in `window` of an entry that matches.
    fn oldest(&self, query: &Query, window: &Window) -> Result<Option<SortKey>, StoreError> {
        let least = |segment: Segment| Some((window.bounds(&segment)?.0, segment.first_id));
        let mut segments: Vec<_> = self.segments()?.into_iter().filter_map(least).collect();
        segments.sort_unstable();
        let (mut found, mut left, mut width) = (None, segments.as_slice(), 1);
        loop {
            // Those that may have a smaller key than the one that was found.
            let may_be_less = |(least, _): &&(SortKey, u64)| found.is_none_or(|key| *least < key);
            let wave = left.iter().take(width).take_while(may_be_less).count();
            let (wave, later) = left.split_at(wave);
            if wave.is_empty() {
                return Ok(found);
            }
            let first = |(_, first_id): &(SortKey, u64)| {
                self.first_of(*first_id, query, window, Order::Oldest, 1)
            };
            let keys = wave.par_iter().map(first).collect::<Result<Vec<_>, _>>()?;
            found = keys.into_iter().flatten().chain(found).min();
            (left, width) = (later, wider(width));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::{Both, QUERIES, filter, range, step};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn neighbours_are_next_to_an_entry_in_the_list(
            steps in vec(step(), 0..120),
            range in range(),
            sample in vec(any::<prop::sample::Index>(), 6),
        ) {
            let both = Both::after(&steps);
            let reader = both.reader();
            let all = both.newest(|_| true, TimeRange::default());
            let sample = sample.iter().filter(|_| !all.is_empty());
            let sample: Vec<_> = sample.map(|index| all[index.index(all.len())].key()).collect();
            for (query, matches) in QUERIES {
                let list: Vec<_> = both.newest(matches, range).iter().map(|one| one.key()).collect();
                for key in &sample {
                    let newer = list.iter().rev().find(|one| *one > key).map(|(_, id)| *id);
                    let older = list.iter().find(|one| *one < key).map(|(_, id)| *id);
                    let found = reader.neighbours(&filter(query), range, key.1).unwrap();
                    prop_assert_eq!(found, (newer, older), "{} {:?}", query, key);
                }
            }
            let none = reader.neighbours(&Filter::All, range, 10_000).unwrap();
            prop_assert_eq!(none, (None, None));
        }
    }
}
