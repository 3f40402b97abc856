//! Zips that are good, damaged, and made to show one program other files than another.

use std::fs;
use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::*;
use crate::entry::Millis;
use crate::evidence::name::Part;
use crate::evidence::read::Bundle;
use crate::evidence::write::{Sink, ZipSink};

const SALT: Name = Name::Entry(17, Part::Salt);

/// A file of a zip that is made here. The local header and the list can differ.
#[derive(Clone)]
struct File {
    local: Fields,
    listed: Fields,
    data: Vec<u8>,
    /// What follows the data.
    after: Vec<u8>,
    attributes: u32,
    comment: &'static str,
    is_listed: bool,
}

#[derive(Clone)]
struct Fields {
    name: String,
    flags: u16,
    method: u16,
    time: u32,
    crc: u32,
    compressed: u32,
    length: u32,
    extra: Vec<u8>,
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

type Change = fn(&mut Fields);

/// A file that is not compressed.
fn stored(name: &str, data: &[u8]) -> File {
    let length = u32::try_from(data.len()).unwrap();
    let fields = Fields {
        name: name.to_owned(),
        flags: 0,
        method: 0,
        time: 1,
        crc: crc(data),
        compressed: length,
        length,
        extra: Vec::new(),
    };
    File {
        local: fields.clone(),
        listed: fields,
        data: data.to_vec(),
        after: Vec::new(),
        attributes: 0o100_644 << 16,
        comment: "",
        is_listed: true,
    }
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A file with this compressed data, which should have this length.
fn deflated(name: &str, data: Vec<u8>, length: usize, crc: u32) -> File {
    let mut file = stored(name, &data);
    for fields in [&mut file.local, &mut file.listed] {
        (fields.method, fields.length) = (8, u32::try_from(length).unwrap());
        fields.crc = crc;
    }
    file
}

impl File {
    /// The file, changed where it is in the list, where it is in the local header, or in both.
    fn with(mut self, local: bool, listed: bool, change: impl Fn(&mut Fields)) -> File {
        if local {
            change(&mut self.local);
        }
        if listed {
            change(&mut self.listed);
        }
        self
    }
}

impl Fields {
    fn write(&self, to: &mut Vec<u8>, comment: Option<usize>) {
        to.extend([20, 0]);
        to.extend(self.flags.to_le_bytes());
        to.extend(self.method.to_le_bytes());
        for number in [self.time, self.crc, self.compressed, self.length] {
            to.extend(number.to_le_bytes());
        }
        for length in [Some(self.name.len()), Some(self.extra.len()), comment] {
            to.extend(length.into_iter().flat_map(|n| u16::try_from(n).unwrap().to_le_bytes()));
        }
    }
}

/// The list of files, and each of them at its place.
fn parts(files: &[File], first: usize) -> (Vec<u8>, Vec<u8>) {
    let (mut zip, mut list) = (Vec::new(), Vec::new());
    for file in files {
        let offset = u32::try_from(first + zip.len()).unwrap();
        zip.extend(b"PK\x03\x04");
        file.local.write(&mut zip, None);
        for bytes in [file.local.name.as_bytes(), &file.local.extra, &file.data, &file.after] {
            zip.extend(bytes);
        }
        if file.is_listed {
            list.extend(b"PK\x01\x02\x14\x03");
            file.listed.write(&mut list, Some(file.comment.len()));
            list.extend([0; 4]);
            list.extend(file.attributes.to_le_bytes());
            list.extend(offset.to_le_bytes());
            list.extend(file.listed.name.as_bytes());
            list.extend(&file.listed.extra);
            list.extend(file.comment.as_bytes());
        }
    }
    (zip, list)
}

/// The end of a zip.
fn end(count: usize, size: usize, directory: usize) -> Vec<u8> {
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    end.extend(u16::try_from(count).unwrap().to_le_bytes().repeat(2));
    end.extend(u32::try_from(size).unwrap().to_le_bytes());
    end.extend(u32::try_from(directory).unwrap().to_le_bytes());
    end.extend([0, 0]);
    end
}

fn zip(files: &[File]) -> Vec<u8> {
    let (zip, list) = parts(files, 0);
    let count = files.iter().filter(|file| file.is_listed).count();
    let end = end(count, list.len(), zip.len());
    [zip, list, end].concat()
}

fn open(zip: &[u8]) -> Result<Bundle, ReadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bundle.zip");
    fs::write(&path, zip).unwrap();
    Bundle::open(&path)
}

#[track_caller]
fn check_refused(zip: &[u8], expected: &str) {
    let error = open(zip).err().unwrap();
    assert!(error.is_damage() && error.to_string().contains(expected), "{error}");
}

fn salt() -> File {
    stored("entries/17/salt", &[7; 16])
}

fn checkpoint() -> File {
    stored("checkpoint", b"x")
}

#[test]
fn files_are_listed_and_read() {
    let mut sink = ZipSink::new(Vec::new(), Millis::saturating(1_764_000_000_000));
    let long = vec![b'x'; 3 << 20];
    sink.add(Name::Entry(17, Part::Line), &mut &long[..]).unwrap();
    sink.add(SALT, &mut &[7; 16][..]).unwrap();
    sink.add(Name::Checkpoint, &mut &b""[..]).unwrap();
    let bundle = open(&sink.finish().unwrap()).unwrap();
    assert_eq!((bundle.ids(), bundle.unexpected().count), (vec![17], 0));
    let read = |name| bundle.read(name).unwrap();
    assert_eq!(read(Name::Entry(17, Part::Line)), Some(long));
    assert_eq!(read(SALT), Some(vec![7; 16]));
    assert_eq!((read(Name::Checkpoint), read(Name::Keys)), (Some(Vec::new()), None));
    // As other programs write it: with folders, times and owners, and not compressed.
    let folder = |name| File { attributes: 0o040_755 << 16 | 1 << 4, ..stored(name, b"") };
    let times = |fields: &mut Fields| fields.extra = b"UT\x05\0\x01\0\0\0\0ux\x01\0\x01".to_vec();
    let files = [folder("entries/"), folder("entries/17/"), salt().with(true, true, times)];
    let bundle = open(&zip(&files)).unwrap();
    assert_eq!((bundle.read(SALT).unwrap(), bundle.unexpected().count), (Some(vec![7; 16]), 0));
}

#[test]
fn a_zip_with_more_files_than_16_bits_count_is_read() {
    let mut sink = ZipSink::new(Vec::new(), Millis::saturating(1_764_000_000_000));
    for id in 1..=66_000 {
        sink.add(Name::Entry(id, Part::Salt), &mut Cursor::new([7; 16])).unwrap();
    }
    let good = sink.finish().unwrap();
    let bundle = open(&good).unwrap();
    assert_eq!(bundle.ids().len(), 66_000);
    let name = Name::Entry(66_000, Part::Salt);
    assert_eq!(bundle.read(name).unwrap(), Some(vec![7; 16]));
    // The ends have the number of files twice, the size and the place of the list, each in 64 bits
    // and as far as they fit in 32.
    let at = good.len() - 22 - 20 - 56;
    assert_eq!(good[at..at + 4], *b"PK\x06\x06");
    for byte in [4, 16, 20, 24, 32, 40, 48, 56 + 4, 56 + 8, 56 + 16, 76 + 8, 76 + 10, 76 + 12] {
        let mut changed = good.clone();
        changed[at + byte] ^= 1;
        check_refused(&changed, "zip");
    }
    // One end with 64 bits more than is needed, that only some programs look for.
    let small = zip(&[salt()]);
    let before = small.len() - 22;
    let inserted = [&small[..before], &good[at..at + 76], &small[before..]].concat();
    check_refused(&inserted, "the two ends of the zip differ");
}

#[test]
fn names_that_lead_elsewhere_are_not_those_of_a_bundle() {
    let names = [
        "../checkpoint",
        "/etc/passwd",
        "entries/17/../../x",
        "C:\\x",
        "entries\\17\\line",
        "a/",
        "",
        "x",
        "checkpoint/",
        "entries/17/line/",
    ];
    let files = names.iter().map(|name| stored(name, b"x")).chain([checkpoint()]);
    let bundle = open(&zip(&files.collect::<Vec<_>>())).unwrap();
    let unexpected = bundle.unexpected().first.clone();
    assert_eq!((bundle.ids(), unexpected), (vec![], names.map(str::to_owned).to_vec()));
}

#[test]
fn the_files_tile_the_zip() {
    let good = zip(&[salt(), checkpoint()]);
    open(&good).unwrap();
    let (files, list) = parts(&[salt(), checkpoint()], 0);
    let directory = files.len();
    let whole = |between: &[u8], count: usize| {
        let end = end(count, list.len(), directory);
        [&files[..], &list, between, &end].concat()
    };
    assert_eq!(whole(b"", 2), good);
    // Before, between, after.
    check_refused(&[b"#!/bin/sh\n", &good[..]].concat(), "not where it must be");
    check_refused(&[&good[..], b"more"].concat(), "does not end with one end");
    check_refused(&whole(b"PK\x05\x05\x02\0ab", 2), "not where it must be");
    let (shifted, list_of_shifted) = parts(&[salt(), checkpoint()], 2);
    let ended = end(2, list_of_shifted.len(), shifted.len() + 2);
    check_refused(&[&b"PK"[..], &shifted, &list_of_shifted, &ended].concat(), "does not begin");
    let gap = File { after: b"bytes".to_vec(), ..salt() };
    check_refused(&zip(&[gap.clone(), checkpoint()]), "does not begin where");
    check_refused(&zip(&[checkpoint(), gap]), "bytes that are of no file");
    // A file that stands there and is not in the list, first, between and last.
    let hidden = File { is_listed: false, ..stored("checkpoint", b"other") };
    check_refused(&zip(&[hidden.clone(), checkpoint()]), "does not begin where");
    check_refused(&zip(&[salt(), hidden.clone(), checkpoint()]), "does not begin where");
    check_refused(&zip(&[checkpoint(), hidden]), "bytes that are of no file");
    // Two lists, and two ends.
    check_refused(
        &[&files[..], &list, &list, &end(2, list.len(), directory)].concat(),
        "not where",
    );
    let two = [&files[..], &list, &list, &end(2, 2 * list.len(), directory)].concat();
    check_refused(&two, "bytes that are of no file");
    check_refused(&[&good[..], &end(0, 0, good.len())].concat(), "bytes that are of no file");
    check_refused(&[&good[..], &end(2, list.len(), directory)].concat(), "not where it must be");
    // Another number of files, or two numbers.
    check_refused(&whole(b"", 1), "bytes that are of no file");
    check_refused(&whole(b"", 3), "ends too early");
    let mut counted = good.clone();
    counted[good.len() - 14] = 1;
    check_refused(&counted, "two numbers of files");
    let mut commented = [&good[..], b"hello"].concat();
    commented[good.len() - 2] = 5;
    check_refused(&commented, "does not end with one end");
    // Files that overlap: two are one place, or one goes into the next.
    let bigger = |fields: &mut Fields| {
        fields.length += 9;
        fields.compressed += 9;
    };
    check_refused(&zip(&[salt().with(true, true, bigger), checkpoint()]), "does not begin where");
    check_refused(&zip(&[checkpoint(), salt().with(true, true, bigger)]), "beyond the list");
    check_refused(&good[..good.len() - 1], "does not end with one end");
}

#[test]
fn the_local_header_says_what_the_list_says() {
    let changes: [(&str, Change); 7] = [
        ("name", |fields| fields.name = "entries/18/salt".into()),
        ("flags", |fields| fields.flags = 1 << 11),
        ("method", |fields| fields.method = 8),
        ("time", |fields| fields.time = 2),
        ("CRC", |fields| fields.crc ^= 1),
        ("size", |fields| fields.length -= 1),
        ("compressed size", |fields| fields.compressed -= 1),
    ];
    for (what, change) in changes {
        for is_local in [true, false] {
            let file = salt().with(is_local, !is_local, change);
            let error = open(&zip(&[file, checkpoint()])).err().unwrap();
            assert!(error.is_damage(), "{what}: {error}");
        }
    }
    // The sizes after the data, as a program that writes from beginning to end has them.
    let data = deflate(&[7; 16]);
    let (length, compressed) = (16_u32, u32::try_from(data.len()).unwrap());
    let streamed = |crc_after: u32, length_after: u32, in_local: u32| {
        let mut file = deflated("entries/17/salt", data.clone(), 16, crc(&[7; 16]));
        file.after = b"PK\x07\x08".to_vec();
        for number in [crc_after, compressed, length_after] {
            file.after.extend(number.to_le_bytes());
        }
        file.with(true, true, |fields| fields.flags = 1 << 3).with(true, false, |fields| {
            (fields.crc, fields.compressed, fields.length) = (0, 0, in_local);
        })
    };
    let right = crc(&[7; 16]);
    let bundle = open(&zip(&[streamed(right, length, 0)])).unwrap();
    assert_eq!(bundle.read(SALT).unwrap(), Some(vec![7; 16]));
    check_refused(&zip(&[streamed(right ^ 1, length, 0)]), "another file than the list says");
    check_refused(&zip(&[streamed(right, length + 1, 0)]), "another file than the list says");
    check_refused(&zip(&[streamed(right, length, length)]), "sizes before and after");
    let mut other = streamed(right, length, 0);
    other.after[0] = b'p';
    check_refused(&zip(&[other]), "ends elsewhere");
    let stored = salt().with(true, true, |fields| fields.flags = 1 << 3);
    check_refused(&zip(&[stored]), "does not say where it ends");
}

#[test]
fn what_other_programs_read_otherwise_is_refused() {
    check_refused(&zip(&[salt(), checkpoint(), salt()]), "is there twice");
    check_refused(&zip(&[stored("x", b""), stored("x", b"")]), "is there twice");
    let with_extra = |extra: &'static [u8]| {
        zip(&[salt().with(true, true, |fields| fields.extra = extra.to_vec())])
    };
    // Another name in Unicode, sizes in 64 bits that nothing asks for, and a field that ends early.
    check_refused(&with_extra(b"up\x06\0\x01\0\0\0\0x"), "extra field 0x7075");
    check_refused(&with_extra(b"\x01\0\x08\0\x10\0\0\0\0\0\0\0"), "extra field 0x0001");
    check_refused(&with_extra(b"UT\xff\0\x01"), "ends too early");
    let long = salt().with(true, true, |fields| fields.length = u32::MAX);
    check_refused(&zip(&[long]), "is too long");
    // A place in 64 bits that is missing, ends early, or needs 32 only.
    for (extra, expected) in [
        (&b""[..], "has no place"),
        (b"\x01\0\x04\0\0\0\0\0", "ends too early"),
        (b"\x01\0\x08\0\0\0\0\0\0\0\0\0", "64 bits for what needs 32"),
    ] {
        let mut zip = zip(&[salt().with(false, true, |fields| fields.extra = extra.to_vec())]);
        let at = zip.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        zip[at + 42..at + 46].fill(0xff);
        check_refused(&zip, expected);
    }
    let file = |attributes: u32| zip(&[File { attributes, ..checkpoint() }]);
    check_refused(&file(0o120_777 << 16), "is a link");
    check_refused(&file(0o040_755 << 16), "is a link or another special file");
    check_refused(&file(1 << 4), "is a link or another special file");
    check_refused(&file(0o010_644 << 16), "is a link or another special file");
    check_refused(&zip(&[File { comment: "hello", ..checkpoint() }]), "has a comment");
    for flags in [1, 1 << 6, 1 << 13] {
        let encrypted = checkpoint().with(true, true, |fields| fields.flags = flags);
        check_refused(&zip(&[encrypted]), "is encrypted");
    }
    let method = checkpoint().with(true, true, |fields| fields.method = 14);
    check_refused(&zip(&[method]), "compressed in another way");
}

#[test]
fn what_is_no_zip_is_no_bundle() {
    for bytes in [&b""[..], b"PK", b"no zip", &[0; 22], &end(0, 0, 0), &zip(&[])] {
        let error = open(bytes).err().unwrap();
        assert!(matches!(error, ReadError::NotABundle { .. }), "{error}");
    }
    check_refused(b"PK\x03\x04 and no more", "ends too early");
}

#[test]
fn a_zip_costs_no_more_than_its_size() {
    let read = |file: File| open(&zip(&[file])).unwrap().read(SALT).unwrap_err().to_string();
    let bomb = deflate(&vec![0; 10 << 20]);
    let honest = deflated("entries/17/salt", bomb.clone(), 10 << 20, 0);
    check_refused(&zip(&[honest]), "is too long");
    let error = read(deflated("entries/17/salt", bomb, 16, 0));
    assert_eq!(error, "cannot read entries/17/salt in the bundle: it is not what the zip says");
    // Each line may be as long, but not both.
    let line = |id: u64| deflated(&format!("entries/{id}/line"), vec![3, 0], (1 << 30) - 9, 0);
    open(&zip(&[line(1)])).unwrap();
    check_refused(&zip(&[line(1), line(2)]), "too long for the size of the zip");
    // A number of files that cannot be there.
    let mut counted = zip(&[salt()]);
    let at = counted.len() - 14;
    counted[at..at + 4].copy_from_slice(&[0xff; 4]);
    check_refused(&counted, "ends too early");
}

#[test]
fn damage_is_found_while_a_file_is_read() {
    let read = |file: File| open(&zip(&[file])).unwrap().read(SALT);
    let damaged = |file: File| {
        let error = read(file).unwrap_err();
        assert!(error.is_damage(), "{error}");
    };
    assert_eq!(read(salt()).unwrap(), Some(vec![7; 16]));
    damaged(File { data: vec![8; 16], ..salt() });
    let (good, right) = (deflate(&[7; 16]), crc(&[7; 16]));
    let name = "entries/17/salt";
    assert_eq!(read(deflated(name, good.clone(), 16, right)).unwrap(), Some(vec![7; 16]));
    damaged(deflated(name, good.clone(), 16, right ^ 1));
    damaged(deflated(name, good.clone(), 17, right));
    damaged(deflated(name, good[..good.len() - 1].to_vec(), 16, right));
    // Bytes behind the end of the compressed data.
    damaged(deflated(name, [&good[..], b"PK"].concat(), 16, right));
}
