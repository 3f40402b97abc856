//! Leaves are compared with the entries that were stored, and tiles with the leaves.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

use bytes::Bytes;
use proptest::prelude::*;

use crate::entry::{Millis, VerdictName};
use crate::ingest::{Batch, Caps, ExpectedIds};
use crate::signature::KeySet;
use crate::store::directory::Directory;
use crate::store::error::StoreError;
use crate::store::tiles::{TileWriter, Tiles};
use crate::store::write::salted::SaltedEntry;
use crate::store::write::writer::{Job, Message};
use crate::store::{Delivery, Options, Origin, Reader, Retention, Store};
use crate::tlog::leaf::{EntryLeaf, Leaf, RetentionReason, salted};
use crate::tlog::tree;

const CAPS: Caps = Caps { max_line: 1000, max_lines: 10_000 };

fn directory() -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = Directory::create(&temporary.path().join("data")).unwrap();
    (temporary, directory)
}

fn open(directory: &Directory) -> Store {
    Store::open(directory, Options { segment_entries: 40, ..Options::default() }).unwrap()
}

/// Opens a store that seals only when it is asked to.
fn open_quiet(directory: &Directory) -> Store {
    Store::open(directory, Options::default()).unwrap()
}

fn delivery(origin: Option<Origin>) -> Delivery {
    Delivery {
        received_at: Millis::saturating(5),
        started: Instant::now(),
        input: "the input".into(),
        peer: "p".into(),
        bytes: 1,
        decoded_bytes: 1,
        origin,
    }
}

fn batch(body: &str) -> Batch {
    let seed = crate::random::seed().unwrap();
    Batch::new(Bytes::copy_from_slice(body.as_bytes()), &KeySet::default(), CAPS, &seed).unwrap()
}

/// Delivers lines, and returns how many are new.
fn deliver(store: &Store, body: &str) -> u64 {
    let stored = store.append(delivery(None), &batch(body), &ExpectedIds::default()).unwrap();
    stored.appended.stored
}

/// `count` lines that no other call returns for another `first`.
fn lines(first: u64, count: u64) -> String {
    (first..first + count).map(|n| format!("{{\"rt\":{},\"n\":{n}}}\n", n + 1)).collect()
}

/// A delivery whose sender fails after `count` lines.
fn fail(store: &Store, first: u64, count: u64) {
    let batch = batch(&lines(first, count));
    let expected = ExpectedIds::default();
    let entries = batch.entries(&expected, Millis::saturating(5)).collect();
    let (sender, chunks) = sync_channel(1);
    sender.send(SaltedEntry::all(entries, "the input").unwrap()).unwrap();
    drop(sender);
    let (reply, answer) = sync_channel(1);
    let job = Job { delivery: delivery(None), lines: batch.len() + 1, chunks, reply };
    assert!(store.writer.send(Message::Append(job)).is_ok());
    assert!(matches!(answer.recv().unwrap(), Err(StoreError::Incomplete { .. })));
}

/// All leaves, by their records in the tiles.
fn leaves(reader: &Reader) -> Vec<Leaf> {
    let tiles = reader.tiles().unwrap();
    (0..tiles.size()).map(|leaf| Leaf::parse(&tiles.record(leaf).unwrap()).unwrap().0).collect()
}

/// Checks the leaf of each entry, that the leaves are dense, and that the tiles are those that the records
/// make. Returns the leaves that are not of entries that are there, without those of sealed segments, which
/// come at any time.
fn check(directory: &Directory) -> Vec<(u64, Leaf)> {
    let reader = Reader::open(directory).unwrap();
    let mut leaves: BTreeMap<u64, Leaf> = (0..).zip(leaves(&reader)).collect();
    let all = leaves.clone();
    let last = reader.greatest_id().unwrap();
    let mut before = None;
    for id in 1..=last {
        let Some(entry) = reader.entry(id).unwrap() else { continue };
        let (leaf, salt) = reader.leaf_of(id).unwrap().unwrap();
        assert!(before < Some(leaf), "{id}: {before:?}, {leaf}");
        before = Some(leaf);
        let expected = Leaf::Entry(EntryLeaf {
            id,
            received_at: Millis::saturating(5),
            verdict: entry.verdict,
            line: salted(&salt, &entry.raw),
            input: salted(&salt, b"the input"),
            key: None,
        });
        assert_eq!(leaves.remove(&leaf), Some(expected), "{id}");
    }
    assert_eq!(reader.leaf_of(last + 1).unwrap(), None);
    assert_eq!(reader.leaf_of(0).unwrap(), None);

    let temporary = tempfile::tempdir().unwrap();
    let scratch = Directory::create(&temporary.path().join("scratch")).unwrap();
    let tiles = reader.tiles().unwrap();
    let mut writer = TileWriter::open(&scratch).unwrap();
    for leaf in 0..tiles.size() {
        writer.add(&tiles.record(leaf).unwrap()).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(Tiles::open(&scratch).unwrap().size(), tiles.size());
    for file in tiles.files() {
        let bytes = |directory: &Directory| {
            let mut bytes = fs::read(directory.path().join(&file.name)).unwrap();
            bytes.truncate(usize::try_from(file.bytes).unwrap());
            bytes
        };
        assert_eq!(bytes(directory), bytes(&scratch), "{}", file.name);
    }
    assert_eq!(all.len() as u64, tiles.size());
    leaves.retain(|_, leaf| !matches!(leaf, Leaf::Seal { .. }));
    leaves.into_iter().collect()
}

/// Writes the tiles, and returns the number of leaves without those of sealed segments.
fn write(directory: &Directory, store: &Store) -> u64 {
    store.write_tiles().unwrap();
    let leaves = leaves(&Reader::open(directory).unwrap());
    leaves.iter().filter(|leaf| !matches!(leaf, Leaf::Seal { .. })).count() as u64
}

/// Copies a data directory as it is on the disk, as if its process were killed.
fn killed(directory: &Directory) -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    let copy = Directory::create(&temporary.path().join("data")).unwrap();
    copy_files(directory.path(), copy.path());
    (temporary, copy)
}

fn copy_files(from: &Path, to: &Path) {
    crate::store::directory::create_folder(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let from = file.unwrap().path();
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true => copy_files(&from, &to),
            // SQLite makes it anew.
            false if from.to_string_lossy().ends_with("-shm") => {}
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

#[test]
fn each_stored_entry_has_a_leaf_and_a_duplicate_has_none() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    let start = Leaf::Start { segments: 0, last_id: 0, sha256: sha256_of_nothing() };
    assert_eq!(store.write_tiles().unwrap(), 1);
    assert_eq!(check(&directory), [(0, start.clone())]);

    assert_eq!(deliver(&store, &lines(0, 3)), 3);
    assert_eq!(deliver(&store, &lines(1, 4)), 2);
    assert_eq!(deliver(&store, &lines(0, 5)), 0);
    assert_eq!(deliver(&store, "not an entry\nnot an entry\n"), 1);
    let key = Leaf::Key { vkey: "a+1+b".into() };
    assert_eq!(store.append_leaf(key.clone()).unwrap(), 7);
    assert_eq!(deliver(&store, &lines(10, 1)), 1);
    let reader = Reader::open(&directory).unwrap();
    let (leaf, salt) = reader.leaf_of(7).unwrap().unwrap();
    assert_eq!(leaf, 8);
    // The tiles are written when they are asked for.
    assert_eq!(reader.tiles().unwrap().size(), 1);
    assert_eq!(store.write_tiles().unwrap(), 9);
    assert_eq!(store.write_tiles().unwrap(), 9);
    let others = [(0, start), (7, key)];
    assert_eq!(check(&directory), others);
    let verdicts: Vec<_> = leaves(&reader)
        .into_iter()
        .filter_map(|leaf| if let Leaf::Entry(entry) = leaf { Some(entry.verdict) } else { None })
        .collect();
    assert_eq!(verdicts.iter().filter(|one| **one == VerdictName::Malformed).count(), 1);

    // A sealed segment has the same leaves and salts, and the records are in the files alone.
    store.seal().unwrap();
    assert_eq!(reader.leaf_of(7).unwrap(), Some((leaf, salt)));
    assert_eq!(write(&directory, &store), 9);
    assert_eq!(leaves(&reader).last().unwrap().kind(), "seal");
    assert_eq!(check(&directory), others);
    let kept = |sql: &str| reader.read_segment(1, |one| one.query_row(sql, [], |row| row.get(0)));
    assert_eq!(kept("SELECT count(*) FROM leaves").unwrap(), Some(0));
    assert_eq!(kept("SELECT sum(count) FROM salts").unwrap(), Some(7));
    assert_eq!(kept("SELECT next_leaf FROM segment").unwrap(), Some(9));
    assert_eq!(kept("SELECT leaf FROM entries WHERE id = 7").unwrap(), Some(8));
    assert_eq!(deliver(&store, &lines(20, 1)), 1);
    store.write_tiles().unwrap();
    assert_eq!(check(&directory), others);
}

fn sha256_of_nothing() -> [u8; 32] {
    let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=".parse::<tree::Hash>().unwrap();
    hash.0
}

#[test]
fn a_delivery_with_many_entries_has_leaves_in_several_rows() {
    let (_temporary, directory) = directory();
    let store = open_quiet(&directory);
    assert_eq!(deliver(&store, &lines(0, 1300)), 1300);
    let reader = Reader::open(&directory).unwrap();
    let rows = "SELECT json_group_array(count) FROM leaves";
    let rows = reader.read_segment(1, |one| one.query_row(rows, [], |row| row.get(0)));
    assert_eq!(rows.unwrap(), Some("[1,512,512,276]".to_owned()));
    assert_eq!(store.write_tiles().unwrap(), 1301);
    assert_eq!(check(&directory).len(), 1);
    store.seal().unwrap();
    assert_eq!(check(&directory).len(), 1);
}

#[test]
fn deliveries_that_fail_leave_no_hole() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..30 {
                    let first = thread * 10_000 + n * 100;
                    match n % 3 {
                        0 => fail(store, first, 5),
                        1 => assert_eq!(deliver(store, &lines(first, 7)), 7),
                        _ => {
                            let origin = Some(Origin { epoch: 1, number: thread, position: 0 });
                            let body = batch(&lines(first, 2));
                            let expected = ExpectedIds::default();
                            let stored = store.append(delivery(origin), &body, &expected);
                            assert_eq!(stored.is_ok(), n == 2, "{thread} {n}");
                        }
                    }
                    if n % 7 == 0 {
                        store.append_leaf(Leaf::Gap { first_id: first, last_id: first }).unwrap();
                        store.write_tiles().unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(write(&directory, &store), 1 + 4 * (10 * 7 + 2 + 5));
    let others = check(&directory);
    assert_eq!(others.len(), 1 + 4 * 5);
    drop(store);
    let store = open(&directory);
    store.seal().unwrap();
    store.write_tiles().unwrap();
    assert_eq!(check(&directory), others);
}

#[test]
fn a_live_segment_that_lost_entries_is_followed_by_a_lost_and_a_gap_leaf() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, &lines(0, 3));
    let live = directory.segment("0000000000000001.live.db");
    drop(store);
    let old = fs::read(&live).unwrap();

    let store = open(&directory);
    deliver(&store, &lines(3, 2));
    assert_eq!(store.write_tiles().unwrap(), 6);
    let root = tree::root(&Reader::open(&directory).unwrap().tiles().unwrap(), 6).unwrap();
    // These leaves were in no tile, so nobody knows them.
    deliver(&store, &lines(5, 2));
    drop(store);
    let _ = fs::remove_file(live.with_extension("db-wal"));
    fs::write(&live, old).unwrap();

    let store = open(&directory);
    let gap = Reader::open(&directory).unwrap().gaps().unwrap().remove(0);
    assert_eq!(gap.first_id, 4);
    deliver(&store, &lines(0, 8));
    store.seal().unwrap();
    assert_eq!(write(&directory, &store), 13);
    let others = check(&directory);
    let lost = Leaf::Lost { first_leaf: 4, last_leaf: 5 };
    let gap = Leaf::Gap { first_id: gap.first_id, last_id: gap.last_id };
    assert_eq!(others.iter().map(|(leaf, _)| *leaf).take(4).collect::<Vec<_>>(), [0, 4, 5, 6]);
    assert_eq!((others.len(), &others[3].1, &others[4].1), (5, &lost, &gap));
    // What was given out is still part of the log.
    let reader = Reader::open(&directory).unwrap();
    assert_eq!(tree::root(&reader.tiles().unwrap(), 6).unwrap(), root);
    // A start that finds nothing new adds no leaf.
    drop(store);
    let store = open(&directory);
    store.seal().unwrap();
    assert_eq!(write(&directory, &store), 13);
}

#[test]
fn leaves_that_a_checkpoint_has_and_no_file_stop_the_log_and_not_the_store() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, &lines(0, 3));
    assert_eq!(store.write_tiles().unwrap(), 4);
    drop(store);
    fs::write(directory.log().join("checkpoint"), "example.com/log\n9\n").unwrap();
    let store = open(&directory);
    deliver(&store, &lines(3, 40));
    let missing = |result| match result {
        Err(StoreError::LeavesMissing { first, last }) => (first, last),
        other => panic!("{other:?}"),
    };
    assert_eq!(missing(store.write_tiles()), (4, 8));
    // Sealing goes on, and keeps the records that the files do not have.
    store.seal().unwrap();
    assert_eq!(missing(store.write_tiles()), (4, 8));
    let reader = Reader::open(&directory).unwrap();
    let (leaf, _) = reader.leaf_of(4).unwrap().unwrap();
    assert_eq!(leaf, 10);
    let kept = "SELECT min(first) || '-' || max(first + count - 1) FROM leaves";
    let kept = reader.read_segment(1, |one| one.query_row(kept, [], |row| row.get(0)));
    assert_eq!(kept.unwrap(), Some("9-49".to_owned()));
    // When the files are back, the log goes on with what the sealed segment has.
    let mut writer = TileWriter::open(&directory).unwrap();
    let gap = Leaf::Gap { first_id: 1, last_id: 1 }.record(Millis::MIN);
    (0..5).for_each(|_| writer.add(&gap).unwrap());
    writer.finish().unwrap();
    assert_eq!(write(&directory, &store), 50);
    let others = check(&directory);
    assert_eq!(others.len(), 1 + 5 + 1);
    assert_eq!(others.last().unwrap(), &(9, Leaf::Lost { first_leaf: 4, last_leaf: 8 }));
}

#[test]
fn a_log_whose_files_are_gone_gives_no_leaf_out_again() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, &lines(0, 3));
    store.seal().unwrap();
    drop(store);
    fs::remove_dir_all(directory.log()).unwrap();
    let store = open(&directory);
    deliver(&store, &lines(3, 1));
    let reader = Reader::open(&directory).unwrap();
    // The leaf 4 was of the sealed segment.
    assert_eq!(reader.leaf_of(4).unwrap().unwrap().0, 5);
    let missing = store.write_tiles();
    assert!(matches!(missing, Err(StoreError::LeavesMissing { first: 0, last: 3 })));
    // What is left of the log is not deleted.
    let everything = Retention { age: None, size: Some(0) };
    store.seal().unwrap();
    assert_eq!(store.prune(everything).unwrap(), 0);
}

#[test]
fn retention_waits_until_the_records_are_in_the_files() {
    let (_temporary, directory) = directory();
    let store = open(&directory);
    deliver(&store, &lines(0, 60));
    store.seal().unwrap();
    deliver(&store, &lines(60, 30));
    let reader = Reader::open(&directory).unwrap();
    let everything = Retention { age: None, size: Some(0) };
    assert_eq!(store.prune(everything).unwrap(), 1);
    assert!(reader.tiles().unwrap().size() >= 91);
    store.write_tiles().unwrap();
    assert_eq!(check(&directory).len(), 1 + 60 + 1);
    let Some(Leaf::Retention { first_id, last_id, reason, sha256 }) = leaves(&reader).pop() else {
        panic!("{:?}", leaves(&reader));
    };
    assert_eq!((first_id, last_id, reason), (1, 60, RetentionReason::Prune));
    assert!(sha256.is_some());
    assert_eq!(reader.leaf_of(1).unwrap(), None);
}

/// Makes the entries of the live segment ones that were stored before the log began.
fn without_log(directory: &Directory) {
    fs::remove_dir_all(directory.log()).unwrap();
    let execute = |path: &Path, sql: &str| {
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
    };
    let live = directory.segment("0000000000000001.live.db");
    let sql = "UPDATE entries SET leaf = NULL; UPDATE segment SET first_leaf = NULL;
               DELETE FROM leaves";
    execute(&live, sql);
    execute(&directory.catalog(), "UPDATE logged SET backfilled = 0");
}

#[test]
fn entries_from_before_the_log_get_their_leaves_and_new_ones_do_not_wait() {
    let (_temporary, directory) = directory();
    let store = open_quiet(&directory);
    deliver(&store, &lines(0, 1300));
    drop(store);
    without_log(&directory);

    let store = open_quiet(&directory);
    deliver(&store, &lines(2000, 3));
    let reader = Reader::open(&directory).unwrap();
    while reader.leaf_of(1300).unwrap().is_none() {
        std::thread::yield_now();
    }
    store.write_tiles().unwrap();
    let leaves = leaves(&reader);
    let with_leaf = |id: u64| {
        let (leaf, salt) = reader.leaf_of(id).unwrap().unwrap();
        let record = reader.entry(id).unwrap().unwrap();
        let entry = match leaves[usize::try_from(leaf).unwrap()] {
            Leaf::Backfill(entry) if id <= 1300 => entry,
            Leaf::Entry(entry) if id > 1300 => entry,
            ref other => panic!("{id}: {other}"),
        };
        assert_eq!((entry.id, entry.line), (id, salted(&salt, &record.raw)));
        (leaf, salt)
    };
    let found: Vec<_> = (1..=1303).map(with_leaf).collect();
    assert_eq!(leaves.len(), 1 + 1303);
    // The live segment has no more of the records than it must.
    let rows = "SELECT coalesce(sum(count), 0) FROM leaves WHERE substr(records, 4, 1) = x'03'";
    let rows = || reader.read_segment(1, |one| one.query_row(rows, [], |row| row.get::<_, u64>(0)));
    let kept = rows().unwrap().unwrap();
    assert!(kept < 1300, "{kept} records");

    // A new file of the segment has them, and the catalog does not any more.
    let (_killed, copy) = killed(&directory);
    store.seal().unwrap();
    assert_eq!((1..=1303).map(with_leaf).collect::<Vec<_>>(), found);
    let left = reader.catalog(|catalog| Ok(catalog.overlay().backfills(&(1..=1300)).unwrap()));
    assert!(left.unwrap().is_empty());
    drop(store);
    let store = open_quiet(&directory);
    store.seal().unwrap();
    assert_eq!((1..=1303).map(with_leaf).collect::<Vec<_>>(), found);

    // A crash before the catalog lists the new file leaves both.
    let sealed = "0000000000000001.db";
    fs::copy(directory.segment(sealed), copy.segment(sealed)).unwrap();
    let store = open_quiet(&copy);
    store.seal().unwrap();
    let reader = Reader::open(&copy).unwrap();
    assert_eq!(reader.leaf_of(1300).unwrap(), Some(found[1299]));
}

#[derive(Clone, Debug)]
enum Step {
    Deliver(u64),
    Fail(u64),
    Leaf,
    Write,
    Seal,
    Restart,
    /// The process is killed, and what it had begun to write beyond the end stays.
    Kill,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..30_u64).prop_map(Step::Deliver),
        1 => (1..30_u64).prop_map(Step::Fail),
        1 => Just(Step::Leaf),
        2 => Just(Step::Write),
        1 => Just(Step::Seal),
        1 => Just(Step::Restart),
        2 => Just(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn tiles_are_those_of_the_records_whenever_the_process_is_killed(
        steps in proptest::collection::vec(step(), 0..25),
    ) {
        let mut home = directory();
        let mut store = Some(open_quiet(&home.1));
        let (mut next, mut stored, mut others, mut given_out) = (0, 0, 1, None);
        for step in steps {
            let one = store.as_ref().unwrap();
            match step {
                Step::Deliver(count) => {
                    stored += deliver(one, &lines(next, count));
                    next += count;
                }
                Step::Fail(count) => {
                    fail(one, next, count);
                    next += count;
                }
                Step::Leaf => {
                    one.append_leaf(Leaf::Key { vkey: "k".into() }).unwrap();
                    others += 1;
                }
                Step::Write => {
                    let size = one.write_tiles().unwrap();
                    prop_assert_eq!(write(&home.1, one), stored + others);
                    let tiles = Reader::open(&home.1).unwrap().tiles().unwrap();
                    given_out = Some((size, tree::root(&tiles, size).unwrap()));
                }
                Step::Seal => one.seal().unwrap(),
                Step::Restart => {
                    drop(store.take());
                    store = Some(open_quiet(&home.1));
                }
                Step::Kill => {
                    let copy = killed(&home.1);
                    drop(store.take());
                    home = copy;
                    for stream in ["records", "offsets", "hashes/0"] {
                        let path = home.1.log().join(stream).join("0000");
                        if let Ok(mut bytes) = fs::read(&path) {
                            bytes.extend([0xff; 70]);
                            fs::write(&path, bytes).unwrap();
                        }
                    }
                    store = Some(open_quiet(&home.1));
                }
            }
        }
        let store = store.unwrap();
        prop_assert_eq!(write(&home.1, &store), stored + others);
        prop_assert_eq!(check(&home.1).len() as u64, others);
        if let Some((size, root)) = given_out {
            let tiles = Reader::open(&home.1).unwrap().tiles().unwrap();
            prop_assert_eq!(tree::root(&tiles, size).unwrap(), root);
        }
    }
}
