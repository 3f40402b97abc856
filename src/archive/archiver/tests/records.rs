//! What the catalog records as archived: in which place, and whether the archive still has it. And when
//! the archiver looks.

use super::*;

impl Home {
    /// A home with sealed segments of an entry each, which are archived.
    fn with_segments(count: u64) -> Home {
        let home = Home::new();
        (0..count).for_each(|number| home.add_segment(number));
        home.archiver().step().unwrap();
        assert_eq!(home.recorded().len() as u64, count);
        home
    }

    fn add_segment(&self, number: u64) {
        self.deliver(number..number + 1, true, &self.keys());
        self.store.seal().unwrap();
    }

    /// Deletes all segments from the store.
    fn prune(&self) {
        self.store.prune(Retention { age: None, size: Some(0) }).unwrap();
    }

    fn bucket(&self) -> PathBuf {
        self.folder.path().join("bucket")
    }

    /// Truncates the sealed segment that begins with this id. Returns its file and what it had.
    fn damage(&self, first_id: u64) -> (PathBuf, Vec<u8>) {
        let file = self.folder.path().join(format!("data/segments/{first_id:016}.db"));
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        (file, whole)
    }
}

/// Checks that the archiver stops, and that the reason has `expected`.
#[track_caller]
fn check_stops(archiver: Archiver, expected: &str) {
    let status = Arc::clone(archiver.status());
    archiver.run();
    let standing = status.standing();
    let why = standing.stopped.unwrap();
    assert!(why.contains(status.place()) && why.contains(expected), "{why}");
    assert_eq!((standing.files, standing.failures), (0, 1));
}

#[test]
fn another_place_gets_all_that_the_store_has() {
    let home = Home::with_segments(3);
    home.prune();
    home.add_segment(3);
    home.add_segment(4);
    home.archiver().step().unwrap();
    let (first, second) = (home.place(), home.place_in("other"));
    assert_eq!(home.recorded_in(&first), [1, 2, 3, 4, 5]);
    home.archiver_to(second.clone()).step().unwrap();
    assert_eq!((home.recorded_in(&first), home.recorded_in(&second)), (vec![1, 2, 3], vec![4, 5]));
    // Back in the first place, they are found there.
    let before = home.manifest();
    home.archiver().step().unwrap();
    assert_eq!((home.recorded(), home.manifest()), (vec![1, 2, 3, 4, 5], before));
}

#[test]
fn an_emptied_archive_is_written_again() {
    let home = Home::with_segments(2);
    fs::remove_dir_all(home.bucket()).unwrap();
    // No segment is recorded before it is there again.
    let reader = Reader::open(&home.directory).unwrap();
    let place = home.place().url().to_string();
    let found = recorded::compare(&home.store, &reader, &place, &home.manifest()).unwrap();
    assert_eq!((found, home.records()), (BTreeSet::new(), Vec::new()));
    home.archiver().step().unwrap();
    assert_eq!(home.recorded(), [1, 2]);
    assert_eq!(home.check_is_sound().segments, 2);
}

#[test]
fn a_loss_that_the_store_cannot_make_good_stops_the_archiver() {
    let home = Home::with_segments(3);
    home.prune();
    home.add_segment(3);
    home.archiver().step().unwrap();
    let kept = home.folder.path().join("kept");
    fs::rename(home.bucket(), &kept).unwrap();
    check_stops(home.archiver(), "no longer has: 3, the first with the entries 1 to 1; bring");
    assert_eq!(home.manifest().next, 0);
    // Retention must not delete the one that the store still has.
    assert_eq!(home.recorded(), [1, 2, 3]);
    // The objects are brought back.
    fs::remove_dir_all(home.bucket()).unwrap();
    fs::rename(kept, home.bucket()).unwrap();
    home.archiver().step().unwrap();
    assert_eq!(home.recorded(), [1, 2, 3, 4]);
    home.check_is_sound();
    // Or the store is archived elsewhere.
    fs::remove_dir_all(home.bucket()).unwrap();
    home.archiver_to(home.place_in("other")).step().unwrap();
    assert_eq!(home.recorded_in(&home.place_in("other")), [4]);
}

#[test]
fn the_loss_of_the_end_of_a_manifest_is_noticed() {
    let home = Home::with_segments(3);
    home.prune();
    fs::remove_file(home.object(&layout::delta(&home.id(), 2))).unwrap();
    check_stops(home.archiver(), "no longer has: 1, the first with the entries 3 to 3; bring");
}

#[test]
fn records_of_earlier_versions_are_completed_from_the_manifest() {
    let home = Home::with_segments(3);
    home.prune();
    home.add_segment(3);
    home.archiver().step().unwrap();
    let complete = home.records();
    let earlier = || {
        for one in complete.clone() {
            let one = Archived { place: String::new(), change: one.change + 7, ..one };
            home.store.record_archived(&one).unwrap();
        }
    };
    earlier();
    assert!(home.recorded().is_empty());
    home.archiver().step().unwrap();
    assert_eq!(home.records(), complete);
    // What the archive lacks is not taken for lost: it may never have been there.
    earlier();
    home.archiver_to(home.place_in("other")).step().unwrap();
    assert_eq!((home.recorded_in(&home.place_in("other")), home.recorded()), (vec![4], vec![]));
    home.archiver().step().unwrap();
    assert_eq!(home.recorded(), [1, 2, 3, 4]);
}

#[test]
fn a_step_does_nothing_until_the_catalog_changes() {
    let home = Home::with_segments(1);
    home.deliver(1..2, true, &home.keys());
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    // A step that looks finds the segment again.
    archiver.recorded.clear();
    home.deliver(2..3, true, &home.keys());
    archiver.step().unwrap();
    assert_eq!(archiver.recorded, BTreeSet::new());
    home.store.seal().unwrap();
    archiver.step().unwrap();
    assert_eq!(archiver.recorded, BTreeSet::from([1, 2]));
    // A step that failed is done again, although nothing has changed.
    home.add_segment(3);
    let (file, whole) = home.damage(4);
    assert!(archiver.step().is_err());
    fs::write(&file, whole).unwrap();
    archiver.step().unwrap();
    assert_eq!(archiver.recorded, BTreeSet::from([1, 2, 4]));
}

#[test]
fn the_manifest_is_read_again_after_a_failure_of_the_archive_alone() {
    let home = Home::with_segments(2);
    home.store.forget_archived(1).unwrap();
    home.damage(1);
    let mut archiver = home.archiver();
    let of_the_store = archiver.step().unwrap_err();
    assert!(matches!(of_the_store, ArchiveError::Store(_)), "{of_the_store}");
    let of_an_entry = ArchiveError::Entry { id: 1, file: "x".into() };
    for (error, is_kept) in [
        (of_the_store, true),
        (of_an_entry, true),
        (ArchiveError::Missing { key: "x".into() }, false),
        (ArchiveError::damaged("x", "y"), false),
    ] {
        archiver.manifest = Some(home.manifest());
        archiver.fail(&error);
        assert_eq!(archiver.manifest.is_some(), is_kept, "{error}");
    }
    assert_eq!(archiver.status().standing().failures, 4);
}
