//! The protocol step by step, on an object store without faults. `model` has the faults.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::objects::testing::Memory;
use crate::objects::{Bucket, MOST_READ};

type Client = Journal<Memory>;

fn journal() -> (Client, Arc<Memory>) {
    let objects = Arc::new(Memory::default());
    (Journal::new(Arc::clone(&objects)), objects)
}

/// An object with one byte after its header.
fn body(header: &Header, byte: u8) -> Bytes {
    [&header.to_bytes()[..], &[byte]].concat().into()
}

async fn put(epoch: Epoch<Memory>, count: u8) -> Epoch<Memory> {
    let mut epoch = epoch;
    for byte in 0..count {
        epoch = epoch.put(|_, header| body(header, byte)).await.unwrap();
    }
    epoch
}

fn id(text: &str) -> StoreId {
    text.parse().unwrap()
}

/// A store that publishes all that it has committed.
fn both(cursor: &Cursor) -> (&Cursor, &Cursor) {
    (cursor, cursor)
}

#[tokio::test]
async fn each_receiver_has_its_epoch() {
    let (journal, objects) = journal();
    let first = journal.begin(0).await.unwrap();
    let second = journal.begin(1).await.unwrap();
    assert_eq!((first.number(), second.number()), (0, 1));
    objects.put("epochs/2", "no object of a journal");
    assert_eq!(journal.begin(0).await.unwrap().number(), 3);
    assert!(journal.exists_epoch(3).await.unwrap());
    assert!(!journal.exists_epoch(4).await.unwrap());
    assert!(journal.exists_epoch(3).await.unwrap() && !journal.exists_epoch(4).await.unwrap());
    let first = put(first, 2).await;
    assert_eq!((first.next(), second.next()), (2, 0));
    assert_eq!(objects.keys("journal/").len(), 2);
}

#[tokio::test]
async fn an_epoch_begins_where_stores_look() {
    // The epochs that are there, those below which all are known, and where the new one begins.
    let check = async |there: &[u64], known, expected, filled: &[u64]| {
        let (journal, objects) = journal();
        there.iter().for_each(|number| objects.put(&keys::epoch(*number), "another's"));
        assert_eq!(journal.begin(known).await.unwrap().number(), expected, "{there:?}");
        let mut all: Vec<_> = [there, filled, &[expected]].concat();
        all.sort_unstable();
        let mut keys: Vec<_> = all.into_iter().map(keys::epoch).collect();
        keys.sort_unstable();
        assert_eq!(objects.keys("epochs/"), keys, "{there:?} from {known}");
    };
    check(&[0, 1, 2, 3, 4, 5], 0, 6, &[]).await;
    check(&[0, 1, 2, 3, 4, 5], 6, 6, &[]).await;
    // One that is never read in the search is harmless.
    check(&[0, 1, 2, 9], 0, 3, &[]).await;
    // One that is read: the search doubles its steps.
    check(&[0, 1, 3], 0, 4, &[2]).await;
    check(&[0, 1, 2, 3, 4, 7], 0, 8, &[5, 6]).await;
    check(&[0, 1, 2, 3, 6], 3, 4, &[]).await;
    check(&[0, 1, 2, 3, 4, 6], 3, 7, &[5]).await;
    // Forged ones as far as the search can go.
    let forged = |most| (1..most).map(|power| (1 << power) - 1);
    check(&forged(12).chain([0, 2]).collect::<Vec<_>>(), 0, 4, &[]).await;
    check(&forged(64).chain([0, u64::MAX]).collect::<Vec<_>>(), 0, 2, &[]).await;
}

#[tokio::test]
async fn a_seal_and_an_object_exclude_each_other() {
    let (journal, _) = journal();
    let epoch = put(journal.begin(0).await.unwrap(), 2).await;
    assert_eq!(journal.seal(0, 1).await.unwrap(), SealOutcome::Present);
    assert_eq!(journal.seal(0, 2).await.unwrap(), SealOutcome::Sealed);
    assert_eq!(journal.seal(0, 2).await.unwrap(), SealOutcome::Sealed);
    let error = epoch.put(|_, header| body(header, 9)).await.unwrap_err();
    assert!(matches!(error, PutError::Sealed { .. }) && !error.may_be_read(), "{error}");
    assert_eq!(journal.read(0, 2).await.unwrap(), Read::Sealed);
    assert!(matches!(journal.read(0, 1).await.unwrap(), Read::Deliveries(_)));
    assert_eq!(journal.read(0, 3).await.unwrap(), Read::Absent);
    let end = End { first: 0, next: 2, sealed: true };
    let floor = Floor::default();
    assert_eq!(journal.end(&floor, 0, 0).await.unwrap(), end);
    let empty = End { first: 0, next: 0, sealed: false };
    assert_eq!(journal.end(&floor, 1, 0).await.unwrap(), empty);
}

#[tokio::test]
async fn what_another_wrote_is_not_acknowledged() {
    let (journal, objects) = journal();
    let check = async |found: fn(&Header) -> Bytes, may_be_read| {
        let epoch = journal.begin(0).await.unwrap();
        let put = epoch.put(|key, header| {
            objects.put(key, found(header));
            body(header, 1)
        });
        let error = put.await.unwrap_err();
        assert_eq!(error.may_be_read(), may_be_read, "{error}");
    };
    let other = |header: &Header| body(&Header { nonce: Nonce([1; 16]), ..*header }, 1);
    check(other, false).await;
    check(|_| Bytes::from_static(b"garbage"), false).await;
    check(|header| body(header, 2), true).await;
}

#[tokio::test]
async fn an_unknown_object_is_not_read() {
    let (journal, objects) = journal();
    let mut newer = Header { kind: Kind::Seal, nonce: Nonce([1; 16]) }.to_bytes();
    newer[4] = 2;
    let cursor = Header { kind: Kind::Cursor, nonce: Nonce([1; 16]) }.to_bytes();
    let cases = [(&b""[..], "0 bytes"), (&newer[..], "version 2"), (&cursor[..], "kind Cursor")];
    for (number, (bytes, expected)) in (0..).zip(cases) {
        objects.put(&keys::object(0, number), bytes.to_vec());
        match journal.read(0, number).await.unwrap() {
            Read::Unknown { why, .. } => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(journal.seal(0, number).await.unwrap(), SealOutcome::Present);
    }
}

#[tokio::test]
async fn an_object_that_is_too_large_stops_its_epoch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}", folder.path().display()).parse().unwrap();
    let journal = Journal::new(Arc::new(Bucket::open(&url).unwrap()));
    for key in [keys::epoch(0), keys::object(1, 0)] {
        let path = folder.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().set_len(MOST_READ as u64 + 1).unwrap();
    }
    let epoch = journal.begin(0).await.unwrap();
    assert_eq!(epoch.number(), 1);
    match journal.read(1, 0).await.unwrap() {
        Read::Unknown { object, why } => assert!(object.is_empty() && why.contains("too large")),
        other => panic!("{other:?}"),
    }
    assert_eq!(journal.seal(1, 0).await.unwrap(), SealOutcome::Present);
    let error = epoch.put(|_, header| body(header, 1)).await.unwrap_err();
    assert!(matches!(error, PutError::Taken { .. }), "{error}");
}

#[tokio::test]
async fn a_store_is_registered_once_and_stops_when_it_is_retired() {
    let (journal, objects) = journal();
    objects.put("registry/0", "garbage");
    for _ in 0..2 {
        journal.register(&id("a")).await.unwrap();
        journal.register(&id("b")).await.unwrap();
    }
    assert_eq!(objects.keys("registry/").len(), 3);
    let error = journal.stores().await.unwrap_err();
    assert!(error.to_string().contains("\"registry/0\""), "{error}");
    assert!(journal.prune(&BTreeMap::new()).await.is_err(), "a store is unknown");
    objects.put("registry/0", objects.body("registry/1"));
    assert_eq!(journal.stores().await.unwrap().len(), 2);

    let cursor = Cursor::default();
    let mut member = journal.join(&id("a"), both(&cursor), 0).await.unwrap();
    journal.retire(&id("a")).await.unwrap();
    journal.retire(&id("a")).await.unwrap();
    assert!(journal.is_retired(&id("a")).await.unwrap());
    assert!(!journal.is_retired(&id("b")).await.unwrap());
    let retired = |error| matches!(error, JournalError::Retired { .. });
    assert!(retired(member.publish(both(&cursor)).await.unwrap_err()));
    assert!(retired(journal.join(&id("a"), both(&cursor), 0).await.unwrap_err()));
}

#[tokio::test]
async fn two_processes_under_one_id_collide() {
    let (journal, _) = journal();
    let mut cursor = Cursor::default();
    let mut first = journal.join(&id("a"), both(&cursor), 0).await.unwrap();
    cursor.read_below(0, 1);
    first.publish(both(&cursor)).await.unwrap();
    let mut second = journal.join(&id("a"), both(&Cursor::default()), first.next()).await.unwrap();
    // The newest one counts, though it is not the furthest.
    let (number, newest) = journal.newest_cursor(&id("a"), 0).await.unwrap().unwrap();
    assert_eq!((number, newest), (2, Cursor::default()));
    let error = first.publish(both(&cursor)).await.unwrap_err();
    assert!(matches!(error, JournalError::Collision { .. }) && !error.is_temporary(), "{error}");
    second.publish(both(&cursor)).await.unwrap();
    assert_eq!(journal.newest_cursor(&id("b"), 0).await.unwrap(), None);
}

#[tokio::test]
async fn prune_deletes_what_every_store_has_read_and_never_a_seal() {
    let (journal, objects) = journal();
    let _ = put(journal.begin(0).await.unwrap(), 4).await;
    let old: BTreeMap<u64, u64> = [(0, 5)].into();
    let report = journal.prune(&old).await.unwrap();
    assert_eq!((report.outcome, report.deleted), (Pruned::Nothing, 0), "there is no store");

    let mut cursor = Cursor::default();
    let mut a = journal.join(&id("a"), both(&cursor), 0).await.unwrap();
    let mut b = journal.join(&id("b"), both(&cursor), 0).await.unwrap();
    cursor.read_below(0, 3);
    a.publish(both(&cursor)).await.unwrap();
    let report = journal.prune(&old).await.unwrap();
    assert_eq!((report.outcome, report.deleted), (Pruned::Nothing, 0));
    assert_eq!(report.waits_for, [(id("a"), (0, 3)), (id("b"), (0, 0))].into());

    let mut other = Cursor::default();
    other.read_below(0, 2);
    b.publish(both(&other)).await.unwrap();
    let report = journal.prune(&old).await.unwrap();
    assert_eq!((report.outcome, report.deleted), (Pruned::Deleted, 2));
    assert_eq!(objects.keys("journal/"), [keys::object(0, 2), keys::object(0, 3)]);
    let (_, floor) = journal.newest_floor().await.unwrap().unwrap();
    let end = journal.end(&floor, 0, 0).await.unwrap();
    assert_eq!(end, End { first: 2, next: 4, sealed: false });

    assert_eq!(journal.seal(0, 4).await.unwrap(), SealOutcome::Sealed);
    cursor.finish(0, 4);
    a.publish(both(&cursor)).await.unwrap();
    b.publish(both(&cursor)).await.unwrap();
    // The guess of the caller goes beyond the seal, so nothing is certain and nothing happens.
    let beyond = journal.prune(&[(0, 6)].into()).await.unwrap();
    assert_eq!((beyond.outcome, beyond.deleted), (Pruned::Nothing, 0));
    // It includes the seal, as a list of old objects does.
    let report = journal.prune(&[(0, 5)].into()).await.unwrap();
    assert_eq!((report.outcome, report.deleted), (Pruned::Deleted, 2));
    assert_eq!(objects.keys("journal/"), [keys::object(0, 4)]);
    let (_, floor) = journal.newest_floor().await.unwrap().unwrap();
    assert_eq!((floor.finished_below, floor.epochs.len()), (1, 0));

    let behind = |error| matches!(error, JournalError::Behind { .. });
    assert!(behind(journal.join(&id("c"), both(&Cursor::default()), 0).await.unwrap_err()));
    assert!(behind(journal.join(&id("a"), both(&other), 0).await.unwrap_err()));
    journal.join(&id("c"), both(&cursor), 0).await.unwrap();
}

#[tokio::test]
async fn a_floor_without_a_decision_stops_nobody() {
    let (journal, objects) = journal();
    let _ = put(journal.begin(0).await.unwrap(), 2).await;
    let floor = Floor::new(0, [(0, 2)]);
    objects.put("floors/0", control::encode(Kind::Floor, Nonce([1; 16]), &floor));
    journal.join(&id("a"), both(&Cursor::default()), 0).await.unwrap();
    assert!(objects.body("decisions/0").ends_with(b"\"void\"}"));
    assert_eq!(journal.newest_floor().await.unwrap(), None);
    assert_eq!(journal.prune(&[(0, 2)].into()).await.unwrap().outcome, Pruned::Nothing);
}

#[tokio::test]
async fn a_store_that_publishes_less_holds_prune_back_and_lacks_nothing() {
    let (journal, objects) = journal();
    let _ = put(journal.begin(0).await.unwrap(), 4).await;
    let old: BTreeMap<u64, u64> = [(0, 4)].into();
    let (mut archived, mut committed) = (Cursor::default(), Cursor::default());
    committed.read_below(0, 3);
    let mut member = journal.join(&id("a"), (&archived, &committed), 0).await.unwrap();
    assert_eq!(journal.prune(&old).await.unwrap().outcome, Pruned::Nothing);
    archived.read_below(0, 2);
    member.publish((&archived, &committed)).await.unwrap();
    assert_eq!(journal.prune(&old).await.unwrap().deleted, 2);
    // With another archive it publishes less than is deleted. It has that, and is not behind.
    journal.join(&id("a"), (&Cursor::default(), &committed), 0).await.unwrap();
    // It does not let a prune go on that asked it before.
    let floor = Floor::new(0, [(0, 3)]);
    objects.put("floors/1", control::encode(Kind::Floor, Nonce([1; 16]), &floor));
    journal.join(&id("a"), (&archived, &committed), 0).await.unwrap();
    assert!(objects.body("decisions/1").ends_with(b"\"void\"}"));
    let lacks = Cursor::new(0, [(0, EpochPosition { next: 1, sealed: false })]);
    let error = journal.join(&id("a"), both(&lacks), 0).await.unwrap_err();
    assert!(matches!(error, JournalError::Behind { .. }), "{error}");
}

#[tokio::test]
async fn an_interrupted_prune_is_finished_by_the_next() {
    let (journal, objects) = journal();
    let _ = put(journal.begin(0).await.unwrap(), 3).await;
    let mut cursor = Cursor::default();
    cursor.read_below(0, 3);
    journal.join(&id("a"), both(&cursor), 0).await.unwrap();
    assert_eq!(journal.prune(&[(0, 2)].into()).await.unwrap().deleted, 2);
    // As if it had died in the middle of its deletion.
    objects.0.lock().unwrap().remove("deletions/0");
    objects.put(&keys::object(0, 1), "an object that was not deleted yet");
    let report = journal.prune(&BTreeMap::new()).await.unwrap();
    assert_eq!((report.outcome, report.deleted), (Pruned::Nothing, 2));
    assert_eq!(objects.keys("journal/"), [keys::object(0, 2)]);
    assert_eq!(objects.keys("deletions/"), ["deletions/0"]);
}
