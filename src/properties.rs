//! Properties that hold for any bytes. Each is one function, which a fuzz target and a property
//! test call.
//!
//! A function takes the input of a fuzzer and panics if the property does not hold. The functions
//! are not part of the library's interface, and the program does not call them.

#![allow(clippy::expect_used, reason = "a property that does not hold must panic")]

use std::fmt::Display;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::de::IgnoredAny;

use crate::entry::layout::{MAX_LINE, Parts};
use crate::entry::lines;
use crate::entry::payload::ParsedPayload;
use crate::entry::record::Origin;
use crate::entry::{Format, Layout, Malformed, Millis, Record, VerdictName};
use crate::ingest::{Batch, Caps, CheckedLine, Entry, ExpectedIds};
use crate::search;
use crate::signature::{self, Coverage, Key, KeySet, Proof, Reason, Seed, Verdict};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{Note, VerifierKey};
use crate::tlog::policy::Policy;
use crate::tlog::proof;
use crate::tlog::tile::{self, TilePath};
use crate::tlog::tree::{self, Hash};
use crate::tlog::witness::AddCheckpoint;

/// A key pair, and the set that has the public key.
struct Signer {
    pair: Ed25519KeyPair,
    keys: KeySet,
}

impl Signer {
    fn new(seed: u8) -> Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed of 32 bytes");
        let public = pair.public_key().as_ref().try_into().expect("a key of 32 bytes");
        Signer { pair, keys: KeySet::new([Arc::new(Key::new(None, public))]) }
    }
}

static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::new(1));
static OTHER: LazyLock<Signer> = LazyLock::new(|| Signer::new(2));

/// Any text can be parsed as CEF, by itself and as the extensions after a header.
pub fn cef(data: &[u8]) {
    every_line(data);
    every_line(&[b"CEF:0|KongInc|Konnect|1.0|c|Ingress|1|", data].concat());
}

/// Any text can be parsed as JSON: by itself, as the members of an object, and as the members of
/// the object in a CPS line.
pub fn json(data: &[u8]) {
    every_line(data);
    every_line(&[b"{", data, b"}"].concat());
    every_line(&[b"{\"event\":{", data, b"}}"].concat());
}

/// Splitting loses no byte, and every line becomes an entry, unchanged and in order.
pub fn body(data: &[u8]) {
    let mut at = 0;
    for line in lines(data) {
        assert!(data[at..line.start].iter().all(|byte| b"\r\n".contains(byte)));
        assert!(!line.is_empty() && !data[line.clone()].contains(&b'\n'));
        at = line.end;
    }
    assert!(data[at..].iter().all(|byte| b"\r\n".contains(byte)));

    let caps = Caps { max_line: 1 << 12, max_lines: usize::MAX };
    let batch = Batch::new(Bytes::copy_from_slice(data), &OTHER.keys, caps, &Seed::new([7; 32]))
        .expect("no cap");
    let expected = ExpectedIds::default();
    let mut entries = batch.entries(&expected, Millis::MIN);
    for line in lines(data) {
        let entry = entries.next().expect("an entry for every line");
        assert_eq!(entry.raw, data[line], "the bytes of an entry are those of its line");
        assert_ne!(entry.verdict.name(), VerdictName::Valid);
    }
    assert!(entries.next().is_none(), "an entry that is no line");
}

fn every_line(data: &[u8]) {
    lines(data).for_each(|range| line(&data[range]));
}

/// A line without LF always has the same layout. The line without its signature is the payload. The
/// fields are the payload's. No key verifies what it has not signed.
fn line(line: &[u8]) {
    let entry = read(line, &OTHER.keys);
    assert_ne!(entry.verdict.name(), VerdictName::Valid, "forged");
    is_one_line_of_json(&entry);
    let Ok(layout) = Layout::of(line, MAX_LINE) else {
        assert!(matches!(entry.verdict, Verdict::Malformed(_)) && entry.fields.iter().count() == 0);
        return;
    };
    let again = Layout::of(line, MAX_LINE).expect("the layout that it had");
    assert_eq!(format!("{:?}", layout.parts), format!("{:?}", again.parts));

    let payload = signature::check(&layout, &OTHER.keys).expect("nothing verifies").payload;
    let text = payload.text(layout.line);
    let left = Layout::of(text.as_bytes(), MAX_LINE).expect("what is left is an entry");
    let cut = is_less_one_piece(layout.line, &text);
    let Some(last) = sigs(&layout).pop() else {
        assert_eq!((cut, &entry.verdict), (0, &Verdict::Unsigned));
        return has_fields_of(&entry, &ParsedPayload::new(&text, payload.format));
    };
    // The field is cut with its name. A key that is written with escapes stays.
    assert!(cut >= "sig=".len() + last.len() || escaped(&layout), "{cut} bytes are cut");
    if let Parts::Cef { .. } = layout.parts {
        assert_eq!(sigs(&left).len() + 1, sigs(&layout).len());
    }
    has_fields_of(&entry, &ParsedPayload::new(&text, payload.format));

    // The value of the signature does not change the fields.
    let other = if let Parts::Cef { .. } = layout.parts { "x" } else { "\"x\"" };
    let other = [&layout.line[..last.start], other, &layout.line[last.end..]].concat();
    assert_eq!(read(other.as_bytes(), &OTHER.keys).fields, entry.fields);
}

/// A signed line verifies with the signer's key and no other. However the line is changed, if it
/// still verifies, its payload is the text that was signed.
///
/// The first four bytes say where the signature is put, and how, with what and where the line is
/// changed. The rest is the text to sign.
pub fn signed_payload(data: &[u8]) {
    let Some(([how, with, high, low], body)) = data.split_first_chunk() else { return };
    let at = usize::from(u16::from_be_bytes([*high, *low]));
    for range in lines(body) {
        let Ok(layout) = Layout::of(&body[range], MAX_LINE) else { continue };
        let checked = signature::check(&layout, &KeySet::default()).expect("nothing verifies");
        let unsigned = checked.payload.text(layout.line);
        let layout = Layout::of(unsigned.as_bytes(), MAX_LINE).expect("what is left is an entry");
        let place = if how & 8 == 0 { None } else { Some(at) };
        let Some((line, signed, covers)) = sign(&layout, place, how & 4 == 0) else { continue };

        let reason = |keys| read(line.as_bytes(), keys).verdict.reason();
        if let Parts::Object { sigs, .. } = &layout.parts
            && !sigs.is_empty()
        {
            assert_eq!(reason(&SIGNER.keys), Some(Reason::SignatureAmbiguous.as_str()));
            continue;
        }
        // An object that is itself a CPS line was signed as one.
        if covers == Coverage::Object && format_of(&signed) == Some(Format::Cps) {
            let expected = Malformed::OtherFormat.as_str();
            assert_eq!(reason(&SIGNER.keys), Some(expected));
            continue;
        }
        let (payload, proof) = verified(line.as_bytes()).expect("the signer's key verifies it");
        assert_eq!((proof.key(), proof.coverage()), (&SIGNER.keys.keys()[0], covers));
        assert_eq!(payload, signed);
        assert_eq!(reason(&OTHER.keys), Some("no_matching_key"));
        assert_eq!(reason(&KeySet::default()), Some("no_keys"));

        let mut changed = line.into_bytes();
        let at = at % changed.len();
        match how & 3 {
            0 => changed[at] = *with,
            1 => changed[at] ^= *with,
            2 => changed.insert(at, *with),
            _ => drop(changed.remove(at)),
        }
        if let Some((payload, _)) = verified(&changed) {
            assert_eq!(payload, signed, "not what was signed");
        }
    }
}

/// However a text and its signature are joined into a line, the line is valid only with the format
/// and the fields of the text by itself. In a CPS line the object alone may be signed.
///
/// The first two bytes say where the signature is put. The rest is the text to sign.
pub fn formats(data: &[u8]) {
    let Some((place, body)) = data.split_first_chunk::<2>() else { return };
    let place = usize::from(u16::from_be_bytes(*place));
    for text in lines(body).filter_map(|range| std::str::from_utf8(&body[range]).ok()) {
        let signature = URL_SAFE_NO_PAD.encode(SIGNER.pair.sign(text.as_bytes()));
        let places: Vec<_> = text
            .match_indices([' ', '|', ',', '{', '}'])
            .flat_map(|(at, found)| [at, at + found.len()])
            .chain([0, text.len()])
            .collect();
        let (head, tail) = text.split_at(places[place % places.len()]);
        let (field, member) = (format!("sig={signature}"), format!("\"sig\":\"{signature}\""));
        let signed = [
            format!("{text} {field}"),
            format!("{head} {field}{tail}"),
            format!("{head}{field} {tail}"),
            format!("{head}{member}{tail}"),
            format!("{head}{member},{tail}"),
            format!("{head},{member}{tail}"),
        ];
        for line in &signed {
            is_valid_only_as_itself(line, text);
            is_valid_only_as_itself(&format!("{{\"event\":{line}}}"), text);
            is_valid_only_as_itself(&format!("{{\"event\":{text},{member}}}"), text);
            for prefix in [" ", "<134>1 2025-06-18T21:02:36Z host ", "CEF:0|a|b|c|d|e|5|x="] {
                is_valid_only_as_itself(&format!("{prefix}{line}"), text);
            }
        }
    }
}

fn is_valid_only_as_itself(line: &str, signed: &str) {
    let entry = read(line.as_bytes(), &SIGNER.keys);
    let Some(proof) = entry.verdict.proof() else { return };
    let format = format_of(signed).expect("what is signed is an entry by itself");
    let expected = match proof.coverage() {
        Coverage::Object => (Some(Format::Cps), Format::Json),
        Coverage::Entry | Coverage::Line => (Some(format), format),
    };
    assert_eq!((entry.format, format), expected, "{line}");
    has_fields_of(&entry, &ParsedPayload::new(signed, format));
}

/// The format of a text, or `None` if it is not an entry.
fn format_of(text: &str) -> Option<Format> {
    Layout::of(text.as_bytes(), MAX_LINE).ok().map(|layout| layout.format())
}

/// A key set that can be read has the same keys after it is written and read again. A signature is
/// valid exactly if the set has the signer's key.
pub fn key_set(data: &[u8]) {
    let Ok((set, _)) = KeySet::parse(data) else { return };
    let written = serde_json::to_vec(&set).expect("a key set is JSON");
    let (again, bad) = KeySet::parse(&written).expect("what was written is a key set");
    assert_eq!((again.keys(), bad.as_slice()), (set.keys(), [].as_slice()));

    let layout = Layout::of(br#"{"a":1}"#, MAX_LINE).expect("an entry");
    let (line, ..) = sign(&layout, None, true).expect("signed at its end");
    let public = SIGNER.keys.keys()[0].public();
    let has_key = set.keys().iter().any(|key| key.public() == public);
    assert_eq!(read(line.as_bytes(), &set).verdict.proof().is_some(), has_key);
}

/// A valid query gives the same filter with space and with brackets around it. An error has a
/// position within the query.
pub fn query(data: &[u8]) {
    const NOW: i64 = 1_747_426_194_000;
    let Ok(query) = std::str::from_utf8(data) else { return };
    let filter = match search::parse(query, NOW) {
        Ok(filter) => filter,
        Err(error) => {
            assert!(error.position <= query.chars().count() && !error.expected.is_empty());
            assert!(!error.found.contains("not understood"), "{error}");
            return;
        }
    };
    let same = |query: &str, expected: &search::Filter| match search::parse(query, NOW) {
        Ok(filter) => assert_eq!(&filter, expected, "{query:?}"),
        // The query already had the maximum length or depth.
        Err(error) => assert!(error.expected.starts_with("at most"), "{query:?}: {error}"),
    };
    same(query, &filter);
    same(&format!(" {query}\t"), &filter);
    if !query.trim().is_empty() {
        same(&format!("({query})"), &filter);
        same(&format!("NOT ({query})"), &search::Filter::Not(Box::new(filter)));
    }
}

/// What is read of a transparency log is written as it was. Whatever sizes and hashes are in a
/// proof, it only proves what is true.
pub fn tlog(data: &[u8]) {
    fn same<E>(read: Result<impl Display, E>, data: &[u8]) {
        if let Ok(read) = read {
            assert_eq!(read.to_string().as_bytes(), data);
        }
    }
    same(Note::parse(data), data);
    same(AddCheckpoint::parse(data), data);
    same(proof::Proof::parse(data), data);
    if let Ok(text) = std::str::from_utf8(data) {
        same(Checkpoint::parse(text), data);
        same(text.parse::<VerifierKey>(), data);
        same(text.parse::<TilePath>(), data);
    }
    // A policy is not written, but no text may be trouble.
    let _ = Policy::parse(data);

    let Some((width, bundle)) = data.split_first() else { return };
    if let Ok(entries) = tile::entries(bundle, u16::from(*width)) {
        let mut again = Vec::new();
        entries.iter().for_each(|one| tile::push_entry(&mut again, one).expect("not longer"));
        assert_eq!(again, bundle);
    }
    let Some((numbers, hashes)) = data.split_first_chunk::<16>() else { return };
    let [a, b] = numbers.as_chunks().0 else { return };
    let (a, b) = (u64::from_be_bytes(*a), u64::from_be_bytes(*b));
    let hashes: Vec<_> = hashes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect();
    let zero = Hash([0; 32]);
    let included = tree::verify_inclusion(&hashes, a, &zero, b, &zero).is_ok();
    assert_eq!(included, (a, b) == (0, 1) && hashes.is_empty());
    let consistent = tree::verify_consistency(&hashes, (a, &zero), (b, &zero)).is_ok();
    assert_eq!(consistent, a == b && a > 0 && hashes.is_empty());
}

/// Signs an entry. Returns the line with its signature, the signed text, and what it covers: the
/// object or the whole line, if the line is CPS. The signature is put at the end, or else anywhere
/// in a CEF line and first in a JSON object. `None` if no signature can be there.
fn sign(
    layout: &Layout<'_>,
    place: Option<usize>,
    object_of_cps: bool,
) -> Option<(String, String, Coverage)> {
    let line = layout.line;
    let (signed, covers) = match &layout.parts {
        Parts::Object { object, cps: true, .. } if object_of_cps => {
            (&line[object.clone()], Coverage::Object)
        }
        Parts::Object { cps: true, .. } => (line, Coverage::Line),
        _ => (line, Coverage::Entry),
    };
    let signature = URL_SAFE_NO_PAD.encode(SIGNER.pair.sign(signed.as_bytes()));
    let line = match (&layout.parts, place) {
        (Parts::Cef { .. }, None) => format!("{line} sig={signature}"),
        (Parts::Cef { .. }, Some(place)) => {
            let places: Vec<_> = line.match_indices([' ', '|']).collect();
            let (at, found) = places[place % places.len()];
            match found {
                "|" => format!("{}|sig={signature} {}", &line[..at], &line[at + 1..]),
                _ => format!("{} sig={signature}{}", &line[..at], &line[at..]),
            }
        }
        (Parts::Object { object, .. }, place) => {
            let inner = &line[object.clone()];
            let (first, last) = inner.find('{').zip(inner.rfind('}')).expect("an object");
            let is_empty = inner[first + 1..last].trim().is_empty();
            let comma = if is_empty { "" } else { "," };
            let (at, member) = match place {
                None => (object.start + last, format!("{comma}\"sig\":\"{signature}\"")),
                Some(_) => (object.start + first + 1, format!("\"sig\":\"{signature}\"{comma}")),
            };
            format!("{}{member}{}", &line[..at], &line[at..])
        }
    };
    // In a CEF header a signature is only text, text after it changes its value, and only the last
    // few are tried.
    let stands = {
        let layout = Layout::of(line.as_bytes(), usize::MAX).expect("an entry");
        sigs(&layout).into_iter().rev().take(4).any(|sig| line[sig].trim_matches('"') == signature)
    };
    stands.then(|| (line, signed.to_owned(), covers))
}

/// The payload that verifies with the signer's key, and the proof.
fn verified(line: &[u8]) -> Option<(String, Proof)> {
    let layout = Layout::of(line, usize::MAX).ok()?;
    let checked = signature::check(&layout, &SIGNER.keys).ok()?;
    let proof = checked.verdict.proof()?.clone();
    Some((checked.payload.text(layout.line).into_owned(), proof))
}

fn read(line: &[u8], keys: &KeySet) -> Entry {
    let line = Bytes::copy_from_slice(line);
    CheckedLine::new(&line, keys, usize::MAX).read(line, &ExpectedIds::default(), Millis::MIN)
}

/// The ranges of the values of the signatures.
fn sigs(layout: &Layout<'_>) -> Vec<Range<usize>> {
    match &layout.parts {
        Parts::Cef { sigs } => sigs.iter().map(|sig| sig.value.clone()).collect(),
        Parts::Object { sigs, .. } => sigs.iter().map(|sig| sig.value.clone()).collect(),
    }
}

/// Whether the key of the last signature is written with escapes.
fn escaped(layout: &Layout<'_>) -> bool {
    match &layout.parts {
        Parts::Cef { .. } => false,
        Parts::Object { sigs, .. } => sigs.last().is_some_and(|sig| sig.cut.is_none()),
    }
}

/// Checks that `text` is `whole` without one piece, and returns the length of the piece.
fn is_less_one_piece(whole: &str, text: &str) -> usize {
    let cut = whole.len().checked_sub(text.len()).expect("a payload is not longer than its line");
    let (whole, text) = (whole.as_bytes(), text.as_bytes());
    let before = whole.iter().zip(text).take_while(|(a, b)| a == b).count();
    assert_eq!(text[before..], whole[before + cut..], "not the line less one piece");
    cut
}

fn has_fields_of(entry: &Entry, payload: &ParsedPayload) {
    assert_eq!(entry.fields, payload.fields, "the fields of something else than the payload");
    assert!(entry.fields.get("sig").is_none(), "a signature is no field");
    assert_eq!(entry.event_time, payload.event_time);
    // A repeated `sig` gives a warning too.
    assert!(payload.warnings.iter().all(|warning| entry.warnings.contains(warning)));
}

/// Checks that an entry is written as one line of JSON.
fn is_one_line_of_json(entry: &Entry) {
    let record = Record {
        origin: Origin::File { source: "-:1".into() },
        time: entry.event_time,
        format: entry.format,
        kind: entry.kind,
        verdict: entry.verdict.name(),
        reason: entry.verdict.reason().map(str::to_owned),
        kid: None,
        warnings: entry.warnings.clone(),
        fields: entry.fields.clone(),
        raw: entry.raw.to_vec(),
        whole: None,
    };
    let json = serde_json::to_string(&record).expect("a record is JSON");
    assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "{json}");
    assert!(!json.contains(|c| c < ' '), "{json:?}");
}
