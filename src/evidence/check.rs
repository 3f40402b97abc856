//! Checks what a bundle proves.
//!
//! Nothing in a bundle is trusted but what a signature or a hash leads to from the verifier key of
//! the log. A key of Konnect that is only in the bundle makes an entry valid if its leaf says that
//! this key verified it: then the log vouches for the key.

use std::io::Read;

use rayon::prelude::*;
use serde::Serialize;

use super::name::{Name, Part};
use super::read::{Bundle, ReadError};
use super::stream::Salted;
use crate::entry::layout::MAX_LINE;
use crate::entry::{Millis, VerdictName};
use crate::ingest::CheckedLine;
use crate::signature::{FailureBudget, KeySet, KeySetError, Seed, Verdict};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::leaf::{BadRecord, Leaf, Salt, Sha256};
use crate::tlog::note::{Note, Signature, Verified, VerifierKey};
use crate::tlog::policy::Policy;
use crate::tlog::proof::Proof;
use crate::tlog::tree::{self, ProofError};
use crate::tlog::{FormatError, VerifyError};

/// The number of entries whose signatures are verified in one batch.
const CHUNK: usize = 256;

/// A batch ends when its lines have this many bytes.
const BYTES: usize = 2 << 20;

/// What a checker trusts.
pub(crate) struct Trust<'a> {
    /// The verifier keys of the log.
    pub(crate) logs: &'a [VerifierKey],
    /// Which witnesses must have cosigned. `None`: no cosignature is looked at.
    pub(crate) policy: Option<&'a Policy>,
    /// The keys of Konnect. `None`: those in the bundle for which the log vouches.
    pub(crate) keys: Option<&'a KeySet>,
}

/// A bundle, with what it must agree with.
pub(crate) struct Check<'a> {
    bundle: &'a Bundle,
    keys: Keys<'a>,
    checkpoint: Option<Checkpoint>,
    note: Option<Note>,
    /// The number of signatures in the checkpoint that are not of the log.
    others: usize,
    witnesses: Vec<Witness>,
    faults: Vec<BundleFault>,
    seed: Seed,
}

/// The keys of Konnect, and where they are from.
enum Keys<'a> {
    Given(&'a KeySet),
    OfBundle(KeySet),
}

impl Keys<'_> {
    fn set(&self) -> &KeySet {
        match self {
            Keys::Given(keys) => keys,
            Keys::OfBundle(keys) => keys,
        }
    }
}

/// A witness of the policy that cosigned the checkpoint.
#[derive(Debug, Serialize)]
pub(crate) struct Witness {
    /// The name of its key.
    pub(crate) name: String,
    /// When it did, by its clock, which counts seconds.
    pub(crate) at: Millis,
}

/// What is wrong with a bundle as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BundleFault {
    /// A file is missing.
    #[error("{0} is missing")]
    Missing(Name),
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// There are files that no bundle has: the first ones.
    #[error("{0:?} does not belong into a bundle")]
    Unexpected(Vec<String>),
    /// The key set is none.
    #[error("jwks.json: {0}")]
    Keys(KeySetError),
    /// There is no entry.
    #[error("there is no entry in it")]
    Empty,
    /// The checkpoint is not one of the log.
    #[error("the checkpoint proves nothing: {0}")]
    Checkpoint(VerifyError),
    /// Too few witnesses cosigned the checkpoint.
    #[error("the checkpoint is not witnessed: {0}")]
    NotWitnessed(VerifyError),
}

/// What is wrong with an entry of a bundle.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EntryFault {
    /// A file is missing.
    #[error("{} is missing", .0.as_str())]
    Missing(Part),
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// The salt has another length.
    #[error("the salt has {0} bytes, expected 16")]
    Salt(usize),
    /// The leaf is no record of the log.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The leaf is of something else.
    #[error("the leaf is of {0:?}, not of this entry")]
    OtherLeaf(String),
    /// The leaf is of another line.
    #[error("the leaf is of another line or salt")]
    OtherLine,
    /// The proof is not in its format.
    #[error("the proof is damaged: {0}")]
    Proof(#[from] FormatError),
    /// The proof has another checkpoint.
    #[error("the proof has another checkpoint than the bundle")]
    OtherCheckpoint,
    /// The proof has data that no proof of a bundle has.
    #[error("the proof has an extra line, which nobody signed")]
    Extra,
    /// The proof does not lead to the checkpoint.
    #[error("the leaf is not in the log: {0}")]
    NotInLog(#[from] ProofError),
    /// The log says that another key verified the entry.
    #[error("the leaf says that another key verified it")]
    OtherKey,
    /// Only the bundle says that this key is one of Konnect.
    #[error("the key {0} of the bundle verifies it, and the log does not vouch for that key")]
    NotVouched(String),
}

/// What was found of an entry.
#[derive(Debug)]
pub(crate) struct Found {
    /// The id.
    pub(crate) id: u64,
    /// The verdict now. `None` if there is no line.
    pub(crate) verdict: Option<Verdict>,
    /// Its leaf, if the log has it: one of this entry, with the hash of this line.
    pub(crate) leaf: Option<u64>,
    /// What the leaf says.
    recorded: Option<Recorded>,
    /// What is wrong.
    pub(crate) faults: Vec<EntryFault>,
}

/// What the leaf of an entry says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// The kind of the leaf: `entry`, or `backfill` if the entry is older than the log.
    pub(crate) kind: &'static str,
    /// The verdict at receipt. Of a `backfill` the one when it got the leaf.
    pub(crate) verdict: VerdictName,
    /// When it was received.
    pub(crate) received_at: Millis,
    /// When the leaf was stored, with the entry or later.
    pub(crate) stored_at: Millis,
    line: Sha256,
    key: Option<Sha256>,
}

impl Found {
    fn is_proved(&self) -> bool {
        let is_valid = matches!(self.verdict, Some(Verdict::Valid(_)));
        is_valid && self.leaf.is_some() && self.faults.is_empty()
    }

    /// What the log says of it. `None` if the log does not have it.
    pub(crate) fn logged(&self) -> Option<(u64, &Recorded)> {
        self.leaf.zip(self.recorded.as_ref())
    }

    /// Whether the system could not read a file.
    pub(crate) fn is_unreadable(&self) -> bool {
        let is_unreadable = |fault: &EntryFault| match fault {
            EntryFault::Unreadable(error) => !error.is_damage(),
            _ => false,
        };
        self.faults.iter().any(is_unreadable)
    }
}

impl BundleFault {
    /// Whether the system could not read a file.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, BundleFault::Unreadable(error) if !error.is_damage())
    }
}

impl<'a> Check<'a> {
    /// Checks what all entries of a bundle share.
    pub(crate) fn new(bundle: &'a Bundle, trust: &Trust<'a>, seed: Seed) -> Check<'a> {
        let mut check = Check {
            bundle,
            keys: Keys::OfBundle(KeySet::default()),
            checkpoint: None,
            note: None,
            others: 0,
            witnesses: Vec::new(),
            faults: Vec::new(),
            seed,
        };
        let missing = Name::OUTER.into_iter().filter(|name| !bundle.has(*name));
        check.faults.extend(missing.map(BundleFault::Missing));
        let unexpected = bundle.unexpected();
        if unexpected.count > 0 {
            check.faults.push(BundleFault::Unexpected(unexpected.first.clone()));
        }
        if bundle.ids().is_empty() {
            check.faults.push(BundleFault::Empty);
        }
        check.read_checkpoint(trust);
        // What proves nothing must be there whole all the same.
        let mut unused = vec![Name::Readme, Name::Deliveries];
        match trust.keys {
            Some(keys) => {
                check.keys = Keys::Given(keys);
                unused.push(Name::Keys);
            }
            None => check.read_keys(),
        }
        let skimmed = unused.into_iter().filter_map(|name| bundle.skim(name).err());
        check.faults.extend(skimmed.map(BundleFault::from));
        check
    }

    /// Takes the keys of Konnect from the bundle.
    fn read_keys(&mut self) {
        match self.bundle.read(Name::Keys).map(|json| json.map(|json| KeySet::parse(&json))) {
            Ok(None) => {}
            // A key that cannot be used verifies nothing.
            Ok(Some(Ok((keys, _)))) => self.keys = Keys::OfBundle(keys),
            Ok(Some(Err(error))) => self.faults.push(BundleFault::Keys(error)),
            Err(error) => self.faults.push(error.into()),
        }
    }

    /// Whether there is a key of Konnect, or damage in its place.
    pub(crate) fn has_keys(&self) -> bool {
        let is_damaged = |fault: &BundleFault| match fault {
            BundleFault::Keys(_) => true,
            BundleFault::Unreadable(error) => error.is_damage(),
            _ => false,
        };
        !self.keys.set().is_empty() || self.faults.iter().any(is_damaged)
    }

    fn read_checkpoint(&mut self, trust: &Trust<'_>) {
        let bytes = match self.bundle.read(Name::Checkpoint) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => return self.faults.push(error.into()),
        };
        let note = match Note::parse(&bytes) {
            Ok(note) => note,
            Err(error) => return self.faults.push(BundleFault::Checkpoint(error.into())),
        };
        match Checkpoint::verify(&note, trust.logs) {
            Ok(checkpoint) => self.checkpoint = Some(checkpoint),
            Err(error) => return self.faults.push(BundleFault::Checkpoint(error)),
        }
        if let Some(policy) = trust.policy {
            match policy.verify(&note) {
                Ok(verified) => self.witnesses = verified.iter().map(Witness::new).collect(),
                Err(error) => self.faults.push(BundleFault::NotWitnessed(error)),
            }
        }
        let is_other = |one: &&Signature| !trust.logs.iter().any(|log| one.names(log));
        self.others = note.signatures().iter().filter(is_other).count();
        self.note = Some(note);
    }

    /// What is wrong with the bundle as a whole.
    pub(crate) fn faults(&self) -> &[BundleFault] {
        &self.faults
    }

    /// The checkpoint, if the log signed it.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The witnesses of the policy that cosigned the checkpoint, if they meet its quorum.
    pub(crate) fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Those that cosigned the tree that an entry is in: none if the log does not have it.
    pub(crate) fn witnesses_of(&self, found: &Found) -> &[Witness] {
        if found.leaf.is_some() { &self.witnesses } else { &[] }
    }

    /// Whether an entry is proved: its signature is valid, the log has it, and the policy is met.
    pub(crate) fn proves(&self, found: &Found) -> bool {
        let is_refused = |fault: &BundleFault| matches!(fault, BundleFault::NotWitnessed(_));
        found.is_proved() && !self.faults.iter().any(is_refused)
    }

    /// The number of signatures in the checkpoint that are not of the log.
    pub(crate) fn other_signatures(&self) -> usize {
        self.others
    }

    /// Checks entries on all threads of the rayon pool, and gives what was found in their order.
    pub(crate) fn entries(&self, ids: &[u64]) -> Vec<Found> {
        let chunks = ids.par_chunks(CHUNK).map(|ids| self.chunk(ids));
        chunks.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// Checks entries, in batches of a limited number of bytes.
    fn chunk(&self, ids: &[u64]) -> Vec<Found> {
        let (mut all, mut lines, mut bytes) = (Vec::with_capacity(ids.len()), Vec::new(), 0);
        let mut batch = Vec::new();
        for id in ids {
            let (found, line) = self.entry(*id);
            bytes += line.as_ref().map_or(0, Vec::len);
            batch.push(found);
            lines.push(line);
            if bytes >= BYTES {
                self.verify(&mut batch, &lines);
                all.append(&mut batch);
                (lines, bytes) = (Vec::new(), 0);
            }
        }
        self.verify(&mut batch, &lines);
        all.append(&mut batch);
        all
    }

    /// Verifies the signatures of lines.
    fn verify(&self, batch: &mut [Found], lines: &[Option<Vec<u8>>]) {
        let texts = lines.iter().flatten().map(Vec::as_slice);
        let budget = FailureBudget::unlimited();
        let checked = CheckedLine::all(texts, self.keys.set(), MAX_LINE, &budget, &self.seed);
        let with_line = batch.iter_mut().zip(lines).filter(|(_, line)| line.is_some());
        for ((found, _), checked) in with_line.zip(checked) {
            let verdict = self.judge(found, checked.verdict());
            found.verdict = Some(verdict);
        }
    }

    /// The verdict, with what the log says of the key.
    fn judge(&self, found: &mut Found, verdict: &Verdict) -> Verdict {
        let Some(key) = verdict.proof().map(|proof| proof.key()) else { return verdict.clone() };
        let recorded = found.recorded.filter(|recorded| recorded.verdict == VerdictName::Valid);
        let recorded = recorded.and_then(|recorded| recorded.key);
        let is_same = recorded == Some(*key.thumbprint().bytes());
        let is_of_bundle = matches!(self.keys, Keys::OfBundle(_));
        if is_of_bundle && !(is_same && found.leaf.is_some()) {
            found.faults.push(EntryFault::NotVouched(key.kid().to_owned()));
            return Verdict::NoKey;
        }
        if recorded.is_some() && !is_same {
            found.faults.push(EntryFault::OtherKey);
        }
        verdict.clone()
    }

    /// Checks everything of an entry but its signature. Returns as much of its line as can be
    /// parsed.
    fn entry(&self, id: u64) -> (Found, Option<Vec<u8>>) {
        let mut found = Found { id, verdict: None, leaf: None, recorded: None, faults: Vec::new() };
        let mut line = None;
        let record = found.noted(self.file(id, Part::Leaf));
        if let Some(record) = &record {
            let recorded = recorded(id, record);
            found.recorded = found.noted(recorded);
        }
        let salt = self.file(id, Part::Salt).and_then(|salt| {
            Salt::try_from(salt.as_slice()).map_err(|_| EntryFault::Salt(salt.len()))
        });
        let salt = found.noted(salt);
        // Without a salt, the signature can be verified all the same.
        let read = self.line(id, &salt.unwrap_or_default());
        let mut is_of_line = false;
        if let Some((text, hash)) = found.noted(read) {
            line = Some(text);
            let recorded = salt.and(found.recorded);
            is_of_line = recorded.is_some_and(|recorded| recorded.line == hash);
            if recorded.is_some() && !is_of_line {
                found.faults.push(EntryFault::OtherLine);
            }
        }
        let proof = self.file(id, Part::Proof);
        if let Some((proof, record)) = found.noted(proof).zip(record) {
            let leaf = self.prove(&proof, &record);
            let leaf = found.noted(leaf).flatten();
            // A leaf of something else may be in the log, too.
            found.leaf = leaf.filter(|_| is_of_line);
        }
        (found, line)
    }

    /// The index of a leaf that is in the log. `None` if the bundle has no good checkpoint, which
    /// is reported once.
    fn prove(&self, proof: &[u8], record: &[u8]) -> Result<Option<u64>, EntryFault> {
        let proof = Proof::parse(proof)?;
        let Some((checkpoint, note)) = self.checkpoint.as_ref().zip(self.note.as_ref()) else {
            return Ok(None);
        };
        if proof.checkpoint != *note {
            return Err(EntryFault::OtherCheckpoint);
        }
        if !proof.extra.is_empty() {
            return Err(EntryFault::Extra);
        }
        let (leaf, size, root) = (tree::leaf_hash(record), checkpoint.size(), checkpoint.root());
        tree::verify_inclusion(&proof.hashes, proof.index, &leaf, size, root)?;
        Ok(Some(proof.index))
    }

    fn file(&self, id: u64, part: Part) -> Result<Vec<u8>, EntryFault> {
        self.bundle.read(Name::Entry(id, part))?.ok_or(EntryFault::Missing(part))
    }

    /// The line of an entry, or the beginning of one that is too long to be parsed, and the salted
    /// hash of all of it.
    fn line(&self, id: u64, salt: &Salt) -> Result<(Vec<u8>, Sha256), EntryFault> {
        let name = Name::Entry(id, Part::Line);
        let file = self.bundle.open_file(name)?.ok_or(EntryFault::Missing(Part::Line))?;
        let (mut file, mut line) = (Salted::new(salt, file), Vec::new());
        let read = file.by_ref().take(MAX_LINE as u64 + 1).read_to_end(&mut line);
        let read = read.and_then(|_| std::io::copy(&mut file, &mut std::io::sink()));
        read.map_err(|error| ReadError::File { name, error })?;
        Ok((line, file.finish()))
    }
}

impl Witness {
    fn new(verified: &Verified<'_>) -> Witness {
        let seconds = i64::try_from(verified.timestamp.unwrap_or_default()).unwrap_or(i64::MAX);
        let at = Millis::saturating(seconds.saturating_mul(1000));
        Witness { name: verified.key.name().to_owned(), at }
    }
}

impl Found {
    /// The value, or else the fault is noted.
    fn noted<T>(&mut self, value: Result<T, EntryFault>) -> Option<T> {
        value.map_err(|fault| self.faults.push(fault)).ok()
    }
}

/// What the record of the leaf of an entry says.
fn recorded(id: u64, record: &[u8]) -> Result<Recorded, EntryFault> {
    let (leaf, stored_at) = Leaf::parse(record)?;
    let kind = leaf.kind();
    match leaf {
        Leaf::Entry(entry) | Leaf::Backfill(entry) if entry.id == id => Ok(Recorded {
            kind,
            verdict: entry.verdict,
            received_at: entry.received_at,
            stored_at,
            line: entry.line,
            key: entry.key,
        }),
        other => Err(EntryFault::OtherLeaf(other.to_string())),
    }
}
