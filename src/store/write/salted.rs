//! The salts of entries, and the salted hashes that their leaves in the log have.
//!
//! They are computed where the fields are read, on the thread of the delivery, so that the writer does not
//! wait for them.

use crate::ingest::Entry;
use crate::random::{self, NoRandomBytes};
use crate::tlog::leaf::{Salt, Sha256, salted};

/// An entry with its salt.
pub(in crate::store) struct SaltedEntry {
    pub(in crate::store) entry: Entry,
    pub(in crate::store) salt: Salt,
    /// The salted hash of the line.
    pub(in crate::store) line: Sha256,
    /// The salted hash of the name of the input.
    pub(in crate::store) input: Sha256,
}

impl SaltedEntry {
    /// Draws a salt for each of these entries of an input.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(in crate::store) fn all(
        entries: Vec<Entry>,
        input: &str,
    ) -> Result<Vec<SaltedEntry>, NoRandomBytes> {
        let mut bytes = vec![0; entries.len() * size_of::<Salt>()];
        random::fill(&mut bytes)?;
        let (salts, _) = bytes.as_chunks();
        let salted = |(entry, salt): (Entry, &Salt)| SaltedEntry {
            salt: *salt,
            line: salted(salt, &entry.raw),
            input: salted(salt, input.as_bytes()),
            entry,
        };
        Ok(entries.into_iter().zip(salts).map(salted).collect())
    }
}
