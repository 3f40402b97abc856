//! A store that reads a journal, rebuilt from its archive: nothing that it lacks is left out.

use super::*;
use crate::archive::rebuild::rebuild;
use crate::store::{EpochEnd, JournalState, Origin, Skip};

impl Home {
    /// Delivers an entry from a place in a journal.
    fn read(&self, epoch: u64, number: u64, position: u32) {
        let line = format!("{{\"name\":\"{epoch}-{number}-{position}\"}}");
        let origin = Some(Origin { epoch, number, position });
        self.send_from(origin, &line, &self.keys());
    }

    /// Puts a body from a place in a journal in quarantine.
    fn keep(&self, epoch: u64, number: u64, position: u32) -> u64 {
        let what = Quarantined {
            id: 0,
            received_at: now(),
            input: "default".into(),
            peer: "127.0.0.1:1".into(),
            status: 400,
            reason: "bad gzip".into(),
            content_encoding: None,
            bytes: 0,
            origin: Some(Origin { epoch, number, position }),
        };
        self.store.quarantine(&what, b"body").unwrap()
    }

    /// Rebuilds the store from the archive. Returns what it has read of the journal.
    fn rebuilt(&self, name: &str) -> (Store, JournalState) {
        let to = self.folder.path().join(name);
        rebuild(&self.place(), &self.id(), TimeRange::default(), &to, &|_| ()).unwrap();
        let store = Store::open(&Directory::create(&to).unwrap(), Options::default()).unwrap();
        let state = store.journal().unwrap();
        let told = self.manifest().journal();
        assert_eq!((open(&told), &told.ends), (open(&state), &state.ends));
        (store, state)
    }
}

/// How far each epoch was read that has not ended, and whether the last object was skipped.
fn open(state: &JournalState) -> Vec<(u64, u64, bool)> {
    let has_ended = |epoch| state.ends.iter().any(|end| end.epoch == epoch);
    let open = state.cursors.iter().filter(|one| !has_ended(one.epoch));
    open.map(|one| (one.epoch, one.number, one.skipped)).collect()
}

/// How far each epoch was read.
fn numbers(state: &JournalState) -> Vec<(u64, u64)> {
    state.cursors.iter().map(|one| (one.epoch, one.number)).collect()
}

#[test]
fn a_rebuilt_store_goes_on_below_what_was_not_archived() {
    let home = Home::new();
    (0..4).for_each(|number| home.read(3, number, 0));
    home.store.seal().unwrap();
    // The live segment has what lies between the sealed one and the body.
    (4..6).for_each(|number| home.read(3, number, 0));
    home.keep(3, 6, 0);
    home.archiver().step().unwrap();
    let (store, state) = home.rebuilt("first");
    assert_eq!(numbers(&state), [(3, 3)]);
    assert!(store.quarantined(1).is_err());
    // Once the rest is archived, everything is there.
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let (store, state) = home.rebuilt("second");
    assert_eq!(numbers(&state), [(3, 6)]);
    assert_eq!(store.quarantined(1).unwrap().1, b"body");
}

#[test]
fn a_body_that_was_read_again_is_in_quarantine_once() {
    let home = Home::new();
    home.read(3, 0, 0);
    home.keep(3, 1, 0);
    home.archiver().step().unwrap();
    // The store is lost. The one that is rebuilt reads everything again.
    let (store, state) = home.rebuilt("first");
    assert_eq!((numbers(&state), store.quarantined_ids().unwrap()), (vec![], vec![]));
    let directory = Directory::open(&home.folder.path().join("first")).unwrap();
    let home = Home { store: Arc::new(store), directory, ..home };
    home.read(3, 0, 0);
    let id = home.keep(3, 1, 0);
    assert_eq!(id, 2);
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let manifest = home.manifest();
    // The archive has both for a while.
    assert!(manifest.released.is_empty() && manifest.reaches(3, 1));
    let (store, state) = home.rebuilt("second");
    assert_eq!((numbers(&state), store.quarantined_ids().unwrap()), (vec![(3, 1)], vec![1]));
    assert_eq!(state.cursors[0].positions.to_string(), "0");
}

#[test]
fn a_body_that_was_retried_is_not_left_out() {
    let home = Home::new();
    home.read(3, 0, 0);
    let retried = home.keep(3, 1, 0);
    home.read(3, 2, 0);
    home.store.seal().unwrap();
    // It leaves the quarantine before it is archived there.
    home.read(3, 1, 0);
    home.store.release(retried).unwrap();
    home.archiver().step().unwrap();
    assert_eq!(numbers(&home.rebuilt("first").1), [(3, 1)]);
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    assert_eq!(numbers(&home.rebuilt("second").1), [(3, 2)]);
}

#[test]
fn a_segment_that_cannot_be_archived_is_read_again() {
    let home = Home::new();
    home.read(0, 0, 0);
    home.store.seal().unwrap();
    home.read(0, 1, 0);
    home.store.seal().unwrap();
    home.read(0, 2, 0);
    home.store.seal().unwrap();
    let file = home.folder.path().join("data/segments/0000000000000002.db");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(home.archiver().step().is_err());
    assert_eq!(home.manifest().segments.keys().collect::<Vec<_>>(), [&1, &3]);
    let (store, state) = home.rebuilt("first");
    assert_eq!(numbers(&state), [(0, 0)]);
    // The journal brings the missing one, and the one after it again.
    let seed = crate::random::seed().unwrap();
    for (number, expected) in [(1, 1), (2, 0)] {
        let line = format!("{{\"name\":\"0-{number}-0\"}}");
        let batch = Batch::new(line.into(), &home.keys(), CAPS, &seed).unwrap();
        let origin = Some(Origin { epoch: 0, number, position: 0 });
        let delivery = delivery(1, origin);
        let stored = store.append(delivery, &batch, &ExpectedIds::default()).unwrap();
        assert_eq!(stored.appended.stored, expected, "{number}");
    }
    assert_eq!(numbers(&store.journal().unwrap()), [(0, 2)]);
    // The store that has the segment again archives it.
    fs::write(&file, whole).unwrap();
    home.archiver().step().unwrap();
    assert_eq!(numbers(&home.rebuilt("second").1), [(0, 2)]);
}

#[test]
fn ends_of_epochs_and_skipped_objects_are_archived_with_what_is_below_them() {
    let home = Home::new();
    home.read(0, 0, 0);
    home.read(2, 0, 0);
    home.store.seal().unwrap();
    home.read(2, 2, 0);
    let end = |epoch, number| EpochEnd { epoch, number, found_at: Millis::saturating(7) };
    let ends = [end(0, 1), end(1, 0), end(2, 3)];
    ends.iter().for_each(|end| home.store.record_epoch_end(end).unwrap());
    let skip = |epoch, number| Skip {
        epoch,
        number,
        skipped_at: Millis::saturating(8),
        reason: "damaged".into(),
        file: None,
        bytes: Some(3),
        sha256: None,
    };
    let skips = [skip(2, 1), skip(4, 0)];
    skips.iter().for_each(|skip| home.store.record_skip(skip).unwrap());
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    let (_, state) = home.rebuilt("first");
    // Of the epoch 2, the archive has no more than the first object.
    assert_eq!((state.ends.as_slice(), state.skips.as_slice()), (&ends[..2], &skips[1..]));
    assert_eq!(numbers(&state), [(0, 0), (2, 0), (4, 0)]);
    home.store.seal().unwrap();
    archiver.step().unwrap();
    let (_, state) = home.rebuilt("second");
    assert_eq!((state.ends.as_slice(), state.skips.as_slice()), (&ends[..], &skips[..]));
    assert_eq!(numbers(&state), [(0, 0), (2, 2), (4, 0)]);
    let before = home.manifest();
    home.archiver().step().unwrap();
    assert_eq!(home.manifest(), before);
    home.check_is_sound();
}
