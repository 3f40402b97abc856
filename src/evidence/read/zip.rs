//! Reads a bundle in a zip (APPNOTE.TXT 6.3.10 of PKWARE; sections are of it).
//!
//! A zip can show one program other files than another: its local headers, its list of files and
//! its end can each be of another archive. So the files must tile the zip. Each begins where the
//! one before ends, in the order of the list, and its local header says what the list says. Then
//! comes the list, then its end, and nothing else. Whatever programs read in different ways is
//! refused, and so is what takes more time or memory than the size of the zip justifies.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;

use super::{ReadError, Unexpected, check_count, damaged};
use crate::evidence::name::{ENTRIES, Name, entry_id};

/// A bundle in a zip.
pub(super) struct Zip {
    file: File,
    /// Where the files are, in the order of their names.
    places: Vec<Place>,
}

/// Where the data of a file is, and what it must be.
struct Place {
    start: u64,
    compressed: u64,
    length: u64,
    crc: u32,
    is_deflated: bool,
}

/// The signatures of the records.
const LOCAL: u64 = 0x0403_4b50;
const DESCRIPTOR: u64 = 0x0807_4b50;
const LISTED: u64 = 0x0201_4b50;
const END: u64 = 0x0605_4b50;
const END_64: u64 = 0x0606_4b50;
const LOCATOR_64: u64 = 0x0706_4b50;

/// The lengths of the fixed parts of the records.
const LOCAL_BYTES: u64 = 30;
const DESCRIPTOR_BYTES: u64 = 16;
const LISTED_BYTES: u64 = 46;
const END_BYTES: u64 = 22;
const END_64_BYTES: u64 = 56;
const LOCATOR_64_BYTES: u64 = 20;

/// The most bytes of the name and the extra fields of a file. The longest name has 45.
const MAX_VARIABLE: u64 = 128;

/// A value of 32 bits that says that the value has 64 bits and is in an extra field.
const ELSEWHERE: u64 = 0xffff_ffff;

/// The flags that change nothing (4.4.4): how well it was compressed, that sizes follow the data,
/// and that the name is UTF-8.
const FLAGS: u64 = 0b110 | SIZES_FOLLOW | 1 << 11;
const SIZES_FOLLOW: u64 = 1 << 3;

/// The methods of compression (4.4.5).
const STORED: u64 = 0;
const DEFLATED: u64 = 8;

/// The extra fields that change nothing are times and owners, and one has numbers of 64 bits. All others are refused, because one may
/// give the file another name (4.5.2, 4.6).
const EXTRA_64: u64 = 0x0001;
const EXTRA_TIMES: u64 = 0x5455;
const EXTRA_OWNER: u64 = 0x7875;

/// The type of a file in its mode (`st_mode` of POSIX), and the bit of a folder of MS-DOS.
const TYPE: u64 = 0o170_000;
const REGULAR: u64 = 0o100_000;
const FOLDER: u64 = 0o040_000;
const DOS_FOLDER: u64 = 1 << 4;

/// All files together have at most this many bytes, and this many for each byte of the zip.
/// Entries are compressed to a tenth or so.
const MAX_BYTES: u64 = 1 << 30;
const MAX_RATIO: u64 = 64;

/// Why a zip is refused.
#[derive(Debug)]
enum Refused {
    Io(io::Error),
    Zip(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

fn refused<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Zip(why.into()))
}

/// Whether a file is a zip, if perhaps a damaged one: it begins or ends like one.
pub(super) fn is_zip(file: &File, length: u64) -> io::Result<bool> {
    let signature = |at: u64| -> io::Result<u64> {
        let mut bytes = [0; 4];
        file.read_exact_at(&mut bytes, at)?;
        Ok(u64::from(u32::from_le_bytes(bytes)))
    };
    Ok(length >= 4
        && (signature(0)? == LOCAL || length >= END_BYTES && signature(length - END_BYTES)? == END))
}

impl Zip {
    /// Lists the files.
    pub(super) fn open(
        file: File,
        path: &Path,
        unexpected: &mut Unexpected,
    ) -> Result<(Zip, Vec<Name>), ReadError> {
        let failed = |error| ReadError::Io { path: path.to_owned(), error };
        let length = file.metadata().map_err(failed)?.len();
        let end = End::read(&file, length).map_err(|why| why.at(path))?;
        check_count(path, usize::try_from(end.count).unwrap_or(usize::MAX))?;
        let files = list(&file, length, &end, unexpected).map_err(|why| why.at(path))?;
        let (names, places) = files.into_iter().unzip();
        Ok((Zip { file, places }, names))
    }

    /// Opens the file at this place in the order of names.
    pub(super) fn open_file(&self, at: usize) -> io::Result<Contents<'_>> {
        let place = self.places.get(at).ok_or(io::ErrorKind::NotFound)?;
        let section = Section { file: &self.file, at: place.start, left: place.compressed };
        let data = match place.is_deflated {
            true => Data::Deflated(DeflateDecoder::new(BufReader::new(section))),
            false => Data::Stored(section),
        };
        Ok(Contents { data, place, crc: Crc::new(), read: 0 })
    }
}

impl Refused {
    fn at(self, path: &Path) -> ReadError {
        match self {
            // It is shorter than it says.
            Refused::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged(path, "the zip ends too early")
            }
            Refused::Io(error) => ReadError::Io { path: path.to_owned(), error },
            Refused::Zip(why) => damaged(path, why),
        }
    }
}

/// The files in the order of their names, if they tile the zip.
fn list(
    file: &File,
    length: u64,
    end: &End,
    unexpected: &mut Unexpected,
) -> Result<Vec<(Name, Place)>, Refused> {
    let directory = read_at(file, end.directory, end.size)?;
    let mut rest = Bytes(&directory);
    let (mut files, mut names, mut next, mut bytes) = (Vec::new(), HashSet::new(), 0, 0_u64);
    for _ in 0..end.count {
        let listed = Listed::parse(&mut rest)?;
        let header = &listed.header;
        let shown = String::from_utf8_lossy(header.name);
        let named = |why: &str| refused(format!("{:?} in the zip {why}", shown));
        if listed.offset != next {
            return named("does not begin where the file before ends");
        }
        if !names.insert(header.name) {
            return named("is there twice");
        }
        if let Some(why) = header.fault() {
            return named(why);
        }
        let start;
        (start, next) = match header.tile(file, next)? {
            Ok(tile) => tile,
            Err(why) => return named(why),
        };
        if next > end.directory {
            return named("goes beyond the list of files");
        }
        bytes = bytes.saturating_add(header.length);
        if bytes > MAX_BYTES.saturating_add(MAX_RATIO.saturating_mul(length)) {
            return named("makes the files too long for the size of the zip");
        }
        match shown.parse::<Name>() {
            Ok(name) if listed.is_of_type(REGULAR) => {
                if header.length > name.limit() {
                    return named("is too long");
                }
                files.push((name, header.place(start)));
            }
            Ok(_) => return named("is a link or another special file"),
            Err(_) if is_folder(&shown) && listed.is_of_type(FOLDER) && header.length == 0 => {}
            Err(_) => unexpected.add(|| shown.clone().into_owned()),
        }
    }
    if !rest.0.is_empty() || next != end.directory {
        return refused("the zip has bytes that are of no file");
    }
    files.sort_unstable_by_key(|(name, _)| *name);
    Ok(files)
}

/// Whether this is the name of a folder in a bundle, which other programs add.
fn is_folder(name: &str) -> bool {
    let Some(inside) = name.strip_prefix(ENTRIES).and_then(|rest| rest.strip_prefix('/')) else {
        return false;
    };
    inside.is_empty() || inside.strip_suffix('/').is_some_and(|id| entry_id(id).is_some())
}

fn read_at(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Bytes that are read from their beginning.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, count: u64) -> Result<&'a [u8], Refused> {
        let taken = usize::try_from(count).ok().and_then(|count| self.0.split_at_checked(count));
        let Some((taken, rest)) = taken else {
            return refused("a record of the zip ends too early");
        };
        self.0 = rest;
        Ok(taken)
    }

    /// A number of so many bytes, the lowest first.
    fn number(&mut self, bytes: u64) -> Result<u64, Refused> {
        Ok(self.take(bytes)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// The end of the zip: where the list of files is (4.3.14 to 4.3.16).
#[derive(Debug, PartialEq, Eq)]
struct End {
    count: u64,
    size: u64,
    directory: u64,
}

impl End {
    fn read(file: &File, length: u64) -> Result<End, Refused> {
        let at = length.checked_sub(END_BYTES);
        let Some(at) = at else { return refused("the zip ends too early") };
        let bytes = read_at(file, at, END_BYTES)?;
        let mut bytes = Bytes(&bytes);
        if bytes.number(4)? != END || bytes.number(4)? != 0 {
            return refused("the zip does not end with one end of one list of files");
        }
        let mut end = End { count: bytes.number(2)?, size: 0, directory: 0 };
        let again = bytes.number(2)?;
        (end.size, end.directory) = (bytes.number(4)?, bytes.number(4)?);
        if again != end.count || bytes.number(2)? != 0 {
            return refused("the zip has a comment, or two numbers of files");
        }
        let Some(before) = at.checked_sub(LOCATOR_64_BYTES) else { return end.ending_at(at) };
        let locator = read_at(file, before, LOCATOR_64_BYTES)?;
        let mut locator = Bytes(&locator);
        if locator.number(4)? != LOCATOR_64 {
            return end.ending_at(at);
        }
        // The same with numbers of 64 bits. Programs differ in which of the two they read.
        let Some(at) = before.checked_sub(END_64_BYTES) else { return end.ending_at(at) };
        let whole = End::read_64(file, at)?;
        let short = End {
            count: whole.count.min(0xffff),
            size: whole.size.min(ELSEWHERE),
            directory: whole.directory.min(ELSEWHERE),
        };
        let is_right = locator.number(4)? == 0 && locator.number(8)? == at;
        if end != short || !is_right || locator.number(4)? != 1 {
            return refused("the two ends of the zip differ");
        }
        whole.ending_at(at)
    }

    fn read_64(file: &File, at: u64) -> Result<End, Refused> {
        let bytes = read_at(file, at, END_64_BYTES)?;
        let mut bytes = Bytes(&bytes);
        // The record has nothing more, its versions say nothing, and there is one disk.
        let is_right = bytes.number(4)? == END_64 && bytes.number(8)? == END_64_BYTES - 12;
        bytes.take(4)?;
        let (disk, count, again) = (bytes.number(8)?, bytes.number(8)?, bytes.number(8)?);
        if !is_right || disk != 0 || count != again {
            return refused("the two ends of the zip differ");
        }
        Ok(End { count, size: bytes.number(8)?, directory: bytes.number(8)? })
    }

    /// This, if the list of files ends at `at` and can have so many.
    fn ending_at(self, at: u64) -> Result<End, Refused> {
        let most = self.count.saturating_mul(LISTED_BYTES + MAX_VARIABLE);
        if self.directory.checked_add(self.size) != Some(at) || self.size > most {
            return refused("the list of files in the zip is not where it must be");
        }
        Ok(self)
    }
}

/// What the local header of a file and the list both say (4.3.7, 4.3.12).
#[derive(PartialEq, Eq)]
struct Header<'a> {
    flags: u64,
    method: u64,
    time: u64,
    crc: u64,
    compressed: u64,
    length: u64,
    name: &'a [u8],
}

/// The lengths that follow the fixed part of a header.
struct Lengths {
    name: u64,
    extra: u64,
}

impl<'a> Header<'a> {
    /// Reads the part that both have, without the name.
    fn parse(bytes: &mut Bytes<'a>) -> Result<(Header<'a>, Lengths), Refused> {
        bytes.take(2)?;
        let (flags, method, time) = (bytes.number(2)?, bytes.number(2)?, bytes.number(4)?);
        let (crc, compressed, length) = (bytes.number(4)?, bytes.number(4)?, bytes.number(4)?);
        let lengths = Lengths { name: bytes.number(2)?, extra: bytes.number(2)? };
        if lengths.name + lengths.extra > MAX_VARIABLE {
            return refused("a name in the zip is too long");
        }
        Ok((Header { flags, method, time, crc, compressed, length, name: &[] }, lengths))
    }

    /// Reads the name and the extra fields. One of these has the offset if it needs 64 bits. No file
    /// of a bundle is so long that its length does.
    fn finish(
        &mut self,
        bytes: &mut Bytes<'a>,
        lengths: &Lengths,
        offset: &mut u64,
    ) -> Result<(), Refused> {
        self.name = bytes.take(lengths.name)?;
        let mut extra = Bytes(bytes.take(lengths.extra)?);
        while !extra.0.is_empty() {
            let (id, length) = (extra.number(2)?, extra.number(2)?);
            let mut value = Bytes(extra.take(length)?);
            match id {
                EXTRA_TIMES | EXTRA_OWNER => {}
                EXTRA_64 if *offset == ELSEWHERE => {
                    *offset = value.number(8)?;
                    if *offset <= ELSEWHERE || !value.0.is_empty() {
                        return refused("a file in the zip has 64 bits for what needs 32");
                    }
                }
                _ => return refused(format!("a file in the zip has the extra field {id:#06x}")),
            }
        }
        match *offset == ELSEWHERE {
            true => refused("a file in the zip has no place"),
            false => Ok(()),
        }
    }

    /// Why the file is not read.
    fn fault(&self) -> Option<&'static str> {
        if self.flags & !FLAGS != 0 {
            return Some("is encrypted, or has other flags that are not known");
        }
        if self.compressed.max(self.length) == ELSEWHERE {
            return Some("is too long");
        }
        match self.method {
            // Where the data ends would be said only after it.
            STORED if self.flags & SIZES_FOLLOW != 0 => Some("does not say where it ends"),
            STORED if self.compressed != self.length => Some("has two lengths"),
            STORED | DEFLATED => None,
            _ => Some("is compressed in another way than with Deflate"),
        }
    }

    /// Where the data of the file begins, and where the next file begins, if the local header at
    /// `at` says what this one of the list says.
    fn tile(&self, file: &File, at: u64) -> Result<Result<(u64, u64), &'static str>, Refused> {
        let fixed = read_at(file, at, LOCAL_BYTES)?;
        let mut fixed = Bytes(&fixed);
        if fixed.number(4)? != LOCAL {
            return Ok(Err("is not where the list says"));
        }
        let (mut local, lengths) = Header::parse(&mut fixed)?;
        let variable = read_at(file, at + LOCAL_BYTES, lengths.name + lengths.extra)?;
        local.finish(&mut Bytes(&variable), &lengths, &mut 0)?;
        let start = at + LOCAL_BYTES + lengths.name + lengths.extra;
        let mut end = start.saturating_add(self.compressed);
        if self.flags & SIZES_FOLLOW != 0 {
            if (local.crc, local.compressed, local.length) != (0, 0, 0) {
                return Ok(Err("has sizes before and after its data"));
            }
            // 4.3.9
            let descriptor = read_at(file, end, DESCRIPTOR_BYTES)?;
            let mut descriptor = Bytes(&descriptor);
            if descriptor.number(4)? != DESCRIPTOR {
                return Ok(Err("ends elsewhere than the list says"));
            }
            local.crc = descriptor.number(4)?;
            (local.compressed, local.length) = (descriptor.number(4)?, descriptor.number(4)?);
            end += DESCRIPTOR_BYTES;
        }
        match local == *self {
            true => Ok(Ok((start, end))),
            false => Ok(Err("is another file than the list says")),
        }
    }

    fn place(&self, start: u64) -> Place {
        Place {
            start,
            compressed: self.compressed,
            length: self.length,
            crc: u32::try_from(self.crc).unwrap_or_default(),
            is_deflated: self.method == DEFLATED,
        }
    }
}

/// A file in the list (4.3.12).
struct Listed<'a> {
    header: Header<'a>,
    attributes: u64,
    /// Where its local header is.
    offset: u64,
}

impl<'a> Listed<'a> {
    fn parse(bytes: &mut Bytes<'a>) -> Result<Listed<'a>, Refused> {
        if bytes.number(4)? != LISTED {
            return refused("the zip lists other files than it says");
        }
        bytes.take(2)?;
        let (mut header, lengths) = Header::parse(bytes)?;
        let (comment, disk) = (bytes.number(2)?, bytes.number(2)?);
        bytes.take(2)?;
        let (attributes, mut offset) = (bytes.number(4)?, bytes.number(4)?);
        if comment != 0 || disk != 0 {
            return refused("a file in the zip has a comment, or is on another disk");
        }
        header.finish(bytes, &lengths, &mut offset)?;
        Ok(Listed { header, attributes, offset })
    }

    /// Whether nothing says that it is of another type.
    fn is_of_type(&self, wanted: u64) -> bool {
        let kind = (self.attributes >> 16) & TYPE;
        let is_folder = self.attributes & DOS_FOLDER != 0;
        (kind == 0 || kind == wanted) && (wanted == FOLDER || !is_folder)
    }
}

/// Some bytes of the zip.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(buffer.get_mut(..most).unwrap_or_default(), self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

enum Data<'a> {
    Stored(Section<'a>),
    Deflated(DeflateDecoder<BufReader<Section<'a>>>),
}

/// The contents of a file. What is not as the list says gives an error.
pub(super) struct Contents<'a> {
    data: Data<'a>,
    place: &'a Place,
    crc: Crc,
    read: u64,
}

impl Read for Contents<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.data {
            Data::Stored(data) => data.read(buffer)?,
            Data::Deflated(data) => data.read(buffer)?,
        };
        self.crc.update(buffer.get(..read).unwrap_or_default());
        self.read += read as u64;
        // Nothing may stand behind the end of compressed data.
        let is_whole = || match &self.data {
            Data::Stored(_) => true,
            Data::Deflated(data) => data.total_in() == self.place.compressed,
        };
        let is_end = read == 0;
        let is_same = || self.read == self.place.length && self.crc.sum() == self.place.crc;
        match self.read > self.place.length || is_end && !(is_same() && is_whole()) {
            true => Err(io::Error::other("it is not what the zip says")),
            false => Ok(read),
        }
    }
}

#[cfg(test)]
mod tests;
