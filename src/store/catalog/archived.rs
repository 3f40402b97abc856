//! Which segments are in the archive. The archive itself is not known here.
//!
//! A segment is recorded when its files are in the archive, and once more when they were read back.
//! Late verdicts of its entries are archived later, up to a number of a change.

use rusqlite::Row;

use super::Catalog;
use super::segments::Segment;
use crate::entry::Millis;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::CATALOG_WITH_JOURNAL;

/// A segment that is in the archive.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Archived {
    /// The id of its first entry.
    pub first_id: u64,
    /// The id of its last entry.
    pub last_id: u64,
    /// The sealed file that was read.
    pub file: String,
    /// The SHA-256 of that file, in hexadecimal.
    pub sha256: String,
    /// The number of the last change of a verdict that is in the archive too.
    pub change: u64,
    /// The number of the delta of the manifest that lists its files.
    pub manifest: u64,
    /// When it was archived.
    pub archived_at: Millis,
    /// When its files were read back from the archive. `None`: not yet.
    pub read_back_at: Option<Millis>,
}

impl Catalog {
    /// Records that a segment is in the archive. An earlier record of it is replaced.
    pub(in crate::store) fn record_archived(&self, archived: &Archived) -> Result<(), StoreError> {
        self.write("record what is archived", |catalog| {
            catalog
                .execute(
                    "INSERT OR REPLACE INTO archived (first_id, last_id, file, sha256, change,
                         manifest, archived_at, read_back_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    (
                        archived.first_id,
                        archived.last_id,
                        &archived.file,
                        &archived.sha256,
                        archived.change,
                        archived.manifest,
                        archived.archived_at.get(),
                        archived.read_back_at.map(Millis::get),
                    ),
                )
                .map(drop)
        })
    }

    /// Records that the changes of all archived segments up to this number are in the archive.
    pub(in crate::store) fn record_archived_changes(&self, change: u64) -> Result<(), StoreError> {
        let sql = "UPDATE archived SET change = max(change, ?1)";
        self.write("record what is archived", |catalog| catalog.execute(sql, [change]).map(drop))
    }

    /// The segments that are in the archive, oldest first, with those that retention removed since.
    pub(in crate::store) fn archived(&self) -> Result<Vec<Archived>, StoreError> {
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(Vec::new());
        }
        let sql =
            "SELECT first_id, last_id, file, sha256, change, manifest, archived_at, read_back_at
                   FROM archived ORDER BY first_id";
        self.read("read what is archived", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], archived)?.collect()
        })
    }

    /// Whether all that is known of a closed segment is in the archive, and was read back.
    pub(in crate::store) fn is_archived(&self, segment: &Segment) -> Result<bool, StoreError> {
        let Some(closed) = &segment.closed else { return Ok(false) };
        if self.version() < CATALOG_WITH_JOURNAL {
            return Ok(false);
        }
        let ids = segment.first_id..=closed.last_id;
        let change = self.overlay().last_change_of(&ids).doing("read the overlay", self.path())?;
        let sql = "SELECT 1 FROM archived WHERE first_id = ?1 AND last_id = ?2 AND change >= ?3
                   AND read_back_at IS NOT NULL";
        self.read("read what is archived", |catalog| {
            catalog.prepare_cached(sql)?.exists((segment.first_id, closed.last_id, change))
        })
    }
}

fn archived(row: &Row<'_>) -> rusqlite::Result<Archived> {
    let read_back_at: Option<i64> = row.get(7)?;
    Ok(Archived {
        first_id: row.get(0)?,
        last_id: row.get(1)?,
        file: row.get(2)?,
        sha256: row.get(3)?,
        change: row.get(4)?,
        manifest: row.get(5)?,
        archived_at: Millis::saturating(row.get(6)?),
        read_back_at: read_back_at.map(Millis::saturating),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::directory::Directory;
    use crate::store::maintain::retention;
    use crate::store::{ArchiveProgress, Delivery, Options, Reader, Retention, Store};

    fn append(store: &Store, line: &'static str) {
        let seed = crate::random::seed().unwrap();
        let caps = Caps { max_line: 1000, max_lines: 1000 };
        let body = Bytes::from_static(line.as_bytes());
        let batch = Batch::new(body, &KeySet::default(), caps, &seed).unwrap();
        let delivery = Delivery {
            received_at: Millis::saturating(5),
            started: Instant::now(),
            input: "default".into(),
            peer: "p".into(),
            bytes: 1,
            decoded_bytes: 1,
            origin: None,
        };
        store.append(delivery, &batch, &ExpectedIds::default()).unwrap();
    }

    fn add_segment(store: &Store, line: &'static str) {
        append(store, line);
        store.seal().unwrap();
    }

    fn record(id: u64) -> Archived {
        Archived {
            first_id: id,
            last_id: id,
            file: format!("{id:016}.db"),
            sha256: "ab".into(),
            change: 0,
            manifest: 4,
            archived_at: Millis::saturating(6),
            read_back_at: Some(Millis::saturating(7)),
        }
    }

    #[test]
    fn the_progress_ends_at_the_first_segment_that_is_not_archived() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let reader = Reader::open(&directory).unwrap();
        let check = |segments, until: Option<u64>, waiting_segments, waiting_entries| {
            let until = until.map(|id| (id, Millis::saturating(7)));
            let expected = ArchiveProgress { segments, until, waiting_segments, waiting_entries };
            assert_eq!(reader.archive_progress().unwrap(), expected);
        };
        check(0, None, 0, 0);
        ["one", "two", "three"].into_iter().for_each(|line| add_segment(&store, line));
        append(&store, "live");
        check(0, None, 3, 4);
        store.record_archived(&record(3)).unwrap();
        check(1, None, 2, 3);
        store.record_archived(&Archived { read_back_at: None, ..record(1) }).unwrap();
        check(1, None, 2, 3);
        store.record_archived(&record(1)).unwrap();
        check(2, Some(1), 1, 2);
        store.record_archived(&record(2)).unwrap();
        check(3, Some(3), 0, 1);
        // What retention deleted stays in the archive.
        store.prune(Retention { age: None, size: Some(0) }).unwrap();
        check(3, Some(3), 0, 1);
    }

    #[test]
    fn retention_waits_for_the_archive() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        ["one", "two", "three"].into_iter().for_each(|line| add_segment(&store, line));
        let catalog = Catalog::open(&directory).unwrap();
        let due = |needs_archive| {
            let all = Retention { age: None, size: Some(0) };
            let now = Millis::MAX;
            let due = retention::due(&directory, &catalog, all, needs_archive, now).unwrap();
            due.segments.into_iter().map(|one| one.first_id).collect::<Vec<_>>()
        };
        assert_eq!((due(false), due(true)), (vec![1, 2, 3], vec![]));
        // The second is in the archive, but an older one would have to go first.
        store.record_archived(&record(2)).unwrap();
        assert!(due(true).is_empty());
        store.record_archived(&Archived { read_back_at: None, ..record(1) }).unwrap();
        assert!(due(true).is_empty());
        store.record_archived(&Archived { last_id: 9, ..record(1) }).unwrap();
        assert!(due(true).is_empty());
        store.record_archived(&record(1)).unwrap();
        assert_eq!(due(true), [1, 2]);
        let reader = Reader::open(&directory).unwrap();
        assert_eq!(reader.archived().unwrap(), [record(1), record(2)]);
        // A change of an entry is to be archived too.
        catalog
            .transaction("change", |catalog| {
                catalog.overlay().hide(2, 1, &[0], 1).unwrap();
                catalog.overlay().note_change(2).unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(due(true), [1]);
        let change = catalog.overlay().last_change().unwrap();
        store.record_archived_changes(change).unwrap();
        assert_eq!(due(true), [1, 2]);
        // By age, each segment is for itself.
        store.record_archived(&Archived { read_back_at: None, ..record(1) }).unwrap();
        let old = Retention { age: Some(std::time::Duration::from_secs(1)), size: None };
        let now = Millis::MAX;
        let found = retention::due(&directory, &catalog, old, true, now).unwrap();
        assert_eq!(found.segments.iter().map(|one| one.first_id).collect::<Vec<_>>(), [2]);
        assert_eq!(found.held, BTreeSet::from([1, 3]));
        assert!(retention::due(&directory, &catalog, old, false, now).unwrap().held.is_empty());
    }
}
