//! Whoever can write to the data directory changes something in it. `log check` finds it, also
//! where `store check` finds nothing.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

use super::{differences, leaf_hash, line, lines, log, sha256, wait_for_size};
use crate::harness::{Serve, Setup, output_of, run, stored, wait_until};

const CONFIG: &str = "[store]\nsegment_entries = 300\n[log]\ncheckpoint_interval = '100ms'\n";

/// The bytes of the record of an entry with its length, and of the first record, which is of no
/// entry.
const RECORD: usize = 2 + 123;
const START: usize = 2 + 58;

/// A stopped server with 650 entries: two sealed segments and a live one. The leaf of an entry is
/// its id.
fn filled() -> Serve {
    let mut serve = Setup::new().config(CONFIG).start();
    for numbers in [0..300, 300..600, 600..650] {
        serve.deliver(lines(numbers));
    }
    let sealed = "SELECT count(*) FROM segments WHERE state = 'sealed'";
    wait_until("two sealed segments", || {
        stored::catalog(&serve.data(), sealed, |row| row.get::<_, u64>(0)) == [2]
    });
    wait_for_size(&serve, 651);
    serve.stop();
    assert_eq!(differences(&[], &serve.data()), [""; 0]);
    serve
}

/// A copy of a data directory, to be tampered with.
struct Copy {
    folder: tempfile::TempDir,
}

impl Copy {
    fn of(data: &Path) -> Copy {
        let folder = tempfile::tempdir().unwrap();
        copy(data, &folder.path().join("data"));
        Copy { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Changes the bytes of a file.
    fn edit(&self, file: &str, edit: impl FnOnce(&mut Vec<u8>)) -> &Copy {
        let path = self.data().join(file);
        let mut bytes = fs::read(&path).unwrap();
        edit(&mut bytes);
        fs::write(path, bytes).unwrap();
        self
    }

    /// Runs SQL on the catalog.
    fn catalog(&self, sql: &str) -> &Copy {
        Connection::open(self.data().join("catalog.db")).unwrap().execute_batch(sql).unwrap();
        self
    }

    /// Opens the live segment.
    fn live(&self) -> Connection {
        let sql = "SELECT file FROM segments WHERE state = 'live'";
        let file = stored::catalog(&self.data(), sql, |row| row.get::<_, String>(0));
        Connection::open(self.data().join("segments").join(&file[0])).unwrap()
    }

    /// Runs SQL on the live segment.
    fn sql(&self, sql: &str) -> &Copy {
        self.live().execute_batch(sql).unwrap();
        self
    }

    /// Gives an entry of the live segment another line, which has another trace id, and everything
    /// that comes from the line.
    fn relabel(&self, id: u64, trace_id: &str) -> &Copy {
        let line = relabelled(id, trace_id);
        let live = self.live();
        let fingerprint = &sha256(&[line.as_bytes()])[..16];
        let sql = "UPDATE entries SET trace_id = ?2, fingerprint = ?3 WHERE id = ?1";
        assert_eq!(live.execute(sql, (id, trace_id, fingerprint)).unwrap(), 1);
        let sql = "UPDATE raw SET line = ?2 WHERE id = ?1";
        assert_eq!(live.execute(sql, (id, line.as_bytes())).unwrap(), 1);
        self
    }

    /// Checks that `store check` finds nothing.
    #[track_caller]
    fn is_sound(&self) -> &Copy {
        let (code, stdout, stderr) = run(["store", "check", "--data-dir"], &self.data());
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        self
    }

    /// Checks that `log check` finds exactly these differences: the kind, the leaf, the id, and a
    /// part of what it says.
    #[track_caller]
    fn differs(&self, expected: &[(&str, Option<u64>, Option<u64>, &str)]) {
        assert_differ(&differences(&[], &self.data()), expected);
    }
}

#[track_caller]
fn assert_differ(found: &[Value], expected: &[(&str, Option<u64>, Option<u64>, &str)]) {
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (kind, leaf, id, what) in expected {
        let is_expected = |one: &&Value| {
            (one["kind"].as_str(), one["leaf"].as_u64(), one["id"].as_u64())
                == (Some(*kind), *leaf, *id)
                && one["what"].as_str().unwrap().contains(what)
        };
        assert!(
            found.iter().any(|one| is_expected(&one)),
            "{kind} {leaf:?} {id:?} {what}: {found:#?}"
        );
    }
}

fn copy(from: &Path, to: &Path) {
    let (code, _, stderr) = output_of(Command::new("cp").arg("-a").args([from, to]));
    assert_eq!(code, Some(0), "{stderr}");
}

/// The line of an entry with another trace id.
fn relabelled(id: u64, trace_id: &str) -> String {
    let number = usize::try_from(id).unwrap() - 1;
    line(number).replace(&format!("t{number:06}"), trace_id)
}

/// Where the record of the leaf of an entry is among the records.
fn record(leaf: usize) -> Range<usize> {
    let start = START + (leaf - 1) * RECORD + 2;
    start..start + RECORD - 2
}

#[test]
fn a_changed_entry_is_found() {
    let serve = filled();
    let copy = || Copy::of(&serve.data());
    let (leaf, id) = (Some(620), Some(620));
    let line = "its line is not the one that its leaf commits to";
    copy().relabel(620, "x000619").is_sound().differs(&[("entry", leaf, id, line)]);
    let sql = "UPDATE entries SET received_at = received_at - 1 WHERE id = 620";
    copy().sql(sql).is_sound().differs(&[("entry", leaf, id, "received at")]);
    let sql = "UPDATE entries SET input = 'other' WHERE id = 620";
    copy().sql(sql).is_sound().differs(&[("entry", leaf, id, "its input is not the one")]);
    // What the line says is compared with it.
    let sql = "UPDATE entries SET status = 500 WHERE id = 620";
    copy().sql(sql).differs(&[("store", None, id, "fields")]);
    let changed = copy();
    changed.sql("UPDATE entries SET verdict = 'valid' WHERE id = 620");
    let verdict = "verdict valid, the leaf says unsigned";
    changed.differs(&[("entry", leaf, id, verdict), ("store", None, id, "recorded valid")]);
    // Two entries change places, and their leaves do not.
    let swapped = copy();
    swapped.sql(
        "UPDATE entries SET id = -1, leaf = 621 WHERE id = 620;
         UPDATE entries SET id = 620, leaf = 620 WHERE id = 621;
         UPDATE entries SET id = 621 WHERE id = -1;
         UPDATE raw SET id = -1 WHERE id = 620;
         UPDATE raw SET id = 620 WHERE id = 621;
         UPDATE raw SET id = 621 WHERE id = -1;",
    );
    let other = ("entry", Some(621), Some(621), line);
    swapped.is_sound().differs(&[("entry", leaf, id, line), other]);
}

#[test]
fn a_removed_entry_is_found() {
    let serve = filled();
    let copy = Copy::of(&serve.data());
    let removed = "nothing says that it was removed";
    copy.sql("DELETE FROM entries WHERE id = 650; DELETE FROM raw WHERE id = 650;");
    copy.is_sound().differs(&[("missing", Some(650), Some(650), removed)]);
    // The catalog forgets the oldest segment.
    let copy = Copy::of(&serve.data());
    copy.catalog("DELETE FROM segments WHERE first_id = 1");
    fs::remove_file(copy.data().join("segments/0000000000000001.db")).unwrap();
    copy.is_sound();
    let found = differences(&[], &copy.data());
    let ids: Vec<_> = found.iter().map(|one| one["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, (1..=300).collect::<Vec<_>>());
    assert!(found.iter().all(|one| one["kind"] == "missing"), "{found:#?}");
    // A list is cut, and the number of differences is not.
    let (code, stdout, stderr) = log(&["check", "--limit", "2"], &copy.data());
    assert_eq!((code, stdout.lines().count()), (Some(1), 2), "{stdout}");
    assert!(stderr.contains("300 differences, of which 2 are listed"), "{stderr}");
}

#[test]
fn an_added_entry_is_found() {
    let serve = filled();
    let add = |leaf: &str| {
        let copy = Copy::of(&serve.data());
        copy.sql(&format!(
            "CREATE TEMP TABLE added AS SELECT * FROM entries WHERE id = 650;
             UPDATE added SET id = 651, leaf = {leaf}, fingerprint = x'00', trace_id = '';
             INSERT INTO entries SELECT * FROM added;
             INSERT INTO raw SELECT 651, line FROM raw WHERE id = 650;"
        ));
        let line = relabelled(650, "added");
        let live = copy.live();
        let fingerprint = &sha256(&[line.as_bytes()])[..16];
        live.execute(
            "UPDATE entries SET fingerprint = ?1, trace_id = 'added' WHERE id = 651",
            [fingerprint],
        )
        .unwrap();
        live.execute("UPDATE raw SET line = ?1 WHERE id = 651", [line.as_bytes()]).unwrap();
        drop(live);
        copy.is_sound();
        copy
    };
    add("NULL").differs(&[("added", None, Some(651), "the entry has no leaf")]);
    let taken = "its leaf is of the entry 650";
    add("650").differs(&[("added", Some(650), Some(651), taken)]);
    let start = "its leaf is of another kind: start";
    add("0").differs(&[("added", Some(0), Some(651), start)]);
    add("651").differs(&[("added", Some(651), Some(651), "the log has no such leaf")]);
}

#[test]
fn a_changed_leaf_or_hash_is_found() {
    let serve = filled();
    let copy = || Copy::of(&serve.data());
    // Bytes 27 to 58 of a record are the salted hash of the line.
    let hash = "its record does not have the hash";
    let line = "its line is not the one that its leaf commits to";
    let changed = copy();
    changed.edit("log/records/0000", |bytes| bytes[record(620)][30] ^= 1);
    let leaf = ("leaf", Some(620), None, hash);
    changed.is_sound().differs(&[leaf, ("entry", Some(620), Some(620), line)]);
    // The version.
    let changed = copy();
    changed.edit("log/records/0000", |bytes| bytes[record(620)][0] = 2);
    changed.differs(&[leaf, ("leaf", Some(620), None, "version 2")]);
    let changed = copy();
    changed.edit("log/hashes/0/0000", |bytes| bytes[100 * 32] ^= 1);
    let above = ("tile", None, None, "tile/0/000: the tile above it has another root of it");
    changed.is_sound().differs(&[("leaf", Some(100), None, hash), above]);
    // The tile of the roots: the root of the tree follows from it.
    let changed = copy();
    changed.edit("log/hashes/1/0000", |bytes| bytes[0] ^= 1);
    let found = differences(&[], &changed.is_sound().data());
    let of = |kind: &str| found.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!(of("tile"), 1, "{found:#?}");
    assert!(of("checkpoint") > 0 && of("tile") + of("checkpoint") == found.len(), "{found:#?}");
}

#[test]
fn a_log_that_was_made_anew_has_another_root() {
    let serve = filled();
    let copy = Copy::of(&serve.data());
    // Everything agrees: the entry, the record, and the hash of a tile that has none above it.
    copy.relabel(620, "x000619");
    let salts: Vec<u8> = copy
        .live()
        .query_row("SELECT salts FROM leaves WHERE first <= 620 ORDER BY first DESC", [], |row| {
            row.get(0)
        })
        .unwrap();
    let salt = &salts[(620 - 601) * 16..][..16];
    let hash = sha256(&[salt, relabelled(620, "x000619").as_bytes()]);
    let mut of_leaf = [0; 32];
    copy.edit("log/records/0000", |bytes| {
        bytes[record(620)][27..59].copy_from_slice(&hash);
        of_leaf = leaf_hash(&bytes[record(620)]);
    });
    copy.edit("log/hashes/0/0000", |bytes| {
        bytes[620 * 32..621 * 32].copy_from_slice(&of_leaf);
    });
    let found = differences(&[], &copy.is_sound().data());
    assert!(!found.is_empty() && found.iter().all(|one| one["kind"] == "checkpoint"), "{found:#?}");
    assert!(found[0]["what"].as_str().unwrap().contains("leaves were changed"), "{found:#?}");
}

#[test]
fn a_checkpoint_of_another_key_or_with_other_bytes_is_found() {
    let serve = filled();
    let copy = Copy::of(&serve.data());
    copy.edit("log/checkpoint", |note| {
        let at = note.windows(2).position(|two| two == b"\n6").unwrap();
        note[at + 1] = b'5';
    });
    copy.differs(&[("checkpoint", None, None, "does not verify")]);
    let other = filled();
    let key = super::vkey(&other.data());
    let found = differences(&["--log-key", &key], &serve.data());
    assert!(found.iter().all(|one| one["kind"] == "checkpoint") && found.len() > 1, "{found:#?}");
    let (code, _, stderr) = log(&["check", "--log-key", "x"], &serve.data());
    assert_eq!(code, Some(2), "{stderr}");
    fs::remove_file(copy.data().join("log/checkpoint")).unwrap();
    let (code, _, stderr) = log(&["check"], &copy.data());
    assert_eq!(code, Some(3), "{stderr}");
}

#[test]
fn a_rolled_back_store_is_found_by_a_checkpoint_from_elsewhere() {
    let mut serve = filled();
    let old = Copy::of(&serve.data());
    let before = old.data().join("log/checkpoint");
    serve.restart();
    serve.deliver(lines(650..700));
    wait_for_size(&serve, 701);
    serve.stop();
    let newest = serve.data().join("log/checkpoint");
    let against =
        |note: &Path, data: &Path| differences(&["--against", note.to_str().unwrap()], data);
    assert_eq!(against(&before, &serve.data()), [""; 0]);
    assert_eq!(against(&newest, &serve.data()), [""; 0]);
    // It agrees with itself.
    old.is_sound().differs(&[]);
    let shrunk = "the tree has 651 leaves, and a checkpoint of 701 leaves is signed";
    assert_differ(&against(&newest, &old.data()), &[("against", None, None, shrunk)]);

    // The old one goes on by itself, with the same key.
    let setup = Setup::new().config(CONFIG);
    copy(&old.data(), &setup.home().join("vidimus-data"));
    let mut other = setup.start();
    other.deliver(lines(1000..1100));
    wait_for_size(&other, 751);
    other.stop();
    assert_eq!(differences(&[], &other.data()), [""; 0]);
    assert_eq!(against(&before, &other.data()), [""; 0]);
    let changed = "leaves were changed";
    assert_differ(&against(&newest, &other.data()), &[("against", None, None, changed)]);
    // One of another log is not one of this.
    let stranger = filled();
    let found = against(&stranger.data().join("log/checkpoint"), &serve.data());
    assert_differ(&found, &[("against", None, None, "found a checkpoint of the log")]);
    let (code, _, stderr) = log(&["check", "--against", "nowhere"], &serve.data());
    assert_eq!(code, Some(3), "{stderr}");
}
