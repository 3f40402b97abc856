//! Checks the page headers of a column, before the crate `parquet` reads the pages.
//!
//! The crate makes buffers as large as a page header claims, up to 2 GiB, and several times that for a
//! dictionary. So the claims are compared with the footer first. Only pages as Vidimus writes them are
//! let through: data pages of version 1 and dictionary pages, PLAIN or by a dictionary. A page header is
//! in Thrift's compact protocol
//! (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>). Its fields are
//! in `PageHeader` of <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use parquet::file::metadata::ColumnChunkMetaData;

/// The most bytes of a column in a row group, decompressed. A row group has at most 64 MiB of values, or
/// a single row, which is at most a body of 128 MiB.
pub(super) const MAX_COLUMN: i64 = 256 << 20;

/// The most rows of a row group. A file has at most 500,000.
pub(super) const MAX_ROWS: i64 = 1 << 20;

/// The types of Thrift's compact protocol that a page header uses.
mod thrift {
    pub(super) const TRUE: u8 = 1;
    pub(super) const FALSE: u8 = 2;
    pub(super) const I32: u8 = 5;
    pub(super) const I64: u8 = 6;
    pub(super) const BINARY: u8 = 8;
    pub(super) const STRUCT: u8 = 12;
}

/// The numbers of fields.
const CRC: u8 = 4;
const DATA_PAGE: u8 = 5;
const DICTIONARY_PAGE: u8 = 7;

/// The encodings of values: PLAIN, PLAIN_DICTIONARY and RLE_DICTIONARY.
const ENCODINGS: [i64; 3] = [0, 2, 8];

/// Structures in structures: the statistics are in the header of the data page.
const MAX_DEPTH: u32 = 4;

/// Where the pages of a column begin in the file, and how many bytes they have. `None` if the footer
/// has negative numbers.
pub(super) fn range(about: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = about.dictionary_page_offset().unwrap_or(about.data_page_offset());
    Some((u64::try_from(start).ok()?, u64::try_from(about.compressed_size()).ok()?))
}

/// Whether every page of a column claims no more than the footer does. `bytes` are all of its pages, and
/// `rows` the rows of the row group.
pub(super) fn are_sound(bytes: &[u8], about: &ColumnChunkMetaData, rows: i64) -> bool {
    let most = about.uncompressed_size();
    (0..=MAX_COLUMN).contains(&most)
        && (0..=MAX_ROWS).contains(&rows)
        && are_within(bytes, most, rows).is_some()
}

/// `None` if the pages claim more than `most` bytes together, a page more than `rows` values, or if they
/// are not as Vidimus writes them.
fn are_within(mut bytes: &[u8], most: i64, rows: i64) -> Option<()> {
    let mut left = most;
    while !bytes.is_empty() {
        let page = Page::read(&mut bytes)?;
        left = left.checked_sub(page.uncompressed).filter(|left| *left >= 0)?;
        if page.values > rows || !ENCODINGS.contains(&page.encoding) {
            return None;
        }
        bytes = bytes.get(page.compressed..)?;
    }
    Some(())
}

/// What a page header claims.
struct Page {
    uncompressed: i64,
    compressed: usize,
    values: i64,
    encoding: i64,
}

impl Page {
    /// Reads a header, and leaves what follows it.
    fn read(bytes: &mut &[u8]) -> Option<Page> {
        // The fields 1, 2 and 3: the type, and the two sizes.
        let [_, uncompressed, compressed] = [next(bytes)?, next(bytes)?, next(bytes)?];
        let (mut step, mut kind) = field(bytes)??;
        let mut number = 3 + step;
        if (number, kind) == (CRC, thrift::I32) {
            integer(bytes)?;
            (step, kind) = field(bytes)??;
            number = CRC.checked_add(step)?;
        }
        if !matches!(number, DATA_PAGE | DICTIONARY_PAGE) || kind != thrift::STRUCT {
            return None;
        }
        // Its fields 1 and 2: the number of values, and their encoding.
        let [values, encoding] = [next(bytes)?, next(bytes)?];
        rest(bytes, 1)?;
        // Another kind of page may not follow in the same header.
        if field(bytes)?.is_some() {
            return None;
        }
        Some(Page { uncompressed, compressed: usize::try_from(compressed).ok()?, values, encoding })
    }
}

/// The next field, which is an integer that is not negative.
fn next(bytes: &mut &[u8]) -> Option<i64> {
    let is_next = field(bytes)?? == (1, thrift::I32);
    integer(bytes).filter(|value| is_next && (0..=i64::from(i32::MAX)).contains(value))
}

/// Leaves out the other fields of a structure.
fn rest(bytes: &mut &[u8], depth: u32) -> Option<()> {
    while let Some((_, kind)) = field(bytes)? {
        match kind {
            thrift::TRUE | thrift::FALSE => {}
            thrift::I32 | thrift::I64 => drop(integer(bytes)?),
            thrift::BINARY => {
                let length = usize::try_from(varint(bytes)?).ok()?;
                *bytes = bytes.get(length..)?;
            }
            thrift::STRUCT if depth < MAX_DEPTH => rest(bytes, depth + 1)?,
            _ => return None,
        }
    }
    Some(())
}

/// The head of a field: how far its number is above that of the one before, and its type. `Some(None)`
/// at the end of the structure. A number in the long form is refused, because it may go back.
fn field(bytes: &mut &[u8]) -> Option<Option<(u8, u8)>> {
    match byte(bytes)? {
        0 => Some(None),
        head if head >> 4 == 0 => None,
        head => Some(Some((head >> 4, head & 15))),
    }
}

fn integer(bytes: &mut &[u8]) -> Option<i64> {
    let zigzag = varint(bytes)?;
    let half = i64::try_from(zigzag >> 1).ok()?;
    Some(if zigzag & 1 == 0 { half } else { -half - 1 })
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for at in 0..10 {
        let next = byte(bytes)?;
        value |= u64::from(next & 0x7f) << (7 * at);
        if next & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: u64) -> Vec<u8> {
        let (mut left, mut bytes) = (value << 1, Vec::new());
        while left > 0x7f {
            bytes.push((left & 0x7f) as u8 | 0x80);
            left >>= 7;
        }
        bytes.push(left as u8);
        bytes
    }

    /// A page of 3 bytes. `kind` is the head of its structure.
    fn page(kind: u8, uncompressed: u64, values: u64, encoding: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [0, uncompressed, 3] {
            bytes.push(0x15);
            bytes.extend(number(value));
        }
        bytes.push(kind);
        for value in [values, encoding] {
            bytes.push(0x15);
            bytes.extend(number(value));
        }
        // Statistics with a text, and the ends of the structures.
        bytes.extend([0x3c, 0x18, 2, b'a', b'b', 0, 0, 0]);
        bytes.extend(*b"abc");
        bytes
    }

    const DATA: u8 = 0x2c;
    const DICTIONARY: u8 = 0x4c;

    #[track_caller]
    fn check(bytes: &[u8], expected: bool) {
        assert_eq!(are_within(bytes, 100, 10).is_some(), expected, "{bytes:?}");
    }

    #[test]
    fn claims_are_compared_with_the_footer() {
        check(&[], true);
        check(&page(DATA, 100, 10, 0), true);
        check(&[page(DICTIONARY, 40, 10, 0), page(DATA, 60, 10, 8)].concat(), true);
        check(&page(DATA, 101, 10, 0), false);
        check(&page(DATA, (1 << 31) - 1, 10, 0), false);
        check(&[page(DICTIONARY, 50, 10, 0), page(DATA, 51, 10, 8)].concat(), false);
        check(&page(DATA, 100, 11, 0), false);
        check(&page(DICTIONARY, 100, 1 << 30, 0), false);
        // The encodings by deltas, and data pages of version 2.
        check(&page(DATA, 100, 10, 5), false);
        check(&page(0x5c, 100, 10, 0), false);
    }

    #[test]
    fn a_header_in_another_form_is_refused() {
        let good = page(DATA, 100, 10, 0);
        for length in 1..good.len() {
            check(&good[..length], false);
        }
        // One that claims less first, and more in the long form later.
        let at = good.len() - 4;
        let mut twice = good[..at].to_vec();
        twice.extend([0x05, 4]);
        twice.extend(number(1 << 30));
        twice.extend(&good[at..]);
        check(&twice, false);
        let deep: Vec<u8> = good[..good.len() - 11].iter().copied().chain([0x1c; 9000]).collect();
        check(&deep, false);
        let mut endless = vec![0x15];
        endless.extend([0xff; 40]);
        check(&endless, false);
    }
}
