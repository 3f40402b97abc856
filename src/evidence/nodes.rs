//! Remembers hashes of a tree, so that the proofs of neighbouring leaves read them once.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::tlog::tree::{Hash, HashReader};

/// The most hashes that are remembered: those of some hundred neighbouring tiles.
const MOST: usize = 1 << 16;

/// The hashes of a tree.
pub(super) struct Nodes<R> {
    reader: R,
    known: RefCell<HashMap<(u32, u64), Hash>>,
}

impl<R> Nodes<R> {
    pub(super) fn new(reader: R) -> Nodes<R> {
        Nodes { reader, known: RefCell::default() }
    }

    /// What the hashes are read from.
    pub(super) fn reader(&self) -> &R {
        &self.reader
    }
}

impl<R: HashReader> HashReader for Nodes<R> {
    type Error = R::Error;

    fn hash(&self, level: u32, index: u64) -> Result<Hash, R::Error> {
        if let Some(hash) = self.known.borrow().get(&(level, index)) {
            return Ok(*hash);
        }
        let hash = self.reader.hash(level, index)?;
        let mut known = self.known.borrow_mut();
        if known.len() == MOST {
            known.clear();
        }
        known.insert((level, index), hash);
        Ok(hash)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;
    use crate::tlog::tree;

    /// The tree of the leaf hashes `[index; 32]`, which counts how often it is read.
    struct Counting(Cell<usize>);

    impl HashReader for Counting {
        type Error = Infallible;

        fn hash(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
            self.0.set(self.0.get() + 1);
            let leaf = |at: u64| Hash([(at % 251) as u8; 32]);
            let leaves = (index << level)..((index + 1) << level);
            Ok(tree::root_of(leaves.map(leaf)))
        }
    }

    #[test]
    fn a_hash_is_read_once() {
        let nodes = Nodes::new(Counting(Cell::new(0)));
        let once: Vec<_> =
            (0..1000).map(|at| tree::prove_inclusion(&nodes, at, 1000).unwrap()).collect();
        let read = nodes.reader.0.get();
        assert!(read < 2 * 1000, "{read}");
        for (at, proof) in (0..).zip(once) {
            let again = tree::prove_inclusion(&Counting(Cell::new(0)), at, 1000).unwrap();
            assert_eq!(proof, again);
        }
    }
}
