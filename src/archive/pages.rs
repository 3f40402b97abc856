//! Checks the page headers of a column, before the crate `parquet` reads the pages.
//!
//! The crate makes buffers as large as a page header claims, up to 2 GiB, and several times that for a
//! dictionary. So the claims are compared with the footer first. Only pages as Vidimus writes them are
//! let through: data pages of version 1 and dictionary pages, PLAIN or by a dictionary. A page header is
//! in Thrift's compact protocol. Its fields are in `PageHeader` of
//! <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use parquet::file::metadata::ColumnChunkMetaData;

use super::thrift::{BINARY, I32, I64, Input, STRUCT, Shape};

/// The most bytes of a column in a row group, decompressed. A row group has at most 64 MiB of values, or
/// a single row, which is at most a body of 128 MiB.
pub(super) const MAX_COLUMN: i64 = 256 << 20;

/// The most rows of a file, and so of a row group. Vidimus writes at most 500,000.
pub(super) const MAX_ROWS: i64 = 1 << 20;

/// The most values of a dictionary. Vidimus ends one at 1 MiB, and a value takes 4 bytes or more.
const MAX_DICTIONARY: i64 = 1 << 18;

/// The numbers of fields.
const CRC: u8 = 4;
const DATA_PAGE: u8 = 5;
const DICTIONARY_PAGE: u8 = 7;

/// The encodings of values: PLAIN, PLAIN_DICTIONARY and RLE_DICTIONARY.
const ENCODINGS: [i64; 3] = [0, 2, 8];

/// The fields of a page header's structures after the number of values and their encoding.
const OF_DATA_PAGE: [(u8, Shape); 3] =
    [(3, Shape::Plain(I32)), (4, Shape::Plain(I32)), (5, STATISTICS)];
const OF_DICTIONARY_PAGE: [(u8, Shape); 1] = [(3, Shape::Boolean)];

/// The structure `Statistics`.
pub(super) const STATISTICS: Shape = Shape::Struct(&[
    (1, Shape::Plain(BINARY)),
    (2, Shape::Plain(BINARY)),
    (3, Shape::Plain(I64)),
    (4, Shape::Plain(I64)),
    (5, Shape::Plain(BINARY)),
    (6, Shape::Plain(BINARY)),
    (7, Shape::Boolean),
    (8, Shape::Boolean),
]);

/// Where the pages of a column begin in the file, and how many bytes they have. `None` if the footer
/// has negative numbers.
pub(super) fn range(about: &ColumnChunkMetaData) -> Option<(u64, u64)> {
    let start = about.dictionary_page_offset().unwrap_or(about.data_page_offset());
    Some((u64::try_from(start).ok()?, u64::try_from(about.compressed_size()).ok()?))
}

/// Whether every page of a column claims no more than the footer does. `bytes` are all of its pages, and
/// `rows` the rows of the row group.
pub(super) fn are_sound(bytes: &[u8], about: &ColumnChunkMetaData, rows: i64) -> bool {
    are_within(bytes, about.uncompressed_size(), rows).is_some()
}

/// `None` if the pages claim more than `most` bytes together, a page more than `rows` values, or if they
/// are not as Vidimus writes them.
fn are_within(bytes: &[u8], most: i64, rows: i64) -> Option<()> {
    let (mut input, mut left) = (Input::new(bytes), most);
    while !input.is_empty() {
        let page = Page::read(&mut input)?;
        left = left.checked_sub(page.uncompressed).filter(|left| *left >= 0)?;
        let most = if page.is_dictionary { rows.min(MAX_DICTIONARY) } else { rows };
        if page.values > most || !ENCODINGS.contains(&page.encoding) {
            return None;
        }
        input.skip(page.compressed)?;
    }
    Some(())
}

/// What a page header claims.
struct Page {
    is_dictionary: bool,
    uncompressed: i64,
    compressed: usize,
    values: i64,
    encoding: i64,
}

impl Page {
    /// Reads a header, and leaves what follows it.
    fn read(input: &mut Input<'_>) -> Option<Page> {
        // The fields 1, 2 and 3: the type, and the two sizes.
        let [_, uncompressed, compressed] = [next(input)?, next(input)?, next(input)?];
        let (mut step, mut kind) = input.field()??;
        let mut number = 3 + step;
        if (number, kind) == (CRC, I32) {
            input.integer()?;
            (step, kind) = input.field()??;
            number = CRC + step;
        }
        let rest: &[(u8, Shape)] = match (number, kind) {
            (DATA_PAGE, STRUCT) => &OF_DATA_PAGE,
            (DICTIONARY_PAGE, STRUCT) => &OF_DICTIONARY_PAGE,
            _ => return None,
        };
        // Its fields 1 and 2: the number of values, and their encoding.
        let [values, encoding] = [next(input)?, next(input)?];
        input.fields(2, rest)?;
        // Another kind of page may not follow in the same header.
        if input.field()?.is_some() {
            return None;
        }
        let (is_dictionary, compressed) =
            (number == DICTIONARY_PAGE, usize::try_from(compressed).ok()?);
        Some(Page { is_dictionary, uncompressed, compressed, values, encoding })
    }
}

/// The next field, which is an integer that is not negative.
fn next(input: &mut Input<'_>) -> Option<i64> {
    let is_next = input.field()?? == (1, I32);
    input.integer().filter(|value| is_next && (0..=i64::from(i32::MAX)).contains(value))
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
        match kind {
            // Statistics with a text.
            DATA => bytes.extend([0x3c, 0x18, 2, b'a', b'b', 0]),
            // It is sorted.
            _ => bytes.push(0x11),
        }
        // The ends of the structures, and the page.
        bytes.extend([0, 0]);
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
        let many = page(DICTIONARY, 100, MAX_DICTIONARY as u64 + 1, 0);
        assert!(are_within(&many, 100, MAX_ROWS).is_none());
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
        let (head, rest) = good.split_at(good.len() - 4);
        let large = [&[0x05, 4][..], &number(1 << 30)].concat();
        check(&[head, &large, rest].concat(), false);
        // The same in bytes where an encoding should be. The crate takes their length, 16, for the encoding
        // 8, and goes on within them.
        let (head, _) = good.split_at(good.len() - 11);
        let mut hidden = [&[0][..], &large].concat();
        hidden.resize(16, 0);
        check(&[head, &[0x18, 16], &hidden, &[0, 0], b"abc"].concat(), false);
        check(&[head, &[0x1c; 9000]].concat(), false);
        let mut endless = vec![0x15];
        endless.extend([0xff; 40]);
        check(&endless, false);
    }
}
