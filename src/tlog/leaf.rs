//! The record of a leaf: what the log says of one event in the store.
//!
//! A record has a version, a kind, the time by the clock of the store, and what its kind needs. Integers
//! are big-endian, and times are milliseconds since the epoch. docs/proof.md has the layout as a table.
//! The hash of a leaf is that of RFC 6962 section 2.1 over its record.
//!
//! A record never holds a line. What an entry says is committed to by salted hashes, so records can be
//! published: without the salt nobody can try out what a line may have been.

use std::fmt;

use ring::digest;

use crate::entry::{Millis, VerdictName};

/// The version of the layout: the first byte of a record.
pub const VERSION: u8 = 1;

/// The length of the record of an entry, in bytes.
pub const ENTRY_RECORD: usize = 123;

/// The longest record that an entry bundle can have, in bytes (C2SP tlog-tiles, "Log Entries").
pub const MAX_RECORD: usize = u16::MAX as usize;

/// The random bytes of an entry, which are kept beside its leaf and handed out with it.
pub type Salt = [u8; 16];

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// The SHA-256 of a salt followed by a value.
pub fn salted(salt: &Salt, value: &[u8]) -> Sha256 {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(salt);
    context.update(value);
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What a leaf says. Ranges have their first and their last number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// The log begins.
    Start {
        /// The number of sealed segments.
        segments: u64,
        /// The id of the last entry that was stored before; 0 if there is none.
        last_id: u64,
        /// The SHA-256 of the list of these segments, the file `start` of the log.
        sha256: Sha256,
    },
    /// An entry was stored.
    Entry(EntryLeaf),
    /// An entry that was stored before the log began.
    Backfill(EntryLeaf),
    /// An entry changed after it was stored: a key arrived, or a delivery of it verified better.
    Verdict {
        /// The entry.
        id: u64,
        /// The number of the change.
        change: u64,
        /// The verdict after it.
        verdict: VerdictName,
        /// The RFC 7638 thumbprint of the key that verified it, if it is valid.
        key: Option<Sha256>,
        /// The entry that is shown instead of it; 0 if it is shown itself.
        shown: u64,
        /// The salted hash of the name of the input.
        input: Sha256,
    },
    /// Ids that no entry will have, because entries were lost.
    Gap {
        /// The first id.
        first_id: u64,
        /// The last id.
        last_id: u64,
    },
    /// Leaves whose entries are gone.
    Lost {
        /// The first leaf.
        first_leaf: u64,
        /// The last leaf.
        last_leaf: u64,
    },
    /// A segment was deleted.
    Retention {
        /// The id of its first entry.
        first_id: u64,
        /// The id of its last entry.
        last_id: u64,
        /// Why.
        reason: RetentionReason,
        /// The recorded SHA-256 of its file. `None` if it was not sealed.
        sha256: Option<Sha256>,
    },
    /// The log has another key.
    Key {
        /// The new verifier key (C2SP signed-note, "Verifier keys").
        vkey: String,
    },
    /// The store was compared with Konnect's API.
    Reconcile {
        /// The beginning of the range that was compared.
        since: Millis,
        /// The first millisecond after it.
        until: Millis,
        /// The number of entries that the API had in it.
        compared: u64,
        /// The number of those that the store did not have.
        missing: u64,
        /// The number of the missing ones that were then fetched.
        fetched: u64,
        /// The SHA-256 of the name of the region or the portal.
        name: Sha256,
    },
    /// A segment was sealed, or sealed again.
    Seal {
        /// The id of its first entry.
        first_id: u64,
        /// The id of its last entry.
        last_id: u64,
        /// The SHA-256 of its file.
        sha256: Sha256,
    },
}

/// Why a segment was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionReason {
    /// The rules of retention.
    Retention,
    /// `vidimus store prune`.
    Prune,
}

/// What a leaf says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryLeaf {
    /// The id.
    pub id: u64,
    /// When it was received.
    pub received_at: Millis,
    /// The verdict at receipt.
    pub verdict: VerdictName,
    /// The salted hash of the line as received, without its line end.
    pub line: Sha256,
    /// The salted hash of the name of the input.
    pub input: Sha256,
    /// The RFC 7638 thumbprint of the key that verified it, if it is valid.
    pub key: Option<Sha256>,
}

/// Why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// There are too few bytes.
    #[error("a leaf's record ends after {0} bytes")]
    Short(usize),
    /// There are bytes after the end.
    #[error("a leaf's record has {0} bytes after its end")]
    Long(usize),
    /// Another program wrote it.
    #[error("a leaf's record has version {0}, expected {VERSION}")]
    Version(u8),
    /// There is no such kind.
    #[error("a leaf's record has the unknown kind {0}")]
    Kind(u8),
    /// A value is not one that is written.
    #[error("a leaf's record has a bad {0}")]
    Value(&'static str),
}

const START: u8 = 1;
const ENTRY: u8 = 2;
const BACKFILL: u8 = 3;
const VERDICT: u8 = 4;
const GAP: u8 = 5;
const LOST: u8 = 6;
const RETENTION: u8 = 7;
const KEY: u8 = 8;
const RECONCILE: u8 = 9;
const SEAL: u8 = 10;

/// The verdicts, each with its number in a record.
const VERDICTS: [(VerdictName, u8); 5] = [
    (VerdictName::Valid, 1),
    (VerdictName::Invalid, 2),
    (VerdictName::Unsigned, 3),
    (VerdictName::NoKey, 4),
    (VerdictName::Malformed, 5),
];

/// The reasons, each with its number in a record and its word.
const REASONS: [(RetentionReason, u8, &str); 2] =
    [(RetentionReason::Retention, 1, "retention"), (RetentionReason::Prune, 2, "prune")];

impl RetentionReason {
    /// The word for it.
    pub fn word(self) -> &'static str {
        REASONS.iter().find(|(one, ..)| *one == self).map_or("", |(.., word)| word)
    }

    /// The reason with this word.
    pub fn of_word(word: &str) -> Option<RetentionReason> {
        REASONS.iter().find(|(.., one)| *one == word).map(|(reason, ..)| *reason)
    }
}

impl Leaf {
    /// The word for its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Leaf::Start { .. } => "start",
            Leaf::Entry(_) => "entry",
            Leaf::Backfill(_) => "backfill",
            Leaf::Verdict { .. } => "verdict",
            Leaf::Gap { .. } => "gap",
            Leaf::Lost { .. } => "lost",
            Leaf::Retention { .. } => "retention",
            Leaf::Key { .. } => "key",
            Leaf::Reconcile { .. } => "reconcile",
            Leaf::Seal { .. } => "seal",
        }
    }

    /// Adds the record of the leaf to `to`. `stored_at` is the time by the clock of the store.
    pub fn write(&self, stored_at: Millis, to: &mut Vec<u8>) {
        let kind = match self {
            Leaf::Start { .. } => START,
            Leaf::Entry(_) => ENTRY,
            Leaf::Backfill(_) => BACKFILL,
            Leaf::Verdict { .. } => VERDICT,
            Leaf::Gap { .. } => GAP,
            Leaf::Lost { .. } => LOST,
            Leaf::Retention { .. } => RETENTION,
            Leaf::Key { .. } => KEY,
            Leaf::Reconcile { .. } => RECONCILE,
            Leaf::Seal { .. } => SEAL,
        };
        to.extend_from_slice(&[VERSION, kind]);
        put_time(stored_at, to);
        match self {
            Leaf::Start { segments, last_id, sha256 } => {
                put_numbers([*segments, *last_id], to);
                to.extend_from_slice(sha256);
            }
            Leaf::Entry(entry) | Leaf::Backfill(entry) => entry.write(to),
            Leaf::Verdict { id, change, verdict, key, shown, input } => {
                put_numbers([*id, *change], to);
                put_verdict(*verdict, to);
                to.extend_from_slice(&key.unwrap_or_default());
                put_numbers([*shown], to);
                to.extend_from_slice(input);
            }
            Leaf::Gap { first_id: first, last_id: last }
            | Leaf::Lost { first_leaf: first, last_leaf: last } => {
                put_numbers([*first, *last], to);
            }
            Leaf::Retention { first_id, last_id, reason, sha256 } => {
                put_numbers([*first_id, *last_id], to);
                let number = REASONS.iter().find(|(one, ..)| one == reason);
                to.extend(number.map(|(_, number, _)| *number));
                to.extend_from_slice(&sha256.unwrap_or_default());
            }
            Leaf::Key { vkey } => to.extend_from_slice(vkey.as_bytes()),
            Leaf::Reconcile { since, until, compared, missing, fetched, name } => {
                put_time(*since, to);
                put_time(*until, to);
                put_numbers([*compared, *missing, *fetched], to);
                to.extend_from_slice(name);
            }
            Leaf::Seal { first_id, last_id, sha256 } => {
                put_numbers([*first_id, *last_id], to);
                to.extend_from_slice(sha256);
            }
        }
    }

    /// The record of the leaf. `stored_at` is the time by the clock of the store.
    pub fn record(&self, stored_at: Millis) -> Vec<u8> {
        let mut record = Vec::with_capacity(ENTRY_RECORD);
        self.write(stored_at, &mut record);
        record
    }

    /// Reads a record: the leaf, and the time by the clock of the store.
    ///
    /// # Errors
    /// If these bytes are not the record of any leaf. Only one record is read as a leaf at a time.
    pub fn parse(record: &[u8]) -> Result<(Leaf, Millis), BadRecord> {
        let mut from = Bytes { left: record, length: record.len() };
        let version = from.byte()?;
        if version != VERSION {
            return Err(BadRecord::Version(version));
        }
        let kind = from.byte()?;
        let stored_at = from.time("time of storing")?;
        let leaf = match kind {
            START => Leaf::Start {
                segments: from.number()?,
                last_id: from.number()?,
                sha256: from.array()?,
            },
            ENTRY => Leaf::Entry(from.entry()?),
            BACKFILL => Leaf::Backfill(from.entry()?),
            VERDICT => {
                let (id, change) = (from.number()?, from.number()?);
                let verdict = from.verdict()?;
                let (key, shown) = (from.key(verdict)?, from.number()?);
                Leaf::Verdict { id, change, verdict, key, shown, input: from.array()? }
            }
            GAP => {
                let (first_id, last_id) = from.range()?;
                Leaf::Gap { first_id, last_id }
            }
            LOST => {
                let (first_leaf, last_leaf) = from.range()?;
                Leaf::Lost { first_leaf, last_leaf }
            }
            RETENTION => {
                let (first_id, last_id) = from.range()?;
                let reason = from.reason()?;
                Leaf::Retention { first_id, last_id, reason, sha256: from.optional()? }
            }
            KEY => {
                let vkey = std::mem::take(&mut from.left);
                let vkey = std::str::from_utf8(vkey).ok().filter(|vkey| !vkey.is_empty());
                Leaf::Key { vkey: vkey.ok_or(BadRecord::Value("verifier key"))?.to_owned() }
            }
            RECONCILE => {
                let (since, until) = (from.time("time")?, from.time("time")?);
                if since > until {
                    return Err(BadRecord::Value("range"));
                }
                let (compared, missing, fetched) = (from.number()?, from.number()?, from.number()?);
                if missing > compared || fetched > missing {
                    return Err(BadRecord::Value("number of entries"));
                }
                Leaf::Reconcile { since, until, compared, missing, fetched, name: from.array()? }
            }
            SEAL => {
                let (first_id, last_id) = from.range()?;
                Leaf::Seal { first_id, last_id, sha256: from.array()? }
            }
            unknown => return Err(BadRecord::Kind(unknown)),
        };
        match from.left.len() {
            0 => Ok((leaf, stored_at)),
            more => Err(BadRecord::Long(more)),
        }
    }
}

impl EntryLeaf {
    fn write(&self, to: &mut Vec<u8>) {
        put_numbers([self.id], to);
        put_time(self.received_at, to);
        put_verdict(self.verdict, to);
        to.extend_from_slice(&self.line);
        to.extend_from_slice(&self.input);
        to.extend_from_slice(&self.key.unwrap_or_default());
    }
}

fn put_numbers<const N: usize>(numbers: [u64; N], to: &mut Vec<u8>) {
    numbers.iter().for_each(|number| to.extend_from_slice(&number.to_be_bytes()));
}

fn put_time(time: Millis, to: &mut Vec<u8>) {
    to.extend_from_slice(&time.get().to_be_bytes());
}

fn put_verdict(verdict: VerdictName, to: &mut Vec<u8>) {
    to.extend(VERDICTS.iter().find(|(one, _)| *one == verdict).map(|(_, number)| *number));
}

/// The rest of a record.
struct Bytes<'a> {
    left: &'a [u8],
    length: usize,
}

impl Bytes<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadRecord> {
        let (first, rest) = self.left.split_first_chunk().ok_or(BadRecord::Short(self.length))?;
        self.left = rest;
        Ok(*first)
    }

    fn byte(&mut self) -> Result<u8, BadRecord> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, BadRecord> {
        self.array().map(u64::from_be_bytes)
    }

    fn range(&mut self) -> Result<(u64, u64), BadRecord> {
        let (first, last) = (self.number()?, self.number()?);
        if first > last { Err(BadRecord::Value("range")) } else { Ok((first, last)) }
    }

    fn time(&mut self, what: &'static str) -> Result<Millis, BadRecord> {
        let time = self.array().map(i64::from_be_bytes)?;
        Millis::new(time).ok_or(BadRecord::Value(what))
    }

    fn verdict(&mut self) -> Result<VerdictName, BadRecord> {
        let number = self.byte()?;
        let found = VERDICTS.iter().find(|(_, one)| *one == number);
        found.map(|(verdict, _)| *verdict).ok_or(BadRecord::Value("verdict"))
    }

    fn reason(&mut self) -> Result<RetentionReason, BadRecord> {
        let number = self.byte()?;
        let found = REASONS.iter().find(|(_, one, _)| *one == number);
        found.map(|(reason, ..)| *reason).ok_or(BadRecord::Value("reason"))
    }

    /// A hash; `None` if it is all zeros.
    fn optional(&mut self) -> Result<Option<Sha256>, BadRecord> {
        self.array().map(|hash| (hash != [0; 32]).then_some(hash))
    }

    /// The thumbprint of a key, which only a valid entry has.
    fn key(&mut self, verdict: VerdictName) -> Result<Option<Sha256>, BadRecord> {
        let key = self.optional()?;
        match key.is_some() == (verdict == VerdictName::Valid) {
            true => Ok(key),
            false => Err(BadRecord::Value("thumbprint")),
        }
    }

    fn entry(&mut self) -> Result<EntryLeaf, BadRecord> {
        let (id, received_at) = (self.number()?, self.time("time of receipt")?);
        let verdict = self.verdict()?;
        let (line, input) = (self.array()?, self.array()?);
        Ok(EntryLeaf { id, received_at, verdict, line, input, key: self.key(verdict)? })
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Leaf::Start { last_id, .. } => write!(f, " after the entry {last_id}"),
            Leaf::Entry(EntryLeaf { id, .. })
            | Leaf::Backfill(EntryLeaf { id, .. })
            | Leaf::Verdict { id, .. } => write!(f, " {id}"),
            Leaf::Gap { first_id: first, last_id: last }
            | Leaf::Lost { first_leaf: first, last_leaf: last }
            | Leaf::Retention { first_id: first, last_id: last, .. }
            | Leaf::Seal { first_id: first, last_id: last, .. } => {
                write!(f, " {first} to {last}")
            }
            Leaf::Key { vkey } => write!(f, " {vkey}"),
            Leaf::Reconcile { since, until, missing, .. } => {
                write!(f, " {since} to {until}: {missing} missing")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use proptest::prelude::*;

    use super::*;

    const AT: Millis = Millis::MIN;

    fn leaves() -> Vec<Leaf> {
        let entry = |verdict, key| EntryLeaf {
            id: 7,
            received_at: Millis::saturating(5),
            verdict,
            line: [2; 32],
            input: [3; 32],
            key,
        };
        vec![
            Leaf::Start { segments: 2, last_id: 70, sha256: [1; 32] },
            Leaf::Entry(entry(VerdictName::Valid, Some([4; 32]))),
            Leaf::Entry(entry(VerdictName::Malformed, None)),
            Leaf::Backfill(entry(VerdictName::NoKey, None)),
            verdict(VerdictName::Invalid, None),
            verdict(VerdictName::Valid, Some([5; 32])),
            Leaf::Gap { first_id: 1, last_id: 1 },
            Leaf::Lost { first_leaf: 0, last_leaf: u64::MAX },
            retention(9, Some([6; 32])),
            retention(9, None),
            Leaf::Key { vkey: "example.com/log+12345678+AQID".to_owned() },
            reconcile([4, 3, 2]),
            Leaf::Seal { first_id: 1, last_id: 9, sha256: [8; 32] },
        ]
    }

    fn verdict(verdict: VerdictName, key: Option<Sha256>) -> Leaf {
        Leaf::Verdict { id: 1, change: 2, verdict, key, shown: 3, input: [9; 32] }
    }

    fn retention(last_id: u64, sha256: Option<Sha256>) -> Leaf {
        Leaf::Retention { first_id: 2, last_id, reason: RetentionReason::Prune, sha256 }
    }

    fn reconcile([compared, missing, fetched]: [u64; 3]) -> Leaf {
        let (since, until) = (Millis::MIN, Millis::MAX);
        Leaf::Reconcile { since, until, compared, missing, fetched, name: [7; 32] }
    }

    #[test]
    fn every_kind_is_read_as_it_was_written() {
        for leaf in leaves() {
            let stored_at = Millis::saturating(1_760_000_000_123);
            assert_eq!(
                Leaf::parse(&leaf.record(stored_at)),
                Ok((leaf.clone(), stored_at)),
                "{leaf}"
            );
        }
    }

    #[test]
    fn the_layout_of_an_entry() {
        let key = Some([0xcc; 32]);
        let entry = EntryLeaf {
            id: 258,
            received_at: Millis::saturating(1),
            verdict: VerdictName::Valid,
            line: [0xaa; 32],
            input: [0xbb; 32],
            key,
        };
        let record = Leaf::Entry(entry).record(Millis::saturating(2));
        assert_eq!(record.len(), ENTRY_RECORD);
        let expected = format!(
            "01{}{}{}{}{}{}{}{}",
            "02",
            "0000000000000002",
            "0000000000000102",
            "0000000000000001",
            "01",
            "aa".repeat(32),
            "bb".repeat(32),
            "cc".repeat(32)
        );
        assert_eq!(HEXLOWER.encode(&record), expected);
    }

    #[test]
    fn a_salted_hash_is_that_of_the_salt_and_the_value() {
        // printf 0123456789abcdefline | sha256sum
        let expected = "aecc9b1fbe3c4d07e7a41339afe5e1077ee0c7fd388f689051990a905e100dad";
        assert_eq!(HEXLOWER.encode(&salted(b"0123456789abcdef", b"line")), expected);
    }

    #[test]
    fn what_no_leaf_is_written_as_is_refused() {
        let check = |record: &[u8], expected: BadRecord| {
            assert_eq!(Leaf::parse(record), Err(expected), "{}", HEXLOWER.encode(record));
        };
        check(&[], BadRecord::Short(0));
        check(&[2, 2], BadRecord::Version(2));
        for leaf in leaves() {
            let record = leaf.record(AT);
            let with = |at: usize, byte: u8| {
                let mut record = record.clone();
                record[at] = byte;
                record
            };
            check(&with(0, 0), BadRecord::Version(0));
            check(&with(1, 11), BadRecord::Kind(11));
            check(&with(2, 0xff), BadRecord::Value("time of storing"));
            if matches!(leaf, Leaf::Key { .. }) {
                check(&record[..10], BadRecord::Value("verifier key"));
                check(&with(12, 0xff), BadRecord::Value("verifier key"));
                continue;
            }
            for length in 2..record.len() {
                check(&record[..length], BadRecord::Short(length));
            }
            check(&[&record[..], &[0]].concat(), BadRecord::Long(1));
        }
        let bad = |leaf: Leaf, what| check(&leaf.record(AT), BadRecord::Value(what));
        bad(Leaf::Gap { first_id: 2, last_id: 1 }, "range");
        bad(Leaf::Lost { first_leaf: 2, last_leaf: 1 }, "range");
        bad(retention(1, None), "range");
        bad(Leaf::Seal { first_id: 2, last_id: 1, sha256: [0; 32] }, "range");
        bad(reconcile([2, 3, 0]), "number of entries");
        bad(reconcile([3, 1, 2]), "number of entries");
        let mut record = reconcile([0, 0, 0]).record(AT);
        record[18..26].fill(0);
        record[10..18].copy_from_slice(&Millis::MAX.get().to_be_bytes());
        check(&record, BadRecord::Value("range"));
        let mut record = retention(9, None).record(AT);
        record[26] = 3;
        check(&record, BadRecord::Value("reason"));
        bad(verdict(VerdictName::Valid, None), "thumbprint");
        bad(verdict(VerdictName::NoKey, Some([1; 32])), "thumbprint");
        let mut record = verdict(VerdictName::NoKey, None).record(AT);
        for number in [0, 6] {
            record[26] = number;
            check(&record, BadRecord::Value("verdict"));
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_as_it_was(
            kind in 0..12_u8,
            rest in proptest::collection::vec(any::<u8>(), 0..130),
            zeros in 0..130_usize,
        ) {
            // Zeros at the end make lengths, thumbprints and times that are accepted likely.
            let mut record = vec![VERSION, kind, 0, 0, 0, 0, 0];
            record.extend(rest);
            record.resize(record.len() + zeros, 0);
            if let Ok((leaf, stored_at)) = Leaf::parse(&record) {
                prop_assert_eq!(leaf.record(stored_at), record);
            }
        }
    }
}
