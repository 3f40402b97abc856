//! Checks the signature of a line.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::payload::find_signatures;
use super::{Key, KeySet, Payload};
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

/// Proof that a signature was verified. Only [`check`] and [`check_with_budget`] make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    key: Arc<Key>,
    coverage: Coverage,
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

/// Checks the signature of a line against a set of keys.
///
/// # Errors
/// When a payload verifies but has another format than the line: its signer meant something else.
pub fn check(layout: &Layout<'_>, keys: &KeySet) -> Result<SignatureCheck, Malformed> {
    check_with_budget(layout, keys, &FailureBudget::unlimited())
}

/// Checks like [`check`], but tries no signature once the budget is spent: the reason is then
/// [`Reason::NotTried`].
///
/// A signature that no key verifies costs as many verifications as were tried. A signature that
/// verifies costs nothing, with any key. So genuine entries never spend the budget.
pub fn check_with_budget(
    layout: &Layout<'_>,
    keys: &KeySet,
    budget: &FailureBudget,
) -> Result<SignatureCheck, Malformed> {
    let signatures = find_signatures(layout);
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
