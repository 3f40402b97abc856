//! The store keeps each appended entry once, whatever happens to its segment.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use vidimus::entry::Millis;
use vidimus::signature::KeySet;
use vidimus::store::{Directory, Options, Quarantined, Retention, Store, StoreError};

use crate::harness::home::{FixedKeys, Home, append};
use crate::harness::stored;
use crate::vectors::{vector, vector_keys};

impl Home {
    fn catalog(&self) -> Connection {
        Connection::open(self.path.join("catalog.db")).unwrap()
    }

    /// The state and the path of each segment.
    fn segments(&self) -> Vec<(String, PathBuf)> {
        self.catalog()
            .prepare("SELECT state, file FROM segments ORDER BY first_id")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))
            .unwrap()
            .map(|row| row.map(|(state, file)| (state, self.path.join("segments").join(file))))
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// The stored lines with id and verdict, from the segments alone.
    fn lines(&self) -> Vec<(u64, Vec<u8>, String)> {
        let sql = "SELECT id, line, verdict FROM entries JOIN raw USING (id) ORDER BY id";
        let mut lines = Vec::new();
        for (_, file) in self.segments() {
            let connection = stored::open_segment(&file).unwrap();
            let mut statement = connection.prepare(sql).unwrap();
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
            lines.extend(rows.map(Result::unwrap));
        }
        lines
    }
}

fn line(n: usize) -> String {
    format!("{{\"name\":\"Ingress\",\"rt\":{},\"trace_id\":{n},\"x\":[{n}]}}\n", 1_000_000 + n)
}

fn bodies(range: std::ops::Range<usize>) -> String {
    range.map(line).collect()
}

fn small() -> Options {
    Options { segment_entries: 10, ..Options::default() }
}

#[test]
fn a_line_is_stored_once_across_segments() {
    let home = Home::new();
    let store = home.open(small());
    let keys = KeySet::default();
    let first = append(&store, &bodies(0..25), &keys);
    assert_eq!((first.received, first.stored, first.duplicates), (25, 25, 0));
    // The first segment is closed or sealed by now, and the next is live.
    let again = append(&store, &bodies(20..30), &keys);
    assert_eq!((again.received, again.stored, again.duplicates), (10, 5, 5));
    let twice = append(&store, &(line(40) + &line(40) + "\n\r\nhello\nhello\n"), &keys);
    assert_eq!((twice.received, twice.stored, twice.duplicates, twice.malformed), (4, 2, 2, 2));
    store.seal().unwrap();
    let sealed = append(&store, &(bodies(0..31) + "hello\n"), &keys);
    assert_eq!((sealed.received, sealed.stored, sealed.duplicates), (32, 1, 31));
    drop(store);

    let lines = home.lines();
    assert_eq!(lines.iter().map(|l| l.0).collect::<Vec<_>>(), (1..=33).collect::<Vec<_>>());
    let mut expected: Vec<_> = (0..31).chain([40]).map(line).collect();
    expected.push("hello\n".into());
    let mut found: Vec<_> =
        lines.into_iter().map(|l| String::from_utf8(l.1).unwrap() + "\n").collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[test]
fn deliveries_are_counted_before_and_after_sealing() {
    let home = Home::new();
    let store = home.open(Options::default());
    let keys = KeySet::default();
    append(&store, &line(1), &keys);
    append(&store, &line(1), &keys);
    store.seal().unwrap();
    append(&store, &line(1), &keys);
    let (state, file) = home.segments()[0].clone();
    assert_eq!(state, "sealed");
    let count = |file: &Path| -> u64 {
        let sealed = Connection::open(file).unwrap();
        sealed.query_row("SELECT delivery_count FROM entries", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&file), 2);
    let later: u64 = home
        .catalog()
        .query_row("SELECT count FROM redeliveries WHERE entry = 1", [], |row| row.get(0))
        .unwrap();
    assert_eq!(later, 1);
}

#[test]
fn entries_are_there_after_the_store_is_opened_again() {
    let home = Home::new();
    let keys = KeySet::default();
    for round in 0..5 {
        let store = home.open(small());
        append(&store, &bodies(round * 7..round * 7 + 7), &keys);
        let all = append(&store, &bodies(0..round * 7 + 7), &keys);
        assert_eq!(all.stored, 0, "round {round}");
    }
    assert_eq!(home.lines().len(), 35);
    assert!(matches!(
        (home.open(small()), Store::open(&Directory::open(&home.path).unwrap(), small())),
        (_, Err(StoreError::Locked(_)))
    ));
}

#[test]
fn a_sealed_file_is_indexed_hashed_and_self_contained() {
    let home = Home::new();
    let store = home.open(small());
    append(&store, &bodies(0..100), &KeySet::default());
    store.seal().unwrap();
    let (_, file) = home.segments()[0].clone();
    let (bytes, sha256): (u64, String) = home
        .catalog()
        .query_row("SELECT bytes, sha256 FROM segments WHERE first_id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let contents = std::fs::read(&file).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &contents);
    let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((contents.len() as u64, hex), (bytes, sha256));
    let sealed = Connection::open(&file).unwrap();
    let mode: String = sealed.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    let check: String = sealed.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
    let minutes: u64 =
        sealed.query_row("SELECT sum(entries) FROM minutes", [], |row| row.get(0)).unwrap();
    assert_eq!(minutes, 100);
    let names: Vec<_> = std::fs::read_dir(home.path.join("segments"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with("0000000000000001"))
        .collect();
    assert_eq!(names, ["0000000000000001.db"]);
}

#[test]
fn every_file_is_private() {
    use std::os::unix::fs::MetadataExt;
    let home = Home::new();
    let store = home.open(small());
    append(&store, &bodies(0..11), &KeySet::default());
    append(&store, &bodies(20..21), &KeySet::default());
    let mut files = 0;
    for folder in [home.path.clone(), home.path.join("segments")] {
        for file in std::fs::read_dir(folder).unwrap() {
            let file = file.unwrap();
            let Ok(found) = file.metadata() else { continue };
            if found.is_file() {
                assert_eq!(found.mode() & 0o777, 0o600, "{}", file.path().display());
                files += 1;
            }
        }
    }
    assert!(files >= 5, "only {files} files");
}

#[test]
fn leftovers_of_an_interrupted_process_are_removed() {
    let home = Home::new();
    let store = home.open(small());
    append(&store, &bodies(0..10), &KeySet::default());
    store.seal().unwrap();
    drop(store);
    let file = |name: &str| home.path.join("segments").join(name);
    let sealed = file("0000000000000001.db");
    // A new empty segment, a truncated copy, a complete copy, and the last remains of a file that
    // was being removed.
    let left = [
        ("0000000000000099.live.db", Vec::new()),
        ("0000000000000001.tmp.db", b"cut off".to_vec()),
        ("0000000000000001.2.db", std::fs::read(&sealed).unwrap()),
        ("0000000000000001.live.db-wal", b"a log".to_vec()),
    ];
    for (name, bytes) in &left {
        std::fs::write(file(name), bytes).unwrap();
    }
    let store = home.open(small());
    for (name, _) in &left {
        assert!(!file(name).exists(), "{name}");
    }
    assert_eq!(home.lines().len(), 10);
    drop(store);
    // A file is not removed if its entries are not found elsewhere.
    for (name, bytes) in
        [("0000000000000099.live.db", "x"), ("0000000000000007.db-wal", "x"), ("7.tmp.db", "x")]
    {
        std::fs::write(file(name), bytes).unwrap();
        let directory = Directory::open(&home.path).unwrap();
        let error = Store::open(&directory, small()).unwrap_err().to_string();
        let database = name.trim_end_matches("-wal");
        assert!(error.contains(database) && error.contains("store repair"), "{error}");
        assert!(file(name).exists(), "{name}");
        std::fs::remove_file(file(name)).unwrap();
    }
}

#[test]
fn a_store_without_its_live_segment_does_not_open() {
    let home = Home::new();
    let store = home.open(Options::default());
    append(&store, &bodies(0..3), &KeySet::default());
    drop(store);
    std::fs::remove_file(&home.segments()[0].1).unwrap();
    let directory = Directory::open(&home.path).unwrap();
    let error = Store::open(&directory, Options::default()).unwrap_err().to_string();
    assert!(error.contains("cannot find the live segment"), "{error}");
}

#[test]
fn a_clock_set_ahead_deletes_nothing() {
    let home = Home::new();
    // The clock says that everything was received long ago.
    let retention = Retention { age: Some(Duration::from_secs(24 * 60 * 60)), size: None };
    let options = || Options { retention, ..small() };
    let store = home.open(options());
    append(&store, &bodies(0..25), &KeySet::default());
    store.seal().unwrap();
    drop(store);
    // Retention runs before this.
    let store = home.open(options());
    store.seal().unwrap();
    drop(store);
    assert_eq!(home.lines().len(), 25);
}

#[test]
fn retention_deletes_the_oldest_and_never_the_live_segment() {
    let home = Home::new();
    let store = home.open(small());
    let keys = KeySet::default();
    for n in 0..5 {
        append(&store, &bodies(n * 10..n * 10 + 10), &keys);
    }
    append(&store, &bodies(90..91), &keys);
    let by_age = Retention { age: Some(Duration::from_secs(3_000_000_000)), size: None };
    assert_eq!(store.prune(by_age).unwrap(), 0);
    let all: u64 = home.segments().iter().map(|(_, f)| f.metadata().unwrap().len()).sum();
    let some = Retention { age: None, size: Some(all / 2) };
    let gone = store.prune(some).unwrap();
    assert!((1..5).contains(&gone), "{gone} of 5 segments are gone");
    assert_eq!(home.lines().first().unwrap().0, gone as u64 * 10 + 1);
    let rest = store.prune(Retention { age: Some(Duration::ZERO), size: None }).unwrap();
    assert_eq!(gone + rest, 5);
    assert_eq!(home.lines().len(), 1);
    // A deleted line that comes again is new.
    assert_eq!(append(&store, &bodies(0..1), &keys).stored, 1);
}

#[test]
fn the_quarantine_keeps_bodies_up_to_its_size() {
    let home = Home::new();
    let store = home.open(Options { quarantine_size: 10, ..Options::default() });
    let what = Quarantined {
        id: 0,
        received_at: Millis::MIN,
        input: "default".into(),
        peer: "p".into(),
        status: 400,
        reason: "r".into(),
        content_encoding: Some("gzip".into()),
        bytes: 0,
        origin: None,
    };
    let id = store.quarantine(&what, b"1234567").unwrap();
    assert!(matches!(
        store.quarantine(&what, b"1234567"),
        Err(StoreError::QuarantineFull { used: 1031, limit: 10, wanted: 7 })
    ));
    let (kept, body) = store.quarantined(id).unwrap();
    assert_eq!((kept.bytes, body.as_slice()), (7, b"1234567".as_slice()));
    store.release(id).unwrap();
    assert!(store.quarantined(id).is_err());
    store.quarantine(&what, b"1234567").unwrap();
}

#[test]
fn other_keys_revoke_no_verdict() {
    let home = Home::new();
    let store = home.open(Options::default());
    assert_eq!(append(&store, &vector("cef-flipped-byte.vec"), &vector_keys()).invalid, 1);
    store.recheck(Arc::new(FixedKeys(Arc::default())));
    store.seal().unwrap();
    store.recheck(Arc::new(FixedKeys(Arc::default())));
    store.seal().unwrap();
    assert_eq!(home.lines()[0].2, "invalid");
    let count = |sql: &str| -> u64 { home.catalog().query_row(sql, [], |row| row.get(0)).unwrap() };
    assert_eq!(count("SELECT count(*) FROM changes"), 0);
}

#[test]
fn a_new_key_changes_verdicts_and_rewrites_the_segment() {
    let body = vector("cef-access.vec") + &vector("json-authorization.vec");
    let home = Home::new();
    let store = home.open(Options::default());
    let counts = append(&store, &(body + &vector("cef-flipped-byte.vec")), &KeySet::default());
    assert_eq!(counts.no_key, 3);
    store.recheck(Arc::new(FixedKeys(Arc::new(vector_keys()))));
    // Sealing runs after the recheck.
    store.seal().unwrap();
    let verdicts: Vec<_> = home.lines().into_iter().map(|line| line.2).collect();
    assert_eq!(verdicts, ["valid", "valid", "invalid"]);
    let changes: Vec<(u64, u64)> = home
        .catalog()
        .prepare("SELECT change, entry FROM changes ORDER BY change")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(changes, [(1, 1), (2, 2), (3, 3)]);
    let laid_over: u64 =
        home.catalog().query_row("SELECT count(*) FROM entries", [], |row| row.get(0)).unwrap();
    assert_eq!(laid_over, 0);
}
