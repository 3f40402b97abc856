//! The Merkle tree of a log (RFC 6962 section 2.1, with SHA-256): hashes, roots, and proofs.
//!
//! A proof is made from the hashes of complete subtrees: the one at `level` and `index` is over
//! the leaves from `index * 2^level` up to, without, `(index + 1) * 2^level`. They never change
//! while the tree grows. Proofs are verified as in RFC 9162 section 2.1.

use std::fmt;
use std::str::FromStr;

use ring::digest;

use super::{FormatError, from_base64, to_base64};

/// A SHA-256 hash of a leaf or of a part of a tree. `Display` writes it as base64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The root of the tree without leaves: the SHA-256 of nothing.
    pub const EMPTY: Hash = Hash([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9,
        0x24, 0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52,
        0xb8, 0x55,
    ]);

    fn of(pieces: &[&[u8]]) -> Hash {
        let mut context = digest::Context::new(&digest::SHA256);
        pieces.iter().for_each(|piece| context.update(piece));
        let mut hash = Hash([0; 32]);
        hash.0.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_base64(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Hash, FormatError> {
        let hash = from_base64(text).and_then(|bytes| bytes.try_into().ok());
        hash.map(Hash).ok_or_else(|| FormatError::found(text, "a hash: 32 bytes in base64"))
    }
}

/// The hash of a leaf with this content.
pub fn leaf_hash(content: &[u8]) -> Hash {
    Hash::of(&[&[0], content])
}

/// The hash of the node above two others.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::of(&[&[1], &left.0, &right.0])
}

/// The root of the tree over some leaf hashes, or over the hashes of subtrees of one size, of which
/// the last may be smaller.
pub fn root_of(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    // The roots of complete subtrees, the largest first.
    let mut roots = Vec::new();
    for (count, mut hash) in leaves.into_iter().enumerate() {
        let complete = roots.len().saturating_sub(count.trailing_ones() as usize);
        for left in roots.drain(complete..).rev() {
            hash = node_hash(&left, &hash);
        }
        roots.push(hash);
    }
    join(roots)
}

/// The root over complete subtrees, the largest first.
fn join(roots: Vec<Hash>) -> Hash {
    let joined = roots.into_iter().rev().reduce(|right, left| node_hash(&left, &right));
    joined.unwrap_or(Hash::EMPTY)
}

/// A source of the hashes of complete subtrees.
pub trait HashReader {
    /// Why a hash cannot be read.
    type Error;

    /// Reads the hash over the leaves from `index * 2^level`, of which there are `2^level`. Only
    /// hashes that lie within the tree are asked for.
    fn hash(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why a proof cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The tree has no such leaf or is smaller than the older one.
    #[error(transparent)]
    NotThere(ProofError),
    /// A hash cannot be read.
    #[error("{0}")]
    Read(E),
}

/// The root of a tree (RFC 6962 section 2.1).
pub fn root<R: HashReader>(reader: &R, size: u64) -> Result<Hash, R::Error> {
    subtree(reader, 0, size)
}

/// The hash over the leaves from `start` up to, without, `end`, of which `start` is a multiple of
/// the largest power of two that is not larger than their number.
fn subtree<R: HashReader>(reader: &R, mut start: u64, end: u64) -> Result<Hash, R::Error> {
    let mut roots = Vec::new();
    while start < end {
        let level = (end - start).ilog2();
        roots.push(reader.hash(level, start >> level)?);
        start += 1 << level;
    }
    Ok(join(roots))
}

/// The number of leaves in the left part of a tree with more than one: the largest power of two
/// below their number.
fn left_part(leaves: u64) -> u64 {
    1 << (leaves - 1).ilog2()
}

/// Proves that the leaf at `index` is in the tree of `size` leaves (RFC 6962 section 2.1.1). The
/// sibling of the leaf is first.
pub fn prove_inclusion<R: HashReader>(
    reader: &R,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if index >= size {
        return Err(ProveError::NotThere(ProofError::Leaf(index, size)));
    }
    let (mut start, mut end, mut proof) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + left_part(end - start);
        let other = if index < middle { (middle, end) } else { (start, middle) };
        proof.push(subtree(reader, other.0, other.1).map_err(ProveError::Read)?);
        (start, end) = if index < middle { (start, middle) } else { (middle, end) };
    }
    proof.reverse();
    Ok(proof)
}

/// Proves that the tree of `old` leaves is the beginning of the one of `new` leaves (RFC 6962
/// section 2.1.2). The proof is empty if `old` is 0 or `new`.
pub fn prove_consistency<R: HashReader>(
    reader: &R,
    old: u64,
    new: u64,
) -> Result<Vec<Hash>, ProveError<R::Error>> {
    if old > new {
        return Err(ProveError::NotThere(ProofError::Sizes(old, new)));
    }
    let (mut start, mut end, mut proof) = (0, new, Vec::new());
    if old == 0 {
        return Ok(proof);
    }
    while old < end {
        let middle = start + left_part(end - start);
        let other = if old <= middle { (middle, end) } else { (start, middle) };
        proof.push(subtree(reader, other.0, other.1).map_err(ProveError::Read)?);
        (start, end) = if old <= middle { (start, middle) } else { (middle, end) };
    }
    // If this is the old tree itself, its root is known.
    if start > 0 {
        proof.push(subtree(reader, start, end).map_err(ProveError::Read)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Why a proof is not one for this tree.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index of a leaf that the tree does not have, and the size of the tree.
    #[error("found the leaf index {0}, expected one below the size {1} of the tree")]
    Leaf(u64, u64),
    /// The size of the old tree, which is larger than that of the new one.
    #[error("found an old tree with {0} leaves, expected at most the {1} of the new one")]
    Sizes(u64, u64),
    /// The number of hashes, and `more` or `fewer`.
    #[error("found a proof of {0} hashes, expected {1}")]
    Length(usize, &'static str),
    /// The root that the proof leads to, and that of the tree.
    #[error("found a proof for the root {0}, expected {1}")]
    Root(Hash, Hash),
}

/// Checks that a leaf hash is at `index` in the tree with this size and root (RFC 9162 section
/// 2.1.3.2).
pub fn verify_inclusion(
    proof: &[Hash],
    index: u64,
    leaf: &Hash,
    size: u64,
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Leaf(index, size));
    }
    let mut walk = Walk { node: index, last: size - 1 };
    let mut hash = *leaf;
    for sibling in proof {
        hash = match walk.up(proof)? {
            Side::Left => node_hash(sibling, &hash),
            Side::Right => node_hash(&hash, sibling),
        };
    }
    walk.is_at_root(proof)?;
    same(hash, root)
}

/// Checks that the tree with the size and root `old` is the beginning of the one with the size and
/// root `new` (RFC 9162 section 2.1.4.2). Every tree begins with the empty one.
pub fn verify_consistency(
    proof: &[Hash],
    old: (u64, &Hash),
    new: (u64, &Hash),
) -> Result<(), ProofError> {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old > new {
        return Err(ProofError::Sizes(old, new));
    }
    if old == 0 || old == new {
        if !proof.is_empty() {
            return Err(ProofError::Length(proof.len(), "fewer"));
        }
        if old == 0 {
            same(*old_root, &Hash::EMPTY)?;
        }
        return if old == new { same(*old_root, new_root) } else { Ok(()) };
    }
    // The proof begins with the largest subtree that ends where the old tree ends. If it is the old
    // tree, it is left out.
    let mut hashes = old.is_power_of_two().then_some(old_root).into_iter().chain(proof);
    let short = ProofError::Length(proof.len(), "more");
    let first = *hashes.next().ok_or(short)?;
    let below = (old - 1).trailing_ones();
    let mut walk = Walk { node: (old - 1) >> below, last: (new - 1) >> below };
    let (mut of_old, mut of_new) = (first, first);
    for sibling in hashes {
        match walk.up(proof)? {
            Side::Left => {
                of_old = node_hash(sibling, &of_old);
                of_new = node_hash(sibling, &of_new);
            }
            Side::Right => of_new = node_hash(&of_new, sibling),
        }
    }
    walk.is_at_root(proof)?;
    same(of_old, old_root)?;
    same(of_new, new_root)
}

fn same(found: Hash, expected: &Hash) -> Result<(), ProofError> {
    if found == *expected {
        return Ok(());
    }
    Err(ProofError::Root(found, *expected))
}

/// A way from a node up to the root.
struct Walk {
    /// The index of the node at its level.
    node: u64,
    /// The index of the last node at that level.
    last: u64,
}

/// Where the sibling of a node stands.
enum Side {
    Left,
    Right,
}

impl Walk {
    /// Goes up, and returns on which side the next hash of the proof stands.
    fn up(&mut self, proof: &[Hash]) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length(proof.len(), "fewer"));
        }
        let side =
            if self.node & 1 == 1 || self.node == self.last { Side::Left } else { Side::Right };
        // The last node of a level has no sibling there if its index is even.
        if let Side::Left = side {
            while self.node & 1 == 0 && self.node > 0 {
                self.node >>= 1;
                self.last >>= 1;
            }
        }
        self.node >>= 1;
        self.last >>= 1;
        Ok(side)
    }

    fn is_at_root(&self, proof: &[Hash]) -> Result<(), ProofError> {
        if self.last == 0 {
            return Ok(());
        }
        Err(ProofError::Length(proof.len(), "more"))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use data_encoding::HEXLOWER;

    use super::*;

    /// The hashes of complete subtrees, by level.
    pub(crate) struct Levels(Vec<Vec<Hash>>);

    impl Levels {
        pub(crate) fn new(leaves: Vec<Hash>) -> Levels {
            let mut levels = vec![leaves];
            while let Some(pairs) = levels.last().filter(|level| level.len() > 1) {
                let pairs = pairs.as_chunks().0.iter();
                levels.push(pairs.map(|[left, right]| node_hash(left, right)).collect());
            }
            Levels(levels)
        }
    }

    impl HashReader for Levels {
        type Error = Infallible;

        fn hash(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
            Ok(self.0[level as usize][usize::try_from(index).unwrap()])
        }
    }

    /// Leaf hashes, each of another content.
    pub(crate) fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// RFC 6962 section 2.1, as it is written there.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::EMPTY,
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(split(leaves.len()));
                node_hash(&mth(left), &mth(right))
            }
        }
    }

    fn split(n: usize) -> usize {
        n.next_power_of_two() / 2
    }

    /// RFC 6962 section 2.1.1.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut path, other) =
            if m < k { (path(m, left), right) } else { (path(m - k, right), left) };
        path.push(mth(other));
        path
    }

    /// RFC 6962 section 2.1.2.
    fn subproof(m: usize, leaves: &[Hash], known: bool) -> Vec<Hash> {
        if m == leaves.len() {
            return if known { Vec::new() } else { vec![mth(leaves)] };
        }
        let k = split(leaves.len());
        let (left, right) = leaves.split_at(k);
        let (mut proof, other) = if m <= k {
            (subproof(m, left, known), right)
        } else {
            (subproof(m - k, right, false), left)
        };
        proof.push(mth(other));
        proof
    }

    fn hex(text: &str) -> Hash {
        Hash(HEXLOWER.decode(text.as_bytes()).unwrap().try_into().unwrap())
    }

    #[test]
    fn the_roots_of_the_trees_of_certificate_transparency() {
        #[rustfmt::skip]
        let leaves = [
            "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = leaves.map(|leaf| leaf_hash(&HEXLOWER.decode(leaf.as_bytes()).unwrap()));
        let levels = Levels::new(leaves.to_vec());
        for (size, expected) in roots.into_iter().enumerate() {
            assert_eq!(root_of(leaves.into_iter().take(size)), hex(expected), "{size}");
            assert_eq!(root(&levels, size as u64), Ok(hex(expected)), "{size}");
        }
        // The proofs of RFC 9162 section 2.1.5, for a tree of 7 leaves.
        let [a, b, c, d, e, f, _, _] = leaves;
        let (g, h, i) = (node_hash(&a, &b), node_hash(&c, &d), node_hash(&e, &f));
        let (k, j) = (node_hash(&g, &h), leaves[6]);
        let l = node_hash(&i, &j);
        let inclusion = |index| prove_inclusion(&levels, index, 7).unwrap();
        assert_eq!(inclusion(0), [b, h, l]);
        assert_eq!(inclusion(3), [c, g, l]);
        assert_eq!(inclusion(4), [f, j, k]);
        assert_eq!(inclusion(6), [i, k]);
        let consistency = |old| prove_consistency(&levels, old, 7).unwrap();
        assert_eq!(consistency(3), [c, d, g, l]);
        assert_eq!(consistency(4), [l]);
        assert_eq!(consistency(6), [i, j, k]);
        // The example of golang.org/x/mod/sumdb/tlog.
        let hello = "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=";
        assert_eq!(leaf_hash(b"hello world").to_string(), hello);
        assert_eq!(hello.parse(), Ok(leaf_hash(b"hello world")));
        for bad in ["", "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb1=", "AAAA", &hello[..43]] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn every_proof_of_520_trees_is_the_one_of_the_definition() {
        const MOST: usize = 520;
        let leaves = leaves(MOST as u64);
        let levels = Levels::new(leaves.clone());
        let roots: Vec<_> = (0..=MOST).map(|size| mth(&leaves[..size])).collect();
        for (size, of_size) in roots.iter().enumerate() {
            let tree = &leaves[..size];
            let n = size as u64;
            assert_eq!(root(&levels, n), Ok(*of_size), "{size}");
            assert_eq!(root_of(tree.iter().copied()), *of_size, "{size}");
            for (index, leaf) in tree.iter().enumerate() {
                let proof = prove_inclusion(&levels, index as u64, n).unwrap();
                // The definition hashes the tree again for each proof, so not every one is compared.
                if size < 66 || size % 64 < 2 || index + 2 > size {
                    assert_eq!(proof, path(index, tree), "{index} of {size}");
                }
                assert_eq!(verify_inclusion(&proof, index as u64, leaf, n, of_size), Ok(()));
            }
            for (old, of_old) in roots[..=size].iter().enumerate() {
                let proof = prove_consistency(&levels, old as u64, n).unwrap();
                if old > 0 && (size < 66 || size % 64 < 2 || old + 2 > size) {
                    assert_eq!(proof, subproof(old, tree, true), "{old} to {size}");
                }
                let verified = verify_consistency(&proof, (old as u64, of_old), (n, of_size));
                assert_eq!(verified, Ok(()), "{old} to {size}");
            }
        }
        assert_eq!(
            prove_inclusion(&levels, 5, 5),
            Err(ProveError::NotThere(ProofError::Leaf(5, 5)))
        );
        assert_eq!(
            prove_consistency(&levels, 6, 5),
            Err(ProveError::NotThere(ProofError::Sizes(6, 5)))
        );
    }

    #[test]
    fn changed_proofs_do_not_verify() {
        let leaves = leaves(70);
        let levels = Levels::new(leaves.clone());
        let roots: Vec<_> = (0..=70).map(|size| mth(&leaves[..size])).collect();
        // Each hash changed, left out or there twice.
        let changed = |proof: &[Hash]| {
            let changes = (0..proof.len()).flat_map(|at| {
                let mut all = [proof.to_vec(), proof.to_vec(), proof.to_vec()];
                all[0][at].0[0] ^= 1;
                all[1].remove(at);
                all[2].insert(at, proof[at]);
                all
            });
            changes.chain([[proof, &[Hash::EMPTY]].concat()]).collect::<Vec<_>>()
        };
        for size in 1..=70 {
            let of_size = &roots[size as usize];
            for index in 0..size {
                let leaf = &leaves[index as usize];
                let proof = prove_inclusion(&levels, index, size).unwrap();
                for bad in changed(&proof) {
                    assert!(verify_inclusion(&bad, index, leaf, size, of_size).is_err());
                }
                assert!(verify_inclusion(&proof, index, of_size, size, leaf).is_err() || size == 1);
                assert!(verify_inclusion(&proof, size, leaf, size, of_size).is_err());
                assert!(verify_inclusion(&proof, index + 1, leaf, size, of_size).is_err());
            }
            for old in 0..=size {
                let of_old = &roots[old as usize];
                let proof = prove_consistency(&levels, old, size).unwrap();
                for bad in changed(&proof) {
                    assert!(verify_consistency(&bad, (old, of_old), (size, of_size)).is_err());
                }
                let swapped = verify_consistency(&proof, (old, of_size), (size, of_old));
                assert!(swapped.is_err() || old == size, "{old} to {size}");
                let larger = verify_consistency(&proof, (size + 1, of_old), (size, of_size));
                assert_eq!(larger, Err(ProofError::Sizes(size + 1, size)));
            }
        }
        let other = verify_consistency(&[], (0, &roots[1]), (1, &roots[1]));
        assert!(matches!(other, Err(ProofError::Root(..))), "{other:?}");
    }

    #[test]
    fn the_largest_trees_have_proofs() {
        /// A tree in which all leaves are the same.
        struct Same(Vec<Hash>);
        impl HashReader for Same {
            type Error = u64;
            fn hash(&self, level: u32, index: u64) -> Result<Hash, u64> {
                if (index + 1).checked_shl(level).is_none_or(|end| end == 0) {
                    return Err(index);
                }
                Ok(self.0[level as usize])
            }
        }
        let levels = std::iter::successors(Some(leaf_hash(b"")), |at| Some(node_hash(at, at)));
        let same = Same(levels.take(64).collect());
        let leaf = leaf_hash(b"");
        for size in [u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 62) + 1] {
            let of_size = root(&same, size).unwrap();
            for index in [0, 1, size / 2, size / 3, size - 2, size - 1] {
                let proof = prove_inclusion(&same, index, size).unwrap();
                assert_eq!(verify_inclusion(&proof, index, &leaf, size, &of_size), Ok(()));
                let old = (index, &root(&same, index).unwrap());
                let proof = prove_consistency(&same, index, size).unwrap();
                assert_eq!(verify_consistency(&proof, old, (size, &of_size)), Ok(()));
            }
        }
    }
}
