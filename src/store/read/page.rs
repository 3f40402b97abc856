//! Pages of entries, newest first, and scans over all entries that match.
//!
//! Entries are ordered by time, then id, both descending. The cursor of a page has the position of
//! the next page, and the largest id when the first page was read. Entries that arrive later do not
//! appear.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::entry::Record;
use crate::search::Filter;
use crate::store::error::StoreError;
use crate::store::read::Reader;
use crate::store::read::merge::{Match, Merge};
use crate::store::read::query::{Query, SortKey, TimeRange};
use crate::store::read::records::{Budget, Records};
use crate::store::sqlite::MAX_ID;

/// A page of entries.
#[derive(Debug, Default)]
pub struct Page {
    /// The entries, newest first.
    pub records: Vec<Record>,
    /// The cursor of the next page. `None` on the last page.
    pub next: Option<PageCursor>,
}

/// The start of a page. As text it is opaque (base64url of JSON).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// The time of the last entry on the previous page.
    time: i64,
    id: u64,
    /// The largest id when the first page was read.
    high: u64,
}

/// The text is not a cursor.
#[derive(Debug, thiserror::Error)]
#[error("the cursor is not one that a page gave as its next")]
pub struct BadCursor;

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = serde_json::to_vec(self).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for PageCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<PageCursor, BadCursor> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let cursor: PageCursor = serde_json::from_slice(&json).map_err(|_| BadCursor)?;
        match cursor.id.max(cursor.high) <= MAX_ID {
            true => Ok(cursor),
            false => Err(BadCursor),
        }
    }
}

/// All entries that match, a slice at a time.
pub struct Scan<'a> {
    reader: &'a Reader,
    merge: Merge<'a>,
    /// Matches that are not read yet.
    waiting: VecDeque<Match>,
}

impl Scan<'_> {
    /// At most `most` further entries. Empty at the end.
    pub fn next_slice(&mut self, most: usize) -> Result<Vec<Record>, StoreError> {
        loop {
            while self.waiting.len() < most
                && let Some(found) = self.merge.next()?
            {
                self.waiting.push_back(found);
            }
            let found = self.waiting.make_contiguous();
            let found = found.get(..most).unwrap_or(found);
            let (records, read) = self.reader.in_order(found, self.merge.query())?;
            self.waiting.drain(..read);
            if !records.is_empty() || self.waiting.is_empty() {
                return Ok(records);
            }
        }
    }
}

impl Reader {
    /// At most `limit` entries that match, newest first, after `after`. If lines are long, a page
    /// may have fewer entries although there is a next one.
    pub fn page(
        &self,
        filter: &Filter,
        range: TimeRange,
        limit: usize,
        after: Option<PageCursor>,
    ) -> Result<Page, StoreError> {
        let query = Arc::new(Query::new(filter));
        let high = match after {
            Some(cursor) => cursor.high,
            None => self.greatest_id()?,
        };
        let mut window = query.window(range, high);
        if let Some(PageCursor { time, id, .. }) = after {
            window.before = window.before.min(SortKey { time, id });
        }
        let mut merge = Merge::new(self, Arc::clone(&query), window, limit.saturating_add(1))?;
        let mut found = Vec::new();
        while found.len() <= limit
            && let Some(next) = merge.next()?
        {
            found.push(next);
        }
        let more = found.len() > limit;
        found.truncate(limit);
        let (records, read) = self.in_order(&found, &query)?;
        let last = read.checked_sub(1).and_then(|last| found.get(last));
        let next = last.filter(|_| more || read < found.len()).map(|found| PageCursor {
            time: found.key.time,
            id: found.key.id,
            high,
        });
        Ok(Page { records, next })
    }

    /// All entries that match, newest first. The caller expects to read about `most`.
    pub fn scan(
        &self,
        filter: &Filter,
        range: TimeRange,
        most: usize,
    ) -> Result<Scan<'_>, StoreError> {
        let query = Arc::new(Query::new(filter));
        let window = query.window(range, self.greatest_id()?);
        let merge = Merge::new(self, query, window, most)?;
        Ok(Scan { reader: self, merge, waiting: VecDeque::new() })
    }

    /// The entry with this id.
    pub fn entry(&self, id: u64) -> Result<Option<Record>, StoreError> {
        let query = Query::new(&Filter::All);
        let Some(first_id) = self.segment_of(id)? else { return Ok(None) };
        let (mut records, _) = self.records(first_id, &[id], &query, &mut Budget::new())?;
        Ok(records.remove(&id))
    }

    /// The records of the first of these matches, within the budget, and the number of matches
    /// read. There may be fewer records than matches.
    fn in_order(&self, found: &[Match], query: &Query) -> Result<(Vec<Record>, usize), StoreError> {
        let mut by_segment: BTreeMap<u64, VecDeque<usize>> = BTreeMap::new();
        for (at, one) in found.iter().enumerate() {
            by_segment.entry(one.first_id).or_default().push_back(at);
        }
        let (mut records, mut budget, mut end) = (Records::new(), Budget::new(), found.len());
        let mut segments: Vec<_> = by_segment.into_iter().collect();
        // The segment of the first match is read first, so that at least one record is read.
        segments.sort_by_key(|(_, places)| places.front().copied());
        for (first_id, places) in segments {
            let ids: Vec<u64> =
                places.iter().filter_map(|at| found.get(*at)).map(|one| one.key.id).collect();
            let (some, read) = self.records(first_id, &ids, query, &mut budget)?;
            records.extend(some);
            end = places.get(read).map_or(end, |first_unread| end.min(*first_unread));
        }
        let ordered = found.iter().take(end).filter_map(|one| records.remove(&one.key.id));
        Ok((ordered.collect(), end))
    }
}
