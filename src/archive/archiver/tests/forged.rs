//! What leaves the quarantine, and what others may have put into the archive.

use super::*;
use crate::archive::rebuild::rebuild;

fn what() -> Quarantined {
    Quarantined {
        id: 0,
        received_at: now(),
        input: "default".into(),
        peer: "127.0.0.1:1".into(),
        status: 400,
        reason: "bad gzip".into(),
        content_encoding: None,
        bytes: 0,
        origin: None,
    }
}

#[test]
fn a_body_is_kept_in_the_archive_until_its_delivery_is_archived() {
    let home = Home::new();
    let id = home.store.quarantine(&what(), b"{\"name\":\"x\"}").unwrap();
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    // A retry stores its entries and releases it.
    home.send("{\"name\":\"x\"}", &home.keys());
    home.store.release(id).unwrap();
    archiver.step().unwrap();
    assert!(home.manifest().released.is_empty());
    let to = home.folder.path().join("restored");
    let built = rebuild(&home.place(), &home.id(), TimeRange::default(), &to, &|_| ()).unwrap();
    assert_eq!((built.entries, built.quarantine), (0, 1));
    home.store.seal().unwrap();
    // What comes later does not matter.
    home.send("{\"name\":\"y\"}", &home.keys());
    archiver.step().unwrap();
    archiver.step().unwrap();
    assert_eq!(home.manifest().released.iter().collect::<Vec<_>>(), [&id]);
}

#[test]
fn forged_numbers_are_not_counted_up_to() {
    let home = Home::new();
    home.send("{\"name\":\"x\"}", &home.keys());
    let (place, mut manifest) = (home.place(), home.manifest());
    let mut delta = manifest.begin(1);
    delta.progress.quarantine = u64::MAX;
    place.add(&mut manifest, &delta).unwrap();
    home.archiver().step().unwrap();
    assert!(home.manifest().released.is_empty());
    // A snapshot at every place that is looked at.
    let first = home.object(&layout::snapshot(&home.id(), 0));
    fs::create_dir_all(first.parent().unwrap()).unwrap();
    for power in 0..=64 {
        let number = u64::MAX.checked_shr(64 - power).unwrap_or(0);
        fs::write(home.object(&layout::snapshot(&home.id(), number)), b"x").unwrap();
    }
    let error = place.manifest(&home.id()).unwrap_err();
    assert!(error.to_string().contains("have run out"), "{error}");
}
