//! Reads a column of a CSV file (RFC 4180) in blocks, for files that other programs exported.
//!
//! The first record has the names of the columns. A record may span several lines; its number is
//! that of the first line. A record longer than [`MAX_RECORD`] is an error, because a quote is
//! probably not closed.

use std::borrow::Cow;
use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use csv::ByteRecord;

use super::blocks::{BLOCK, Block, Line};

/// The maximum size of a record in bytes.
pub(crate) const MAX_RECORD: usize = 16 << 20;

/// Why a column cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ColumnError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "the file has neither JSON lines nor CSV with a column {name:?}: its first line begins \
         with {found:?}"
    )]
    NoColumn {
        name: String,
        /// The beginning of the first line.
        found: String,
    },
    #[error("the record at line {0} is longer than 16 MiB; is a quote not closed?")]
    RecordTooLong(u64),
}

pub(crate) struct Column<R> {
    csv: csv::Reader<CappedReader<R>>,
    state: Rc<ReadState>,
    column: usize,
    /// The column with base64 of lines that are not UTF-8, as `vidimus export` writes it.
    encoded: Option<usize>,
    record: ByteRecord,
    failed: Option<ColumnError>,
}

impl<R: Read> Column<R> {
    pub(crate) fn new(reader: R, name: &str) -> Result<Column<R>, ColumnError> {
        let state = Rc::new(ReadState { left: Cell::new(MAX_RECORD), ended: Cell::new(false) });
        let capped = CappedReader { reader, state: Rc::clone(&state) };
        let mut csv = csv::ReaderBuilder::new()
            // Records may have fewer or more columns than the first.
            .flexible(true)
            // With CR LF the reader would count lines too late, so the CR is removed here.
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(capped);
        let header = csv.byte_headers().map_err(|error| column_error(error, 1))?;
        let at = |name: &str| {
            header.iter().position(|column| without_line_end(column) == name.as_bytes())
        };
        let Some(column) = at(name) else {
            let found = header.iter().collect::<Vec<_>>().join(&b","[..]);
            let found = String::from_utf8_lossy(&found).chars().take(60).collect();
            return Err(ColumnError::NoColumn { name: name.to_owned(), found });
        };
        let encoded = at(&format!("{name}_base64"));
        Ok(Column { csv, state, column, encoded, record: ByteRecord::new(), failed: None })
    }

    /// The line in the last record.
    fn line(&self) -> Cow<'_, [u8]> {
        let cell = |column: usize| without_line_end(self.record.get(column).unwrap_or(b""));
        let encoded = self.encoded.map(cell).filter(|_| cell(self.column).is_empty());
        match encoded.and_then(|encoded| STANDARD.decode(encoded).ok()) {
            Some(line) => line.into(),
            None => cell(self.column).into(),
        }
    }

    /// Adds the values of the next records until the block is full.
    fn fill(&mut self, bytes: &mut Vec<u8>, lines: &mut Vec<Line>) -> Result<(), ColumnError> {
        while bytes.len() < BLOCK {
            self.state.left.set(MAX_RECORD);
            let first = self.csv.position().line();
            let more = self.csv.read_byte_record(&mut self.record);
            if !more.map_err(|error| column_error(error, first))? {
                break;
            }
            if self.record.len() == 1 && without_line_end(self.record.as_slice()).is_empty() {
                continue;
            }
            let number = self.number();
            let start = bytes.len();
            bytes.extend_from_slice(&self.line());
            lines.push(Line { number, at: start..bytes.len() });
        }
        Ok(())
    }

    /// The line number at which the last record begins. The position of the reader includes the
    /// blank lines before it.
    fn number(&self) -> u64 {
        let inside = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let line_end = u64::from(!self.state.ended.get());
        self.csv.position().line().saturating_sub(inside + line_end)
    }
}

impl<R: Read> Iterator for Column<R> {
    type Item = Result<Block, ColumnError>;

    /// The next block. After an error the iterator ends.
    fn next(&mut self) -> Option<Result<Block, ColumnError>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        let (mut bytes, mut lines) = (Vec::new(), Vec::new());
        self.failed = self.fill(&mut bytes, &mut lines).err();
        match (lines.is_empty(), self.failed.take()) {
            (true, error) => error.map(Err),
            (false, error) => {
                self.failed = error;
                Some(Ok(Block { bytes: bytes.into(), lines }))
            }
        }
    }
}

/// Removes the line end, which some programs export with the line.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Fails when a record has too many bytes, because the CSV reader has no limit.
struct CappedReader<R> {
    reader: R,
    state: Rc<ReadState>,
}

/// The state that the reader shares with its [`Column`].
struct ReadState {
    /// The number of bytes that the record may still have.
    left: Cell<usize>,
    /// Whether the end of the file was read, which happens only for a record without a line end.
    ended: Cell<bool>,
}

impl<R: Read> Read for CappedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let ReadState { left, ended } = &*self.state;
        if left.get() == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let read = self.reader.read(buffer)?;
        left.set(left.get().saturating_sub(read));
        ended.set(read == 0);
        Ok(read)
    }
}

fn column_error(error: csv::Error, line: u64) -> ColumnError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            ColumnError::RecordTooLong(line)
        }
        csv::ErrorKind::Io(error) => ColumnError::Io(error),
        other => ColumnError::Io(io::Error::other(format!("{other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: impl Read, name: &str) -> Result<Vec<(u64, String)>, ColumnError> {
        let mut values = Vec::new();
        for block in Column::new(file, name)? {
            let block = block?;
            for line in &block.lines {
                let value = String::from_utf8_lossy(block.text(line)).into_owned();
                values.push((line.number, value));
            }
        }
        Ok(values)
    }

    fn check(file: &str, name: &str, expected: &[(u64, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(n, text)| (*n, (*text).to_owned())).collect();
        assert_eq!(read(file.as_bytes(), name).unwrap(), expected, "{file:?}");
    }

    #[test]
    fn values_are_unquoted_and_numbered_by_line() {
        check("_raw\n", "_raw", &[]);
        check("a,_raw\n1,x\n2,\"y \"\"z\"\", w\"\n", "_raw", &[(2, "x"), (3, "y \"z\", w")]);
        check("_raw,a\r\n\"x\r\n\",\"1\n2\"\r\ny,1\r\n", "_raw", &[(2, "x"), (5, "y")]);
        check("\u{feff}_raw\nx\n", "_raw", &[(2, "x")]);
        check("a,_raw\r\n1,x\r\n2,\"y\"\r\n", "_raw", &[(2, "x"), (3, "y")]);
        check("_raw\n\n\nx\n\r\ny", "_raw", &[(4, "x"), (6, "y")]);
        check("_raw\n\"a\nb\"\nx", "_raw", &[(2, "a\nb"), (4, "x")]);
        check(
            "a,event.original\n1,x\n2\n3,z,4\n",
            "event.original",
            &[(2, "x"), (3, ""), (4, "z")],
        );
    }

    #[test]
    fn lines_that_are_not_utf8_are_decoded() {
        check("raw,raw_base64\n,eA==\ny,\n,\n,?\n", "raw", &[(2, "x"), (3, "y"), (4, ""), (5, "")]);
    }

    #[test]
    fn files_without_the_column_are_rejected() {
        for (file, header) in [("", ""), ("a,b\n1,2\n", "a,b"), ("CEF:0|a,b|5\n", "CEF:0|a,b|5")] {
            let error = read(file.as_bytes(), "_raw").unwrap_err().to_string();
            assert!(error.contains("no") && error.contains(&format!("begins with {header:?}")));
        }
    }

    #[test]
    fn an_unclosed_quote_takes_bounded_memory() {
        let file = b"_raw\nx\n\"".chain(io::repeat(b'y').take(1 << 30));
        let error = read(file, "_raw").unwrap_err();
        assert!(matches!(error, ColumnError::RecordTooLong(3)), "{error}");
    }
}
