//! Verifies Ed25519 signatures (RFC 8032): one, or many of a key at once.
//!
//! There is one equation, the one with the cofactor (section 5.1.7), with ZIP 215's rules for
//! encodings:
//!
//! ```text
//! [8][S]B = [8]R + [8][k]A        k = SHA-512(R || A || message) mod L
//! ```
//!
//! The signature is the encoding of the point R, canonical or not, and of the number S, which must
//! be below L. A is the key, and B is the base point of order L.
//!
//! To verify many, each equation is multiplied by a random number, and all are added up. The sum is
//! one multiscalar multiplication: a term for each R, one for A and one for B. If all equations
//! hold, the sum always holds. If one does not, the sum holds with a probability of 2^-128, because
//! nobody can know the numbers beforehand. A sum that does not hold is halved until the bad
//! signatures are found. So each verdict is the one that the signature would have alone.

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use ring::digest;

/// A secret from which the random numbers of batches are derived. Whoever knows it beforehand can
/// make bad signatures that pass in a batch. So each delivery and each run needs a new one. All
/// batches of a delivery can use the same: each fails to find a bad signature with a probability of
/// 2^-128, whatever the others do.
pub struct Seed([u8; 32]);

impl Seed {
    /// The seed of a verification without a batch, which uses no random numbers.
    pub(super) const UNUSED: Seed = Seed([0; 32]);

    /// A seed of 32 bytes that no sender can guess.
    pub const fn new(bytes: [u8; 32]) -> Seed {
        Seed(bytes)
    }

    /// Random numbers of 128 bits.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u128> + use<> {
        let seed = self.0;
        (0_u64..).flat_map(move |block| {
            let mut context = digest::Context::new(&digest::SHA512);
            context.update(&seed);
            context.update(&block.to_le_bytes());
            let digest = context.finish();
            let mut numbers = [0; 4];
            for (number, bytes) in numbers.iter_mut().zip(digest.as_ref().as_chunks().0) {
                *number = u128::from_le_bytes(*bytes);
            }
            numbers
        })
    }
}

/// A public key: its bytes, and the point that they encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PublicKey {
    pub(super) bytes: [u8; 32],
    /// `None` if the bytes encode no point. Then no signature is valid.
    pub(super) point: Option<EdwardsPoint>,
}

impl PublicKey {
    pub(super) fn new(bytes: [u8; 32]) -> PublicKey {
        PublicKey { bytes, point: CompressedEdwardsY(bytes).decompress() }
    }

    /// Whether a signature is valid.
    pub(super) fn verifies(&self, claim: &Claim) -> bool {
        self.point.is_some_and(|a| claim.holds(&a))
    }

    /// Verifies signatures under this key, and returns for each whether it is valid.
    pub(super) fn verify_all(&self, claims: &[Claim], seed: &Seed) -> Vec<bool> {
        let Some(a) = self.point else { return vec![false; claims.len()] };
        let terms = claims.iter().zip(seed.numbers()).map(|(claim, z)| Term::new(claim, z));
        let mut search = Search {
            a,
            credit: CREDIT.0 * claims.len() / CREDIT.1,
            verdicts: Vec::with_capacity(claims.len()),
        };
        search.part(&terms.collect::<Vec<_>>(), false);
        search.verdicts
    }
}

/// A signature with its parts decoded.
#[derive(Clone, Copy)]
pub(super) struct Signature {
    encoded_r: [u8; 32],
    r: EdwardsPoint,
    s: Scalar,
}

impl Signature {
    /// Decodes the 64 bytes of a signature. `None` if R is not a point or S is not below L: then it
    /// is valid under no key.
    pub(super) fn decode(bytes: &[u8; 64]) -> Option<Signature> {
        let ([encoded_r, s], []) = bytes.as_chunks() else { return None };
        let s = Option::from(Scalar::from_canonical_bytes(*s))?;
        let r = CompressedEdwardsY(*encoded_r).decompress()?;
        Some(Signature { encoded_r: *encoded_r, r, s })
    }

    /// The claim that the owner of `key` signed the message, which is given in pieces.
    pub(super) fn claim(&self, key: &PublicKey, message: &[&[u8]]) -> Claim {
        let mut context = digest::Context::new(&digest::SHA512);
        context.update(&self.encoded_r);
        context.update(&key.bytes);
        message.iter().for_each(|piece| context.update(piece));
        let mut wide = [0; 64];
        wide.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Claim { r: self.r, s: self.s, k: Scalar::from_bytes_mod_order_wide(&wide) }
    }
}

/// The numbers of one equation.
#[derive(Clone, Copy)]
pub(super) struct Claim {
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl Claim {
    /// Whether the equation holds for the key `a`.
    fn holds(&self, a: &EdwardsPoint) -> bool {
        let r = EdwardsPoint::vartime_double_scalar_mul_basepoint(&self.k, &-a, &self.s);
        (r - self.r).mul_by_cofactor().is_identity()
    }
}

/// A claim, multiplied by the random number z.
struct Term<'a> {
    claim: &'a Claim,
    z: Scalar,
    zs: Scalar,
    zk: Scalar,
}

impl Term<'_> {
    fn new(claim: &Claim, z: u128) -> Term<'_> {
        let z = Scalar::from(z);
        Term { claim, z, zs: z * claim.s, zk: z * claim.k }
    }
}

// The costs of verifications, in the time that a signature takes in a large sum, some 6 µs. They
// only decide what is tried next: a verdict does not depend on them.

/// The cost of verifying one signature alone.
const ALONE: usize = 6;

/// The cost of a sum of no signatures.
const EMPTY_SUM: usize = 6;

/// What failing sums may cost for each signature, as a fraction. This limits what bad signatures can
/// cost to less than one and a half times the cost of verifying each alone.
const CREDIT: (usize, usize) = (5, 2);

/// A part with this many signatures or fewer is not halved.
const SMALL: usize = 4;

/// The search for the bad ones of many signatures.
struct Search {
    /// The key.
    a: EdwardsPoint,
    /// What failing sums may still cost. Sums that hold increase it by what they save.
    credit: usize,
    verdicts: Vec<bool>,
}

impl Search {
    /// Enters a verdict for each term, and returns whether all are good. `has_bad` is whether it is
    /// known that one is bad.
    fn part(&mut self, terms: &[Term<'_>], has_bad: bool) -> bool {
        let cost = EMPTY_SUM + terms.len();
        if terms.len() < 2 || cost > self.credit {
            return self.each(terms);
        }
        if !has_bad {
            if self.sum_holds(terms) {
                self.verdicts.extend(terms.iter().map(|_| true));
                self.credit += (ALONE * terms.len()).saturating_sub(cost);
                return true;
            }
            self.credit -= cost;
        }
        if terms.len() <= SMALL {
            return self.each(terms);
        }
        let (first, second) = terms.split_at(terms.len() / 2);
        let first_is_good = self.part(first, false);
        // If the first half is good, the bad one is in the second.
        self.part(second, first_is_good) && first_is_good
    }

    /// Verifies each signature alone.
    fn each(&mut self, terms: &[Term<'_>]) -> bool {
        let before = self.verdicts.len();
        self.verdicts.extend(terms.iter().map(|term| term.claim.holds(&self.a)));
        self.verdicts.iter().skip(before).all(|good| *good)
    }

    fn sum_holds(&self, terms: &[Term<'_>]) -> bool {
        let s: Scalar = terms.iter().map(|term| term.zs).sum();
        let k: Scalar = terms.iter().map(|term| term.zk).sum();
        let sum = EdwardsPoint::vartime_multiscalar_mul(
            [-s, k].into_iter().chain(terms.iter().map(|term| term.z)),
            [ED25519_BASEPOINT_POINT, self.a].into_iter().chain(terms.iter().map(|t| t.claim.r)),
        );
        sum.mul_by_cofactor().is_identity()
    }
}
