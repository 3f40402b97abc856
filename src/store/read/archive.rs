//! What the archive takes of a store: sealed segments, with all that there is of their entries.
//!
//! Entries are read as they are now, with the overlay, and also those that are hidden.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::Row;

use crate::entry::record::Origin;
use crate::entry::{Millis, Record};
use crate::store::catalog::Catalog;
use crate::store::catalog::journal::JournalExtent;
use crate::store::catalog::quarantine;
use crate::store::catalog::segments::Segment;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::read::Reader;
use crate::store::read::stats::{StoredDelivery, delivered};
use crate::store::schema::SEGMENT_WITH_SPELLINGS;
use crate::store::segment::condition::Sql;
use crate::store::segment::leaves;
use crate::store::segment::row::{Entries, Ids};
use crate::tlog::leaf::Salt;

/// A sealed segment.
#[derive(Clone, Debug)]
pub struct SealedSegment {
    /// The id of its first entry.
    pub first_id: u64,
    /// The id of its last entry.
    pub last_id: u64,
    /// The id of its first delivery.
    pub first_delivery: u64,
    /// The id of its last delivery.
    pub last_delivery: u64,
    /// When it was begun.
    pub created_at: Millis,
    /// Its file in the folder of the segments.
    pub file: String,
    /// The SHA-256 of the file in hexadecimal.
    pub sha256: String,
}

/// How much a segment has.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// The id of its first entry.
    pub first_id: u64,
    /// The number of its entries.
    pub entries: u64,
    /// The number of its deliveries.
    pub deliveries: u64,
    /// Whether it takes appends.
    pub is_live: bool,
}

/// How much of the store is in an archive, by the catalog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveProgress {
    /// The number of segments that are in the archive and were read back, with those that retention
    /// deleted since.
    pub segments: u64,
    /// The id of the last entry below which everything is archived, and when it was archived.
    pub until: Option<(u64, Millis)>,
    /// The number of closed segments that are not archived.
    pub waiting_segments: u64,
    /// The number of entries that are not archived, with those of the live segment.
    pub waiting_entries: u64,
}

/// Where an entry stands in its segment.
#[derive(Clone, Copy, Debug)]
pub struct EntryPlace {
    /// The id.
    pub id: u64,
    /// The time that orders entries.
    pub time: Millis,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// The length of the line that the segment has at hand, in bytes.
    pub length: u64,
}

/// An entry with all that the store has of it.
#[derive(Clone, Debug)]
pub struct WholeEntry {
    /// What is shown of it.
    pub record: Record,
    /// The time that the entry states.
    pub event_time: Option<Millis>,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// The RFC 7638 thumbprint of the key that verified it.
    pub key: Option<String>,
    /// What the signature covers, as a word.
    pub covers: Option<String>,
    /// The entry that is shown instead of it.
    pub hidden_by: Option<u64>,
    /// Its leaf in the log, and its salt.
    pub leaf: Option<(u64, Salt)>,
}

/// Another line with the signed identity of an entry.
#[derive(Clone, Debug)]
pub struct KeptSpelling {
    /// The entry.
    pub entry: u64,
    /// The delivery that it first came in.
    pub delivery: u64,
    /// The first 16 bytes of the SHA-256 of the line.
    pub fingerprint: Vec<u8>,
    /// The line.
    pub line: Vec<u8>,
}

/// What [`whole`] reads besides the record.
const VALUES: &str = "event_time, delivery,
    (SELECT thumbprint FROM keys WHERE keys.id = entries.key), covers";

impl Reader {
    /// The sealed segments, oldest first.
    pub fn sealed_segments(&self) -> Result<Vec<SealedSegment>, StoreError> {
        let sealed = |segment: Segment| {
            let (closed, (_, sha256)) = (segment.closed?, segment.sealed?);
            Some(SealedSegment {
                first_id: segment.first_id,
                last_id: closed.last_id,
                first_delivery: segment.first_delivery,
                last_delivery: closed.last_delivery,
                created_at: segment.created_at,
                file: segment.file,
                sha256,
            })
        };
        let segments = self.catalog(Catalog::segments)?;
        Ok(segments.into_iter().filter(Segment::is_sealed).filter_map(sealed).collect())
    }

    /// How much each segment has, oldest first.
    pub fn extents(&self) -> Result<Vec<Extent>, StoreError> {
        let mut extents = Vec::new();
        for segment in self.segments()? {
            let found = match &segment.closed {
                Some(closed) => Some((
                    (closed.last_id + 1).saturating_sub(segment.first_id),
                    (closed.last_delivery + 1).saturating_sub(segment.first_delivery),
                )),
                None => self.read_segment(segment.first_id, |live| {
                    let sql = "SELECT (SELECT count(*) FROM entries),
                                      (SELECT count(*) FROM deliveries)";
                    live.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
                })?,
            };
            extents.extend(found.map(|(entries, deliveries)| Extent {
                first_id: segment.first_id,
                entries,
                deliveries,
                is_live: segment.closed.is_none(),
            }));
        }
        Ok(extents)
    }

    /// How much of the store is in the archive at this place.
    pub fn archive_progress(&self, place: &str) -> Result<ArchiveProgress, StoreError> {
        let here = self.archived()?.into_iter().filter(|one| one.place == place);
        let archived: BTreeMap<u64, (u64, Millis)> =
            here.map(|one| (one.first_id, (one.last_id, one.archived_at))).collect();
        let mut progress =
            ArchiveProgress { segments: archived.len() as u64, ..ArchiveProgress::default() };
        let mut first_waiting = u64::MAX;
        for extent in self.extents()? {
            if !archived.contains_key(&extent.first_id) {
                first_waiting = first_waiting.min(extent.first_id);
                progress.waiting_entries += extent.entries;
                progress.waiting_segments += u64::from(!extent.is_live);
            }
        }
        let before = archived.range(..first_waiting).next_back();
        progress.until = before.map(|(_, until)| *until);
        Ok(progress)
    }

    /// The entries of a segment, in order of id. `None` if it no longer exists.
    pub fn entry_places(&self, first_id: u64) -> Result<Option<Vec<EntryPlace>>, StoreError> {
        self.visit(
            first_id,
            |overlay, segment| {
                let mut times = HashMap::new();
                let ids = Ids::Range(segment.first_id..=segment.end());
                overlay.each(&Sql::from("id, time"), &Sql::from("1"), &ids, |row| {
                    times.insert(row.get::<_, u64>(0)?, row.get::<_, i64>(1)?);
                    Ok(())
                })?;
                Ok(times)
            },
            |database, segment, times| {
                let ids = Ids::Range(segment.first_id..=segment.end());
                let lengths = database.lengths(&ids)?;
                let mut places = Vec::new();
                database.each(&Sql::from("id, time, delivery"), &Sql::from("1"), &ids, |row| {
                    let (id, time): (u64, i64) = (row.get(0)?, row.get(1)?);
                    places.push(EntryPlace {
                        id,
                        time: Millis::saturating(times.get(&id).copied().unwrap_or(time)),
                        delivery: row.get(2)?,
                        length: lengths.get(&id).copied().unwrap_or(0),
                    });
                    Ok(())
                })?;
                Ok(places)
            },
        )
    }

    /// These entries of a segment, by their ids. They are held all at once. `None` if the segment no
    /// longer exists.
    pub fn whole_entries(
        &self,
        first_id: u64,
        ids: &[u64],
    ) -> Result<Option<HashMap<u64, WholeEntry>>, StoreError> {
        let range = ids.iter().min().copied().unwrap_or(1)..=ids.iter().max().copied().unwrap_or(0);
        let ids = Ids::of(ids);
        self.visit(
            first_id,
            |overlay, _| {
                let redeliveries = overlay.redeliveries(&ids)?;
                let learned = (overlay.hidden(&ids)?, redeliveries, overlay.backfills(&range)?);
                Ok((whole(overlay, &ids)?, learned))
            },
            |database, _, (changed, (hidden, redeliveries, backfills))| {
                let mut all = whole(database, &ids)?;
                let leaves = leaves::of_entries(database, &ids)?;
                for (id, mut now) in changed {
                    let Some(before) = all.get(&id) else { continue };
                    // The bytes never change, and deliveries are counted in the segment.
                    now.record.raw.clone_from(&before.record.raw);
                    now.record.whole = before.record.whole;
                    if let (
                        Origin::Stored { delivery_count: to, .. },
                        Origin::Stored { delivery_count, .. },
                    ) = (&mut now.record.origin, &before.record.origin)
                    {
                        *to = *delivery_count;
                    }
                    all.insert(id, now);
                }
                for (id, shown) in hidden {
                    if let Some(entry) = all.get_mut(&id) {
                        entry.hidden_by = Some(shown);
                    }
                }
                for (id, again) in redeliveries {
                    if let Some(Origin::Stored { delivery_count, .. }) =
                        all.get_mut(&id).map(|entry| &mut entry.record.origin)
                    {
                        *delivery_count = delivery_count.saturating_add(again);
                    }
                }
                for (id, entry) in &mut all {
                    let later = || backfills.iter().find_map(|backfill| backfill.of(*id));
                    entry.leaf = leaves.get(id).copied().or_else(later);
                }
                Ok(all)
            },
        )
    }

    /// At most `limit` deliveries of a segment with ids above `after`, in order of id. `None` if the
    /// segment no longer exists.
    pub fn deliveries_after(
        &self,
        first_id: u64,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<StoredDelivery>>, StoreError> {
        let sql = "SELECT * FROM deliveries WHERE id > ?1 ORDER BY id LIMIT ?2";
        self.read_segment(first_id, |database| {
            database.prepare_cached(sql)?.query_map((after, limit), delivered)?.collect()
        })
    }

    /// At most `limit` spellings that a segment keeps, in the order of their first deliveries, without
    /// the first `skip`. `None` if the segment no longer exists.
    pub fn kept_spellings(
        &self,
        first_id: u64,
        skip: usize,
        limit: usize,
    ) -> Result<Option<Vec<KeptSpelling>>, StoreError> {
        let sql = "SELECT entry, delivery, fingerprint, line FROM spellings
                   ORDER BY delivery, entry, fingerprint LIMIT ?1 OFFSET ?2";
        let spelling = |row: &Row<'_>| {
            let (fingerprint, line) = (row.get(2)?, row.get(3)?);
            Ok(KeptSpelling { entry: row.get(0)?, delivery: row.get(1)?, fingerprint, line })
        };
        self.read_segment(first_id, |database| match database.version() {
            ..SEGMENT_WITH_SPELLINGS => Ok(Vec::new()),
            _ => database.prepare_cached(sql)?.query_map((limit, skip), spelling)?.collect(),
        })
    }

    /// From which epochs of a journal the archived segments have deliveries, and the others.
    /// `is_archived` is asked with the first id of a segment.
    pub fn journal_extent(
        &self,
        is_archived: &dyn Fn(u64) -> bool,
    ) -> Result<JournalExtent, StoreError> {
        self.catalog(|catalog| catalog.journal_extent(self.directory(), is_archived))
    }

    /// The id of the first delivery of the first segment that is not archived. `None` if all are.
    /// `is_archived` is asked with the first id of a segment.
    pub fn first_delivery_without(
        &self,
        is_archived: &dyn Fn(u64) -> bool,
    ) -> Result<Option<u64>, StoreError> {
        let mut segments = self.segments()?.into_iter();
        let missing = segments.find(|segment| !is_archived(segment.first_id));
        Ok(missing.map(|segment| segment.first_delivery))
    }

    /// The number of the last body that was put in quarantine.
    pub fn last_quarantined(&self) -> Result<u64, StoreError> {
        self.catalog(quarantine::last)
    }

    /// The numbers of the bodies that were dropped from the quarantine.
    pub fn dropped(&self) -> Result<BTreeSet<u64>, StoreError> {
        self.catalog(quarantine::dropped)
    }

    /// The ranges of ids that no segment has, each the first and the last id: they were removed, or lost.
    pub fn gone(&self) -> Result<Vec<(u64, u64)>, StoreError> {
        let gone = self.catalog(Catalog::known_gone)?;
        Ok(gone.into_iter().map(|ids| (*ids.start(), *ids.end())).collect())
    }

    /// The number of the last change of an entry.
    pub fn last_change(&self) -> Result<u64, StoreError> {
        self.catalog(|catalog| {
            catalog.overlay().last_change().doing("read the changes", catalog.path())
        })
    }

    /// At most `limit` changes of entries with numbers above `after`, in order: the number and the entry.
    pub fn changes_after(&self, after: u64, limit: u64) -> Result<Vec<(u64, u64)>, StoreError> {
        self.catalog(|catalog| {
            let changes = catalog.overlay().changes(after, limit);
            let changes = changes.doing("read the changes", catalog.path())?;
            Ok(changes.into_iter().map(|change| (change.number, change.entry)).collect())
        })
    }
}

/// Entries without what the overlay says of hidden ones and of deliveries.
fn whole(entries: &impl Entries, ids: &Ids<'_>) -> rusqlite::Result<HashMap<u64, WholeEntry>> {
    let found = entries.records_with(VALUES, &Sql::from("1"), ids, |_, row, at| {
        let event_time: i64 = row.get(at)?;
        let event_time = (event_time != 0).then(|| Millis::saturating(event_time));
        Ok((event_time, row.get(at + 1)?, row.get(at + 2)?, row.get(at + 3)?))
    })?;
    let whole = found.into_iter().filter_map(|(record, (event_time, delivery, key, covers))| {
        let id = record.id()?;
        Some((
            id,
            WholeEntry { record, event_time, delivery, key, covers, hidden_by: None, leaf: None },
        ))
    });
    Ok(whole.collect())
}
