//! Reads objects of deliveries as docs/journal-object.md defines them, without the program's code.

use std::fs;
use std::path::Path;

use ring::digest::{Context, SHA256};

/// A delivery in an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Journaled {
    pub(crate) input: String,
    pub(crate) peer: String,
    /// In milliseconds since 1970.
    pub(crate) received_at: i64,
    pub(crate) content_encoding: Option<String>,
    /// The size as sent, in bytes.
    pub(crate) sent: u64,
    /// The status and the reason, if the body could not be decoded.
    pub(crate) undecoded: Option<(u16, String)>,
    pub(crate) body: Vec<u8>,
}

/// The key of an object.
pub(crate) fn key(epoch: u64, number: u64) -> String {
    format!("journal/{epoch}/{number:020}")
}

/// All deliveries of an epoch in a folder, object by object. The objects are not encrypted.
pub(crate) fn epoch(journal: &Path, epoch: u64) -> Vec<Vec<Journaled>> {
    let objects = (0..).map_while(|number| {
        let key = key(epoch, number);
        fs::read(journal.join(&key)).ok().map(|object| deliveries(&key, &object))
    });
    objects.collect()
}

/// Whether an object has deliveries, and is not a seal.
pub(crate) fn is_of_deliveries(object: &[u8]) -> bool {
    object[5] == 1
}

/// The deliveries of an object, which is not encrypted.
pub(crate) fn deliveries(key: &str, object: &[u8]) -> Vec<Journaled> {
    assert_eq!(object[..8], *b"VDMJ\x01\x01\0\0", "the header");
    assert_eq!(object[24], 0, "not encrypted");
    let mut context = Context::new(&SHA256);
    [&object[..33], key.as_bytes(), &object[65..]].iter().for_each(|part| context.update(part));
    assert_eq!(context.finish().as_ref(), &object[33..65], "the checksum");
    let plain = zstd::decode_all(&object[65..]).unwrap();
    assert_eq!(plain.len() as u64, u64::from_be_bytes(object[25..33].try_into().unwrap()));
    let mut left = &plain[..];
    let count = number(&mut left, 4);
    let deliveries = (0..count).map(|_| delivery(&mut left)).collect();
    assert!(left.is_empty(), "{} bytes are left", left.len());
    deliveries
}

fn delivery(left: &mut &[u8]) -> Journaled {
    let received_at = number(left, 8) as i64;
    let status = number(left, 2) as u16;
    let (is_undecoded, has_encoding) = (number(left, 1) == 1, number(left, 1) == 1);
    let (input, peer) = (text(left), text(left));
    let (encoding, reason) = (text(left), text(left));
    let sent = number(left, 8);
    let length = number(left, 8) as usize;
    Journaled {
        input,
        peer,
        received_at,
        content_encoding: has_encoding.then_some(encoding),
        sent,
        undecoded: is_undecoded.then_some((status, reason)),
        body: take(left, length).to_vec(),
    }
}

fn number(left: &mut &[u8], bytes: usize) -> u64 {
    take(left, bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn text(left: &mut &[u8]) -> String {
    let length = number(left, 2) as usize;
    String::from_utf8(take(left, length).to_vec()).unwrap()
}

fn take<'a>(left: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = left.split_at(bytes);
    *left = rest;
    taken
}
