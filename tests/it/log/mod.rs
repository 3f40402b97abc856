//! The transparency log of a store: what is served of it, what is signed, and what `log check`
//! finds.
//!
//! The tests read checkpoints, tiles and records by their own few lines of code, as docs/proof.md
//! describes them.

mod anchors;
mod bundle;
mod crash;
pub(crate) mod events;
mod go;
mod publishing;
mod rotation;
mod serving;
mod tampering;
mod timestamp;
mod witness;

use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::Value;

use crate::console::get;
use crate::harness::{Serve, json_lines, output_of, wait_until};

pub(crate) type Hash = [u8; 32];

fn sha256(pieces: &[&[u8]]) -> Hash {
    digest(&SHA256, &pieces.concat()).as_ref().try_into().unwrap()
}

/// The hash of a leaf (RFC 6962 section 2.1).
fn leaf_hash(record: &[u8]) -> Hash {
    sha256(&[&[0], record])
}

/// The root of the tree over these leaf hashes (RFC 6962 section 2.1).
fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            sha256(&[&[1], &root(left), &root(right)])
        }
    }
}

/// A signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Checkpoint {
    origin: String,
    size: usize,
    root: Hash,
}

/// Reads a checkpoint, and verifies that `vkey` signed it.
#[track_caller]
fn checkpoint(note: &str, vkey: &str) -> Checkpoint {
    let mut parts = vkey.splitn(3, '+');
    let [name, id, key] = [(); 3].map(|()| parts.next().unwrap());
    let (text, signatures) = note.split_once("\n\n").unwrap();
    let key = STANDARD.decode(key).unwrap();
    let signature = |line: &str| {
        let signature = line.strip_prefix(&format!("— {name} "))?;
        Some(STANDARD.decode(signature).unwrap())
    };
    let is_of_key = |one: &Vec<u8>| data_encoding::HEXLOWER.encode(&one[..4]) == id;
    let signature = signatures.lines().filter_map(signature).find(is_of_key);
    let signature = signature.unwrap_or_else(|| panic!("{vkey} did not sign {note}"));
    assert_eq!(key[0], 1, "not Ed25519");
    let text = format!("{text}\n");
    UnparsedPublicKey::new(&ED25519, &key[1..]).verify(text.as_bytes(), &signature[4..]).unwrap();
    let [origin, size, root] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(origin, name);
    let root = STANDARD.decode(root).unwrap().try_into().unwrap();
    Checkpoint { origin: origin.to_owned(), size: size.parse().unwrap(), root }
}

/// The path of a tile or a bundle (C2SP tlog-tiles) with an index below 1000 in a tree of `size`.
fn tile_path(kind: &str, index: usize, size: usize) -> String {
    match size - index * 256 {
        256.. => format!("/log/tile/{kind}/{index:03}"),
        width => format!("/log/tile/{kind}/{index:03}.p/{width}"),
    }
}

/// The records of the first `size` leaves, from the entry bundles of a server.
fn records(serve: &Serve, size: usize) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    for index in 0..size.div_ceil(256) {
        let bundle = get(serve, &tile_path("entries", index, size));
        assert_eq!(bundle.status, 200, "{}", bundle.text());
        let mut rest = &bundle.body[..];
        while let [high, low, after @ ..] = rest {
            let (record, after) = after.split_at(u16::from_be_bytes([*high, *low]).into());
            records.push(record.to_vec());
            rest = after;
        }
    }
    assert_eq!(records.len(), size);
    records
}

/// The id of the entry that a record is of, if it is of one.
fn entry_id(record: &[u8]) -> Option<u64> {
    (record[..2] == [1, 2]).then(|| u64::from_be_bytes(record[10..18].try_into().unwrap()))
}

/// The checkpoints in the files of a data directory, in order: the times in milliseconds, and the notes.
fn kept(data: &Path) -> Vec<(i64, String)> {
    let folder = fs::read_dir(data.join("log/checkpoints")).unwrap();
    let mut files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut kept = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap();
        let mut rest = text.as_str();
        while let Some((header, after)) = rest.split_once('\n') {
            let (at, length) = header.split_once(' ').unwrap();
            let (note, after) = after.split_at(length.parse().unwrap());
            kept.push((at.parse().unwrap(), note.to_owned()));
            rest = after;
        }
        assert_eq!(rest, "");
    }
    kept
}

/// The newest checkpoint that a server gives out.
fn served(serve: &Serve) -> Option<String> {
    let answer = get(serve, "/log/checkpoint");
    (answer.status == 200).then(|| answer.text())
}

/// Waits until a checkpoint covers this many leaves, and returns it.
fn wait_for_size(serve: &Serve, size: usize) -> Checkpoint {
    checkpoint(&wait_for_note(serve, size), &vkey(&serve.data()))
}

/// Waits until a checkpoint says that it covers this many leaves, and returns its note.
fn wait_for_note(serve: &Serve, size: usize) -> String {
    let mut found = String::new();
    wait_until(&format!("a checkpoint of {size} leaves"), || {
        found = served(serve).unwrap_or_default();
        let covered = found.lines().nth(1).map_or(0, |covered| covered.parse().unwrap());
        covered >= size
    });
    found
}

/// Runs `vidimus log` with these arguments. Returns the exit code, standard output and standard
/// error.
fn log(arguments: &[&str], data: &Path) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    output_of(command.arg("log").args(arguments).arg("--data-dir").arg(data))
}

/// What `vidimus log key` prints.
#[track_caller]
fn vkey(data: &Path) -> String {
    let (code, stdout, stderr) = log(&["key"], data);
    assert_eq!(code, Some(0), "{stderr}");
    stdout.strip_suffix('\n').unwrap().to_owned()
}

/// The differences that `vidimus log check` finds.
#[track_caller]
fn differences(arguments: &[&str], data: &Path) -> Vec<Value> {
    let (code, stdout, stderr) = log(&[&["check", "-o", "jsonl"], arguments].concat(), data);
    let differences = json_lines(&stdout);
    assert_eq!(code, Some(i32::from(!differences.is_empty())), "{stdout}{stderr}");
    differences
}

/// Unsigned entries with these numbers, each on a line. Times rise with the numbers.
fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect::<Vec<_>>().join("\n")
}

fn line(number: usize) -> String {
    format!(
        "{{\"name\":\"Ingress\",\"rt\":{},\"status\":200,\"trace_id\":\"t{number:06}\"}}",
        1_760_000_000_000 + number
    )
}
