//! Opens, decompresses and splits the files that a command reads.
//!
//! - [`blocks`]: whole lines, in blocks. [`mod@column`]: a CSV column, in blocks.
//! - [`member`]: a member of a JSON object that wraps a line.
//!
//! Reading takes bounded memory. Gzip (RFC 1952) and Zstandard (RFC 8878) are detected by their
//! first bytes, not by the file name.

pub(crate) mod blocks;
pub(crate) mod column;
pub(crate) mod member;

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::PathBuf;

use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;

/// A file named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// Standard input, `-`.
    Stdin,
    File(PathBuf),
}

pub(crate) type Bytes = Box<dyn Read + Send>;

impl Input {
    pub(crate) fn new(path: PathBuf) -> Input {
        if path.as_os_str() == "-" { Input::Stdin } else { Input::File(path) }
    }

    /// Opens the file and decompresses it. `progress` counts the bytes of the file.
    pub(crate) fn open(&self, progress: &ProgressBar) -> io::Result<Bytes> {
        let file: Bytes = match self {
            Input::Stdin => Box::new(progress.wrap_read(io::stdin())),
            Input::File(path) => Box::new(progress.wrap_read(File::open(path)?)),
        };
        decompressed(file)
    }

    /// The size in bytes of a regular file.
    pub(crate) fn size(&self) -> Option<u64> {
        match self {
            Input::Stdin => None,
            Input::File(path) => {
                path.metadata().ok().filter(|about| about.is_file()).map(|about| about.len())
            }
        }
    }
}

/// The name as given; `-` for standard input.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::Stdin => f.write_str("-"),
            Input::File(path) => path.display().fmt(f),
        }
    }
}

fn decompressed(file: Bytes) -> io::Result<Bytes> {
    let (start, file) = peek(file, 4)?;
    Ok(match start.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(1 << 16, file))),
        // A frame, or a skippable frame, which parallel compressors write first.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            Box::new(zstd::Decoder::new(file)?)
        }
        _ => file,
    })
}

/// Returns at most the first `length` bytes, and a reader that starts with these bytes again.
pub(crate) fn peek(mut reader: Bytes, length: u64) -> io::Result<(Vec<u8>, Bytes)> {
    let mut start = Vec::new();
    reader.by_ref().take(length).read_to_end(&mut start)?;
    let again = Cursor::new(start.clone());
    Ok((start, Box::new(again.chain(reader))))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn check(file: Vec<u8>, expected: &[u8]) {
        let mut found = Vec::new();
        decompressed(Box::new(Cursor::new(file))).unwrap().read_to_end(&mut found).unwrap();
        assert_eq!(found, expected);
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn compression_is_recognised_by_the_first_bytes() {
        for plain in ["", "a", "ab", "line\nline\n"] {
            check(plain.into(), plain.as_bytes());
        }
        check(gzip(b"line\n"), b"line\n");
        check([gzip(b"one\n"), gzip(b"two\n")].concat(), b"one\ntwo\n");
        let zst = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        check(zst(b"line\n"), b"line\n");
        check([zst(b"one\n"), zst(b"two\n")].concat(), b"one\ntwo\n");
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 0xff, 0xff];
        check([skipped.as_slice(), &zst(b"line\n")].concat(), b"line\n");
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let gzip = gzip(&[b'x'; 1000]);
        let cut = gzip[..gzip.len() - 9].to_vec();
        let mut reader = decompressed(Box::new(Cursor::new(cut))).unwrap();
        assert!(reader.read_to_end(&mut Vec::new()).is_err());
    }

    #[test]
    fn a_dash_is_standard_input() {
        assert_eq!(Input::new("-".into()), Input::Stdin);
        assert_eq!(Input::new("./-".into()).to_string(), "./-");
    }
}
