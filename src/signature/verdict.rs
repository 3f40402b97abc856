//! The check of one line, and its verdict.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::payload::signatures;
use super::{Key, KeySet, Payload};
use crate::entry::layout::{Layout, Malformed, Parts};
use crate::entry::words::words;
use crate::entry::{Format, VerdictName};

/// What the check of a line found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A key of the set verifies it.
    Valid(Proof),
    /// There is a signature, and no known key verifies it, or it is not well formed.
    Invalid(Reason),
    /// There is no signature.
    Unsigned,
    /// A well-formed signature, and no key at hand to check it with.
    NoKey,
    /// The line is no entry.
    Malformed(Malformed),
}

/// That a signature was verified. Only [`check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Arc<Key>,
    coverage: Coverage,
}

impl Proof {
    /// The key that verified it.
    pub fn key(&self) -> &Arc<Key> {
        &self.key
    }

    /// What the signature covers.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }
}

words! {
    /// Why an entry is invalid. It claims no more than was seen.
    pub enum Reason {
        /// The signature is well formed, and no key of the set verifies it.
        NoMatchingKey = "no_matching_key",
        /// The signature is well formed, and so many others failed in its delivery that it was not
        /// tried yet.
        NotTried = "not_tried",
        /// The signature is not base64url.
        SignatureNotBase64Url = "signature_not_base64url",
        /// The signature is not 64 bytes long.
        SignatureLength = "signature_length",
        /// A JSON entry has more than one.
        SignatureAmbiguous = "signature_ambiguous",
        /// A JSON entry's is not a string.
        SignatureNotAString = "signature_not_a_string",
        /// The key of a JSON entry's is spelled with escapes.
        SignatureKeyEscaped = "signature_key_escaped",
    }
}

words! {
    /// What a valid signature covers, less the signature itself.
    pub enum Coverage {
        /// The entry, which is the line.
        Entry = "entry",
        /// The object under `event` of a CPS line.
        Object = "object",
        /// The whole of a CPS line.
        Line = "line",
    }
}

/// Why an entry has the verdict [`VerdictName::NoKey`].
pub const NO_KEYS: &str = "no_keys";

impl Verdict {
    /// Its name.
    pub fn name(&self) -> VerdictName {
        match self {
            Verdict::Valid(_) => VerdictName::Valid,
            Verdict::Invalid(_) => VerdictName::Invalid,
            Verdict::Unsigned => VerdictName::Unsigned,
            Verdict::NoKey => VerdictName::NoKey,
            Verdict::Malformed(_) => VerdictName::Malformed,
        }
    }

    /// What more there is to say, as a word.
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Verdict::Valid(_) | Verdict::Unsigned => None,
            Verdict::Invalid(reason) => Some(reason.as_str()),
            Verdict::NoKey => Some(NO_KEYS),
            Verdict::Malformed(why) => Some(why.as_str()),
        }
    }

    /// The proof of a valid one.
    pub fn proof(&self) -> Option<&Proof> {
        match self {
            Verdict::Valid(proof) => Some(proof),
            _ => None,
        }
    }

    /// Whether a key that is not at hand now may make it valid.
    pub fn awaits_key(&self) -> bool {
        matches!(self, Verdict::NoKey | Verdict::Invalid(Reason::NoMatchingKey | Reason::NotTried))
    }

    /// Whether the signature was not tried, for so many others failed.
    pub fn is_not_tried(&self) -> bool {
        matches!(self, Verdict::Invalid(Reason::NotTried))
    }
}

/// So many verifications may fail for one delivery: some two seconds of one core. A body of a few MiB
/// has room for millions of made-up signatures; whoever sends honest entries under a key that is not
/// at hand yet needs some thousands.
pub const MAX_FAILED_VERIFICATIONS: u64 = 20_000;

/// What is left of it, shared by all threads that check the lines of a delivery.
#[derive(Debug)]
pub struct FailureBudget(AtomicU64);

impl FailureBudget {
    /// A budget of so many verifications that fail.
    pub fn new(failed: u64) -> FailureBudget {
        FailureBudget(AtomicU64::new(failed))
    }

    /// One that is never spent.
    pub fn unlimited() -> FailureBudget {
        FailureBudget::new(u64::MAX)
    }

    /// Whether nothing is left.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    /// Takes out what failed.
    fn spend(&self, failed: usize) {
        let take = |left: u64| Some(left.saturating_sub(failed as u64));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
    }
}

/// A line that was checked.
#[derive(Clone, Debug)]
pub struct SignatureCheck {
    /// What was found.
    pub verdict: Verdict,
    /// What its fields are to be read from.
    pub payload: Payload,
    /// The signature over that payload; `None` if it is not well formed or there is none.
    pub signature: Option<[u8; 64]>,
    /// Whether `sig` stands twice in a JSON object.
    pub repeated_sig: bool,
}

/// Checks the signature of a line against a set of keys. A line whose payload verifies and is of
/// another format than the line is no entry: its signer said something else.
pub fn check(layout: &Layout<'_>, keys: &KeySet) -> Result<SignatureCheck, Malformed> {
    check_with_budget(layout, keys, &FailureBudget::unlimited())
}

/// The same, unless the budget is spent: then the signature is [`Reason::NotTried`].
///
/// A signature that no key verifies costs as many verifications as were tried. One that verifies
/// costs nothing, whichever key it is of: what is genuine never meets the budget by itself.
pub fn check_with_budget(
    layout: &Layout<'_>,
    keys: &KeySet,
    budget: &FailureBudget,
) -> Result<SignatureCheck, Malformed> {
    let signatures = signatures(layout);
    let repeated_sig = matches!(&layout.parts, Parts::Object { sigs, .. } if sigs.len() > 1);
    let mut all_tried = true;
    for candidate in &signatures.candidates {
        if budget.is_spent() {
            all_tried = false;
            break;
        }
        for (payload, covers) in &candidate.payloads {
            let text = payload.text(layout.line);
            let Some(key) = keys.verifying(text.as_bytes(), &candidate.signature) else { continue };
            is_of_format(&text, payload.format)?;
            let proof = Proof { key: Arc::clone(key), coverage: *covers };
            return Ok(SignatureCheck {
                verdict: Verdict::Valid(proof),
                payload: *payload,
                signature: Some(candidate.signature),
                repeated_sig,
            });
        }
        budget.spend(candidate.payloads.len() * keys.keys().len());
    }
    let verdict = match signatures.problem {
        _ if !signatures.candidates.is_empty() && keys.is_empty() => Verdict::NoKey,
        _ if !all_tried => Verdict::Invalid(Reason::NotTried),
        _ if !signatures.candidates.is_empty() => Verdict::Invalid(Reason::NoMatchingKey),
        Some(reason) => Verdict::Invalid(reason),
        None => Verdict::Unsigned,
    };
    let over = |(payload, _): &(Payload, Coverage)| *payload == signatures.unverified;
    let tried = signatures.candidates.iter().find(|one| one.payloads.iter().any(over));
    let signature = tried.map(|one| one.signature);
    Ok(SignatureCheck { verdict, payload: signatures.unverified, signature, repeated_sig })
}

fn is_of_format(payload: &str, format: Format) -> Result<(), Malformed> {
    match Layout::of(payload.as_bytes(), payload.len())?.format() == format {
        true => Ok(()),
        false => Err(Malformed::OtherFormat),
    }
}

/// Whether a line is an entry, and all that may be signed of it is of its format. It needs no keys:
/// if it is, then [`check`] finds it malformed under none.
pub fn is_of_one_format(line: &[u8]) -> bool {
    Layout::of(line, usize::MAX).is_ok_and(|layout| {
        signatures(&layout)
            .candidates
            .iter()
            .flat_map(|one| &one.payloads)
            .all(|(payload, _)| is_of_format(&payload.text(layout.line), payload.format).is_ok())
    })
}
