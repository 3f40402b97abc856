//! The newest versions of entries, for one segment after the other.
//!
//! Any file of `verdicts` may have versions of the entries of any segments. If each were read again for
//! each segment, a restoration would take a time that grows with the product of both. So the versions of
//! as many segments are held as fit, and for these each file is read once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::entry::{ArchivedEntry, of_row};
use super::error::ArchiveError;
use super::layout::Table;
use super::manifest::{File, Manifest, Segment};
use super::restore::{Read, rows, unreadable};
use super::rows::Cell;

/// The most bytes of versions that are held, about. Those of a single segment may have more.
const MOST: usize = 256 << 20;

/// About what a field without a column takes in memory besides its text.
const EXTENSION: usize = 128;

/// The newest versions of entries.
pub(super) struct Versions<'a> {
    files: Vec<&'a File>,
    read: &'a Read<'a>,
    /// The last id of which a version is wanted.
    last: u64,
    most: usize,
    /// By the ids of the entries, each with its size.
    held: BTreeMap<u64, (ArchivedEntry, usize)>,
    /// The last id up to which all versions are held.
    until: Option<u64>,
}

impl<'a> Versions<'a> {
    /// The versions of entries with ids up to `last`.
    pub(super) fn new(manifest: &'a Manifest, read: &'a Read<'a>, last: u64) -> Versions<'a> {
        let files = manifest.of(Table::Verdicts).collect();
        Versions { files, read, last, most: MOST, held: BTreeMap::new(), until: None }
    }

    /// Begins with a segment. Segments come in the order of their ids.
    pub(super) fn begin(&mut self, segment: &Segment) -> Result<(), ArchiveError> {
        if self.until.is_some_and(|until| segment.last_id <= until) {
            return Ok(());
        }
        self.held.clear();
        let (first, mut until, mut size) = (segment.first_id, self.last, 0);
        for file in &self.files {
            if !may_have(file, &(first..=until)) {
                continue;
            }
            rows(self.read, file, Table::Verdicts, |rows, row| {
                let id = rows.get(row, "id").unsigned();
                let Some(id) = id.filter(|id| (first..=until).contains(id)) else { return Ok(()) };
                let entry = of_row(rows, row).ok_or_else(|| unreadable(file))?;
                if self.held.get(&id).is_some_and(|(known, _)| known.change > entry.change) {
                    return Ok(());
                }
                let own = size_in_memory(&entry, rows.cells(row));
                let before = self.held.insert(id, (entry, own)).map_or(0, |(_, before)| before);
                size = size + own - before;
                // The later ones are read again when it is their turn.
                while size > self.most
                    && let Some(last) = self.held.last_entry()
                    && *last.key() > segment.last_id
                {
                    until = last.key().saturating_sub(1);
                    size -= last.remove().1;
                }
                Ok::<(), ArchiveError>(())
            })?;
        }
        self.until = Some(until);
        Ok(())
    }

    /// Takes the newest version of an entry of the segment.
    pub(super) fn take(&mut self, id: u64) -> Option<ArchivedEntry> {
        self.held.remove(&id).map(|(entry, _)| entry)
    }
}

/// Whether a file may have versions of entries with these ids.
fn may_have(file: &File, ids: &RangeInclusive<u64>) -> bool {
    let bound = |id: Option<i64>| id.and_then(|id| u64::try_from(id).ok());
    bound(file.min_id).is_none_or(|least| least <= *ids.end())
        && bound(file.max_id).is_none_or(|greatest| greatest >= *ids.start())
}

/// About how many bytes a version takes in memory.
fn size_in_memory<'c>(entry: &ArchivedEntry, cells: impl Iterator<Item = Cell<'c>>) -> usize {
    let extensions = entry.entry.record.fields.extensions().count();
    size_of_val(entry) + cells.map(Cell::size).sum::<usize>() + EXTENSION * extensions
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use bytes::Bytes;

    use super::*;
    use crate::archive::encode::Encoder;
    use crate::archive::layout;
    use crate::archive::schema::{self, Kind};

    const STORE: &str = "0123456789abcdef0123456789abcdef";

    /// Segments with 10 entries each.
    const SEGMENTS: u64 = 40;

    fn segment(number: u64) -> Segment {
        let first_id = number * 10 + 1;
        Segment {
            first_id,
            last_id: first_id + 9,
            first_delivery: first_id,
            last_delivery: first_id + 9,
            created_at: 0,
            sha256: String::new(),
        }
    }

    /// An archive with files of versions, each of which has some of every segment.
    #[derive(Default)]
    struct Made {
        bodies: HashMap<String, Bytes>,
        files: Vec<File>,
        /// How often each file was read.
        reads: RefCell<HashMap<String, usize>>,
    }

    impl Made {
        fn add(&mut self, changes: &[(u64, u64)]) {
            let mut encoder = Encoder::new(Table::Verdicts, STORE, 0).unwrap();
            for (id, change) in changes {
                let value = |column: &schema::Column| match (column.name, column.kind) {
                    ("id", _) => Cell::number(*id),
                    ("change", _) => Cell::number(*change),
                    ("verdict", _) => Cell::text("valid"),
                    ("time" | "received_at" | "stored_at" | "delivery", _) => Cell::Integer(1),
                    (_, Kind::Text) if column.name != "extensions" => Cell::text("x"),
                    _ => Cell::Null,
                };
                let row: Vec<Cell<'_>> =
                    schema::columns(Table::Verdicts).iter().map(value).collect();
                encoder.push(&row).unwrap();
            }
            let encoded = encoder.finish().unwrap();
            let key = layout::of_delta(STORE, Table::Verdicts, self.files.len() as u64, 1, 0);
            self.files.push(File {
                table: Table::Verdicts.name().to_owned(),
                key: key.clone(),
                bytes: encoded.body.len() as u64,
                sha256: encoded.sha256,
                rows: encoded.rows,
                segment: None,
                min_id: encoded.id.map(|(least, _)| least),
                max_id: encoded.id.map(|(_, greatest)| greatest),
                min_time: None,
                max_time: None,
                min_stored_at: None,
                max_stored_at: None,
            });
            self.bodies.insert(key, encoded.body);
        }

        /// Takes the versions of all segments. Returns the change of each by the ids of the entries, and
        /// the most versions that were held at once.
        fn all(&self, most: usize) -> (BTreeMap<u64, u64>, usize) {
            let mut manifest = Manifest::new(STORE);
            manifest.files.clone_from(&self.files);
            let read = |file: &File| {
                *self.reads.borrow_mut().entry(file.key.clone()).or_default() += 1;
                Ok(self.bodies[&file.key].clone())
            };
            let last = segment(SEGMENTS - 1).last_id;
            let mut versions = Versions { most, ..Versions::new(&manifest, &read, last) };
            let (mut found, mut held) = (BTreeMap::new(), 0);
            for segment in (0..SEGMENTS).map(segment) {
                versions.begin(&segment).unwrap();
                held = held.max(versions.held.len());
                for id in segment.first_id..=segment.last_id {
                    found.extend(versions.take(id).map(|entry| (id, entry.change.unwrap())));
                }
            }
            (found, held)
        }

        /// How often each file was read since the last call: the least and the most.
        fn reads(&self) -> (usize, usize) {
            let reads = self.reads.take();
            assert_eq!(reads.len(), self.files.len());
            (*reads.values().min().unwrap(), *reads.values().max().unwrap())
        }
    }

    #[test]
    fn each_file_is_read_once_for_as_many_segments_as_fit() {
        let (mut made, mut expected) = (Made::default(), BTreeMap::new());
        for number in 0..25 {
            // One entry of each segment, and some of them again and again.
            let of_file = |segment: u64| (segment * 10 + 1 + number % 7, number * 1000 + segment);
            let changes: Vec<_> = (0..SEGMENTS).map(of_file).collect();
            made.add(&changes);
            expected.extend(changes);
        }
        // A file with older versions, and with ids beyond all segments.
        made.add(&[(1, 3), (5, 2), (9_999_999, 9)]);

        let (found, held) = made.all(MOST);
        assert_eq!(found, expected);
        assert_eq!((made.reads(), held), ((1, 1), expected.len()));

        // With room for the versions of some segments, the files are read as often as it takes.
        let (found, held) = made.all(60 * size_of::<ArchivedEntry>());
        assert_eq!(found, expected);
        let (_, most) = made.reads();
        assert!(held < expected.len() && (2..=20).contains(&most), "{held} {most}");

        // With no room, a segment at a time.
        let (found, held) = made.all(0);
        assert_eq!((found, held), (expected, 7));
        assert_eq!(made.reads().1, SEGMENTS as usize);
    }

    #[test]
    fn a_file_that_has_none_of_the_ids_is_not_read() {
        let mut made = Made::default();
        made.add(&[(1, 1), (10, 2)]);
        made.add(&[(395, 3)]);
        assert_eq!(made.all(0).0, BTreeMap::from([(1, 1), (10, 2), (395, 3)]));
        assert_eq!(made.reads(), (1, 2));
    }
}
