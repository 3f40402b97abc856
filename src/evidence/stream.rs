//! Reads lines that are too long to be held, and hashes them meanwhile.

use std::error::Error;
use std::io::{self, Cursor, Read};

use ring::digest::{Context, SHA256};

use crate::ingest::sha256;
use crate::tlog::leaf::{Salt, Sha256};

/// Reads pieces one after the other. `next` gives the piece with a number, from 0; `None` after the
/// last.
pub(super) struct Pieces<F> {
    next: F,
    number: u64,
    piece: Cursor<Vec<u8>>,
}

impl<F> Pieces<F> {
    pub(super) fn new(next: F) -> Pieces<F> {
        Pieces { next, number: 0, piece: Cursor::default() }
    }
}

impl<F, E> Read for Pieces<F>
where
    F: FnMut(u64) -> Result<Option<Vec<u8>>, E>,
    E: Error + Send + Sync + 'static,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.piece.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(piece) = (self.next)(self.number).map_err(io::Error::other)? else {
                return Ok(0);
            };
            self.number += 1;
            self.piece = Cursor::new(piece);
        }
    }
}

/// Reads a value, and hashes it with a salt as leaves have it.
pub(super) struct Salted<R> {
    value: R,
    hash: Context,
}

impl<R> Salted<R> {
    pub(super) fn new(salt: &Salt, value: R) -> Salted<R> {
        let mut hash = Context::new(&SHA256);
        hash.update(salt);
        Salted { value, hash }
    }

    /// The SHA-256 of the salt and all that was read.
    pub(super) fn finish(self) -> Sha256 {
        sha256(&self.hash.finish())
    }
}

impl<R: Read> Read for Salted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.value.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::leaf::salted;

    #[test]
    fn pieces_are_joined_and_hashed() {
        let pieces = [b"ab".to_vec(), Vec::new(), vec![b'x'; 10_000]];
        let next = |number: u64| Ok::<_, io::Error>(pieces.get(number as usize).cloned());
        let (salt, mut read) = ([7; 16], Vec::new());
        let mut line = Salted::new(&salt, Pieces::new(next));
        line.read_to_end(&mut read).unwrap();
        assert_eq!(read, pieces.concat());
        assert_eq!(line.finish(), salted(&salt, &pieces.concat()));
        let fails = |_| Err::<Option<Vec<u8>>, _>(io::Error::other("broken"));
        assert_eq!(Pieces::new(fails).read(&mut [0]).unwrap_err().to_string(), "broken");
    }
}
