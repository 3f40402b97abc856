//! Each signed vector in `fixtures/vectors/` gives the verdict, the key, the warnings and the
//! fields of its header. The README there explains the headers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rayon::prelude::*;
use serde_json::Value;
use vidimus::entry::{Format, Millis, VerdictName};
use vidimus::ingest::{Batch, Caps, CheckedLine, Entry, ExpectedIds};
use vidimus::signature::{KeySet, Seed};

/// A vector: its header and its line.
pub(crate) struct Vector {
    pub(crate) name: String,
    pub(crate) header: BTreeMap<String, String>,
    pub(crate) line: Vec<u8>,
}

/// The path of a file in `fixtures/vectors`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors").join(name)
}

/// The line of a vector that is UTF-8, with a line end.
pub(crate) fn vector(name: &str) -> String {
    let text = std::fs::read_to_string(fixture(name)).unwrap();
    text.split_once("\n---\n").unwrap().1.to_owned() + "\n"
}

/// The keys of `jwks.json`.
pub(crate) fn vector_keys() -> KeySet {
    keys("jwks.json").0
}

/// The vectors for `jwks.json`, in order of their names.
pub(crate) fn vectors() -> Vec<Vector> {
    let vectors = vectors_in(&fixture(""));
    assert!(vectors.len() > 60, "only {} vectors in {}", vectors.len(), fixture("").display());
    vectors
}

fn vectors_in(folder: &Path) -> Vec<Vector> {
    let mut vectors: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "vec"))
        .map(|path| {
            let bytes = std::fs::read(&path).unwrap();
            let at = bytes.windows(5).position(|window| window == b"\n---\n").unwrap();
            let header = String::from_utf8(bytes[..at].to_vec()).unwrap();
            let header = header.lines().map(|line| line.split_once(": ").unwrap());
            Vector {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                header: header.map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
                line: bytes[at + 5..].to_vec(),
            }
        })
        .collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    vectors
}

fn keys(name: &str) -> (KeySet, usize) {
    let (set, bad) = KeySet::parse(&std::fs::read(fixture(name)).unwrap()).unwrap();
    (set, bad.len())
}

const CAPS: Caps = Caps { max_line: 1 << 20, max_lines: 10 };

fn read(line: &[u8], keys: &KeySet) -> Entry {
    let batch = Batch::new(Bytes::copy_from_slice(line), keys, CAPS, &Seed::new([7; 32])).unwrap();
    let entries: Vec<_> =
        batch.entries(&ExpectedIds::default(), Millis::new(1_760_000_000_000).unwrap()).collect();
    let [entry] = entries.as_slice() else { panic!("{} entries in one line", entries.len()) };
    entry.clone()
}

#[test]
fn every_vector_matches_its_header() {
    let (good, _) = keys("jwks.json");
    let (with_bad, bad) = keys("jwks-with-bad-key.json");
    assert_eq!((with_bad.keys().len(), bad), (2, 1));
    for keys in [&good, &with_bad] {
        vectors().iter().for_each(|vector| check(vector, keys));
    }
}

#[test]
fn a_line_signed_in_one_format_is_not_valid_in_another() {
    let (keys, _) = keys("formats/jwks.json");
    let vectors = vectors_in(&fixture("formats"));
    assert!(vectors.len() > 15, "only {} vectors", vectors.len());
    vectors.iter().for_each(|vector| check(vector, &keys));
}

fn check(Vector { name, header, line }: &Vector, keys: &KeySet) {
    let entry = read(line, keys);
    assert_eq!(Format::word(entry.format), header["format"], "{name}: format");
    assert_eq!(entry.verdict.name().to_string(), header["verdict"], "{name}: verdict");
    if let Some(reason) = header.get("reason") {
        assert_eq!(entry.verdict.reason(), Some(reason.as_str()), "{name}: reason");
    }
    let kid = entry.verdict.proof().map(|proof| proof.key().kid());
    assert_eq!(kid, header.get("kid").map(String::as_str), "{name}: kid");
    let warnings: Vec<_> = entry.warnings.iter().map(|w| w.as_str()).collect();
    let expected = header.get("warnings").map_or("", String::as_str);
    assert_eq!(warnings.join(", "), expected, "{name}: warnings");
    let expected: BTreeMap<String, Value> =
        header.get("fields").map_or_else(BTreeMap::new, |f| serde_json::from_str(f).unwrap());
    for (field, expected) in expected {
        let found = match field.as_str() {
            "kind" => serde_json::to_value(entry.kind).unwrap(),
            _ => serde_json::to_value(entry.fields.get(&field)).unwrap(),
        };
        assert_eq!(found, expected, "{name}: field {field}");
    }
}

#[test]
fn entries_that_a_key_might_verify_are_no_key_without_keys() {
    let (empty, _) = keys("jwks-empty.json");
    let (good, _) = keys("jwks.json");
    for Vector { name, header, line } in vectors() {
        let awaits_key = read(&line, &good).verdict.reason() == Some("no_matching_key");
        let expected = match header["verdict"].as_str() {
            "valid" => "no_key",
            "invalid" if awaits_key => "no_key",
            other => other,
        };
        assert_eq!(read(&line, &empty).verdict.name().to_string(), expected, "{name}");
    }
}

/// Whether a valid vector stays valid if the byte at `at` is changed to `to`. This is so for
/// padding of the signature, the CR before the line end, and JSON white space within the removed
/// signature member.
fn harmless(vector: &Vector, at: usize, to: u8) -> bool {
    let from = vector.line[at];
    let json_space = |byte: u8| b" \t\r\n".contains(&byte);
    match vector.name.as_str() {
        "cef-signature-padded" => from == b'=',
        "cef-trailing-carriage-return" => from == b'\r',
        "json-white-space" => {
            let sig = vector.line.windows(7).position(|window| window == b", \"sig\"").unwrap();
            at > sig && json_space(from) && json_space(to)
        }
        _ => false,
    }
}

#[test]
fn a_valid_vector_is_not_valid_after_any_byte_changes() {
    let (keys, _) = keys("jwks.json");
    let changes: usize = vectors()
        .par_iter()
        .filter(|vector| vector.header["verdict"] == "valid")
        .map(|vector| changes_of(vector, &keys))
        .sum();
    assert!(changes > 80_000, "only {changes} changes were tried");
}

/// Changes each byte of a vector in turn. Returns the number of changes.
fn changes_of(vector: &Vector, keys: &KeySet) -> usize {
    let mut changes = 0;
    for at in 0..vector.line.len() {
        // A neighbouring value, the other case, and bytes with a meaning to a parser.
        let from = vector.line[at];
        for to in [from ^ 1, from ^ 0x20, b' ', b'=', b'"'] {
            if to == from || harmless(vector, at, to) {
                continue;
            }
            let mut line = vector.line.clone();
            line[at] = to;
            let verdict = CheckedLine::new(&line, keys, CAPS.max_line).verdict().name();
            assert_ne!(
                verdict,
                VerdictName::Valid,
                "{}: still valid with byte {at} changed from {from:#x} to {to:#x}",
                vector.name
            );
            changes += 1;
        }
    }
    changes
}
