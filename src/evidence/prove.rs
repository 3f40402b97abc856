//! Takes entries from the store, with the proofs that they are in the log, and gives them to a
//! sink.
//!
//! The newest checkpoint is verified first, with the key of the log and against the tree. Then every
//! proof is verified before it is given out.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::io;

use super::name::{Name, Part};
use super::nodes::Nodes;
use super::readme::{self, Facts};
use super::signed::SignedLog;
use super::stream::{Pieces, Salted};
use super::write::Sink;
use super::{MAX_ENTRIES, keys};
use crate::entry::{Millis, Record};
use crate::log::LogError;
use crate::search::Filter;
use crate::store::{EntryInLog, Reader, StoreError, Tiles, TimeRange};
use crate::tlog::VerifyError;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::leaf::{BadRecord, EntryLeaf, Leaf, Salt, Sha256, salted};
use crate::tlog::note::Note;
use crate::tlog::proof::Proof;
use crate::tlog::tree::{self, ProofError, ProveError};

/// The number of ids that a message names.
const MOST_NAMED: usize = 20;

/// The number of entries or deliveries that are read at once.
const AT_ONCE: usize = 256;

/// Entries cannot be proved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    /// There are no such entries.
    #[error("there is no {0}: it was never stored, or its segment was removed")]
    NoEntry(Ids),
    /// They were stored before the log began, and have no leaf yet.
    #[error(
        "{0} cannot be proved yet: the log began later, and `vidimus serve` gives them their leaves in the \
         background. Run the command again then, or leave them out"
    )]
    NoLeaf(Ids),
    /// They are too new.
    #[error(
        "{ids} cannot be proved yet: the newest checkpoint covers the first {size} leaves only. \
         `vidimus serve` signs the next one within seconds (`checkpoint_interval` in [log]): run the \
         command again then"
    )]
    NotSigned {
        /// The entries.
        ids: Ids,
        /// The size in the checkpoint.
        size: u64,
    },
    /// There are too many.
    #[error("more than {MAX_ENTRIES} entries: a bundle has no more, so make several")]
    TooMany,
    /// There are too long lines for the sink.
    #[error(
        "the line of entry {0} is too long to be put into a bundle here: `vidimus prove` does it"
    )]
    TooLong(u64),
    /// The log has signed nothing yet.
    #[error("the log has no checkpoint yet: `vidimus serve` signs one soon after it starts")]
    NoCheckpoint,
    /// The checkpoint cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log did not sign its checkpoint.
    #[error("the newest checkpoint is not one of this log: {0}")]
    Checkpoint(#[from] VerifyError),
    /// The log signed another tree.
    #[error(
        "the tree of the log is not the one that its newest checkpoint signs; `vidimus log check` checks \
         the whole store"
    )]
    OtherTree,
    /// The record of a leaf cannot be read.
    #[error(
        "the record of entry {0} cannot be read: {1}; `vidimus log check` checks the whole store"
    )]
    Record(u64, BadRecord),
    /// The record is of something else.
    #[error(
        "leaf {leaf} of the log is not of entry {id} as it is stored; `vidimus log check` checks the \
         whole store"
    )]
    Differs {
        /// The entry.
        id: u64,
        /// Its leaf.
        leaf: u64,
    },
    /// The tiles are not those that were signed.
    #[error(
        "the leaf of entry {0} is not in the newest checkpoint: {1}; `vidimus log check` checks the whole \
         store"
    )]
    NotInLog(u64, ProofError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bundle cannot be written.
    #[error("cannot write the bundle: {0}")]
    Write(#[from] io::Error),
}

/// The ids of entries, for a message.
#[derive(Debug)]
pub(crate) struct Ids(Vec<u64>);

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<_> = self.0.iter().take(MOST_NAMED).map(u64::to_string).collect();
        let what = if self.0.len() == 1 { "entry" } else { "entries" };
        write!(f, "{what} {}", named.join(", "))?;
        match self.0.len().saturating_sub(MOST_NAMED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Entries that are proved, and how far their bundle is written.
pub(crate) struct Evidence {
    tiles: Nodes<Tiles>,
    note: Note,
    checkpoint: Checkpoint,
    /// The entries that are not found yet, in order of id.
    ids: VecDeque<u64>,
    /// The others, in order of id.
    places: Vec<Place>,
    unproved: Unproved,
    at: Millis,
    stage: Stage,
    /// The number of entries that are written.
    written: usize,
    /// The deliveries that they came in.
    deliveries: BTreeSet<u64>,
    /// The thumbprints of the keys that verified them.
    used: BTreeSet<Sha256>,
}

/// What is written next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing: the leaves are looked up.
    Find,
    /// The text and the checkpoint.
    Start,
    Entries,
    /// The keys and the deliveries.
    End,
    Done,
}

/// Where an entry is in the log.
#[derive(Clone, Copy)]
struct Place {
    id: u64,
    leaf: u64,
    salt: Salt,
}

/// The entries that cannot be proved.
#[derive(Default)]
struct Unproved {
    missing: Vec<u64>,
    older: Vec<u64>,
    newer: Vec<u64>,
    long: Option<u64>,
}

impl Evidence {
    /// Begins the bundle of entries, of which there is at least one.
    ///
    /// # Errors
    /// When there are too many, or the log has no checkpoint that it signed over its tree.
    pub(crate) fn new(
        reader: &Reader,
        log: &SignedLog,
        ids: BTreeSet<u64>,
        at: Millis,
    ) -> Result<Evidence, EvidenceError> {
        if ids.len() > MAX_ENTRIES {
            return Err(EvidenceError::TooMany);
        }
        let newest = log.newest()?.ok_or(EvidenceError::NoCheckpoint)?;
        let note = Note::parse(&newest).map_err(VerifyError::from)?;
        let checkpoint = Checkpoint::verify(&note, [log.key()])?;
        let tiles = reader.tiles()?;
        let size = checkpoint.size();
        if size > tiles.size() || tree::root(&tiles, size)? != *checkpoint.root() {
            return Err(EvidenceError::OtherTree);
        }
        Ok(Evidence {
            tiles: Nodes::new(tiles),
            note,
            checkpoint,
            ids: ids.into_iter().collect(),
            places: Vec::new(),
            unproved: Unproved::default(),
            at,
            stage: Stage::Find,
            written: 0,
            deliveries: BTreeSet::new(),
            used: BTreeSet::new(),
        })
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The number of leaves that the checkpoint covers.
    pub(crate) fn log_size(&self) -> u64 {
        self.checkpoint.size()
    }

    /// Writes the whole bundle.
    ///
    /// # Errors
    /// When an entry cannot be proved; before anything is written if that is known then.
    pub(crate) fn write(
        &mut self,
        reader: &Reader,
        sink: &mut dyn Sink,
    ) -> Result<(), EvidenceError> {
        while self.write_some(reader, sink)? {}
        Ok(())
    }

    /// Reads some more of the store, and writes the next files of the bundle, if there are any yet.
    /// Returns `false` when all are written.
    pub(crate) fn write_some(
        &mut self,
        reader: &Reader,
        sink: &mut dyn Sink,
    ) -> Result<bool, EvidenceError> {
        match self.stage {
            Stage::Find => {
                self.find(reader, sink.takes_long_lines())?;
                if self.ids.is_empty() {
                    self.unproved.check(self.checkpoint.size())?;
                    self.stage = Stage::Start;
                }
            }
            Stage::Start => {
                sink.add(Name::Readme, &mut self.readme().as_bytes())?;
                sink.add(Name::Checkpoint, &mut self.note.to_string().as_bytes())?;
                self.stage = Stage::Entries;
            }
            Stage::Entries => {
                self.add_entries(reader, sink)?;
                if self.written == self.places.len() {
                    self.stage = Stage::End;
                }
            }
            Stage::End => {
                let (sightings, _) = reader.keys()?;
                let keys = keys::write(&sightings, &self.used).map_err(io::Error::from)?;
                sink.add(Name::Keys, &mut keys.as_slice())?;
                self.add_deliveries(reader, sink)?;
                self.stage = Stage::Done;
            }
            Stage::Done => {}
        }
        Ok(self.stage != Stage::Done)
    }

    fn readme(&self) -> String {
        let first = self.places.first().map_or(0, |place| place.id);
        let (at, entries, checkpoint) = (self.at, self.places.len(), &self.checkpoint);
        readme::write(&Facts { at, entries, first, checkpoint })
    }

    /// Looks up the leaves of the next entries.
    fn find(&mut self, reader: &Reader, takes_long: bool) -> Result<(), EvidenceError> {
        let entries = reader.entries_in_log(self.ids.make_contiguous())?;
        if entries.is_empty() {
            self.unproved.missing.extend(self.ids.pop_front());
        }
        self.ids.drain(..entries.len());
        for EntryInLog { id, leaf, is_long } in entries {
            match leaf {
                None => self.unproved.older.push(id),
                Some((leaf, _)) if leaf >= self.checkpoint.size() => self.unproved.newer.push(id),
                Some(_) if is_long && !takes_long => self.unproved.long = Some(id),
                Some((leaf, salt)) => self.places.push(Place { id, leaf, salt }),
            }
        }
        Ok(())
    }

    /// Adds the next entries.
    fn add_entries(&mut self, reader: &Reader, sink: &mut dyn Sink) -> Result<(), EvidenceError> {
        let left: Vec<Place> =
            self.places.iter().skip(self.written).take(AT_ONCE).copied().collect();
        let ids: Vec<u64> = left.iter().map(|place| place.id).collect();
        let received = reader.received(&ids)?;
        if received.is_empty() {
            let first = left.first().map(|place| place.id);
            return Err(EvidenceError::NoEntry(Ids(first.into_iter().collect())));
        }
        for (place, entry) in left.iter().zip(&received) {
            let leaf = self.prove(*place, sink)?;
            add_line(reader, *place, &leaf, entry.line.as_deref(), sink)?;
            self.deliveries.insert(entry.delivery);
            self.used.extend(leaf.key);
            self.written += 1;
        }
        Ok(())
    }

    /// Adds the leaf of an entry, its proof and its salt.
    fn prove(&self, place: Place, sink: &mut dyn Sink) -> Result<EntryLeaf, EvidenceError> {
        let Place { id, leaf, salt, .. } = place;
        let (size, root) = (self.checkpoint.size(), self.checkpoint.root());
        let record = self.tiles.reader().record(leaf)?;
        let found = match Leaf::parse(&record) {
            Ok((Leaf::Entry(found) | Leaf::Backfill(found), _)) if found.id == id => found,
            Ok(_) => return Err(EvidenceError::Differs { id, leaf }),
            Err(why) => return Err(EvidenceError::Record(id, why)),
        };
        let hashes =
            tree::prove_inclusion(&self.tiles, leaf, size).map_err(|error| match error {
                ProveError::NotThere(why) => EvidenceError::NotInLog(id, why),
                ProveError::Read(error) => EvidenceError::Store(error),
            })?;
        tree::verify_inclusion(&hashes, leaf, &tree::leaf_hash(&record), size, root)
            .map_err(|why| EvidenceError::NotInLog(id, why))?;
        let checkpoint = self.note.clone();
        let proof = Proof { extra: Vec::new(), index: leaf, hashes, checkpoint }.to_string();
        sink.add(Name::Entry(id, Part::Leaf), &mut record.as_slice())?;
        sink.add(Name::Entry(id, Part::Proof), &mut proof.as_bytes())?;
        sink.add(Name::Entry(id, Part::Salt), &mut salt.as_slice())?;
        Ok(found)
    }

    /// Adds the deliveries, one JSON object a line.
    fn add_deliveries(&self, reader: &Reader, sink: &mut dyn Sink) -> io::Result<()> {
        let ids: Vec<u64> = self.deliveries.iter().copied().collect();
        let mut chunks = ids.chunks(AT_ONCE);
        let next = |_| -> Result<Option<Vec<u8>>, StoreError> {
            let Some(ids) = chunks.next() else { return Ok(None) };
            let mut lines = Vec::new();
            for delivery in reader.deliveries_with_ids(ids)? {
                // This cannot fail: the writer is memory, and all keys are strings.
                let _ = serde_json::to_writer(&mut lines, &delivery);
                lines.push(b'\n');
            }
            Ok(Some(lines))
        };
        sink.add(Name::Deliveries, &mut Pieces::new(next))
    }
}

/// The ids of the entries that match.
///
/// # Errors
/// [`EvidenceError::TooMany`] if there are more than a bundle can have.
pub(crate) fn matching(
    reader: &Reader,
    filter: &Filter,
    range: TimeRange,
) -> Result<BTreeSet<u64>, EvidenceError> {
    let (mut export, mut ids) = (reader.export(filter, range)?, BTreeSet::new());
    loop {
        let records = export.next_slice()?;
        if records.is_empty() {
            return Ok(ids);
        }
        ids.extend(records.iter().filter_map(Record::id));
        if ids.len() > MAX_ENTRIES {
            return Err(EvidenceError::TooMany);
        }
    }
}

impl Unproved {
    /// Checks that there are none, in a log that is signed up to a number of leaves.
    fn check(&mut self, size: u64) -> Result<(), EvidenceError> {
        let taken = |ids: &mut Vec<u64>| Ids(std::mem::take(ids));
        match (self.missing.is_empty(), self.older.is_empty(), self.newer.is_empty(), self.long) {
            (true, true, true, None) => Ok(()),
            (false, ..) => Err(EvidenceError::NoEntry(taken(&mut self.missing))),
            (_, false, ..) => Err(EvidenceError::NoLeaf(taken(&mut self.older))),
            (_, _, false, _) => Err(EvidenceError::NotSigned { ids: taken(&mut self.newer), size }),
            (.., Some(id)) => Err(EvidenceError::TooLong(id)),
        }
    }
}

/// Adds the line of an entry, if it is the one that the leaf commits to.
fn add_line(
    reader: &Reader,
    place: Place,
    leaf: &EntryLeaf,
    line: Option<&[u8]>,
    sink: &mut dyn Sink,
) -> Result<(), EvidenceError> {
    let name = Name::Entry(place.id, Part::Line);
    let hash = match line {
        Some(line) => {
            sink.add(name, &mut &*line)?;
            salted(&place.salt, line)
        }
        None => {
            let next = |number| reader.line_piece(place.id, number);
            let mut line = Salted::new(&place.salt, Pieces::new(next));
            sink.add(name, &mut line)?;
            line.finish()
        }
    };
    match hash == leaf.line {
        true => Ok(()),
        false => Err(EvidenceError::Differs { id: place.id, leaf: place.leaf }),
    }
}
