//! A store and its archive: every step, interrupted or not, and what a check finds.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::Runtime;

use super::*;
use crate::archive::check::{CheckReport, Checker};
use crate::archive::decode::Decoder;
use crate::archive::entry::{ArchivedEntry, of_row};
use crate::archive::layout::{self, Table};
use crate::archive::manifest::File;
use crate::entry::{Format, Millis, VerdictName};
use crate::ingest::{Batch, Caps, ExpectedIds};
use crate::konnect::sign::{Signer, place};
use crate::search::Filter;
use crate::signature::KeySet;
use crate::store::{Delivery, Judge, Options, Origin, Quarantined, Retention, TimeRange};

mod forged;
mod journal;
mod records;

/// A store and its archive.
struct Home {
    folder: tempfile::TempDir,
    runtime: Runtime,
    store: Arc<Store>,
    directory: Directory,
    signer: Signer,
}

struct Keys(Arc<KeySet>);

impl Judge for Keys {
    fn keys(&self, _: &str, _: Millis) -> Arc<KeySet> {
        Arc::clone(&self.0)
    }

    fn expected(&self, _: &str) -> Arc<ExpectedIds> {
        Arc::default()
    }

    fn max_line(&self) -> usize {
        CAPS.max_line
    }
}

const CAPS: Caps = Caps { max_line: 4000, max_lines: 1000 };

fn delivery(size: u64, origin: Option<Origin>) -> Delivery {
    Delivery {
        received_at: now(),
        started: Instant::now(),
        input: "default".into(),
        peer: "127.0.0.1:1".into(),
        bytes: size,
        decoded_bytes: size,
        origin,
    }
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::create(&folder.path().join("data")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let signer = Signer::generate(None).unwrap().0;
        Home { folder, runtime, store, directory, signer }
    }

    fn keys(&self) -> KeySet {
        KeySet::new(vec![Arc::new(self.signer.key().clone())])
    }

    /// Delivers entries with these numbers, signed or not.
    fn deliver(&self, numbers: std::ops::Range<u64>, signed: bool, keys: &KeySet) {
        let line = |number: u64| {
            let text = format!(
                "{{\"name\":\"Ingress\",\"rt\":\"{}\",\"status\":\"{}\",\"severity\":\"High\",\
                 \"principal_id\":\"p{}\",\"trace_id\":\"{number}\",\"other\":[1, 2]}}",
                1_700_000_000_000 + (number * 7919) % 1000,
                200 + number % 3,
                number % 4,
            );
            let signature = signed.then(|| self.signer.signature(&text));
            place(Format::Json, &text, signature.as_deref())
        };
        self.send(&numbers.map(line).collect::<Vec<_>>().join("\n"), keys);
    }

    fn send(&self, body: &str, keys: &KeySet) {
        self.send_from(None, body, keys);
    }

    fn send_from(&self, origin: Option<Origin>, body: &str, keys: &KeySet) {
        let seed = crate::random::seed().unwrap();
        let body = Bytes::copy_from_slice(body.as_bytes());
        let size = body.len() as u64;
        let batch = Batch::new(body, keys, CAPS, &seed).unwrap();
        self.store.append(delivery(size, origin), &batch, &ExpectedIds::default()).unwrap();
    }

    fn place(&self) -> Place {
        self.place_in("bucket")
    }

    fn place_in(&self, folder: &str) -> Place {
        let url = format!("file://{}", self.folder.path().join(folder).display());
        Place::open(&url.parse().unwrap(), self.runtime.handle().clone()).unwrap()
    }

    fn archiver(&self) -> Archiver {
        self.archiver_to(self.place())
    }

    fn archiver_to(&self, place: Place) -> Archiver {
        let reached = Box::new(|_: &_| ());
        Archiver::new(&self.directory, Arc::clone(&self.store), place, reached).unwrap()
    }

    /// What the catalog records, and the first ids of the segments that it records in a place.
    fn records(&self) -> Vec<Archived> {
        Reader::open(&self.directory).unwrap().archived().unwrap()
    }

    fn recorded_in(&self, place: &Place) -> Vec<u64> {
        let place = place.url().to_string();
        let here = self.records().into_iter().filter(|one| one.place == place);
        here.map(|one| one.first_id).collect()
    }

    fn recorded(&self) -> Vec<u64> {
        self.recorded_in(&self.place())
    }

    fn id(&self) -> String {
        self.store.id().unwrap()
    }

    fn manifest(&self) -> Manifest {
        self.place().manifest(&self.id()).unwrap()
    }

    fn object(&self, key: &str) -> PathBuf {
        self.folder.path().join("bucket").join(key)
    }

    fn check(&self) -> CheckReport {
        let (place, keys) = (self.place(), self.keys());
        let seed = crate::random::seed().unwrap();
        Checker { place: &place, keys: &keys, seed, shown: 10 }
            .check(&self.id(), &|_, _| ())
            .unwrap()
    }

    /// Checks that the archive has a difference whose text has `expected`.
    #[track_caller]
    fn check_finds(&self, expected: &str) {
        let report = self.check();
        assert!(report.differences > 0, "{report:?}");
        assert!(report.first.iter().any(|one| one.what.contains(expected)), "{report:?}");
    }

    #[track_caller]
    fn check_is_sound(&self) -> CheckReport {
        let report = self.check();
        assert_eq!((report.differences, report.unlisted.len()), (0, 0), "{report:?}");
        report
    }

    /// The entries of a table in the archive, in order of id.
    fn entries(&self, table: Table) -> Vec<ArchivedEntry> {
        let place = self.place();
        let mut all = Vec::new();
        for file in self.manifest().of(table) {
            let decoder = Decoder::new("x", table, place.read_file(file).unwrap()).unwrap();
            for group in 0..decoder.groups() {
                let rows = decoder.group(group, None).unwrap();
                let times: Vec<_> =
                    (0..rows.len()).map(|row| rows.get(row, "time").integer()).collect();
                assert!(table != Table::Entries || times.is_sorted(), "{times:?}");
                all.extend((0..rows.len()).map(|row| of_row(&rows, row).unwrap()));
            }
        }
        all.sort_by_key(|one| one.entry.record.id());
        all
    }
}

#[test]
fn the_archive_has_every_entry_as_it_is_shown() {
    let home = Home::new();
    home.deliver(0..40, true, &home.keys());
    home.deliver(40..60, false, &home.keys());
    home.send("no entry\n\u{0}\u{fffd}", &home.keys());
    home.deliver(0..3, true, &home.keys());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let report = home.check_is_sound();
    assert_eq!((report.segments, report.entries, report.valid), (1, 62, 40));

    let reader = Reader::open(&home.directory).unwrap();
    let mut export = reader.export(&Filter::All, TimeRange::default()).unwrap();
    let mut shown = Vec::new();
    loop {
        let records = export.next_slice().unwrap();
        if records.is_empty() {
            break;
        }
        shown.extend(records);
    }
    let archived = home.entries(Table::Entries);
    assert!(archived.iter().all(|one| one.entry.hidden_by.is_none() && one.change.is_none()));
    for one in &archived {
        let leaf = reader.leaf_of(one.entry.record.id().unwrap()).unwrap();
        assert_eq!((one.entry.leaf, leaf.is_some()), (leaf, true));
    }
    let records: Vec<_> = archived.into_iter().map(|one| one.entry.record).collect();
    assert_eq!(records, shown);
    let manifest = home.manifest();
    let deliveries: u64 = manifest.of(Table::Deliveries).map(|file| file.rows).sum();
    assert_eq!(deliveries, 4);
    assert!(manifest.of(Table::Entries).count() > 1, "a large segment has several files");
    assert_eq!(home.recorded(), [1]);
}

#[test]
fn a_long_line_is_there_whole() {
    let home = Home::new();
    let line = format!("{{\"name\":\"{}\"}}", "x".repeat(5000));
    home.send(&line, &home.keys());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    home.check_is_sound();
    let entry = home.entries(Table::Entries).remove(0).entry.record;
    assert_eq!(entry.raw, &line.as_bytes()[..4000]);
    assert_eq!(entry.whole.and_then(|whole| whole.bytes), Some(line.len() as u64));
    let manifest = home.manifest();
    let file = manifest.of(Table::Pieces).next().unwrap();
    let body = home.place().read_file(file).unwrap();
    let rows = Decoder::new("x", Table::Pieces, body).unwrap().group(0, None).unwrap();
    assert_eq!(rows.get(0, "bytes").bytes(), Some(line.as_bytes()));
    assert_eq!(rows.get(0, "entry").unsigned(), Some(1));
}

#[test]
fn nothing_is_archived_twice() {
    let home = Home::new();
    home.deliver(0..5, true, &home.keys());
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    // The segment is not sealed yet.
    assert_eq!(home.manifest().segments.len(), 0);
    home.store.seal().unwrap();
    archiver.step().unwrap();
    let before = home.manifest();
    archiver.step().unwrap();
    home.archiver().step().unwrap();
    assert_eq!(home.manifest(), before);
    home.deliver(5..9, true, &home.keys());
    home.store.seal().unwrap();
    archiver.step().unwrap();
    assert_eq!(home.check_is_sound().segments, 2);
}

#[test]
fn a_crash_before_the_delta_or_before_the_record_is_harmless() {
    let home = Home::new();
    home.deliver(0..30, true, &home.keys());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let before = home.manifest();
    fs::remove_file(home.object(&layout::delta(&home.id(), 0))).unwrap();
    home.store.forget_archived(1).unwrap();
    assert!(!home.check().unlisted.is_empty());
    home.check_finds("the end of the manifest was taken away");
    home.archiver().step().unwrap();
    assert_eq!(home.manifest().files, before.files);
    home.check_is_sound();
    // The delta is there, and the record is not.
    home.store.forget_archived(1).unwrap();
    home.archiver().step().unwrap();
    assert_eq!(home.recorded(), [1]);
}

#[test]
fn a_segment_is_not_recorded_if_its_files_cannot_be_read_back() {
    let home = Home::new();
    home.deliver(0..3, true, &home.keys());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    home.store.forget_archived(1).unwrap();
    fs::remove_file(home.object(&home.manifest().files[0].key)).unwrap();
    assert!(matches!(home.archiver().step(), Err(ArchiveError::Missing { .. })));
    assert!(home.recorded().is_empty());
}

#[test]
fn late_verdicts_are_laid_over() {
    let home = Home::new();
    home.deliver(0..25, true, &KeySet::default());
    home.store.seal().unwrap();
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    assert_eq!(home.check().valid_now, 25);
    home.store.recheck(Arc::new(Keys(Arc::new(home.keys()))));
    home.store.seal().unwrap();
    archiver.step().unwrap();
    let versions = home.entries(Table::Verdicts);
    assert_eq!(versions.len(), 25);
    assert!(versions.iter().all(|one| one.entry.record.verdict == VerdictName::Valid
        && one.entry.key.is_some()
        && one.change.is_some()
        && one.entry.record.raw.is_empty()));
    let report = home.check_is_sound();
    assert_eq!((report.valid, report.valid_now), (25, 0));
    let before = home.manifest();
    home.archiver().step().unwrap();
    assert_eq!(home.manifest(), before);
}

#[test]
fn files_that_a_crash_left_are_used_and_later_verdicts_are_not_lost() {
    let home = Home::new();
    home.deliver(0..25, true, &KeySet::default());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let files = home.manifest().files;
    let delta = home.object(&layout::delta(&home.id(), 0));
    fs::remove_file(delta).unwrap();
    home.store.recheck(Arc::new(Keys(Arc::new(home.keys()))));
    home.store.seal().unwrap();
    let mut archiver = home.archiver();
    archiver.step().unwrap();
    let is_of_entries = |file: &&File| file.table() == Some(Table::Entries);
    let after = home.manifest().files;
    assert_eq!(
        after.iter().filter(is_of_entries).collect::<Vec<_>>(),
        files.iter().filter(is_of_entries).collect::<Vec<_>>()
    );
    assert_eq!(home.entries(Table::Verdicts).len(), 25);
    assert_eq!(home.check_is_sound().valid_now, 0);
}

#[test]
fn keys_and_the_quarantine_are_archived() {
    let home = Home::new();
    let mut archiver = home.archiver();
    home.store.enter_keys("https://x/jwks", Ok(&home.keys()), now()).unwrap();
    let what = Quarantined {
        id: 0,
        received_at: now(),
        input: "default".into(),
        peer: "127.0.0.1:1".into(),
        status: 400,
        reason: "bad gzip".into(),
        content_encoding: Some("gzip".into()),
        bytes: 0,
        origin: None,
    };
    let first = home.store.quarantine(&what, b"one").unwrap();
    let second = home.store.quarantine(&what, b"two\n").unwrap();
    archiver.step().unwrap();
    let manifest = home.manifest();
    let rows = |table| manifest.of(table).map(|file| file.rows).collect::<Vec<_>>();
    assert_eq!((rows(Table::Keys), rows(Table::Quarantine)), (vec![1], vec![2]));
    home.store.drop_quarantined(first, now()).unwrap();
    let third = home.store.quarantine(&what, b"three").unwrap();
    archiver.step().unwrap();
    let manifest = home.manifest();
    assert_eq!(manifest.released.iter().collect::<Vec<_>>(), [&first]);
    assert_eq!(manifest.progress.quarantine, third);
    assert_eq!(manifest.of(Table::Quarantine).map(|file| file.rows).sum::<u64>(), 3);
    home.check_is_sound();
    let before = home.manifest();
    home.archiver().step().unwrap();
    assert_eq!(home.manifest(), before);
    assert!(second < third);
}

#[test]
fn the_check_finds_what_was_damaged() {
    let home = Home::new();
    for number in 0..6 {
        home.deliver(number * 3..number * 3 + 3, true, &home.keys());
        home.store.seal().unwrap();
    }
    home.archiver().step().unwrap();
    assert_eq!(home.check_is_sound().segments, 6);
    let manifest = home.manifest();
    let key = &manifest.of(Table::Entries).nth(2).unwrap().key;
    let damage = |key: &str, change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let path = home.object(key);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        home.check_finds(expected);
        fs::remove_file(&path).unwrap();
        home.check_finds("");
        fs::write(&path, whole).unwrap();
        home.check_is_sound();
    };
    damage(key, &|bytes| bytes[40] ^= 1, "SHA-256");
    damage(key, &|bytes| bytes.truncate(100), "bytes, and the manifest says");
    let delta = layout::delta(&home.id(), 1);
    damage(&delta, &|bytes| bytes[3] ^= 1, "damaged");
    // A delta that was changed and is still sound does not fit the one after it.
    let later = |bytes: &mut Vec<u8>| {
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace("\"created_at\":1", "\"created_at\":2").into_bytes();
    };
    damage(&delta, &later, "does not follow");
    let snapshot = home.object(&layout::snapshot(&home.id(), 0));
    let whole = fs::read(&snapshot).unwrap();
    fs::write(&snapshot, &whole[1..]).unwrap();
    home.check_finds("damaged");
    // Without it, a reader takes the deltas.
    fs::remove_file(&snapshot).unwrap();
    home.check_is_sound();
    fs::remove_file(home.object(&delta)).unwrap();
    home.check_finds("deltas follow");
}

#[test]
fn an_entry_whose_key_is_not_given_is_counted() {
    let home = Home::new();
    home.deliver(0..3, true, &home.keys());
    home.store.seal().unwrap();
    home.archiver().step().unwrap();
    let place = home.place();
    let other = KeySet::new(vec![Arc::new(Signer::generate(None).unwrap().0.key().clone())]);
    let seed = crate::random::seed().unwrap();
    let checker = Checker { place: &place, keys: &other, seed, shown: 10 };
    let report = checker.check(&home.id(), &|_, _| ()).unwrap();
    assert_eq!((report.valid, report.without_key, report.missing_keys.len()), (0, 3, 1));
}

#[test]
fn two_processes_with_one_id_collide() {
    let home = Home::new();
    home.deliver(0..3, true, &home.keys());
    home.store.seal().unwrap();
    let mut first = home.archiver();
    first.step().unwrap();
    // A copy of the store has the same id, and went on with other entries.
    let copy = Home::new();
    let mut second = copy.archiver_to(home.place());
    second.id = home.id();
    let status = Arc::clone(second.status());
    // As many entries as in the archive, with other lines.
    copy.deliver(1..4, true, &copy.keys());
    copy.store.seal().unwrap();
    assert!(matches!(second.step(), Err(ArchiveError::Conflict { .. })));
    // The thread ends, and says why.
    second.run();
    let standing = status.standing();
    assert!(standing.stopped.unwrap().contains("two stores have the same id"));
    assert_eq!((standing.files, standing.failures, standing.succeeded_at), (0, 1, None));
    assert_eq!(copy.records(), []);
    home.check_is_sound();
}

#[test]
fn the_work_ends_when_the_program_does() {
    let home = Home::new();
    home.deliver(0..3, true, &home.keys());
    home.store.seal().unwrap();
    let mut archiver = home.archiver();
    archiver.stopping.store(true, Ordering::Relaxed);
    assert!(matches!(archiver.step(), Err(ArchiveError::Stopped)));
    assert_eq!(home.manifest().next, 0);
}
