//! Which segments are in an archive, and where. The archive itself is not known here.
//!
//! A segment is recorded once its files were written to the archive and read back. Late verdicts of its
//! entries are archived later, up to a number of a change. There is one record of a segment, of the archive
//! to which it was written last.

use rusqlite::Row;

use super::Catalog;
use super::segments::Segment;
use crate::entry::Millis;
use crate::store::error::{SqliteContext, StoreError};
use crate::store::schema::CATALOG_WITH_PLACES;

/// A segment that is in an archive.
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
    /// When it was archived and its files were read back.
    pub archived_at: Millis,
    /// The URL of the archive, without credentials and without a slash at the end. It is empty if an
    /// earlier version recorded the segment.
    pub place: String,
}

impl Catalog {
    /// Records that a segment is in an archive. An earlier record of it is replaced.
    pub(in crate::store) fn record_archived(&self, archived: &Archived) -> Result<(), StoreError> {
        self.write("record what is archived", |catalog| {
            catalog
                .execute(
                    "INSERT OR REPLACE INTO archived (first_id, last_id, file, sha256, change,
                         manifest, archived_at, place)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    (
                        archived.first_id,
                        archived.last_id,
                        &archived.file,
                        &archived.sha256,
                        archived.change,
                        archived.manifest,
                        archived.archived_at.get(),
                        &archived.place,
                    ),
                )
                .map(drop)
        })
    }

    /// Records that the changes of all segments in an archive up to this number are there too.
    pub(in crate::store) fn record_archived_changes(
        &self,
        place: &str,
        change: u64,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE archived SET change = max(change, ?2) WHERE place = ?1";
        self.write("record what is archived", |catalog| {
            catalog.execute(sql, (place, change)).map(drop)
        })
    }

    /// Removes the record of a segment.
    pub(in crate::store) fn forget_archived(&self, first_id: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM archived WHERE first_id = ?1";
        self.write("record what is archived", |catalog| catalog.execute(sql, [first_id]).map(drop))
    }

    /// The segments that are in an archive, oldest first, with those that retention removed since. None
    /// if the catalog is of a version that does not say where they are.
    pub(in crate::store) fn archived(&self) -> Result<Vec<Archived>, StoreError> {
        if self.version() < CATALOG_WITH_PLACES {
            return Ok(Vec::new());
        }
        let sql = "SELECT first_id, last_id, file, sha256, change, manifest, archived_at, place
                   FROM archived ORDER BY first_id";
        self.read("read what is archived", |catalog| {
            catalog.prepare_cached(sql)?.query_map([], archived)?.collect()
        })
    }

    /// Whether all that is known of a closed segment is in the archive at this place.
    pub(in crate::store) fn is_archived(
        &self,
        segment: &Segment,
        place: &str,
    ) -> Result<bool, StoreError> {
        let Some(closed) = &segment.closed else { return Ok(false) };
        let ids = segment.first_id..=closed.last_id;
        let change = self.overlay().last_change_of(&ids).doing("read the overlay", self.path())?;
        let sql = "SELECT 1 FROM archived
                   WHERE first_id = ?1 AND last_id = ?2 AND change >= ?3 AND place = ?4";
        self.read("read what is archived", |catalog| {
            catalog.prepare_cached(sql)?.exists((segment.first_id, closed.last_id, change, place))
        })
    }
}

fn archived(row: &Row<'_>) -> rusqlite::Result<Archived> {
    Ok(Archived {
        first_id: row.get(0)?,
        last_id: row.get(1)?,
        file: row.get(2)?,
        sha256: row.get(3)?,
        change: row.get(4)?,
        manifest: row.get(5)?,
        archived_at: Millis::saturating(row.get(6)?),
        place: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::catalog::SCHEMA;
    use crate::store::directory::Directory;
    use crate::store::maintain::background::Task;
    use crate::store::maintain::retention::{self, Hold};
    use crate::store::schema::Schema;
    use crate::store::sqlite;
    use crate::store::{ArchiveProgress, Delivery, Options, Reader, Retention, Store};

    const PLACE: &str = "s3://audit/archive";

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
            archived_at: Millis::saturating(7),
            place: PLACE.into(),
        }
    }

    fn record_elsewhere(id: u64) -> Archived {
        Archived { place: "s3://other".into(), ..record(id) }
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
            assert_eq!(reader.archive_progress(PLACE).unwrap(), expected);
        };
        check(0, None, 0, 0);
        ["one", "two", "three"].into_iter().for_each(|line| add_segment(&store, line));
        append(&store, "live");
        check(0, None, 3, 4);
        store.record_archived(&record(3)).unwrap();
        check(1, None, 2, 3);
        store.record_archived(&record_elsewhere(1)).unwrap();
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
        let due = |archive| {
            let all = Retention { age: None, size: Some(0) };
            let now = Millis::MAX;
            let due = retention::due(&directory, &catalog, all, archive, now).unwrap();
            due.segments.into_iter().map(|one| one.first_id).collect::<Vec<_>>()
        };
        let there = Some(PLACE);
        assert_eq!((due(None), due(there)), (vec![1, 2, 3], vec![]));
        // The second is in the archive, but an older one would have to go first.
        store.record_archived(&record(2)).unwrap();
        assert!(due(there).is_empty());
        store.record_archived(&record_elsewhere(1)).unwrap();
        assert!(due(there).is_empty());
        store.record_archived(&Archived { last_id: 9, ..record(1) }).unwrap();
        assert!(due(there).is_empty());
        store.record_archived(&record(1)).unwrap();
        assert_eq!(due(there), [1, 2]);
        let reader = Reader::open(&directory).unwrap();
        assert_eq!(reader.archived().unwrap(), [record(1), record(2)]);
        assert!(due(Some("s3://other")).is_empty());
        // A change of an entry is to be archived too.
        catalog
            .transaction("change", |catalog| {
                catalog.overlay().hide(2, 1, &[0], 1).unwrap();
                catalog.overlay().note_change(2).unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!(due(there), [1]);
        let change = catalog.overlay().last_change().unwrap();
        store.record_archived_changes("s3://other", change).unwrap();
        assert_eq!(due(there), [1]);
        store.record_archived_changes(PLACE, change).unwrap();
        assert_eq!(due(there), [1, 2]);
        // By age, each segment is for itself.
        store.forget_archived(1).unwrap();
        let old = Retention { age: Some(std::time::Duration::from_secs(1)), size: None };
        let now = Millis::MAX;
        let found = retention::due(&directory, &catalog, old, there, now).unwrap();
        assert_eq!(found.segments.iter().map(|one| one.first_id).collect::<Vec<_>>(), [2]);
        assert_eq!(found.held, BTreeMap::from([(1, Hold::Archive), (3, Hold::Archive)]));
        assert!(retention::due(&directory, &catalog, old, None, now).unwrap().held.is_empty());
    }

    #[test]
    fn a_record_of_version_10_counts_for_no_archive() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let before = Schema { versions: &SCHEMA.versions[..10], ..SCHEMA };
        let database = sqlite::open(&directory.catalog(), &before).unwrap();
        let row = "INSERT INTO archived VALUES (1, 1, '0000000000000001.db', 'ab', 0, 4, 7, 7)";
        database.execute(row, []).unwrap();
        drop(database);
        let read = Catalog::open_read_only(&directory).unwrap();
        assert_eq!((read.version(), read.archived().unwrap()), (10, Vec::new()));
        drop(read);
        let catalog = Catalog::open(&directory).unwrap();
        let unknown = Archived { place: String::new(), ..record(1) };
        assert_eq!((catalog.version(), catalog.archived().unwrap()), (12, vec![unknown]));
        let store = Store::open(&directory, Options::default()).unwrap();
        add_segment(&store, "one");
        let segment = &catalog.segments().unwrap()[0];
        assert!(!catalog.is_archived(segment, PLACE).unwrap());
        store.record_archived(&record(1)).unwrap();
        assert!(catalog.is_archived(segment, PLACE).unwrap());
    }

    #[test]
    fn retention_that_needs_an_archive_waits_until_it_is_trusted() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = Directory::create(&temporary.path().join("data")).unwrap();
        let retention = Retention { age: None, size: Some(0) };
        let options = Options { retention, retention_needs_archive: true, ..Options::default() };
        let store = Store::open(&directory, options).unwrap();
        let reader = Reader::open(&directory).unwrap();
        // A round prunes what is sealed. Then the new segment is sealed, and the caller waits for that.
        let round = |line| {
            append(&store, line);
            store.background.send(Task::Seal).unwrap();
            store.seal().unwrap();
            reader.sealed_segments().unwrap().iter().map(|one| one.first_id).collect::<Vec<_>>()
        };
        store.record_archived(&record(1)).unwrap();
        assert_eq!(round("one"), [1]);
        assert_eq!(round("two"), [1, 2]);
        store.trust_archive(Some("s3://other".into()));
        assert_eq!(round("three"), [1, 2, 3]);
        store.trust_archive(Some(PLACE.into()));
        assert_eq!(round("four"), [2, 3, 4]);
        store.trust_archive(None);
        store.seal().unwrap();
        store.record_archived(&record(2)).unwrap();
        assert_eq!(round("five"), [2, 3, 4, 5]);
    }
}
