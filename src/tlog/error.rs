//! What can be wrong with what a log, a witness or an operator wrote.

use super::tree::ProofError;

/// Something is not in its format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The beginning of what was found, and what the specification says.
    #[error("found {0:?}, expected {1}")]
    Found(String, &'static str),
    /// A number above a limit: how many were found, of what, and the limit.
    #[error("found {0} {1}, expected at most {2}")]
    TooMany(usize, &'static str, usize),
    /// Bytes that are not text.
    #[error("found bytes that are not UTF-8, expected text")]
    NotText,
    /// A key id in hexadecimal, and the id that belongs to the key.
    #[error("found the key id {0:?}, expected {1:08x}")]
    KeyId(String, u32),
    /// The type of a key that this program does not know.
    #[error("found the signature type {0:#04x}, expected 0x01 or 0x04, both Ed25519")]
    KeyType(u8),
    /// Why a private key is refused.
    #[error("found a private key that is refused ({0}), expected Ed25519 in PKCS#8")]
    PrivateKey(String),
    /// The number of whole entries in a bundle, and its width.
    #[error("found a bundle with {0} whole entries, expected {1} and nothing more")]
    Bundle(usize, u16),
}

impl FormatError {
    /// The error that `expected` was expected instead of `found`.
    pub(super) fn found(found: &str, expected: &'static str) -> FormatError {
        FormatError::Found(found.chars().take(80).collect(), expected)
    }
}

/// Checks that there are not too many of something.
pub(super) fn at_most(most: usize, found: usize, of: &'static str) -> Result<(), FormatError> {
    if found > most { Err(FormatError::TooMany(found, of, most)) } else { Ok(()) }
}

/// Something has its format and is not to be trusted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The key whose signature does not verify, so the note was changed or is a forgery.
    #[error("the signature of the key {0} does not verify")]
    Signature(String),
    /// The keys that signed the note, none of them known.
    #[error("found signatures of the keys {0:?}, expected one of a known key")]
    NoKnownKey(Vec<String>),
    /// The origin of a checkpoint, and the names of known logs.
    #[error("found a checkpoint of the log {0:?}, expected {1:?}")]
    Origin(String, Vec<String>),
    /// The witnesses that cosigned a checkpoint, and the quorum, by their names in the policy.
    #[error("found cosignatures of the witnesses {0:?}, expected the quorum {1:?}")]
    Quorum(Vec<String>, String),
    /// The text of the note is no checkpoint.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The proof is not one for this tree.
    #[error(transparent)]
    Proof(#[from] ProofError),
}
