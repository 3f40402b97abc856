//! Checks the signature of a line.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ed25519::{Claim, Signature};
use super::payload::{Candidate, Signatures, find_signatures};
use super::{Key, KeySet, Payload, Pieces, Seed};
use crate::entry::layout::{Layout, Malformed, Parts};
use crate::entry::words::words;
use crate::entry::{Format, VerdictName};

/// The result of checking a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A key of the set verifies the signature.
    Valid(Proof),
    /// No key of the set verifies the signature, or the signature is not well formed.
    Invalid(Reason),
    /// There is no signature.
    Unsigned,
    /// The signature is well formed, but there is no key to check it with.
    NoKey,
    /// The line is not an entry.
    Malformed(Malformed),
}

/// Proof that a signature was verified. Only [`check`] and [`check_all`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Arc<Key>,
    coverage: Coverage,
    is_retired: bool,
}

impl Proof {
    /// The key that verified the signature.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// What the signature covers.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// Whether the key left its key set long ago.
    pub fn is_retired(&self) -> bool {
        self.is_retired
    }
}

words! {
    /// Why an entry is invalid.
    pub enum Reason {
        /// The signature is well formed, but no key of the set verifies it.
        NoMatchingKey = "no_matching_key",
        /// The signature is well formed, but not tried yet: too many others of the delivery failed.
        NotTried = "not_tried",
        /// The signature is not base64url.
        SignatureNotBase64Url = "signature_not_base64url",
        /// The signature is not 64 bytes long.
        SignatureLength = "signature_length",
        /// A JSON entry has more than one signature.
        SignatureAmbiguous = "signature_ambiguous",
        /// The signature of a JSON entry is not a string.
        SignatureNotAString = "signature_not_a_string",
        /// The key `sig` of a JSON entry is written with escapes.
        SignatureKeyEscaped = "signature_key_escaped",
    }
}

words! {
    /// The part of a line that a valid signature covers, without the signature itself.
    pub enum Coverage {
        /// The line, which is the entry.
        Entry = "entry",
        /// The object under `event` of a CPS line.
        Object = "object",
        /// The whole of a CPS line.
        Line = "line",
    }
}

/// The reason for the verdict [`VerdictName::NoKey`].
pub const NO_KEYS: &str = "no_keys";

impl Verdict {
    /// The name of the verdict.
    pub fn name(&self) -> VerdictName {
        match self {
            Verdict::Valid(_) => VerdictName::Valid,
            Verdict::Invalid(_) => VerdictName::Invalid,
            Verdict::Unsigned => VerdictName::Unsigned,
            Verdict::NoKey => VerdictName::NoKey,
            Verdict::Malformed(_) => VerdictName::Malformed,
        }
    }

    /// The reason for the verdict, as a word.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Verdict::Valid(_) | Verdict::Unsigned => None,
            Verdict::Invalid(reason) => Some(reason.as_str()),
            Verdict::NoKey => Some(NO_KEYS),
            Verdict::Malformed(why) => Some(why.as_str()),
        }
    }

    /// The proof, if the entry is valid.
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Verdict::Valid(proof) => Some(proof),
            _ => None,
        }
    }

    /// Whether a key that arrives later may make the entry valid.
    pub fn awaits_key(&self) -> bool {
        matches!(self, Verdict::NoKey | Verdict::Invalid(Reason::NoMatchingKey | Reason::NotTried))
    }

    /// Whether the signature was not tried because too many others failed.
    pub fn is_not_tried(&self) -> bool {
        matches!(self, Verdict::Invalid(Reason::NotTried))
    }
}

/// The maximum number of failed verifications for a delivery: about two seconds of one core. A body
/// of a few MiB has room for millions of forged signatures. Genuine entries under a key that has
/// not arrived yet need some thousands.
pub const MAX_FAILED_VERIFICATIONS: u64 = 20_000;

/// How many verifications may still fail. All threads that check a delivery share it.
#[derive(Debug)]
pub struct FailureBudget(AtomicU64);

impl FailureBudget {
    /// A budget of `failed` failed verifications.
    pub fn new(failed: u64) -> FailureBudget {
        FailureBudget(AtomicU64::new(failed))
    }

    /// A budget that is never spent.
    pub fn unlimited() -> FailureBudget {
        FailureBudget::new(u64::MAX)
    }

    /// Whether no verification may fail any more.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes `failed` verifications from the budget.
    fn spend(&self, failed: usize) {
        let take = |left: u64| Some(left.saturating_sub(failed as u64));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }
}

/// The check of a line.
#[derive(Clone, Debug)]
pub struct SignatureCheck {
    /// The verdict.
    pub verdict: Verdict,
    /// The payload to read fields from.
    pub payload: Payload,
    /// The signature over the payload. `None` if it is missing or not well formed.
    pub signature: Option<[u8; 64]>,
    /// Whether a JSON object has more than one `sig`.
    pub repeated_sig: bool,
}

/// Whether the signature over a payload that `key` verifies is odd: ring says otherwise. Then it
/// holds only with the cofactor or with an R that is not canonical, and the owner of the key has
/// made it so on purpose.
pub fn is_odd(layout: &Layout<'_>, payload: &Payload, key: &Key) -> bool {
    let signatures = find_signatures(layout);
    let over = |one: &&Candidate| one.payloads.iter().any(|(other, _)| other == payload);
    let text = payload.text(layout.line);
    let candidate = signatures.candidates.iter().find(over);
    candidate.is_some_and(|one| !key.verifies_in_ring(text.as_bytes(), &one.signature))
}

/// Checks the signature of a line against a set of keys.
///
/// # Errors
/// When a payload verifies but has another format than the line: its signer meant something else.
pub fn check(layout: &Layout<'_>, keys: &KeySet) -> Result<SignatureCheck, Malformed> {
    let mut line = Line::new(layout);
    try_all([&mut line], keys, &FailureBudget::unlimited(), &Seed::UNUSED);
    line.check(keys)
}

/// Checks lines like [`check`], with the same results, but verifies their signatures in batches.
/// Some hundred lines are best.
///
/// Once the budget is spent, no signature is tried: the reason is then [`Reason::NotTried`]. A
/// signature that no key verifies costs as many verifications as were tried. A signature that
/// verifies costs nothing, with any key. So genuine entries never spend the budget.
pub fn check_all(
    layouts: &[Result<Layout<'_>, Malformed>],
    keys: &KeySet,
    budget: &FailureBudget,
    seed: &Seed,
) -> Vec<Result<SignatureCheck, Malformed>> {
    let mut lines: Vec<_> =
        layouts.iter().map(|layout| layout.as_ref().map(Line::new).map_err(|why| *why)).collect();
    try_all(lines.iter_mut().flatten(), keys, budget, seed);
    lines.into_iter().map(|line| line?.check(keys)).collect()
}

/// A line whose signatures are tried.
struct Line<'a> {
    layout: &'a Layout<'a>,
    signatures: Signatures,
    found: Option<Found>,
    /// Whether the budget was spent before all signatures were tried.
    not_tried: bool,
}

/// A signature that a key verifies.
struct Found {
    proof: Proof,
    payload: Payload,
    signature: [u8; 64],
}

impl<'a> Line<'a> {
    fn new(layout: &'a Layout<'a>) -> Line<'a> {
        let signatures = find_signatures(layout);
        Line { layout, signatures, found: None, not_tried: false }
    }

    /// The claim of the likeliest payload.
    fn likeliest(&self, signature: &Signature, key: &Key) -> Option<Claim> {
        let (payload, _) = self.signatures.candidates.first()?.payloads.first()?;
        Some(self.claim(payload, signature, key))
    }

    fn claim(&self, payload: &Payload, signature: &Signature, key: &Key) -> Claim {
        let Pieces { head, tail, .. } = payload.pieces(self.layout.line);
        signature.claim(key.point(), &[head.as_bytes(), tail.as_bytes()])
    }

    fn note(&mut self, candidate: usize, payload: usize, key: &Arc<Key>, keys: &KeySet) {
        let candidate = self.signatures.candidates.get(candidate);
        self.found = candidate.and_then(|candidate| {
            let (payload, coverage) = *candidate.payloads.get(payload)?;
            let is_retired = keys.is_retired(key);
            let proof = Proof { key: Arc::clone(key), coverage, is_retired };
            Some(Found { proof, payload, signature: candidate.signature })
        });
    }

    /// Tries the payloads alone, each under all keys. The likeliest payload was tried under the key
    /// `tried`. Returns the key that verifies one.
    fn try_alone(
        &mut self,
        first: Option<Signature>,
        tried: Option<usize>,
        keys: &KeySet,
        budget: &FailureBudget,
    ) -> Option<usize> {
        for (at, candidate) in self.signatures.candidates.iter().enumerate() {
            let was_tried =
                |payload: usize, key: usize| (at, payload) == (0, 0) && tried == Some(key);
            let all = candidate.payloads.len() * keys.keys().len();
            if all > usize::from(at == 0 && tried.is_some()) && budget.is_spent() {
                self.not_tried = true;
                return None;
            }
            let signature = if at == 0 { first } else { Signature::decode(&candidate.signature) };
            for (number, (payload, _)) in candidate.payloads.iter().enumerate() {
                let verifies = |key_at: usize, key: &Key| {
                    let signature = signature.filter(|_| !was_tried(number, key_at));
                    signature
                        .is_some_and(|one| key.point().verifies(&self.claim(payload, &one, key)))
                };
                if let Some(key) = keys.find(verifies) {
                    self.note(at, number, keys.keys().get(key)?, keys);
                    return Some(key);
                }
            }
            budget.spend(all);
        }
        None
    }

    /// The result, after the signatures were tried.
    fn check(self, keys: &KeySet) -> Result<SignatureCheck, Malformed> {
        let Line { layout, signatures, found, not_tried } = self;
        let repeated_sig = matches!(&layout.parts, Parts::Object { sigs, .. } if sigs.len() > 1);
        if let Some(Found { proof, payload, signature }) = found {
            is_of_format(&payload.text(layout.line), payload.format)?;
            let verdict = Verdict::Valid(proof);
            return Ok(SignatureCheck {
                verdict,
                payload,
                signature: Some(signature),
                repeated_sig,
            });
        }
        let verdict = match signatures.problem {
            _ if !signatures.candidates.is_empty() && keys.is_empty() => Verdict::NoKey,
            _ if not_tried => Verdict::Invalid(Reason::NotTried),
            _ if !signatures.candidates.is_empty() => Verdict::Invalid(Reason::NoMatchingKey),
            Some(reason) => Verdict::Invalid(reason),
            None => Verdict::Unsigned,
        };
        let over = |(payload, _): &(Payload, Coverage)| *payload == signatures.unverified;
        let tried = signatures.candidates.iter().find(|one| one.payloads.iter().any(over));
        let signature = tried.map(|one| one.signature);
        Ok(SignatureCheck { verdict, payload: signatures.unverified, signature, repeated_sig })
    }
}

/// Tries the signatures of lines. The likeliest payload of each is tried in a batch under the likeliest
/// key, and what is left of it is tried alone. With several keys, the first line that is left shows the
/// likeliest key of the others.
fn try_all<'a, 'b: 'a>(
    lines: impl IntoIterator<Item = &'a mut Line<'b>>,
    keys: &KeySet,
    budget: &FailureBudget,
    seed: &Seed,
) {
    let mut open: VecDeque<Open<'a, 'b>> = lines.into_iter().filter_map(Open::new).collect();
    let mut alone = false;
    while !open.is_empty() {
        if budget.is_spent() {
            return open.into_iter().for_each(|one| one.line.not_tried = true);
        }
        let size = keys.batch_size().min(open.len());
        match keys.likeliest() {
            Some(key) if size > 0 && !alone => {
                let failed = try_key(open.drain(..size).collect(), keys, key, seed);
                keys.note_batch(size - failed.len(), failed.len());
                if keys.keys().len() == 1 {
                    for one in failed {
                        one.try_alone(keys, budget);
                    }
                    continue;
                }
                alone = !failed.is_empty();
                failed.into_iter().rev().for_each(|one| open.push_front(one));
            }
            _ => {
                let found = open.pop_front().and_then(|one| one.try_alone(keys, budget));
                keys.note_batch(usize::from(found.is_some()), 0);
                alone = false;
            }
        }
    }
}

/// A line whose signatures are tried.
struct Open<'a, 'b> {
    line: &'a mut Line<'b>,
    /// The first of its signatures, if that can be valid.
    first: Option<Signature>,
    /// The key under which the likeliest payload was tried last.
    tried: Option<usize>,
}

impl<'a, 'b> Open<'a, 'b> {
    fn new(line: &'a mut Line<'b>) -> Option<Open<'a, 'b>> {
        let first = Signature::decode(&line.signatures.candidates.first()?.signature);
        Some(Open { line, first, tried: None })
    }

    fn try_alone(self, keys: &KeySet, budget: &FailureBudget) -> Option<usize> {
        self.line.try_alone(self.first, self.tried, keys, budget)
    }
}

/// Tries the likeliest payload of each line with one key, and returns the lines that it does not
/// verify.
fn try_key<'a, 'b>(
    lines: Vec<Open<'a, 'b>>,
    keys: &KeySet,
    at: usize,
    seed: &Seed,
) -> Vec<Open<'a, 'b>> {
    let Some(key) = keys.keys().get(at) else { return lines };
    let claims: Vec<Claim> =
        lines.iter().filter_map(|one| one.line.likeliest(one.first.as_ref()?, key)).collect();
    let mut verdicts = key.point().verify_all(&claims, seed).into_iter();
    let mut left = lines;
    left.retain_mut(|one| {
        let is_valid = one.first.is_some() && verdicts.next() == Some(true);
        if is_valid {
            one.line.note(0, 0, key, keys);
            keys.note_verified(at);
        }
        one.tried = Some(at);
        !is_valid
    });
    left
}

fn is_of_format(payload: &str, format: Format) -> Result<(), Malformed> {
    match Layout::of(payload.as_bytes(), payload.len())?.format() == format {
        true => Ok(()),
        false => Err(Malformed::OtherFormat),
    }
}

/// Whether a line is an entry whose possible payloads all have the expected format. [`check`] never
/// finds such a line malformed, whatever the keys.
pub fn is_of_one_format(line: &[u8]) -> bool {
    Layout::of(line, usize::MAX).is_ok_and(|layout| {
        find_signatures(&layout)
            .candidates
            .iter()
            .flat_map(|one| &one.payloads)
            .all(|(payload, _)| is_of_format(&payload.text(layout.line), payload.format).is_ok())
    })
}
