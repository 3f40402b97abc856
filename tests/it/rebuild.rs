//! A store that is built anew from its deliveries and entries is the same store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use vidimus::entry::Millis;
use vidimus::signature::KeySet;
use vidimus::store::{
    Directory, Options, Quarantined, Reader, Rebuild, RebuiltSegment, RestoredEntry, StoreError,
};

use crate::harness::home::{Home, append};
use crate::harness::{Signer, assert_sound, exported, json_lines, jwks, run};

const ID: &str = "00112233445566778899aabbccddeeff";

/// Two sealed segments: 1 to 5 with valid, unsigned and malformed lines, and 6 to 7 with a long line.
/// The second delivery of the second segment has another line of the first entry.
fn original() -> (Home, KeySet, Vec<String>) {
    let (home, signer) = (Home::new(), Signer::new("k1"));
    let keys = KeySet::parse(jwks(&[&signer]).as_bytes()).unwrap().0;
    let store = home.open(Options::default());
    store.enter_keys("a set", Ok(&keys), Millis::saturating(7)).unwrap();
    let lines = [
        signer.json(1),
        signer.cef(2),
        r#"{"name":"Ingress","rt":1760000000003,"x":{"n":[1]},"late":true}"#.to_owned(),
        "no entry".to_owned(),
        signer.cps(5),
    ];
    append(&store, &lines[..3].join("\n"), &keys);
    append(&store, &lines[3..].join("\n"), &keys);
    append(&store, &lines[2], &keys);
    store.seal().unwrap();
    let long = format!("{{\"name\":\"{}\"}}", "x".repeat(3 << 19));
    append(&store, &long, &keys);
    append(&store, &format!("{{\"event\":{}}}", lines[0]), &keys);
    append(&store, &signer.cef(7), &keys);
    store.seal().unwrap();
    let body = quarantined(4);
    (1..4).for_each(|_| store.release(store.quarantine(&body, b"x").unwrap()).unwrap());
    assert_eq!(store.quarantine(&body, b"body").unwrap(), 4);
    let mut all = lines.to_vec();
    all.extend([long, signer.cef(7)]);
    (home, keys, all)
}

fn quarantined(id: u64) -> Quarantined {
    Quarantined {
        id,
        received_at: Millis::saturating(8),
        input: "default".into(),
        peer: "p".into(),
        status: 400,
        reason: "r".into(),
        content_encoding: None,
        bytes: 4,
        origin: None,
    }
}

/// What a copy leaves out or changes.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Entry,
    Piece,
    OtherLine,
}

/// Copies the segment that begins with `first` into a segment that is built.
fn copy(
    from: &Path,
    reader: &Reader,
    to: &mut RebuiltSegment<'_>,
    first: u64,
    fault: Fault,
) -> Result<(), StoreError> {
    let segment = Connection::open(from.join(format!("segments/{first:016}.db"))).unwrap();
    let mut places = segment
        .prepare("SELECT id, nullif(event_time, 0), delivery, covers FROM entries ORDER BY id DESC")
        .unwrap();
    let mut places = places.query([]).unwrap();
    while let Some(row) = places.next().unwrap() {
        let id: u64 = row.get(0).unwrap();
        let mut record = reader.entry(id).unwrap().unwrap();
        if fault == Fault::Entry && id == 2 {
            continue;
        }
        if fault == Fault::OtherLine && id == 2 {
            let at = record.raw.len() - 100;
            record.raw[at] ^= 1;
        }
        let key = reader.provenance(id).unwrap().unwrap().key;
        let covers: Option<String> = row.get(3).unwrap();
        to.entry(&RestoredEntry {
            record: &record,
            event_time: row.get::<_, Option<i64>>(1).unwrap().map(Millis::saturating),
            delivery: row.get(2).unwrap(),
            key: key.as_ref(),
            covers: covers.as_deref(),
            hidden_by: None,
        })?;
        let pieces = if record.whole.is_some() { 2 } else { 0 };
        for number in 0..pieces - u64::from(pieces > 0 && fault == Fault::Piece) {
            to.piece(id, number, &reader.line_piece(id, number).unwrap().unwrap())?;
        }
    }
    let ids = |sql: &str| -> Vec<u64> {
        let mut ids = segment.prepare(sql).unwrap();
        ids.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let here = ids("SELECT id FROM deliveries");
    for one in reader.deliveries(None, 100).unwrap() {
        if !here.contains(&one.id) {
            continue;
        }
        to.delivery(&one)?;
    }
    let mut spellings = segment.prepare("SELECT entry, delivery, line FROM spellings").unwrap();
    let mut spellings = spellings.query([]).unwrap();
    while let Some(row) = spellings.next().unwrap() {
        let line: Vec<u8> = row.get(2).unwrap();
        to.spelling(row.get(0).unwrap(), row.get(1).unwrap(), &line)?;
    }
    Ok(())
}

/// Builds the store anew from its segments that begin with these ids, beside the original.
fn rebuild(home: &Home, segments: &[(u64, u64)], fault: Fault) -> Result<PathBuf, StoreError> {
    let reader = Reader::open(&Directory::open_to_read(&home.path).unwrap()).unwrap();
    let to = home.path.with_file_name("rebuilt");
    let mut rebuild = Rebuild::begin(&to, ID, segments.len() == 1)?;
    for (first_id, first_delivery) in segments {
        let built = rebuild.segment(*first_id, *first_delivery, Millis::saturating(9)).and_then(
            |mut segment| {
                copy(&home.path, &reader, &mut segment, *first_id, fault)?;
                segment.finish()
            },
        );
        if let Err(error) = built {
            return Err(rebuild.give_up(error));
        }
    }
    rebuild.keys_seen(&reader.keys().unwrap().0).unwrap();
    rebuild.quarantined(&quarantined(4), b"body").unwrap();
    let rebuilt = rebuild.finish().unwrap();
    assert_eq!(rebuilt.segments, segments.len() as u64);
    assert_eq!(rebuilt.unverified, u64::from(fault == Fault::OtherLine));
    Ok(to)
}

#[test]
fn a_store_is_built_anew_and_goes_on() {
    let (home, keys, lines) = original();
    let to = rebuild(&home, &[(1, 1), (6, 4)], Fault::None).unwrap();
    assert_eq!(exported(&to), exported(&home.path));
    assert_sound(&to);
    let stats = |data: &Path| {
        let (_, stdout, _) = run(["store", "stats", "-o", "jsonl", "--data-dir"], data);
        let mut stats = json_lines(&stdout).remove(0);
        // What was learned of the entries later is in the segments now, and counted.
        for one in stats["deliveries"].as_array_mut().unwrap() {
            one["warnings"].take();
        }
        let keep = ["deliveries", "verdicts", "quarantine", "keys", "received_at"];
        let found: BTreeMap<_, _> = keep.map(|name| (name, stats[name].take())).into();
        (stats["store_id"].take(), found)
    };
    let (id, rebuilt) = stats(&to);
    assert_eq!((id.as_str(), &rebuilt), (Some(ID), &stats(&home.path).1));
    // Every line is recognised, and ids go on.
    let built = Home::at(&to);
    let store = built.open(Options::default());
    assert_eq!(store.id().unwrap(), ID);
    let again = append(&store, &lines.join("\n"), &keys);
    assert_eq!((again.stored, again.duplicates), (0, 7));
    let other = append(&store, &format!("{{\"event\":  {}}}", lines[0]), &keys);
    assert_eq!(other.stored, 0);
    append(&store, "new", &keys);
    let reader = Reader::open(&Directory::open_to_read(&to).unwrap()).unwrap();
    assert_eq!(reader.entry(8).unwrap().unwrap().raw, b"new");
    assert_eq!(reader.provenance(1).unwrap().unwrap().spellings.len(), 2);
    drop(store);
    assert_sound(&to);
}

#[test]
fn a_part_of_a_store_can_only_be_read() {
    let (home, _, _) = original();
    let to = rebuild(&home, &[(6, 4)], Fault::None).unwrap();
    assert_eq!(exported(&to), exported(&home.path)[5..]);
    assert_sound(&to);
    let error = vidimus::store::Store::open(&Directory::create(&to).unwrap(), Options::default());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("can only be read"), "{error}");
}

#[test]
fn what_is_incomplete_is_not_built() {
    #[track_caller]
    fn check(segments: &[(u64, u64)], fault: Fault, expected: &str) {
        let (home, _, _) = original();
        let error = rebuild(&home, segments, fault).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        // Nothing is left.
        let left = home.path.parent().unwrap().read_dir().unwrap().count();
        assert_eq!(left, 1);
    }
    check(&[(1, 1), (6, 4)], Fault::Entry, "the segment 1: it has 4 entries");
    check(&[(1, 1), (6, 4)], Fault::Piece, "the entry 6: its pieces are not its line");
    check(&[(6, 4), (1, 1)], Fault::None, "expected ids from 8 and deliveries from 7");
    check(&[(1, 2), (6, 4)], Fault::None, "the delivery 1 in a segment that begins with 2");
}

#[test]
fn a_signature_that_does_not_hold_is_noticed() {
    let (home, _, _) = original();
    let to = rebuild(&home, &[(1, 1), (6, 4)], Fault::OtherLine).unwrap();
    let (code, stdout, _) = run(["store", "check", "--data-dir"], &to);
    assert_eq!(code, Some(1), "{stdout}");
}

#[test]
fn a_store_is_not_built_over_another_or_without_an_id() {
    let (home, _, _) = original();
    for id in ["", "x", &ID[1..], &ID.to_uppercase()] {
        let to = home.path.with_file_name("new");
        assert!(matches!(Rebuild::begin(&to, id, false), Err(StoreError::NotRestored(_))), "{id}");
        assert!(!to.exists());
    }
    let error = Rebuild::begin(&home.path, ID, false).unwrap_err();
    assert!(matches!(error, StoreError::Directory { .. }), "{error}");
}
