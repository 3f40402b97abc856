//! Ed25519: the published test vectors (`fixtures/ed25519` has them and says where they come from),
//! and signatures that are generated and changed. Each is verified alone, in a batch and with ring.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use data_encoding::HEXLOWER;
use ring::digest;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Deserialize;

use super::ed25519::Signature;
use super::verdict::SignatureCheck;
use super::{Key, KeyDefect, KeySet, Seed};
use crate::entry::Layout;

const SEED: Seed = Seed::new([7; 32]);

const WYCHEPROOF: &[u8] = include_bytes!("../../fixtures/ed25519/wycheproof.json");
const SPECCHECK: &[u8] = include_bytes!("../../fixtures/ed25519/speccheck.json");
const PAGE: &str = include_str!("../../docs/signatures.md");

#[derive(Deserialize)]
struct Wycheproof {
    #[serde(rename = "testGroups")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    #[serde(rename = "publicKey")]
    key: PublicKey,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct PublicKey {
    pk: String,
}

#[derive(Deserialize)]
struct Test {
    #[serde(rename = "tcId")]
    id: u64,
    msg: String,
    sig: String,
    result: String,
}

#[derive(Deserialize)]
struct Case {
    message: String,
    pub_key: String,
    signature: String,
}

fn bytes(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn key(hex: &str) -> Key {
    Key::new(None, bytes(hex).try_into().unwrap())
}

/// Whether the signature is valid alone.
fn alone(key: &Key, message: &[u8], signature: &[u8; 64]) -> bool {
    let claim = Signature::decode(signature).map(|one| one.claim(key.point(), &[message]));
    claim.is_some_and(|claim| key.point().verifies(&claim))
}

/// Whether each signature is valid, verified in one batch as [`super::check_all`] does it.
fn in_batch<'a>(
    key: &Key,
    signed: impl IntoIterator<Item = (&'a [u8], &'a [u8; 64])>,
) -> Vec<bool> {
    let decoded: Vec<_> = signed
        .into_iter()
        .map(|(message, signature)| {
            Some(Signature::decode(signature)?.claim(key.point(), &[message]))
        })
        .collect();
    let claims: Vec<_> = decoded.iter().flatten().copied().collect();
    let mut verdicts = key.point().verify_all(&claims, &SEED).into_iter();
    let found = decoded.iter().map(|claim| claim.is_some() && verdicts.next().unwrap()).collect();
    assert_eq!(verdicts.next(), None);
    found
}

/// The vector of Wycheproof with an odd signature: its R is an encoding of y = 1 that is not
/// canonical, which ZIP 215 accepts.
const ODD_VECTOR: u64 = 151;

#[test]
fn every_vector_of_wycheproof_has_its_result_but_the_odd_one() {
    let vectors: Wycheproof = serde_json::from_slice(WYCHEPROOF).unwrap();
    let mut count = 0;
    for Group { key: PublicKey { pk }, tests } in vectors.groups {
        let key = key(&pk);
        assert_eq!(key.weakness(), None, "{pk}");
        let mut batch = Vec::new();
        for Test { id, msg, sig, result } in tests {
            count += 1;
            // An entry with a signature of another length is invalid before any key is tried.
            let Ok(signature) = bytes(&sig).try_into() else {
                assert_eq!(result, "invalid", "vector {id}");
                continue;
            };
            let (message, in_ring) = (bytes(&msg), result == "valid");
            let is_valid = in_ring || id == ODD_VECTOR;
            assert_eq!(alone(&key, &message, &signature), is_valid, "vector {id}");
            assert_eq!(key.verifies_in_ring(&message, &signature), in_ring, "vector {id}");
            batch.push((message, signature, is_valid));
        }
        let expected: Vec<_> = batch.iter().map(|(.., is_valid)| *is_valid).collect();
        let signed = batch.iter().map(|(message, signature, _)| (&message[..], signature));
        assert_eq!(in_batch(&key, signed), expected, "{pk}");
    }
    assert_eq!(count, 151);
}

#[test]
fn the_page_has_the_result_of_every_case_of_speccheck() {
    let cases: Vec<Case> = serde_json::from_slice(SPECCHECK).unwrap();
    assert_eq!(cases.len(), 12);
    let word = |is_valid| if is_valid { "valid" } else { "invalid" };
    for (number, Case { message, pub_key, signature }) in cases.into_iter().enumerate() {
        let (key, message) = (key(&pub_key), bytes(&message));
        let signature = bytes(&signature).try_into().unwrap();
        let of_key = key.weakness().map_or("good".to_owned(), |defect| defect.to_string());
        let ring = word(key.verifies_in_ring(&message, &signature));
        let ours = alone(&key, &message, &signature);
        let same = in_batch(&key, std::iter::repeat_n((&message[..], &signature), 20));
        assert_eq!(same, [ours; 20], "case {number}");
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| {number} |")));
        let end = format!("| {of_key} | {} | {ring} |", word(ours));
        assert!(row.is_some_and(|row| row.ends_with(&end)), "case {number} has {end}, not {row:?}");
    }
}

/// A key whose secret number is known, so that odd signatures can be made.
struct Signer {
    pair: Ed25519KeyPair,
    secret: Scalar,
    key: Key,
}

impl Signer {
    fn new(seed: u8) -> Signer {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let digest = digest::digest(&digest::SHA512, &[seed; 32]);
        let secret = clamp_integer(digest.as_ref()[..32].try_into().unwrap());
        let key = Key::new(None, pair.public_key().as_ref().try_into().unwrap());
        assert_eq!(EdwardsPoint::mul_base_clamped(secret).compress().0, *key.public());
        Signer { pair, secret: Scalar::from_bytes_mod_order(secret), key }
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().unwrap()
    }

    /// A signature with these bytes for R. It is valid if they encode \[r]B, or that and a point of
    /// small order.
    fn sign_with(&self, r: Scalar, encoded: [u8; 32], message: &[u8]) -> [u8; 64] {
        let mut context = digest::Context::new(&digest::SHA512);
        [&encoded, self.key.public(), message].iter().for_each(|part| context.update(part));
        let k = Scalar::from_bytes_mod_order_wide(context.finish().as_ref().try_into().unwrap());
        let s = r + k * self.secret;
        [encoded, s.to_bytes()].concat().try_into().unwrap()
    }
}

/// The order of the base point, L (RFC 8032 section 5.1), with the least significant byte first.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// Encodings of points of small order that are not canonical: y = 0 and y = 1 with the prime added,
/// and y = 1 and y = -1 with a sign for x = 0.
fn not_canonical() -> Vec<[u8; 32]> {
    let encoding = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        (bytes[0], bytes[31]) = (first, last);
        bytes
    };
    let encodings = vec![
        encoding(0xed, 0xff, 0x7f),
        encoding(0xed, 0xff, 0xff),
        encoding(0xee, 0xff, 0x7f),
        encoding(0xee, 0xff, 0xff),
        encoding(0x01, 0x00, 0x80),
        encoding(0xec, 0xff, 0xff),
    ];
    for bytes in &encodings {
        let point = CompressedEdwardsY(*bytes).decompress().unwrap();
        assert!(point.is_small_order() && point.compress().0 != *bytes);
    }
    encodings
}

/// A signature, and what is expected of it.
struct Sample {
    what: &'static str,
    message: Vec<u8>,
    signature: [u8; 64],
    is_valid: bool,
    in_ring: bool,
}

/// Makes samples. The numbers are random and always the same.
struct Samples<'a> {
    signer: &'a Signer,
    other: &'a Signer,
    random: Box<dyn Iterator<Item = u128>>,
}

impl Samples<'_> {
    fn below(&mut self, end: usize) -> usize {
        (self.random.next().unwrap() % end as u128) as usize
    }

    fn message(&mut self) -> Vec<u8> {
        let length = self.below(300);
        self.random.by_ref().take(length).map(|number| number as u8).collect()
    }

    fn good(&mut self) -> Sample {
        let message = self.message();
        let signature = self.signer.sign(&message);
        Sample { what: "good", message, signature, is_valid: true, in_ring: true }
    }

    /// A signature that only the owner of the key can make, and that only the equation with the
    /// cofactor accepts.
    fn odd(&mut self) -> Sample {
        let message = self.message();
        let r = Scalar::from(self.random.next().unwrap());
        let (r, encoded, what) = match self.below(3) {
            0 => {
                let small = EIGHT_TORSION[1 + self.below(7)];
                (r, (EdwardsPoint::mul_base(&r) + small).compress().0, "R of mixed order")
            }
            1 => {
                let small = EIGHT_TORSION[1 + self.below(7)];
                (Scalar::ZERO, small.compress().0, "R of small order")
            }
            _ => {
                let encodings = not_canonical();
                (Scalar::ZERO, encodings[self.below(6)], "R is not canonical")
            }
        };
        let signature = self.signer.sign_with(r, encoded, &message);
        Sample { what, message, signature, is_valid: true, in_ring: false }
    }

    fn bad(&mut self) -> Sample {
        let Sample { mut message, mut signature, .. } = self.good();
        let at = self.below(256);
        let what = match self.below(10) {
            0 => {
                signature[at / 8] ^= 1 << (at % 8);
                "a bit of R"
            }
            1 => {
                signature[32 + at / 8] ^= 1 << (at % 8);
                "a bit of S"
            }
            2 => {
                message.push(at as u8);
                "a longer message"
            }
            3 if !message.is_empty() => {
                let place = self.below(message.len());
                message[place] ^= 1 << (at % 8);
                "a bit of the message"
            }
            3 => {
                message.push(0);
                "a longer message"
            }
            4 => {
                let mut carry = 0;
                for (byte, add) in signature[32..].iter_mut().zip(ORDER) {
                    let sum = u16::from(*byte) + u16::from(add) + carry;
                    (*byte, carry) = (sum as u8, sum >> 8);
                }
                assert_eq!(carry, 0);
                "S + L"
            }
            5 => {
                signature[..32].copy_from_slice(&EIGHT_TORSION[at % 8].compress().0);
                "another R, of small order"
            }
            6 => {
                signature[..32].copy_from_slice(&not_canonical()[at % 6]);
                "another R, not canonical"
            }
            7 => {
                signature = self.other.sign(&message);
                "another key"
            }
            8 => {
                signature = [[0, 1, 7, 0xff][at % 4]; 64];
                "the same byte 64 times"
            }
            _ => {
                let [r, s] = signature.as_chunks::<32>().0.try_into().unwrap();
                let r: EdwardsPoint = CompressedEdwardsY(r).decompress().unwrap();
                let moved = (r + EIGHT_TORSION[1 + at % 7]).compress().0;
                signature = [moved, s].concat().try_into().unwrap();
                "a point of small order added to R"
            }
        };
        Sample { what, message, signature, is_valid: false, in_ring: false }
    }

    /// Checks that batch, single and ring say what is expected of each sample.
    fn check(&self, samples: &[Sample]) {
        let key = &self.signer.key;
        let signed = samples.iter().map(|one| (&one.message[..], &one.signature));
        let batch = in_batch(key, signed);
        assert_eq!(batch.len(), samples.len());
        for (at, (sample, batch)) in samples.iter().zip(batch).enumerate() {
            let Sample { what, message, signature, is_valid, in_ring } = sample;
            let context = || format!("{what}, {at} of {}: {signature:?}", samples.len());
            assert_eq!(batch, *is_valid, "in a batch: {}", context());
            assert_eq!(alone(key, message, signature), *is_valid, "alone: {}", context());
            assert_eq!(key.verifies_in_ring(message, signature), *in_ring, "ring: {}", context());
        }
    }
}

fn with_samples(number: u8, run: impl FnOnce(&mut Samples<'_>)) {
    let (signer, other) = (Signer::new(number), Signer::new(number + 1));
    let random = Box::new(Seed::new([number; 32]).numbers());
    run(&mut Samples { signer: &signer, other: &other, random });
}

#[test]
fn a_batch_says_of_each_signature_what_it_is_alone() {
    with_samples(1, |samples| {
        for size in (0..20).chain([31, 32, 33, 100, 256, 512, 512]) {
            for one_in in [1, 2, 5, 50] {
                let batch: Vec<_> = (0..size)
                    .map(|_| match samples.below(one_in * 2) {
                        0 => samples.bad(),
                        1 => samples.odd(),
                        _ => samples.good(),
                    })
                    .collect();
                samples.check(&batch);
            }
        }
    });
}

#[test]
fn a_single_bad_signature_is_found_wherever_it_is() {
    with_samples(3, |samples| {
        for size in [4, 5, 16, 63] {
            for at in 0..size {
                let mut batch: Vec<_> = (0..size).map(|_| samples.good()).collect();
                batch[at] = samples.bad();
                samples.check(&batch);
            }
        }
        for ends in [&[0][..], &[511], &[0, 511], &[255, 256], &[77]] {
            let mut batch: Vec<_> = (0..512).map(|_| samples.good()).collect();
            ends.iter().for_each(|at| batch[*at] = samples.bad());
            samples.check(&batch);
        }
    });
}

#[test]
fn all_bad_all_odd_or_all_but_one() {
    with_samples(5, |samples| {
        for good in [None, Some(0), Some(300)] {
            let mut batch: Vec<_> = (0..512).map(|_| samples.bad()).collect();
            good.into_iter().for_each(|at: usize| batch[at] = samples.good());
            samples.check(&batch);
        }
        let odd: Vec<_> = (0..300).map(|_| samples.odd()).collect();
        samples.check(&odd);
    });
}

#[test]
fn signatures_that_cancel_out_are_bad_in_a_batch_too() {
    // S is too large in one by what it is too small in the other, so the sum without random numbers
    // would hold.
    with_samples(7, |samples| {
        let mut batch: Vec<_> = (0..64).map(|_| samples.good()).collect();
        for (at, by) in [(10, Scalar::ONE), (40, -Scalar::ONE)] {
            let s: [u8; 32] = batch[at].signature[32..].try_into().unwrap();
            let s = Scalar::from_canonical_bytes(s).unwrap() + by;
            batch[at].signature[32..].copy_from_slice(&s.to_bytes());
            (batch[at].is_valid, batch[at].in_ring, batch[at].what) = (false, false, "S moved");
        }
        samples.check(&batch);
    });
}

#[test]
fn a_bit_of_the_key() {
    with_samples(9, |samples| {
        let batch: Vec<_> = (0..8).map(|_| samples.good()).collect();
        let signed = || batch.iter().map(|one| (&one.message[..], &one.signature));
        for bit in 0..256 {
            let mut public = *samples.signer.key.public();
            public[bit / 8] ^= 1 << (bit % 8);
            let key = Key::new(None, public);
            assert_eq!(in_batch(&key, signed()), [false; 8], "bit {bit}");
            for (message, signature) in signed() {
                assert!(!alone(&key, message, signature), "bit {bit}");
                assert!(!key.verifies_in_ring(message, signature), "bit {bit}");
            }
        }
    });
}

#[test]
fn a_key_that_is_no_point_verifies_nothing() {
    let mut bytes = [0; 32];
    bytes[0] = 2;
    let key = Key::new(None, bytes);
    assert_eq!(key.weakness(), Some(KeyDefect::NotAPoint));
    let signature = Signer::new(1).sign(b"x");
    assert!(!alone(&key, b"x", &signature));
    assert_eq!(in_batch(&key, [(&b"x"[..], &signature); 9]), [false; 9]);
}

#[test]
fn an_odd_signature_is_valid_and_recognised() {
    let signer = Signer::new(1);
    let keys = KeySet::new([Arc::new(signer.key.clone())]);
    let payload = "CEF:0|a|b|c|d|e|5|x=1";
    let r = Scalar::from(77_u8);
    let encoded = |small: EdwardsPoint| (EdwardsPoint::mul_base(&r) + small).compress().0;
    for (at, small) in EIGHT_TORSION.into_iter().enumerate() {
        let signature = signer.sign_with(r, encoded(small), payload.as_bytes());
        let line = format!("{payload} sig={}", URL_SAFE_NO_PAD.encode(signature));
        let layout = Layout::of(line.as_bytes(), 1000).unwrap();
        let SignatureCheck { verdict, payload, .. } = super::check(&layout, &keys).unwrap();
        let proof = verdict.proof().unwrap();
        // The first is the identity.
        assert_eq!(super::is_odd(&layout, &payload, proof.key()), at > 0, "{at}");
    }
}
