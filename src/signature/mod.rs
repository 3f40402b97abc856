//! Verifies the signatures of entries.
//!
//! - `ed25519`: verifies signatures under a key, one or many at once.
//! - [`key`]: parses a JWK set.
//! - [`payload`]: finds the signed payload, which is the bytes as received without the signature.
//!   Nothing is serialised again.
//! - [`verdict`]: checks a line. Only this file can make a [`Verdict::Valid`].
//!
//! Signatures are Ed25519 (RFC 8032) over the entry as sent. A signature does not name its key. The
//! vendor's page "Verify audit log signatures" defines them.

mod ed25519;
pub mod key;
pub mod payload;
#[cfg(test)]
mod tests;
pub mod verdict;

pub use ed25519::Seed;
pub use key::{BadKey, Key, KeyDefect, KeySet, KeySetError, Thumbprint};
pub use payload::{Payload, Pieces};
pub use verdict::{
    Coverage, FailureBudget, MAX_FAILED_VERIFICATIONS, Proof, Reason, Verdict, check, check_all,
    is_odd, is_of_one_format,
};
