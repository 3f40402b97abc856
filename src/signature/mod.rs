//! Is an entry genuine: its signed payload, the key set, the verdict.
//!
//! - [`key`]: a JWK set to the keys that can verify.
//! - [`payload`]: what was signed: the bytes as received, less the signature. Nothing is serialised
//!   again.
//! - [`verdict`]: the check itself. A [`Verdict::Valid`] cannot be made anywhere else.
//!
//! Signatures are Ed25519 (RFC 8032) over the entry as sent; a signature names no key. Defined in
//! the vendor's page "Verify audit log signatures".

pub mod key;
pub mod payload;
pub mod verdict;

pub use key::{BadKey, Key, KeyDefect, KeySet, KeySetError, Thumbprint};
pub use payload::{Payload, Pieces};
pub use verdict::{
    Coverage, FailureBudget, MAX_FAILED_VERIFICATIONS, Proof, Reason, Verdict, check,
    check_with_budget, is_of_one_format,
};
