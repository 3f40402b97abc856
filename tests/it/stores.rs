//! Stores of earlier versions can be read and take new entries.
//!
//! `tests/stores/make` made each store with the program of its version.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use vidimus::store::{Directory, Options, Reader, Store};
use vidimus::tlog::leaf::{Leaf, salted};

use crate::harness::stored;
use crate::harness::{Serve, Setup, assert_sound, exported, json_lines, run, wait_until};
use crate::log::events::leaves;

/// The number of entries in every store (see `tests/stores/make`).
const ENTRIES: usize = 70;

/// The stores, in order of the schema version.
fn stores() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stores");
    let mut stores: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|one| one.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    stores.sort();
    assert!(!stores.is_empty());
    stores
}

/// A server, not started yet, with a copy of the store as its data directory.
pub(crate) fn copy(store: &Path) -> Setup {
    copied(store).config("[store]\nsegment_entries = 1000\n")
}

/// The same, without a configuration.
pub(crate) fn copied(store: &Path) -> Setup {
    let setup = Setup::new().arguments("--no-tls");
    let data = setup.home().join("vidimus-data");
    copy_folder(store, &data);
    setup
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for from in fs::read_dir(from).unwrap().map(|one| one.unwrap().path()) {
        let to = to.join(from.file_name().unwrap());
        match from.is_dir() {
            true => copy_folder(&from, &to),
            false => drop(fs::copy(&from, &to).unwrap()),
        }
    }
}

/// The entries as the version of the store exported them.
fn expected(store: &Path) -> Vec<Value> {
    json_lines(&fs::read_to_string(store.with_extension("jsonl")).unwrap())
}

/// Checks that this version exports every earlier member. It may export more.
fn assert_shown(found: &[Value], expected: &[Value], deliveries: u64) {
    for (found, expected) in found.iter().zip(expected) {
        for (name, value) in expected.as_object().unwrap() {
            let value = match name.as_str() {
                "delivery_count" => (value.as_u64().unwrap() + deliveries).into(),
                _ => value.clone(),
            };
            assert_eq!(found[name], value, "{name} of {expected}");
        }
    }
}

/// The number of a store.
fn number(store: &Path) -> u32 {
    let name = store.file_name().unwrap().to_str().unwrap();
    name.strip_prefix('v').unwrap().parse().unwrap()
}

/// Whether a store was made by a program that reads a journal.
fn has_journal(store: &Path) -> bool {
    number(store) >= 6
}

/// The first ids of the segments that the catalog records as archived, each with the place.
fn archived(data: &Path) -> Vec<(u64, String)> {
    let sql = "SELECT first_id, place FROM archived ORDER BY first_id";
    stored::catalog(data, sql, |row| Ok((row.get(0)?, row.get(1)?)))
}

#[test]
fn stores_of_every_version_can_be_read() {
    for store in stores() {
        let setup = copy(&store);
        let data = setup.home().join("vidimus-data");
        let expected = expected(&store);
        assert_eq!(expected.len(), ENTRIES, "{}", store.display());
        let found = exported(&data);
        assert_eq!(found.len(), ENTRIES, "{}", store.display());
        assert_shown(&found, &expected, 0);
        for (query, count) in [
            ("verdict:valid", 40),
            ("verdict:invalid", 2),
            ("verdict:malformed", 6),
            ("status:403 late:true", 8),
            ("late:true", 8),
            ("NOT kind:*", 6),
            ("number", 6),
        ] {
            let arguments = ["query", query, "--limit", "0", "-o", "jsonl", "--data-dir"];
            let (code, stdout, stderr) = run(arguments, &data);
            assert_eq!(code, Some(0), "{stderr}");
            assert_eq!(stdout.lines().count(), count, "{query} in {}", store.display());
        }
        assert_sound(&data);
        let (_, stdout, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], &data);
        let stats = &json_lines(&stdout)[0];
        assert_eq!(stats["entries"], ENTRIES, "{stats}");
        assert_eq!(stats["verdicts"]["valid"], 40, "{stats}");
        assert_eq!(stats["quarantine"].as_array().unwrap().len(), 2, "{stats}");
        assert_eq!(stats["refused"].as_array().unwrap().len(), 3, "{stats}");
        // Since version 6, one delivery came through a journal, and all say when they were stored.
        let deliveries = stats["deliveries"].as_array().unwrap();
        let journaled: Vec<_> = deliveries.iter().filter_map(|one| one.get("journal")).collect();
        let dated = deliveries.iter().filter(|one| one.get("stored_at").is_some()).count();
        match has_journal(&store) {
            true => {
                let place = json!({"epoch": 0, "number": 0, "position": 0});
                assert_eq!((journaled, dated), (vec![&place], deliveries.len()), "{stats}");
            }
            false => assert_eq!((journaled.len(), dated), (0, 0), "{stats}"),
        }
        let (_, stdout, _) = run(["output", "status", "-o", "jsonl", "--data-dir"], &data);
        assert_eq!(json_lines(&stdout)[0]["next_id"], ENTRIES + 1);
    }
}

#[test]
fn stores_of_every_version_take_new_entries() {
    for store in stores() {
        let setup = copy(&store);
        let expected = expected(&store);
        let mut serve: Serve = setup.start();
        // Every line is recognised, whatever its segment.
        let known: Vec<_> = expected.iter().map(|one| one["raw"].as_str().unwrap()).collect();
        let again = serve.deliver(known.join("\n"));
        assert_eq!((&again["received"], &again["stored"]), (&ENTRIES.into(), &0.into()), "{again}");
        let new = serve.deliver(r#"{"name":"Ingress","rt":1760000099999,"status":200}"#);
        assert_eq!(new["stored"], 1);
        serve.stop();
        let (code, _, stderr) = run(["store", "seal", "--data-dir"], &serve.data());
        assert_eq!(code, Some(0), "{stderr}");
        let found = exported(&serve.data());
        assert_eq!(found.len(), ENTRIES + 1);
        assert_shown(&found, &expected, 1);
        assert_sound(&serve.data());
        assert_logged(&serve.data());
        // Sealed files are unchanged. Rewritten files have the newest version.
        let sealed = "segments/0000000000000021.db";
        assert_eq!(
            fs::read(serve.data().join(sealed)).unwrap(),
            fs::read(store.join(sealed)).unwrap()
        );
    }
}

/// Checks that each entry has a leaf of its own that is as the entry, also if it was stored before the log
/// began, and that the first leaf commits to what was there then.
fn assert_logged(data: &Path) {
    let directory = Directory::open(data).unwrap();
    let store = Store::open(&directory, Options::default()).unwrap();
    let reader = Reader::open(&directory).unwrap();
    let ids = 1..=ENTRIES as u64 + 1;
    wait_until("a leaf for each entry", || {
        ids.clone().all(|id| reader.leaf_of(id).unwrap().is_some())
    });
    let leaves = leaves(&store, &reader);
    let list = fs::read(data.join("log/start")).unwrap();
    let Leaf::Start { segments, last_id, sha256 } = leaves[0] else { panic!("{}", leaves[0]) };
    assert_eq!(sha256[..], *digest(&SHA256, &list).as_ref());
    assert_eq!(list.iter().filter(|byte| **byte == b'\n').count() as u64, segments);
    assert_eq!(segments > 0, last_id > 0);
    for id in ids {
        let (leaf, salt) = reader.leaf_of(id).unwrap().unwrap();
        let record = reader.entry(id).unwrap().unwrap();
        let (Leaf::Entry(entry) | Leaf::Backfill(entry)) = &leaves[usize::try_from(leaf).unwrap()]
        else {
            panic!("{id}")
        };
        assert_eq!((entry.id, entry.line), (id, salted(&salt, &record.raw)), "{id}");
        assert_eq!(Some(entry.received_at), record.received_at(), "{id}");
        assert_eq!(leaves[usize::try_from(leaf).unwrap()].kind() == "backfill", id <= last_id);
    }
}

#[test]
fn segments_of_every_version_are_rewritten() {
    for (store, running) in stores().into_iter().flat_map(|one| [(one.clone(), true), (one, false)])
    {
        let setup = copy(&store);
        let data = setup.home().join("vidimus-data");
        let before = exported(&data);
        let (mut serve, mut stopped) = (None, None);
        match running {
            true => serve = Some(setup.start()),
            false => stopped = Some(setup),
        }
        let reseal = || {
            let (code, _, stderr) = run(["store", "reseal", "--data-dir"], &data);
            assert_eq!(code, Some(0), "{stderr}");
            stderr
        };
        let (first, second) = (reseal(), reseal());
        let old = stored::version(&store.join("segments/0000000000000021.db")) < 7;
        assert!(first.contains(" rewritten: ") && first.contains("0 segments") != old, "{first}");
        assert!(second.contains("0 segments rewritten: "), "{second}");
        if let Some(serve) = &mut serve {
            serve.stop();
        }
        let (_, stdout, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], &data);
        let versions = &json_lines(&stdout)[0]["versions"];
        // The live segment has version 6, the others version 7.
        let old = ["1", "2", "3", "4", "5"].map(|version| &versions[version]);
        assert_eq!((old, &versions["6"]), ([&Value::Null; 5], &1.into()), "{versions}");
        assert_eq!(exported(&data), before);
        assert_sound(&data);
        drop(stopped.take());
    }
}

#[test]
fn signed_payloads_are_recognised_in_stores_of_every_version() {
    for store in stores() {
        let keys = fs::read(store.join("jwks.json")).unwrap();
        let setup = copy(&store).file("jwks.json", keys).arguments("--jwks jwks.json");
        let mut serve = setup.start();
        let lines: Vec<_> = expected(&store)
            .iter()
            .filter(|one| one["verdict"] == "valid")
            .map(|one| other_spelling(one["raw"].as_str().unwrap()))
            .collect();
        assert_eq!(lines.len(), 40, "{}", store.display());
        let answer = serve.deliver(lines.join("\n"));
        assert_eq!(answer["verdicts"]["valid"], 40, "{answer}");
        assert_eq!(answer["stored"], 0, "{answer}");
        serve.stop();
        let found = exported(&serve.data());
        let moved = |one: &&Value| one["warnings"].to_string().contains("signature_moved");
        assert_eq!(found.iter().filter(moved).count(), 40);
        assert_sound(&serve.data());
    }
}

/// Another line with the same signed payload.
pub(crate) fn other_spelling(line: &str) -> String {
    if let Some(rest) = line.strip_prefix("{\"event\":") {
        return format!("{{\"event\":  {rest}");
    }
    if line.starts_with('{') {
        return format!("{{\"event\":{line}}}");
    }
    let (payload, sig) = line.rsplit_once(" sig=").unwrap();
    payload.replacen(" src=", &format!(" sig={sig} src="), 1)
}

#[test]
fn stores_of_every_version_are_archived() {
    for store in stores() {
        let setup = copied(&store);
        let data = setup.home().join("vidimus-data");
        // Since version 7, the first two segments are recorded in another archive.
        if number(&store) >= 7 {
            let place = "file:///tmp/archive-of-the-test-store".to_owned();
            assert_eq!(archived(&data), [(1, place.clone()), (21, place)]);
        }
        let bucket = format!("file://{}/bucket", setup.home().display());
        let mut serve = setup
            .config(&format!(
                "[archive]\nurl = \"{bucket}\"\nmax_delay = \"36500d\"\n\
                 [store]\nsegment_age = \"36500d\"\n",
            ))
            .start();
        let expected = [1, 21, 41].map(|first_id| (first_id, bucket.clone()));
        // A segment under earlier rules is closed to be checked again, and may be archived too.
        wait_until("an archive", || archived(&data).starts_with(&expected));
        serve.stop();
        assert_sound(&data);
    }
}
