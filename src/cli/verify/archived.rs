//! Reads the lines of the entries in the archive in blocks, to verify them. The number of a line is the
//! id of its entry.

use super::super::archived::Archived;
use super::super::exit::Failure;
use super::super::input::blocks::{BLOCK, Block, Line, MAX_KEPT};
use super::super::print::LinePieces;
use crate::archive::read::Order;
use crate::entry::Record;
use crate::search::Filter;

/// The most entries that are read at once.
const LINES: usize = 8192;

/// Gives the lines of all entries that match to `send`, until it returns `false`.
pub(super) fn blocks(
    archived: &Archived,
    filter: &Filter,
    mut send: impl FnMut(Block) -> bool,
) -> Result<(), Failure> {
    let mut scan = archived.scan(filter, Order::Stored, usize::MAX)?.only_lines();
    loop {
        let records = scan.next_slice(LINES)?;
        if records.is_empty() || !split(archived, &records, &mut send)? {
            return Ok(());
        }
    }
}

/// Gives the lines of these entries to `send`, in blocks of about [`BLOCK`] bytes. Returns whether it
/// took them all.
fn split(
    archived: &impl LinePieces,
    records: &[Record],
    send: &mut impl FnMut(Block) -> bool,
) -> Result<bool, Failure> {
    let (mut bytes, mut lines) = (Vec::new(), Vec::new());
    let whole = |bytes: &mut Vec<u8>, lines: &mut Vec<Line>| Block {
        bytes: std::mem::take(bytes).into(),
        lines: std::mem::take(lines),
    };
    for record in records {
        let (start, id) = (bytes.len(), record.id().unwrap_or(0));
        match record.whole {
            None => bytes.extend_from_slice(&record.raw),
            Some(_) => add_beginning(archived, id, &mut bytes)?,
        }
        lines.push(Line { number: id, at: start..bytes.len() });
        if bytes.len() >= BLOCK && !send(whole(&mut bytes, &mut lines)) {
            return Ok(false);
        }
    }
    Ok(lines.is_empty() || send(whole(&mut bytes, &mut lines)))
}

/// Adds as much of a long line as is read of one in a file. That is enough to know that it is malformed.
fn add_beginning(archived: &impl LinePieces, id: u64, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    let (start, mut number) = (bytes.len(), 0);
    while bytes.len() - start < MAX_KEPT
        && let Some(piece) = archived.line_piece(id, number)?
    {
        bytes.extend_from_slice(&piece);
        number += 1;
    }
    bytes.truncate(start + MAX_KEPT);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::record::{Origin, WholeLine};
    use crate::entry::{Fields, Millis, VerdictName};

    struct Pieces(usize);

    impl LinePieces for Pieces {
        fn line_piece(&self, _: u64, number: u64) -> Result<Option<Vec<u8>>, Failure> {
            Ok((number < self.0 as u64).then(|| vec![b'x'; 1 << 20]))
        }
    }

    fn record(id: u64, raw: &str, whole: Option<WholeLine>) -> Record {
        let received_at = Millis::MIN;
        Record {
            origin: Origin::Stored { id, input: String::new(), received_at, delivery_count: 1 },
            time: None,
            format: None,
            kind: None,
            verdict: VerdictName::Malformed,
            reason: None,
            kid: None,
            warnings: Vec::new(),
            fields: Fields::default(),
            raw: raw.into(),
            whole,
        }
    }

    #[test]
    fn a_line_has_the_id_of_its_entry_and_a_long_one_its_pieces() {
        let long = Some(WholeLine { bytes: Some(3 << 20), sha256: None });
        let records = [record(5, "a", None), record(7, "x", long), record(9, "", None)];
        let mut found = Vec::new();
        let mut check = |pieces: usize, expected: &[&[(u64, usize)]]| {
            found.clear();
            let mut send = |block: Block| {
                let of = |line: &Line| (line.number, block.text(line).len());
                found.push(block.lines.iter().map(of).collect::<Vec<_>>());
                true
            };
            assert!(split(&Pieces(pieces), &records, &mut send).unwrap());
            assert_eq!(found, expected, "{pieces}");
        };
        check(3, &[&[(5, 1), (7, 3 << 20), (9, 0)]]);
        // Enough for a block by itself, and cut as a line in a file is.
        check(99, &[&[(5, 1), (7, MAX_KEPT)], &[(9, 0)]]);
        assert!(!split(&Pieces(3), &records, &mut |_| false).unwrap());
    }
}
