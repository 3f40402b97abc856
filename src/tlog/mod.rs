//! The formats of transparency logs, as the Community Cryptography Specification Project defines
//! them: <https://c2sp.org>. It makes, reads and verifies texts and bytes, and does no I/O.
//!
//! | file | specification |
//! |---|---|
//! | [`note`] | signed-note: text with signatures, and the keys |
//! | [`tree`] | RFC 6962 section 2.1: the hashes of a Merkle tree, and proofs |
//! | [`tile`] | tlog-tiles: hashes and entries in files that never change |
//! | [`checkpoint`] | tlog-checkpoint: the size and the root of a log, as a note |
//! | [`cosignature`] | tlog-cosignature: a witness's signature, with a time |
//! | [`witness`] | tlog-witness: how a log asks a witness for a cosignature |
//! | [`policy`] | tlog-policy: which witnesses must have cosigned |
//! | [`proof`] | tlog-proof: a file that proves that an entry is in a log |
//!
//! [`leaf`] is our own: what the leaves of the log of a store say.
//!
//! Every reader is strict: what it reads is what would be written. Base64 is that of RFC 4648
//! section 4, with padding. Ed25519 is the only algorithm.

pub mod checkpoint;
pub mod cosignature;
mod error;
pub mod leaf;
pub mod note;
pub mod policy;
pub mod proof;
pub mod tile;
pub mod tree;
pub mod witness;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use checkpoint::Checkpoint;
pub use error::{FormatError, VerifyError};
use note::Note;
use tree::Hash;

/// The largest number of leaves: other implementations hold it in 63 bits.
pub const MAX_SIZE: u64 = i64::MAX as u64;

/// Reads an ASCII decimal up to [`MAX_SIZE`], without leading zeroes.
fn decimal(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number: &u64| *number <= MAX_SIZE && number.to_string() == text)
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

fn to_base64(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

/// Reads text with lines of one hash each, an empty line, and a checkpoint. This is how a request
/// to a witness and a proof end.
fn hashes_and_checkpoint(mut text: &str) -> Result<(Vec<Hash>, Note), FormatError> {
    /// No inclusion proof needs more, and a witness gets no more (tlog-witness).
    const MOST: usize = 63;
    let mut hashes = Vec::new();
    loop {
        let expected = "a line with a hash, or an empty line before the checkpoint";
        let (line, rest) =
            text.split_once('\n').ok_or_else(|| FormatError::found(text, expected))?;
        text = rest;
        if line.is_empty() {
            let note = Note::parse(text.as_bytes())?;
            Checkpoint::parse(note.text())?;
            return Ok((hashes, note));
        }
        hashes.push(line.parse()?);
        error::at_most(MOST, hashes.len(), "hashes")?;
    }
}
