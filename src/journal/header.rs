//! The 24 bytes at the beginning of every object that the protocol makes. docs/journal.md defines
//! them. Parsing is total: any bytes are a header or an error.
//!
//! ```text
//! 0..4    "VDMJ"
//! 4       the version of the format, 1
//! 5       the kind
//! 6..8    zero
//! 8..24   the nonce
//! ```

use std::fmt;

/// Random bytes that tell the writer of an object that it is his own. They are no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Nonce(pub(crate) [u8; 16]);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Deliveries of a receiver.
    Deliveries = 1,
    /// The end of an epoch.
    Seal = 2,
    /// The beginning of an epoch.
    Epoch = 3,
    /// An entry of the registry.
    Store = 4,
    /// How far a store has read.
    Cursor = 5,
    /// A store that is gone.
    Retired = 6,
    /// What a prune wants to delete.
    Floor = 7,
    /// Whether a floor holds.
    Decision = 8,
    /// A floor below which everything is deleted.
    Deletion = 9,
}

impl Kind {
    const ALL: [Kind; 9] = [
        Kind::Deliveries,
        Kind::Seal,
        Kind::Epoch,
        Kind::Store,
        Kind::Cursor,
        Kind::Retired,
        Kind::Floor,
        Kind::Decision,
        Kind::Deletion,
    ];
}

/// What stands at the beginning of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Header {
    pub kind: Kind,
    pub nonce: Nonce,
}

/// Why bytes are no object of a journal that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it has {0} bytes, expected at least 24")]
    Short(usize),
    #[error("it does not begin with \"VDMJ\"")]
    Magic,
    #[error("it has version {0} of the format, expected 1; a newer Vidimus may read it")]
    Version(u8),
    #[error("it is of the unknown kind {0}; a newer Vidimus may read it")]
    Kind(u8),
    #[error("the reserved bytes are not zero; a newer Vidimus may read it")]
    Reserved,
}

const MAGIC: [u8; 4] = *b"VDMJ";
const VERSION: u8 = 1;

impl Header {
    /// The length of a header in bytes.
    pub(crate) const LEN: usize = 24;

    /// The header as bytes.
    pub(crate) fn to_bytes(self) -> [u8; Header::LEN] {
        let mut bytes = [0; Header::LEN];
        let (front, nonce) = bytes.split_at_mut(8);
        front.copy_from_slice(&[
            MAGIC[0],
            MAGIC[1],
            MAGIC[2],
            MAGIC[3],
            VERSION,
            self.kind as u8,
            0,
            0,
        ]);
        nonce.copy_from_slice(&self.nonce.0);
        bytes
    }

    /// Splits an object into its header and the rest.
    ///
    /// # Errors
    /// [`HeaderError`] if it is not an object of a journal in version 1.
    pub(crate) fn parse(object: &[u8]) -> Result<(Header, &[u8]), HeaderError> {
        let Some((header, rest)) = object.split_first_chunk::<{ Header::LEN }>() else {
            return Err(HeaderError::Short(object.len()));
        };
        let [m0, m1, m2, m3, version, kind, r0, r1, nonce @ ..] = *header;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(HeaderError::Magic);
        }
        if version != VERSION {
            return Err(HeaderError::Version(version));
        }
        let known = Kind::ALL.into_iter().find(|known| *known as u8 == kind);
        let kind = known.ok_or(HeaderError::Kind(kind))?;
        if [r0, r1] != [0, 0] {
            return Err(HeaderError::Reserved);
        }
        Ok((Header { kind, nonce: Nonce(nonce) }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_and_every_changed_byte_is_seen() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index + 1, "{kind:?}");
            let header = Header { kind, nonce: Nonce(*b"0123456789abcdef") };
            let mut object = header.to_bytes().to_vec();
            object.extend_from_slice(b"rest");
            assert_eq!(Header::parse(&object), Ok((header, &b"rest"[..])));
            for at in 0..Header::LEN {
                let mut other = object.clone();
                other[at] ^= 0x40;
                assert_ne!(Header::parse(&other).map(|(header, _)| header), Ok(header), "{at}");
            }
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let check = |bytes: &[u8], expected| assert_eq!(Header::parse(bytes), Err(expected));
        let mut good = Header { kind: Kind::Seal, nonce: Nonce([7; 16]) }.to_bytes();
        check(&[], HeaderError::Short(0));
        check(&good[..23], HeaderError::Short(23));
        check(&[b'x'; 24], HeaderError::Magic);
        good[4] = 2;
        check(&good, HeaderError::Version(2));
        good[4] = 1;
        good[5] = 10;
        check(&good, HeaderError::Kind(10));
        good[5] = 0;
        check(&good, HeaderError::Kind(0));
        good[5] = 2;
        good[7] = 1;
        check(&good, HeaderError::Reserved);
    }
}
