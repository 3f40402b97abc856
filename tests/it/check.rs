//! `Reader::check` and `Reader::stats` on sound and damaged stores.

use std::sync::Arc;

use rusqlite::Connection;
use vidimus::entry::Millis;
use vidimus::signature::{Key, KeySet};
use vidimus::store::{
    CheckOptions, CheckReport, Directory, Judge, Options, Reader, Refused, Stats,
};

use crate::harness::home::{FixedKeys, Home, RECEIVED_AT, append};
use crate::vectors::{vector, vector_keys};

impl Home {
    /// A store with a sealed and a live segment. Each has two valid entries, a tampered entry, an
    /// unsigned entry and a malformed line.
    pub(crate) fn filled() -> Home {
        let home = Home::new();
        let store = home.open(Options::default());
        store.enter_keys("file", Ok(&vector_keys()), Millis::saturating(RECEIVED_AT)).unwrap();
        let lines = [
            "cef-access.vec",
            "json-authorization.vec",
            "cef-flipped-byte.vec",
            "cef-unsigned.vec",
        ];
        let body = lines.map(vector).concat();
        append(&store, &(body + "hello\n"), &vector_keys());
        store.seal().unwrap();
        let lines = [
            "cps-line-signed.vec",
            "cef-access.vec",
            "cef-utf8.vec",
            "json-flipped-byte.vec",
            "json-unsigned.vec",
        ];
        append(&store, &(lines.map(vector).concat() + "world\n"), &vector_keys());
        home
    }

    fn reader(&self) -> Reader {
        Reader::open(&Directory::open(&self.path).unwrap()).unwrap()
    }

    fn check(&self) -> CheckReport {
        self.reader().check(CheckOptions::default(), &|_, _| ()).unwrap()
    }

    fn stats(&self) -> Stats {
        self.reader().stats(10).unwrap()
    }

    /// The id of the oldest entry, or the next id in an empty store.
    pub(crate) fn segments_begin_with(&self) -> u64 {
        self.stats().segments[0].first_id
    }

    /// Changes a segment or the catalog with SQL.
    pub(crate) fn damage(&self, file: &str, sql: &str) {
        let path = match file {
            "catalog.db" => self.path.join(file),
            _ => self.path.join("segments").join(file),
        };
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }
}

const SEALED: &str = "0000000000000001.db";
const LIVE: &str = "0000000000000006.live.db";

/// Runs `sql` on `file` and checks that the report has exactly the differences in `expected`.
fn check(file: &str, sql: &str, expected: &[&str]) {
    let home = Home::filled();
    home.damage(file, sql);
    let report = home.check();
    let found: Vec<_> =
        report.first.iter().map(|one| format!("{} {:?} {}", one.file, one.id, one.what)).collect();
    assert_eq!(report.differences, expected.len() as u64, "{sql}: {found:#?}");
    for expected in expected {
        assert!(found.iter().any(|one| one.contains(expected)), "{sql}: {expected}: {found:#?}");
    }
}

#[test]
fn a_sound_store_has_no_differences() {
    let home = Home::filled();
    let report = home.check();
    assert_eq!(report.first, []);
    assert_eq!((report.segments, report.entries, report.differences), (2, 10, 0));
}

#[test]
fn a_changed_verdict_is_found() {
    check(
        LIVE,
        "UPDATE entries SET verdict = 'valid', reason = NULL WHERE verdict = 'invalid'",
        &["recorded valid, found no_key or invalid (no_matching_key)"],
    );
    check(
        LIVE,
        "UPDATE entries SET verdict = 'unsigned', reason = NULL, key = NULL WHERE id = 6",
        &["Some(6) recorded unsigned, found valid"],
    );
}

#[test]
fn a_verdict_that_a_key_would_change_is_found() {
    // The check cannot tell a missing key from a key that does not match.
    check(
        LIVE,
        "UPDATE entries SET verdict = 'no_key', reason = 'no_keys' WHERE verdict = 'invalid'",
        &[],
    );
    check(
        LIVE,
        "UPDATE entries SET verdict = 'no_key', reason = 'no_keys', key = NULL WHERE id = 6",
        &["Some(6) recorded no_key or invalid (no_matching_key), found valid"],
    );
}

#[test]
fn a_retired_key_verifies_nothing() {
    let day = 24 * 60 * 60 * 1000;
    let sql = |days: i64| {
        format!(
            "UPDATE sightings SET last_seen = {}; UPDATE sources SET succeeded_at = {RECEIVED_AT}",
            RECEIVED_AT - days * day
        )
    };
    check("catalog.db", &sql(400), &[]);
    let found = "recorded valid, found no_key or invalid (no_matching_key)";
    check("catalog.db", &sql(401), &[found; 4]);
    // Entries keep the period that was in force when they were received.
    let shorter = format!("INSERT INTO retirements VALUES (0, {})", 8 * day);
    let later = format!("({}, {})", RECEIVED_AT + 1, 400 * day);
    check("catalog.db", &format!("{}; {shorter}, {later}", sql(8)), &[]);
    check("catalog.db", &format!("{}; {shorter}, {later}", sql(9)), &[found; 4]);
}

#[test]
fn a_changed_entry_is_found() {
    check(
        LIVE,
        "UPDATE entries SET src = '1.1.1.1' WHERE id = 6",
        &["Some(6) recorded the fields"],
    );
    check(LIVE, "UPDATE entries SET time = 5 WHERE id = 7", &["Some(7) recorded the time 1970"]);
    check(
        LIVE,
        "UPDATE entries SET warnings = 'bad_time' WHERE id = 7",
        &["recorded the warnings"],
    );
    check(
        LIVE,
        "UPDATE raw SET line = replace(line, 'world', 'worlt') WHERE id = 10",
        &["Some(10) its line does not match its fingerprint"],
    );
}

#[test]
fn a_word_that_no_version_wrote_is_found() {
    check(
        LIVE,
        "UPDATE entries SET verdict = 'validx' WHERE id = 7",
        &["Some(7) its column verdict has \"validx\"", "Some(7) recorded malformed, found valid"],
    );
    for (column, id) in [("warnings", 7), ("kind", 10), ("format", 10)] {
        let expected = format!("Some({id}) its column {column} has \"nonsense\"");
        let sql = format!("UPDATE entries SET {column} = 'nonsense' WHERE id = {id}");
        check(LIVE, &sql, &[&expected]);
    }
}

#[test]
fn a_word_that_no_version_wrote_stops_no_delivery_and_stays() {
    let home = Home::filled();
    home.damage(LIVE, "UPDATE entries SET warnings = 'nonsense', kind = 'x' WHERE id = 7");
    let store = home.open(Options::default());
    let line = vector("cef-utf8.vec");
    let (payload, sig) = line.trim_end().rsplit_once(" sig=").unwrap();
    let spelling = |n: usize| {
        let spaces = " ".repeat(n);
        payload.replacen(" src=", &format!("{spaces}sig={sig} src="), 1)
    };
    for n in 1..3 {
        let appended = append(&store, &spelling(n), &vector_keys());
        assert_eq!((appended.stored, appended.duplicates), (0, 1), "{n}");
    }
    drop(store);
    let catalog = Connection::open(home.path.join("catalog.db")).unwrap();
    let warnings: String = catalog
        .query_row("SELECT warnings FROM entries WHERE id = 7", [], |row| row.get(0))
        .unwrap();
    assert_eq!(warnings, "signature_moved nonsense");
}

#[test]
fn a_missing_entry_is_found() {
    check(LIVE, "DELETE FROM entries WHERE id = 8", &["has 4 entries and 5 lines"]);
    check(
        LIVE,
        "DELETE FROM entries WHERE id = 8; DELETE FROM raw WHERE id = 8",
        &["has 4 entries and 4 lines"],
    );
}

#[test]
fn a_changed_sealed_file_is_found() {
    check(
        SEALED,
        "INSERT INTO words VALUES (1000, '1.1.1.1'); UPDATE packed SET src = 1000 WHERE id = 1",
        &["the SHA-256", "Some(1) recorded the fields"],
    );
    let home = Home::filled();
    std::fs::remove_file(home.path.join("segments").join(SEALED)).unwrap();
    let report = home.check();
    assert!(report.differences > 0 && report.first.iter().all(|one| one.file == SEALED));
    let home = Home::filled();
    let path = home.path.join("segments").join(SEALED);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let report = home.check();
    assert!(report.differences > 1, "{report:?}");
}

/// A judge with the keys of the vectors.
pub(crate) fn judge() -> Arc<dyn Judge> {
    Arc::new(FixedKeys(Arc::new(vector_keys())))
}

/// A store in which two verdicts of 33 have changed late. They are in the catalog.
fn with_late_verdicts() -> Home {
    let home = Home::new();
    let store = home.open(Options::default());
    let other: String = (0..30).map(|n| format!("{{\"rt\":{n}}}\n")).collect();
    let signed = ["cef-access.vec", "json-authorization.vec", "cef-flipped-byte.vec"];
    append(&store, &(other + &signed.map(vector).concat()), &KeySet::default());
    store.seal().unwrap();
    store.enter_keys("file", Ok(&vector_keys()), Millis::saturating(RECEIVED_AT)).unwrap();
    store.recheck(judge());
    // Sealing runs after the recheck.
    store.seal().unwrap();
    home
}

#[test]
fn late_verdicts_are_checked_and_counted() {
    let home = with_late_verdicts();
    assert_eq!(home.check().first, []);
    let stats = home.stats();
    let verdicts: Vec<_> =
        stats.verdicts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(verdicts, [("invalid", 1), ("unsigned", 30), ("valid", 2)]);
    assert_eq!(stats.entries, 33);
    home.damage("catalog.db", "UPDATE entries SET verdict = 'invalid' WHERE verdict = 'valid'");
    assert_eq!(home.check().differences, 2);
    home.damage("catalog.db", "UPDATE entries SET id = 99 WHERE id = 31");
    let report = home.check();
    assert!(report.first.iter().any(|one| one.id == Some(99)), "{report:?}");
}

/// A store with verdicts of an earlier version, whose segments are older than today's rules.
fn with_entries_of_older_rules(sealed: bool) -> Home {
    let home = Home::new();
    let store = home.open(Options::default());
    store.enter_keys("file", Ok(&vector_keys()), Millis::saturating(RECEIVED_AT)).unwrap();
    let lines = [
        "cef-access.vec",
        "formats/json-as-cef.vec",
        "json-flipped-byte.vec",
        "json-white-space.vec",
    ];
    append(&store, &(lines.map(vector).concat() + "{x} CEF:0|a|b|c|d|e|5|\n"), &vector_keys());
    drop(store);
    let live = "0000000000000001.live.db";
    home.damage(
        live,
        "UPDATE entries SET verdict = 'valid', reason = NULL, format = 'cef', key = 1,
                covers = 'entry' WHERE id = 2;
         UPDATE entries SET verdict = 'unsigned', reason = NULL, format = 'cef' WHERE id = 5",
    );
    // A point of small order verifies anything.
    let weak = Key::new(None, [0; 32]).thumbprint();
    home.damage(
        live,
        &format!(
            "INSERT INTO keys VALUES (99, '{weak}', 'weak', zeroblob(32));
             UPDATE entries SET verdict = 'valid', reason = NULL, key = 99, covers = 'entry'
             WHERE id = 3"
        ),
    );
    home.damage(
        "catalog.db",
        &format!(
            "INSERT INTO older_rules VALUES (1);
             INSERT INTO sightings VALUES ('file', '{weak}', 'weak', zeroblob(32), 1, 2)"
        ),
    );
    if sealed {
        home.open(Options::default()).seal().unwrap();
    }
    home
}

#[test]
fn entries_valid_under_older_rules_are_reported_and_checked_again() {
    for (sealed, lost) in [(false, false), (true, false), (true, true)] {
        let home = with_entries_of_older_rules(sealed);
        if lost {
            // A rebuilt catalog does not know when its segments were written.
            ["catalog.db", "catalog.db-wal", "catalog.db-shm"]
                .iter()
                .for_each(|file| drop(std::fs::remove_file(home.path.join(file))));
            let directory = Directory::open(&home.path).unwrap();
            vidimus::store::repair::Plan::make(&directory).unwrap().carry_out().unwrap();
        }
        let report = home.check();
        let found = |id, what: &str| {
            report.first.iter().any(|one| one.id == Some(id) && one.what.starts_with(what))
        };
        assert!(found(2, "recorded valid, found malformed (not_json)"), "{report:?}");
        assert!(found(3, "recorded valid, found no_key or invalid"), "{report:?}");
        assert!(found(5, "recorded unsigned, found malformed (not_json)"), "{report:?}");
        assert!(report.first.iter().all(|one| matches!(one.id, Some(2 | 3 | 5))), "{report:?}");

        let store = home.open(Options::default());
        store.recheck(judge());
        // Sealing runs after the recheck.
        store.seal().unwrap();
        drop(store);
        assert_eq!(home.check().first, [], "sealed: {sealed}, catalog lost: {lost}");
        let verdicts = home.stats().verdicts;
        let expected = [("invalid", 1), ("malformed", 2), ("valid", 2)];
        assert_eq!(
            verdicts.iter().map(|(name, count)| (name.as_str(), *count)).collect::<Vec<_>>(),
            expected
        );
        let catalog = Connection::open(home.path.join("catalog.db")).unwrap();
        let left: u64 =
            catalog.query_row("SELECT count(*) FROM older_rules", [], |row| row.get(0)).unwrap();
        assert_eq!(left, 0, "a segment is checked only once");
    }
}

#[test]
fn what_the_catalog_says_of_a_segment_is_compared_with_its_entries() {
    check(
        "catalog.db",
        "UPDATE segments SET max_time = min_time, without_time = 4, last_delivery = 7
         WHERE first_id = 1",
        &[
            "recorded in the catalog as its times ",
            "as its number of entries without a time 4, found 1",
            "as its last delivery 7, found 1",
        ],
    );
    check(LIVE, "UPDATE keys SET public = zeroblob(32) WHERE id = 1", &["has another public key"]);
}

#[test]
fn a_last_id_far_away_does_not_make_a_check_endless() {
    for (file, sql) in [
        ("catalog.db", "UPDATE segments SET last_id = 9000000000000000000 WHERE first_id = 1"),
        (LIVE, "UPDATE entries SET id = 9000000000000000000 WHERE id = 10"),
    ] {
        let home = Home::filled();
        home.damage(file, sql);
        let report = home.check();
        let expected = "with ids from ";
        assert!(report.first.iter().any(|one| one.what.contains(expected)), "{report:?}");
    }
}

#[test]
fn given_keys_are_used_instead_of_those_that_were_seen() {
    let home = Home::filled();
    let check = |keys: KeySet| {
        let options = CheckOptions { keys: Some(Arc::new(keys)), ..CheckOptions::default() };
        home.reader().check(options, &|_, _| ()).unwrap()
    };
    assert_eq!(check(vector_keys()).first, []);
    let report = check(KeySet::default());
    assert_eq!(report.differences, 4, "{report:?}");
    let expected = "recorded valid, found no_key or invalid (no_matching_key)";
    assert!(report.first.iter().all(|one| one.what == expected), "{report:?}");
}

#[test]
fn a_bad_key_in_the_catalog_is_not_used() {
    let home = with_entries_of_older_rules(false);
    let (sightings, _) = home.reader().keys().unwrap();
    assert!(!sightings.is_empty() && sightings.iter().all(|one| one.key.kid() != "weak"));
}

#[test]
fn stats_count_the_store_and_list_refused_requests() {
    let home = Home::filled();
    let store = home.open(Options::default());
    let refused = |reason: &str| Refused {
        time: Millis::saturating(RECEIVED_AT),
        peer: "127.0.0.1:2".into(),
        status: Some(401),
        reason: reason.into(),
        scheme: Some("Bearer".into()),
    };
    store.note_refused(refused("older"));
    store.note_refused(refused("newer"));
    drop(store);
    let stats = home.stats();
    assert_eq!(stats.entries, 10);
    let counts = |map: &std::collections::BTreeMap<String, u64>| {
        map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>()
    };
    assert_eq!(counts(&stats.verdicts), ["invalid 2", "malformed 2", "unsigned 2", "valid 4"]);
    assert_eq!(stats.kinds.get("none"), Some(&2));
    assert_eq!(stats.kinds.values().sum::<u64>(), 10);
    let segments: Vec<_> =
        stats.segments.iter().map(|s| (s.first_id, s.entries, s.state.as_str())).collect();
    assert_eq!(segments, [(1, 5, "sealed"), (6, 5, "live")]);
    assert_eq!(stats.received_at.map(|(from, _)| from.get()), Some(RECEIVED_AT));
    assert_eq!(
        stats.deliveries.iter().map(|d| (d.id, d.stored)).collect::<Vec<_>>(),
        [(2, 5), (1, 5)]
    );
    let reasons: Vec<_> = stats.refused.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["newer", "older"]);
    assert_eq!((stats.keys, stats.sources.len()), (vector_keys().keys().len(), 1));
    assert!(stats.bytes > stats.segments.iter().map(|segment| segment.bytes).sum());
}
