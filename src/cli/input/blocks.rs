//! Reads a file in blocks of whole lines, in bounded memory.
//!
//! A line ends with LF or CR LF, as in `entry::lines`. Blank lines are counted and skipped. A line
//! longer than [`MAX_KEPT`] is truncated to [`MAX_KEPT`] bytes. That is enough to know that it is
//! malformed.

use std::io::{self, Read};
use std::ops::Range;

use bytes::Bytes;

/// The number of bytes to read for a block.
pub(crate) const BLOCK: usize = 4 << 20;

/// The maximum number of bytes kept of a line.
pub(crate) const MAX_KEPT: usize = 16 << 20;

/// Consecutive lines.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// The bytes that contain the lines.
    pub(crate) bytes: Bytes,
    pub(crate) lines: Vec<Line>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The line number in the file, from one.
    pub(crate) number: u64,
    /// The range in the bytes of the block.
    pub(crate) at: Range<usize>,
}

impl Block {
    /// The bytes of a line, as a shared slice.
    pub(crate) fn line(&self, line: &Line) -> Bytes {
        self.bytes.slice(line.at.clone())
    }

    /// The bytes of a line, borrowed.
    pub(crate) fn text(&self, line: &Line) -> &[u8] {
        self.bytes.get(line.at.clone()).unwrap_or_default()
    }
}

pub(crate) struct Blocks<R> {
    reader: R,
    block: usize,
    max_kept: usize,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
    /// The number of the next line.
    number: u64,
    /// Whether the rest of a truncated line must be skipped.
    skipping: bool,
    state: State,
}

enum State {
    Reading,
    /// Returned after the lines that were read before the error.
    Broken(io::Error),
    Done,
}

impl<R: Read> Blocks<R> {
    pub(crate) fn new(reader: R) -> Blocks<R> {
        Blocks::sized(reader, BLOCK, MAX_KEPT)
    }

    fn sized(reader: R, block: usize, max_kept: usize) -> Blocks<R> {
        Blocks {
            reader,
            block,
            max_kept,
            rest: Vec::new(),
            number: 1,
            skipping: false,
            state: State::Reading,
        }
    }

    /// Reads until there is a whole line, and returns all whole lines, or one truncated line.
    fn read(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.rest);
        while matches!(self.state, State::Reading) {
            bytes.reserve(self.block);
            let read = self.reader.by_ref().take(self.block as u64).read_to_end(&mut bytes);
            match read {
                Ok(0) => self.state = State::Done,
                Ok(_) => {}
                Err(error) => self.state = State::Broken(error),
            }
            if self.skipping {
                self.skip(&mut bytes);
            }
            let whole = bytes.iter().rposition(|byte| *byte == b'\n');
            match (whole, &self.state) {
                // The last line may lack a line end.
                (_, State::Done) => {}
                (Some(end), State::Reading) => {
                    self.rest = bytes.split_off(end + 1);
                    break;
                }
                (None, State::Reading) if bytes.len() > self.max_kept => {
                    bytes.truncate(self.max_kept);
                    self.skipping = true;
                    break;
                }
                (None, State::Reading) => {}
                // The last line is incomplete.
                (whole, State::Broken(_)) => bytes.truncate(whole.map_or(0, |end| end + 1)),
            }
        }
        bytes
    }

    /// Removes the rest of a truncated line.
    fn skip(&mut self, bytes: &mut Vec<u8>) {
        match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                bytes.drain(..=end);
                self.skipping = false;
            }
            None => bytes.clear(),
        }
    }

    /// Splits `bytes` into lines. Blank lines are counted and skipped.
    fn split(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::with_capacity(bytes.len() / 400);
        let mut start = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if !text.is_empty() {
                let kept = text.len().min(self.max_kept);
                lines.push(Line { number: self.number, at: start..start + kept });
            }
            start += line.len();
            self.number += 1;
        }
        lines
    }
}

impl<R: Read> Iterator for Blocks<R> {
    type Item = io::Result<Block>;

    /// The next block with lines. After an error the iterator ends.
    fn next(&mut self) -> Option<io::Result<Block>> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Reading => self.state = State::Reading,
                State::Broken(error) => return Some(Err(error)),
                State::Done => return None,
            }
            let bytes = self.read();
            let lines = self.split(&bytes);
            if !lines.is_empty() {
                return Some(Ok(Block { bytes: bytes.into(), lines }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the lines with their numbers, and whether there was an error at the end.
    fn read(reader: impl Read, block: usize, max_kept: usize) -> (Vec<(u64, String)>, bool) {
        let (mut lines, mut broken) = (Vec::new(), false);
        for block in Blocks::sized(reader, block, max_kept) {
            assert!(!broken, "something came after an error");
            let Ok(block) = block else {
                broken = true;
                continue;
            };
            assert!(!block.lines.is_empty());
            for line in &block.lines {
                let text = String::from_utf8_lossy(block.text(line)).into_owned();
                lines.push((line.number, text));
            }
        }
        (lines, broken)
    }

    fn check(file: &str, expected: &[(u64, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, text)| (*n, (*text).to_owned())).collect();
        for block in 1..=file.len() + 1 {
            assert_eq!(
                read(file.as_bytes(), block, 10),
                (expected.clone(), false),
                "{file:?} {block}"
            );
        }
    }

    #[test]
    fn lines_are_whole_and_counted() {
        check("", &[]);
        check("\n\r\n", &[]);
        check("a\nbc\r\n\n\nd", &[(1, "a"), (2, "bc"), (5, "d")]);
        check("a\r\r\n \n", &[(1, "a\r"), (2, " ")]);
    }

    #[test]
    fn a_long_line_is_truncated_and_the_next_one_is_whole() {
        for (file, block) in [
            ("a\n0123456789abcdef\nb\n", 1),
            ("a\n0123456789abcdef\nb\n", 2),
            ("a\n0123456789abcdef\nb", 11),
        ] {
            let (lines, broken) = read(file.as_bytes(), block, 10);
            let lines: Vec<_> = lines.iter().map(|(n, text)| (*n, text.as_str())).collect();
            assert_eq!(lines[0], (1, "a"), "{block}");
            assert_eq!(lines[1..], [(2, "0123456789"), (3, "b")], "{block}");
            assert!(!broken);
        }
        let endless = std::io::repeat(b'x').take(1000).chain(b"\nb".as_slice());
        let (lines, _) = read(endless, 7, 10);
        assert_eq!(lines, [(1, "x".repeat(10)), (2, "b".to_owned())]);
    }

    struct Breaks;

    impl Read for Breaks {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    #[test]
    fn whole_lines_before_an_error_are_returned() {
        let (lines, broken) = read(b"a\nb\nhalf".chain(Breaks), 100, 10);
        assert_eq!(lines, [(1, "a".to_owned()), (2, "b".to_owned())]);
        assert!(broken);
    }

    proptest! {
        #[test]
        fn blocks_have_the_lines_of_the_domain(
            file in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'x')], 0..100),
            block in 1_usize..20,
        ) {
            let (found, _) = read(file.as_slice(), block, 1000);
            let expected: Vec<_> = crate::entry::lines(&file)
                .map(|at| String::from_utf8_lossy(&file[at]).into_owned())
                .collect();
            prop_assert_eq!(found.into_iter().map(|(_, text)| text).collect::<Vec<_>>(), expected);
        }
    }
}
