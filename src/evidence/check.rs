//! Checks what a bundle proves.
//!
//! Nothing in a bundle is trusted but what a signature or a hash leads to from the verifier key of
//! the log. The keys of Konnect may be taken from the bundle: then that is said.

use std::io::Read;

use rayon::prelude::*;

use super::name::{Name, Part};
use super::read::{Bundle, ReadError};
use super::stream::Salted;
use crate::entry::layout::MAX_LINE;
use crate::entry::{Millis, VerdictName};
use crate::ingest::CheckedLine;
use crate::signature::{FailureBudget, KeySet, Seed, Verdict};
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::leaf::{BadRecord, Leaf, Salt, Sha256};
use crate::tlog::note::{Note, Signature, VerifierKey};
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
    /// The keys of Konnect.
    pub(crate) keys: &'a KeySet,
}

/// A bundle, with what it must agree with.
pub(crate) struct Check<'a> {
    bundle: &'a Bundle,
    keys: &'a KeySet,
    checkpoint: Option<Checkpoint>,
    note: Option<Note>,
    /// The number of signatures in the checkpoint that are not of the log.
    others: usize,
    witnesses: Vec<String>,
    faults: Vec<BundleFault>,
    seed: Seed,
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
    /// There are files that no bundle has.
    #[error("{} does not belong into a bundle", .0.join(", "))]
    Unexpected(Vec<String>),
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
}

/// What was found of an entry.
#[derive(Debug)]
pub(crate) struct Found {
    /// The id.
    pub(crate) id: u64,
    /// The verdict now. `None` if there is no line.
    pub(crate) verdict: Option<Verdict>,
    /// Its leaf, if the log has it.
    pub(crate) leaf: Option<u64>,
    /// What the leaf says, whether or not it is in the log.
    pub(crate) recorded: Option<Recorded>,
    /// What is wrong.
    pub(crate) faults: Vec<EntryFault>,
}

/// What the leaf of an entry says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorded {
    /// The verdict at receipt.
    pub(crate) verdict: VerdictName,
    /// When it was received.
    pub(crate) received_at: Millis,
    /// When it was stored.
    pub(crate) stored_at: Millis,
    line: Sha256,
    key: Option<Sha256>,
}

impl Found {
    fn is_proved(&self) -> bool {
        let is_valid = matches!(self.verdict, Some(Verdict::Valid(_)));
        is_valid && self.leaf.is_some() && self.faults.is_empty()
    }

    /// Whether a file could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        self.faults.iter().any(|fault| matches!(fault, EntryFault::Unreadable(_)))
    }
}

impl BundleFault {
    /// Whether a file could not be read.
    pub(crate) fn is_unreadable(&self) -> bool {
        matches!(self, BundleFault::Unreadable(_))
    }
}

impl<'a> Check<'a> {
    /// Checks what all entries of a bundle share.
    pub(crate) fn new(bundle: &'a Bundle, trust: &Trust<'a>, seed: Seed) -> Check<'a> {
        let mut check = Check {
            bundle,
            keys: trust.keys,
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
        check
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
                Ok(verified) => {
                    self.witnesses = verified.iter().map(|one| one.key.name().to_owned()).collect();
                }
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

    /// The witnesses of the policy that cosigned the checkpoint, if they are enough.
    pub(crate) fn witnesses(&self) -> &[String] {
        &self.witnesses
    }

    /// Whether witnesses cosigned the checkpoint, as the policy says.
    pub(crate) fn is_witnessed(&self) -> bool {
        !self.witnesses.is_empty()
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
        let checked = CheckedLine::all(texts, self.keys, MAX_LINE, &budget, &self.seed);
        let with_line = batch.iter_mut().zip(lines).filter(|(_, line)| line.is_some());
        for ((found, _), checked) in with_line.zip(checked) {
            let key = checked.verdict().proof().map(|proof| proof.key().thumbprint());
            let recorded = found.recorded.and_then(|recorded| recorded.key);
            if let Some((key, recorded)) = key.zip(recorded)
                && *key.bytes() != recorded
            {
                found.faults.push(EntryFault::OtherKey);
            }
            found.verdict = Some(checked.verdict().clone());
        }
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
        if let Some((text, hash)) = found.noted(read) {
            line = Some(text);
            if salt.is_some() && found.recorded.is_some_and(|recorded| recorded.line != hash) {
                found.faults.push(EntryFault::OtherLine);
            }
        }
        let proof = self.file(id, Part::Proof);
        if let Some((proof, record)) = found.noted(proof).zip(record) {
            let leaf = self.prove(&proof, &record);
            found.leaf = found.noted(leaf).flatten();
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

impl Found {
    /// The value, or else the fault is noted.
    fn noted<T>(&mut self, value: Result<T, EntryFault>) -> Option<T> {
        value.map_err(|fault| self.faults.push(fault)).ok()
    }
}

/// What the record of the leaf of an entry says.
fn recorded(id: u64, record: &[u8]) -> Result<Recorded, EntryFault> {
    let (leaf, stored_at) = Leaf::parse(record)?;
    match leaf {
        Leaf::Entry(entry) | Leaf::Backfill(entry) if entry.id == id => Ok(Recorded {
            verdict: entry.verdict,
            received_at: entry.received_at,
            stored_at,
            line: entry.line,
            key: entry.key,
        }),
        other => Err(EntryFault::OtherLeaf(other.to_string())),
    }
}
