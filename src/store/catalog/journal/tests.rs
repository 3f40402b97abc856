//! What is kept of a journal, wherever it is stored.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::entry::Millis;
use crate::ingest::{Batch, Caps, ExpectedIds};
use crate::signature::KeySet;
use crate::store::{
    Appended, CheckOptions, Delivery, Options, Quarantined, Reader, Retention, Store, repair,
};

const CAPS: Caps = Caps { max_line: 1000, max_lines: 1000 };

fn directory() -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = Directory::create(&temporary.path().join("data")).unwrap();
    (temporary, directory)
}

fn open(directory: &Directory) -> Store {
    Store::open(directory, Options::default()).unwrap()
}

fn at(epoch: u64, number: u64, position: u32) -> Option<Origin> {
    Some(Origin { epoch, number, position })
}

fn deliver(store: &Store, line: &str, origin: Option<Origin>) -> Result<Appended, StoreError> {
    let seed = crate::random::seed().unwrap();
    let body = Bytes::copy_from_slice(line.as_bytes());
    let batch = Batch::new(body, &KeySet::default(), CAPS, &seed).unwrap();
    let delivery = Delivery {
        received_at: Millis::saturating(5),
        started: Instant::now(),
        input: "default".into(),
        peer: "p".into(),
        bytes: 1,
        decoded_bytes: 1,
        origin,
    };
    Ok(store.append(delivery, &batch, &ExpectedIds::default())?.appended)
}

fn body(origin: Option<Origin>) -> Quarantined {
    Quarantined {
        id: 0,
        received_at: Millis::saturating(5),
        input: "default".into(),
        peer: "p".into(),
        status: 400,
        reason: "broken".into(),
        content_encoding: None,
        bytes: 0,
        origin,
    }
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>, origin: Option<Origin>) {
    match result {
        Err(StoreError::AlreadyStored(found)) => assert_eq!(Some(found), origin),
        other => panic!("{other:?}"),
    }
}

/// The cursors: the epoch, the number, the positions.
fn cursors(store: &Store) -> Vec<(u64, u64, String)> {
    let cursors = store.journal().unwrap().cursors.into_iter();
    cursors.map(|one| (one.epoch, one.number, one.positions.to_string())).collect()
}

/// Does the same with the live segment, after a restart, with a sealed segment, and after another
/// restart.
fn everywhere(directory: &Directory, store: Store, check: impl Fn(&Store)) -> Store {
    check(&store);
    drop(store);
    let store = open(directory);
    check(&store);
    store.seal().unwrap();
    check(&store);
    drop(store);
    let store = open(directory);
    check(&store);
    store
}

#[test]
fn a_delivery_of_a_journal_is_stored_once() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    assert_eq!(deliver(&store, "one", at(3, 7, 1)).unwrap().stored, 1);
    let store = everywhere(&directory, store, |store| {
        assert_refused(deliver(store, "one\ntwo", at(3, 7, 1)), at(3, 7, 1));
        assert_eq!(store.health().trouble(), None);
    });
    // The same line from elsewhere is a duplicate, as always.
    for origin in [at(3, 7, 2), at(3, 8, 1), at(2, 7, 1), None, None] {
        assert_eq!(deliver(&store, "one", origin).unwrap().duplicates, 1, "{origin:?}");
    }
    let reader = Reader::open(&directory).unwrap();
    let found: Vec<_> = reader.deliveries(None, 9).unwrap();
    let found: Vec<_> = found.iter().rev().map(|one| one.origin).collect();
    assert_eq!(found, [at(3, 7, 1), at(3, 7, 2), at(3, 8, 1), at(2, 7, 1), None, None]);
    assert!(reader.entry(2).unwrap().is_none());
}

#[test]
fn a_delivery_that_is_stored_already_harms_no_other_of_its_transaction() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    let stored = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|n| {
                let (store, line) = (&store, format!("line {n}"));
                scope.spawn(move || {
                    let same = deliver(store, &line, at(0, 0, 0)).is_ok();
                    assert_eq!(deliver(store, &line, at(0, 0, n + 1)).unwrap().received, 1);
                    same
                })
            })
            .collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1, "{stored:?}");
    assert_eq!(cursors(&store), [(0, 0, "0-8".to_owned())]);
    let reader = Reader::open(&directory).unwrap();
    assert!(reader.entry(8).unwrap().is_some() && reader.entry(9).unwrap().is_none());
}

#[test]
fn the_cursor_is_recovered_from_what_is_stored() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    assert_eq!(store.journal().unwrap(), JournalState::default());
    deliver(&store, "direct", None).unwrap();
    for (line, origin) in
        [("a", at(0, 0, 0)), ("b", at(0, 1, 0)), ("c", at(0, 1, 2)), ("d", at(9, 4, 0))]
    {
        deliver(&store, line, origin).unwrap();
    }
    let id = store.quarantine(&body(at(0, 1, 1)), b"x").unwrap();
    let expected = [(0, 1, "0-2".to_owned()), (9, 4, "0".to_owned())];
    let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
    // What left the quarantine counts, whatever became of it.
    store.drop_quarantined(id, Millis::MIN).unwrap().unwrap();
    let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
    // A later number is further, and the segments may go.
    deliver(&store, "e", at(9, 5, 3)).unwrap();
    store.seal().unwrap();
    let all = Retention { age: None, size: Some(0) };
    assert_eq!(store.prune(all).unwrap(), 2);
    let expected = [(0, 1, "0-2".to_owned()), (9, 5, "3".to_owned())];
    let store = everywhere(&directory, store, |store| assert_eq!(cursors(store), expected));
    assert_refused(deliver(&store, "e", at(9, 5, 3)), at(9, 5, 3));
}

#[test]
fn a_body_leaves_the_quarantine_once() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, "one", at(0, 0, 0)).unwrap();
    let dropped = store.quarantine(&body(at(0, 0, 1)), b"x").unwrap();
    let retried = store.quarantine(&body(at(0, 0, 2)), b"y").unwrap();
    deliver(&store, "later", at(0, 1, 0)).unwrap();
    let store = everywhere(&directory, store, |store| {
        for position in 0..3 {
            let origin = at(0, 0, position);
            assert_refused(store.quarantine(&body(origin), b"z"), origin);
        }
    });
    assert_eq!(store.quarantined(retried).unwrap().0.origin, at(0, 0, 2));
    // A retry stores it, although later numbers are stored.
    deliver(&store, "retried", at(0, 0, 2)).unwrap();
    let store = everywhere(&directory, store, |store| {
        assert_refused(deliver(store, "retried", at(0, 0, 2)), at(0, 0, 2));
    });
    store.release(retried).unwrap();
    store.drop_quarantined(dropped, Millis::MIN).unwrap().unwrap();
    let store = everywhere(&directory, store, |store| {
        for origin in [at(0, 0, 1), at(0, 0, 2)] {
            assert_refused(store.quarantine(&body(origin), b"z"), origin);
            assert_refused(deliver(store, "again", origin), origin);
        }
    });
    // Bodies that came directly are all kept.
    for expected in [3, 4] {
        assert_eq!(store.quarantine(&body(None), b"x").unwrap(), expected);
    }
}

#[test]
fn skips_and_ends_of_epochs_are_kept() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, "one", at(0, 0, 0)).unwrap();
    let skip = Skip {
        epoch: 0,
        number: 1,
        skipped_at: Millis::saturating(7),
        reason: "its checksum is wrong".into(),
        file: Some("skipped-0-1".into()),
        bytes: Some(12),
        sha256: Some("ab".into()),
    };
    store.record_skip(&Skip { file: None, ..skip.clone() }).unwrap();
    store.record_skip(&skip).unwrap();
    let end = EpochEnd { epoch: 4, number: 2, found_at: Millis::saturating(8) };
    store.record_epoch_end(&end).unwrap();
    store.record_epoch_end(&EpochEnd { found_at: Millis::MAX, ..end }).unwrap();
    everywhere(&directory, store, |store| {
        let JournalState { cursors, ends, skips } = store.journal().unwrap();
        let cursor = EpochCursor { skipped: true, ..EpochCursor::at(0, 1) };
        assert_eq!(cursors, [cursor]);
        assert_eq!((ends, skips), (vec![end], vec![skip.clone()]));
    });
}

#[test]
fn a_repair_finds_the_cursor_in_the_segments_and_makes_a_new_id() {
    for is_sealed in [false, true] {
        let (_temporary, directory) = directory();
        let store = open(&directory);
        let id = store.id().unwrap();
        assert!(id.len() == 32 && id.bytes().all(|one| one.is_ascii_hexdigit()), "{id}");
        for (line, origin) in [("a", at(0, 0, 0)), ("b", at(0, 1, 4)), ("c", at(2, 0, 0))] {
            deliver(&store, line, origin).unwrap();
        }
        if is_sealed {
            store.seal().unwrap();
        }
        drop(store);
        assert_eq!(open(&directory).id().unwrap(), id);
        crate::store::directory::remove_database(&directory.catalog()).unwrap();
        let report = repair::Plan::make(&directory).unwrap().carry_out().unwrap();
        assert!(report.catalog_lost && report.lost.iter().any(|one| one.contains("journal")));
        let store = open(&directory);
        assert_ne!(store.id().unwrap(), id);
        let reader = Reader::open(&directory).unwrap();
        assert_eq!(reader.store_id().unwrap(), Some(store.id().unwrap()));
        assert_eq!(cursors(&store), [(0, 1, "4".to_owned()), (2, 0, "0".to_owned())]);
        assert_refused(deliver(&store, "a", at(0, 0, 0)), at(0, 0, 0));
    }
}

#[test]
fn a_backup_is_the_same_store() {
    let (temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, "a", at(0, 0, 0)).unwrap();
    store.quarantine(&body(at(0, 1, 0)), b"x").unwrap();
    let (backup, restored) = (temporary.path().join("backup"), temporary.path().join("new"));
    Reader::open(&directory).unwrap().backup(&backup).unwrap();
    crate::store::backup::restore(&backup, &restored).unwrap();
    let other = open(&Directory::create(&restored).unwrap());
    assert_eq!(other.id().unwrap(), store.id().unwrap());
    assert_eq!(cursors(&other), [(0, 1, "0".to_owned())]);
    assert_refused(deliver(&other, "a", at(0, 0, 0)), at(0, 0, 0));
    // A new store has another id.
    let new = Directory::create(&temporary.path().join("other")).unwrap();
    assert_ne!(open(&new).id().unwrap(), store.id().unwrap());
}

#[test]
fn a_check_finds_what_the_catalog_does_not_know_of_the_journal() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    for (line, origin) in [("a", at(0, 0, 0)), ("b", at(0, 1, 0)), ("c", at(0, 1, 1))] {
        deliver(&store, line, origin).unwrap();
    }
    store.seal().unwrap();
    let reader = Reader::open(&directory).unwrap();
    let check = || reader.check(CheckOptions::default(), &|_, _| ()).unwrap().differences;
    assert_eq!(check(), 0);
    let catalog = Catalog::open(&directory).unwrap();
    for (damage, repair) in [
        ("UPDATE segment_epochs SET max_number = 0", "UPDATE segment_epochs SET max_number = 1"),
        ("UPDATE journal_cursors SET number = 0", "UPDATE journal_cursors SET number = 1"),
        (
            "UPDATE journal_cursors SET positions = '0'",
            "UPDATE journal_cursors SET positions = '0-1'",
        ),
        ("DELETE FROM journal_cursors", "INSERT INTO journal_cursors VALUES (0, 7, '2')"),
    ] {
        let change = |sql| catalog.write("change", |one| one.execute(sql, []).map(drop));
        change(damage).unwrap();
        assert_eq!(check(), 1, "{damage}");
        change(repair).unwrap();
        assert_eq!(check(), 0, "{repair}");
    }
}

fn stored_at(directory: &Directory) -> Vec<Millis> {
    let found = Reader::open(directory).unwrap().deliveries(None, 9).unwrap();
    found.iter().rev().map(|one| one.stored_at.unwrap()).collect()
}

#[test]
fn the_clock_of_the_store_never_goes_back() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, "one", None).unwrap();
    drop(store);
    // As if the clock had been far ahead then.
    let ahead = Millis::saturating(8_000_000_000_000);
    let live = directory.segment("0000000000000001.live.db");
    let sql = "UPDATE deliveries SET stored_at = 8000000000000";
    rusqlite::Connection::open(&live).unwrap().execute(sql, []).unwrap();
    let store = open(&directory);
    deliver(&store, "two", None).unwrap();
    assert_eq!(stored_at(&directory), [ahead; 2]);
    store.seal().unwrap();
    deliver(&store, "three", None).unwrap();
    drop(store);
    let store = open(&directory);
    deliver(&store, "four", None).unwrap();
    assert_eq!(stored_at(&directory), [ahead; 4]);
    // Even if all segments with deliveries are gone.
    store.seal().unwrap();
    store.prune(Retention { age: None, size: Some(0) }).unwrap();
    drop(store);
    let store = open(&directory);
    deliver(&store, "five", None).unwrap();
    assert_eq!(stored_at(&directory), [ahead]);
}

#[test]
fn retention_goes_by_when_a_delivery_was_stored() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    // It claims to have been received in 1970.
    deliver(&store, "one", at(0, 0, 0)).unwrap();
    store.seal().unwrap();
    let age = Duration::from_secs(24 * 60 * 60);
    let retention = Retention { age: Some(age), size: None };
    assert!(store.prunable(retention).unwrap().is_empty());
    let catalog = Catalog::open(&directory).unwrap();
    let due = |now: i64| {
        let now = Millis::saturating(now);
        let due =
            crate::store::maintain::retention::due(&directory, &catalog, retention, None, now);
        due.unwrap().segments.len()
    };
    let stored = stored_at(&directory)[0].get();
    let day = age.as_millis() as i64;
    assert_eq!((due(stored + day), due(stored + day + 1)), (0, 1));
}
