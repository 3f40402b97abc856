//! Reads a bundle in a zip.
//!
//! A zip can show one program other files than another: by two files with one name, by a second
//! list of files, or by bytes around the archive. All of these are refused, as is what could take
//! more memory or time than the size of the zip justifies.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use flate2::read::DeflateDecoder;
use rawzip::{
    CompressionMethod, FileReader, RECOMMENDED_BUFFER_SIZE, ZipArchive, ZipArchiveEntryWayfinder,
    ZipFileHeaderRecord,
};

use super::{ReadError, Unexpected, check_count, not_a_bundle};
use crate::evidence::name::{ENTRIES, Name, entry_id};

/// A bundle in a zip.
pub(super) struct Zip {
    archive: ZipArchive<FileReader>,
    /// Where the files are, in the order of their names.
    places: Vec<Place>,
}

struct Place {
    wayfinder: ZipArchiveEntryWayfinder,
    is_compressed: bool,
}

/// The bits of the type of a file in its mode, and the type of a regular one (`st_mode` of POSIX).
const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

impl Zip {
    /// Lists the files.
    pub(super) fn open(
        path: &Path,
        unexpected: &mut Unexpected,
    ) -> Result<(Zip, Vec<Name>), ReadError> {
        let failed = |error| ReadError::Io { path: path.to_owned(), error };
        let damaged = |error| ReadError::Zip { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut buffer = vec![0; RECOMMENDED_BUFFER_SIZE];
        let archive = ZipArchive::from_file(file, &mut buffer).map_err(damaged)?;
        if archive.end_offset() != length || archive.comment().remaining() != 0 {
            return Err(not_a_bundle(path, "the zip has a comment or other bytes at its end"));
        }
        let (mut files, mut compressed, mut start, mut count) = (Vec::new(), 0_u64, length, 0);
        let mut entries = archive.entries(&mut buffer);
        while let Some(entry) = entries.next_entry().map_err(damaged)? {
            count += 1;
            check_count(path, count)?;
            start = start.min(entry.local_header_offset());
            compressed = compressed.saturating_add(entry.compressed_size_hint());
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).into_owned();
            match name.parse() {
                Ok(known) => {
                    let place = place(&entry, known)
                        .map_err(|why| not_a_bundle(path, format!("{known} in the zip {why}")))?;
                    files.push((known, place));
                }
                Err(_) if is_folder(&name) && entry.uncompressed_size_hint() == 0 => {}
                Err(_) => unexpected.add(|| name),
            }
        }
        if count as u64 != archive.entries_hint() {
            return Err(not_a_bundle(path, "the zip has another number of files than it says"));
        }
        // Then no part of the zip is read many times.
        if compressed > length {
            return Err(not_a_bundle(path, "files overlap in the zip"));
        }
        if start > 0 {
            return Err(not_a_bundle(path, "the zip has other bytes at its beginning"));
        }
        files.sort_unstable_by_key(|(name, _)| *name);
        let (names, places): (Vec<Name>, Vec<Place>) = files.into_iter().unzip();
        let mut pairs = names.iter().zip(names.iter().skip(1));
        if let Some((name, _)) = pairs.find(|(one, next)| one == next) {
            return Err(not_a_bundle(path, format!("the zip has two files {name}")));
        }
        Ok((Zip { archive, places }, names))
    }

    /// Opens the file at this place in the order of names.
    pub(super) fn open_file(&self, at: usize, name: Name) -> io::Result<Box<dyn Read + '_>> {
        let place = self.places.get(at).ok_or(io::ErrorKind::NotFound)?;
        let entry = self.archive.get_entry(place.wayfinder).map_err(io::Error::other)?;
        let mut buffer = [0; 1 << 10];
        let header = entry.local_header(&mut buffer).map_err(io::Error::other)?;
        if header.file_path().as_bytes() != name.to_string().as_bytes() {
            return Err(io::Error::other("it has another name in the list of the zip"));
        }
        Ok(match place.is_compressed {
            true => Box::new(entry.verifying_reader(DeflateDecoder::new(entry.reader()))),
            false => Box::new(entry.verifying_reader(entry.reader())),
        })
    }
}

/// Where a file is, or why it is not read.
fn place(entry: &ZipFileHeaderRecord<'_>, name: Name) -> Result<Place, &'static str> {
    let kind = entry.mode().value() & TYPE;
    if kind != 0 && kind != REGULAR {
        return Err("is a link or another special file");
    }
    if entry.flags().is_encrypted() {
        return Err("is encrypted");
    }
    if entry.uncompressed_size_hint() > name.limit() {
        return Err("is too long");
    }
    let is_compressed = match entry.compression_method() {
        CompressionMethod::STORE => false,
        CompressionMethod::DEFLATE => true,
        _ => return Err("is compressed in another way than with Deflate"),
    };
    Ok(Place { wayfinder: entry.wayfinder(), is_compressed })
}

/// Whether this is the name of a folder in a bundle, which other programs add.
fn is_folder(name: &str) -> bool {
    let Some(inside) = name.strip_prefix(ENTRIES).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    inside.is_empty() || inside.strip_suffix('/').is_some_and(|id| entry_id(id).is_some())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use rawzip::path::EntryPath;
    use rawzip::{DataDescriptorOutput, ZipArchiveWriter};

    use super::*;
    use crate::entry::Millis;
    use crate::evidence::name::Part;
    use crate::evidence::read::Bundle;
    use crate::evidence::write::{Sink, ZipSink};

    const SALT: Name = Name::Entry(17, Part::Salt);

    /// A zip with files, each with its name, contents and mode.
    fn zip(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (name, contents, mode) in files {
            let file = archive.new_file(EntryPath::verbatim(name.as_bytes()));
            let (mut entry, config) = file.unix_permissions(*mode).start().unwrap();
            let mut writer = config.wrap(&mut entry);
            writer.write_all(contents).unwrap();
            let (_, descriptor) = writer.finish().unwrap();
            entry.finish(descriptor).unwrap();
        }
        archive.finish().unwrap()
    }

    /// A zip with a compressed file that says that it has `said` bytes, and has `bytes`.
    fn bomb(said: u64, bytes: usize) -> Vec<u8> {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        let name = SALT.to_string();
        let file = archive.new_file(name.as_str()).compression_method(CompressionMethod::DEFLATE);
        let (mut entry, _) = file.start().unwrap();
        let mut encoder = DeflateEncoder::new(&mut entry, Compression::best());
        encoder.write_all(&vec![0; bytes]).unwrap();
        encoder.finish().unwrap();
        entry.finish(DataDescriptorOutput::new(0, said)).unwrap();
        archive.finish().unwrap()
    }

    fn open(zip: &[u8]) -> Result<Bundle, ReadError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bundle.zip");
        fs::write(&path, zip).unwrap();
        Bundle::open(&path)
    }

    #[track_caller]
    fn check_refused(zip: &[u8], expected: &str) {
        let error = open(zip).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }

    const FILE: u32 = 0o100_644;

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
        // As other programs write it: not compressed, and with folders.
        let folder = 0o040_755;
        let others = [("entries/", &b""[..], folder), ("entries/17/", b"", folder)];
        let file = ("entries/17/salt", &[7; 16][..], FILE);
        let bundle = open(&zip(&[others[0], others[1], file])).unwrap();
        assert_eq!((bundle.read(SALT).unwrap(), bundle.unexpected().count), (Some(vec![7; 16]), 0));
    }

    #[test]
    fn names_that_lead_elsewhere_are_not_those_of_a_bundle() {
        let names = ["../checkpoint", "/etc/passwd", "entries/17/../../x", "C:\\x", "a/", "", "x"];
        let files: Vec<_> = names.iter().map(|name| (*name, &b"x"[..], FILE)).collect();
        let bundle = open(&zip(&files)).unwrap();
        assert_eq!(
            (bundle.ids(), bundle.unexpected().first.clone()),
            (vec![], names.map(str::to_owned).to_vec())
        );
    }

    #[test]
    fn what_other_programs_may_see_otherwise_is_refused() {
        let (salt, other) =
            (("entries/17/salt", &[7; 16][..], FILE), ("checkpoint", &b"x"[..], FILE));
        let good = zip(&[salt, other]);
        open(&good).unwrap();
        check_refused(&zip(&[salt, other, salt]), "two files entries/17/salt");
        check_refused(&zip(&[("checkpoint", b"/etc/passwd", 0o120_777)]), "is a link");
        check_refused(&[b"#!/bin/sh\n", &good[..]].concat(), "at its beginning");
        check_refused(&[&good[..], b"more"].concat(), "other bytes at its end");
        let mut commented = ZipArchiveWriter::new(Vec::new());
        commented.set_comment("a comment");
        check_refused(&commented.finish().unwrap(), "has a comment");
        check_refused(&good[..good.len() - 1], "cannot read");
        check_refused(b"", "cannot read");
        check_refused(b"no zip", "cannot read");
        // The file itself has another name than the list of files says.
        let mut renamed = good.clone();
        let at = renamed.windows(10).position(|bytes| bytes == b"checkpoint").unwrap();
        renamed[at] = b'C';
        let bundle = open(&renamed).unwrap();
        let error = bundle.read(Name::Checkpoint).unwrap_err().to_string();
        assert!(error.contains("another name"), "{error}");
        // The list says that there are three files.
        let mut counted = good.clone();
        let end = counted.len() - 22;
        (counted[end + 8], counted[end + 10]) = (3, 3);
        check_refused(&counted, "another number of files");
    }

    #[test]
    fn a_zip_costs_no_more_than_its_size() {
        check_refused(&bomb(10 << 20, 10 << 20), "is too long");
        let error = open(&bomb(16, 10 << 20)).unwrap().read(SALT).unwrap_err().to_string();
        assert!(error.contains("cannot read entries/17/salt in the bundle"), "{error}");
        // A file whose data would be that of all others too.
        let mut overlapping = zip(&[("checkpoint", b"x", FILE), ("jwks.json", b"y", FILE)]);
        let last = overlapping.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        overlapping[last + 21] = 0xff;
        check_refused(&overlapping, "files overlap");
        // Another method of compression, and an encrypted file.
        let mut method = zip(&[("checkpoint", b"x", FILE)]);
        let entry = method.windows(4).rposition(|bytes| bytes == b"PK\x01\x02").unwrap();
        method[entry + 10] = 14;
        check_refused(&method, "compressed in another way");
        let mut encrypted = zip(&[("checkpoint", b"x", FILE)]);
        encrypted[entry + 8] |= 1;
        check_refused(&encrypted, "is encrypted");
    }

    #[test]
    fn damage_is_found() {
        let good = zip(&[("entries/17/salt", &[7; 16][..], FILE)]);
        let mut damaged = good.clone();
        let at = damaged.windows(16).position(|bytes| bytes == [7; 16]).unwrap();
        damaged[at] = 8;
        open(&good).unwrap().read(SALT).unwrap();
        open(&damaged).unwrap().read(SALT).unwrap_err();
    }
}
