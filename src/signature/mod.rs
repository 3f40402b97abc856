//! Verifies the signatures of entries.
//!
//! - [`key`]: parses a JWK set.
//! - [`payload`]: finds the signed payload, which is the bytes as received without the signature.
//!   Nothing is serialised again.
//! - [`verdict`]: checks a line. Only this file can make a [`Verdict::Valid`].
//!
//! Signatures are Ed25519 (RFC 8032) over the entry as sent. A signature does not name its key. The
//! vendor's page "Verify audit log signatures" defines them.

pub mod key;
pub mod payload;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use key::{BadKey, Key, KeyDefect, KeySet, KeySetError, Thumbprint};
pub use payload::{Payload, Pieces};
pub use verdict::{
    Coverage, FailureBudget, MAX_FAILED_VERIFICATIONS, Proof, Reason, Verdict, check,
    check_with_budget, is_of_one_format,
};
