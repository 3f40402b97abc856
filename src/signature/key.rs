//! JWK sets (RFC 7517) of Ed25519 keys (RFC 8037).
//!
//! The thumbprint (RFC 7638) identifies a key. The `kid` is for people. A bad key in a set is
//! reported, and the others are used.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::Value;

use super::ed25519::PublicKey;

/// The maximum number of keys in a set.
pub const MAX_KEYS: usize = 64;

/// The SHA-256 thumbprint of a key (RFC 7638, with the members of RFC 8037 section 2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// Its 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An Ed25519 public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    thumbprint: Thumbprint,
    kid: String,
    public: PublicKey,
}

impl Key {
    /// A key from its 32 bytes (RFC 8032 section 5.1.5). Without a `kid`, the thumbprint is the
    /// `kid`.
    pub fn new(kid: Option<String>, public: [u8; 32]) -> Key {
        let x = URL_SAFE_NO_PAD.encode(public);
        let members = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
        let mut thumbprint = Thumbprint([0; 32]);
        thumbprint.0.copy_from_slice(digest::digest(&digest::SHA256, members.as_bytes()).as_ref());
        let kid = kid.unwrap_or_else(|| thumbprint.to_string());
        Key { thumbprint, kid, public: PublicKey::new(public) }
    }

    /// Reads one key of a JWK set.
    fn from_jwk(jwk: &Value) -> Result<Key, KeyDefect> {
        let member = |name: &'static str| match jwk.get(name) {
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(KeyDefect::NotAString(name)),
            None => Err(KeyDefect::Missing(name)),
        };
        for (name, expected) in [("kty", "OKP"), ("crv", "Ed25519")] {
            let found = member(name)?;
            if found != expected {
                return Err(KeyDefect::NotEd25519 { name, found: found.to_owned(), expected });
            }
        }
        if jwk.get("d").is_some() {
            return Err(KeyDefect::Private);
        }
        // Both are optional. RFC 9864 names the algorithm after the curve.
        let optional: [(_, &[_], _); 2] = [
            ("use", &["sig"], "\"sig\""),
            ("alg", &["EdDSA", "Ed25519"], "\"EdDSA\" or \"Ed25519\""),
        ];
        for (name, good, expected) in optional {
            if jwk.get(name).is_some() && !good.contains(&member(name)?) {
                let found = member(name)?.to_owned();
                return Err(KeyDefect::OtherPurpose { name, found, expected });
            }
        }
        let x = member("x")?;
        let bytes =
            URL_SAFE_NO_PAD.decode(x.trim_end_matches('=')).map_err(|_| KeyDefect::NotBase64Url)?;
        let public = bytes.as_slice().try_into().map_err(|_| KeyDefect::Length(bytes.len()))?;
        let key = Key::new(kid_of(jwk), public);
        key.weakness().map_or(Ok(key), Err)
    }

    /// Why the key is not safe to verify with, or `None` if it is. With a key of small order, one
    /// signature is valid for many texts. On keys of mixed order and on keys that are not
    /// canonically encoded, implementations disagree (RFC 8032 section 5.1.3).
    pub fn weakness(&self) -> Option<KeyDefect> {
        let PublicKey { bytes, point } = self.public;
        let Some(point) = point else { return Some(KeyDefect::NotAPoint) };
        match () {
            () if point.compress().0 != bytes => Some(KeyDefect::NotCanonical),
            () if point.is_small_order() => Some(KeyDefect::SmallOrder),
            () if !point.is_torsion_free() => Some(KeyDefect::MixedOrder),
            () => None,
        }
    }

    /// The thumbprint, which identifies the key.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// The name of the key, for people.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The 32 bytes of the key.
    pub fn public(&self) -> &[u8; 32] {
        &self.public.bytes
    }

    /// The key with its point.
    pub(super) fn point(&self) -> &PublicKey {
        &self.public
    }

    /// Whether ring accepts the signature. ring and openssl use the equation without the cofactor.
    pub(super) fn verifies_in_ring(&self, payload: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public()).verify(payload, signature).is_ok()
    }
}

/// A JWK (RFC 7517 section 4).
impl serde::Serialize for Key {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let x = URL_SAFE_NO_PAD.encode(self.public());
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.kid, "x": x})
            .serialize(serializer)
    }
}

fn kid_of(jwk: &Value) -> Option<String> {
    jwk.get("kid").and_then(Value::as_str).map(str::to_owned)
}

/// A key of a JWK set that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {name} cannot be used: {why}")]
pub struct BadKey {
    /// The `kid` in quotes, or else the place in the set: "number 3".
    pub name: String,
    /// The reason.
    pub why: KeyDefect,
}

/// Why a key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyDefect {
    /// A member is missing.
    #[error("it has no {0:?}")]
    Missing(&'static str),
    /// A member is not a string.
    #[error("its {0:?} is not a string")]
    NotAString(&'static str),
    /// The key has another type or another curve.
    #[error("its {name:?} is {found:?}, expected {expected:?}")]
    NotEd25519 {
        /// The member.
        name: &'static str,
        /// The value found.
        found: String,
        /// The value that is expected.
        expected: &'static str,
    },
    /// `x` is not base64url.
    #[error("its \"x\" is not base64url")]
    NotBase64Url,
    /// `x` does not have 32 bytes.
    #[error("its \"x\" has {0} bytes, expected 32")]
    Length(usize),
    /// The key is for another purpose.
    #[error("its {name:?} is {found:?}, expected {expected}")]
    OtherPurpose {
        /// The member.
        name: &'static str,
        /// The value found.
        found: String,
        /// The values that are expected.
        expected: &'static str,
    },
    /// The set contains the private key.
    #[error(
        "it has \"d\", the private key: anyone who has read the set can sign with it, so make a new key"
    )]
    Private,
    /// `x` is not a point on the curve.
    #[error("its \"x\" is not a point on the curve")]
    NotAPoint,
    /// `x` is not the canonical encoding of its point.
    #[error("its \"x\" is not canonically encoded")]
    NotCanonical,
    /// The order of the point divides eight.
    #[error("its \"x\" is a point of small order: anyone can sign for it")]
    SmallOrder,
    /// The point has a component of small order.
    #[error("its \"x\" is a point of mixed order")]
    MixedOrder,
}

/// Why bytes are not a JWK set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The bytes are not JSON, or JSON of another structure.
    #[error("not a JWK set, expected a JSON object with an array \"keys\": {0}")]
    NotASet(#[from] serde_json::Error),
    /// The set has more than [`MAX_KEYS`] keys.
    #[error("the JWK set has {0} keys, at most {MAX_KEYS} are expected")]
    TooMany(usize),
}

/// Enough for one batch of 256.
const MOST_CREDIT: usize = 512;

/// The keys to check entries with.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Arc<Key>>,
    /// The thumbprints of the keys that left their set long ago.
    retired: Vec<Thumbprint>,
    /// The index of the key that verified last.
    last: AtomicUsize,
    /// What [`KeySet::batch_size`] is derived from. Threads may overwrite each other's: it decides only
    /// what is tried next.
    credit: AtomicUsize,
}

impl KeySet {
    /// A set of these keys. Of equal keys only the first is kept.
    pub fn new(keys: impl IntoIterator<Item = Arc<Key>>) -> KeySet {
        let mut set = KeySet::default();
        for key in keys {
            if !set.keys.iter().any(|one| one.thumbprint == key.thumbprint) {
                set.keys.push(key);
            }
        }
        set
    }

    /// A set of these keys, each with whether it left its key set long ago. Of equal keys only the
    /// first is kept, and it is retired if all are.
    pub fn with_retired(keys: impl IntoIterator<Item = (Arc<Key>, bool)>) -> KeySet {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut set = KeySet::new(keys.iter().map(|(key, _)| Arc::clone(key)));
        let is_retired = |key: &&Arc<Key>| {
            let mut same = keys.iter().filter(|(one, _)| one.thumbprint == key.thumbprint);
            same.all(|(_, is_retired)| *is_retired)
        };
        set.retired = set.keys.iter().filter(is_retired).map(|key| key.thumbprint()).collect();
        set
    }

    /// Whether a key of the set left its key set long ago.
    pub fn is_retired(&self, key: &Key) -> bool {
        self.retired.contains(&key.thumbprint)
    }

    /// Whether the other set has the same keys, and the same are retired.
    pub fn is_like(&self, other: &KeySet) -> bool {
        self.keys == other.keys && self.retired == other.retired
    }

    /// Parses a JWK set into the keys that can be used and those that cannot.
    pub fn parse(json: &[u8]) -> Result<(KeySet, Vec<BadKey>), KeySetError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let Set { keys } = serde_json::from_slice(json)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany(keys.len()));
        }
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for (at, jwk) in keys.iter().enumerate() {
            match Key::from_jwk(jwk) {
                Ok(key) => good.push(Arc::new(key)),
                Err(why) => {
                    let number = || format!("number {}", at + 1);
                    let name = kid_of(jwk).map_or_else(number, |kid| format!("{kid:?}"));
                    bad.push(BadKey { name, why });
                }
            }
        }
        Ok((KeySet::new(good), bad))
    }

    /// The keys.
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// Whether the set has no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The indices of the keys, the likeliest first: the one that verified last. Neighbouring
    /// entries mostly have the same signer.
    fn by_likelihood(&self) -> impl Iterator<Item = usize> {
        let last = self.last.load(Ordering::Relaxed);
        let likeliest = (last < self.keys.len()).then_some(last);
        likeliest.into_iter().chain((0..self.keys.len()).filter(move |at| *at != last))
    }

    /// The index of the likeliest key.
    pub(super) fn likeliest(&self) -> Option<usize> {
        self.by_likelihood().next()
    }

    /// The index of the first key, in this order, that `verifies`. It is noted.
    pub(super) fn find(&self, verifies: impl Fn(usize, &Key) -> bool) -> Option<usize> {
        let verifies = |at: &usize| self.keys.get(*at).is_some_and(|key| verifies(*at, key));
        self.by_likelihood().find(verifies).inspect(|at| self.note_verified(*at))
    }

    /// Notes that the key with this index has verified a signature.
    pub(super) fn note_verified(&self, at: usize) {
        self.last.store(at, Ordering::Relaxed);
    }

    /// How many signatures may be verified in a batch under the likeliest key.
    ///
    /// A batch under a wrong key is wasted. So with several keys, only half as many signatures are
    /// risked as were verified before, less those that were wasted.
    pub(super) fn batch_size(&self) -> usize {
        match self.keys.len() {
            1 => usize::MAX,
            _ => self.credit.load(Ordering::Relaxed) / 2,
        }
    }

    /// Notes how many signatures a key verified, and how many a batch under it did not.
    pub(super) fn note_batch(&self, verified: usize, failed: usize) {
        let credit = self.credit.load(Ordering::Relaxed);
        let credit = credit.saturating_add(verified).min(MOST_CREDIT).saturating_sub(2 * failed);
        self.credit.store(credit, Ordering::Relaxed);
    }
}

/// A JWK set (RFC 7517 section 5).
impl serde::Serialize for KeySet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let keys: Vec<&Key> = self.keys.iter().map(AsRef::as_ref).collect();
        serde_json::json!({ "keys": keys }).serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_8037_appendix_a_3() {
        let set = br#"{"keys":[{"kty":"OKP","crv":"Ed25519",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let (set, bad) = KeySet::parse(set).unwrap();
        assert_eq!(bad, []);
        let thumbprint = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        assert_eq!(set.keys()[0].thumbprint().to_string(), thumbprint);
        assert_eq!(set.keys()[0].kid(), thumbprint);
    }

    #[test]
    fn a_batch_risks_half_as_many_signatures_as_were_verified() {
        let key = |n: u8| Arc::new(Key::new(None, [n; 32]));
        let one = KeySet::new([key(1)]);
        assert_eq!(one.batch_size(), usize::MAX);
        let two = KeySet::new([key(1), key(2)]);
        let sizes = [(0, 0), (1, 0), (1, 0), (2, 0), (6, 2), (10_000, 0), (1, 255), (0, 9)];
        let found = sizes.map(|(verified, failed)| {
            two.note_batch(verified, failed);
            two.batch_size()
        });
        assert_eq!(found, [0, 0, 1, 2, 3, 256, 1, 0]);
    }

    fn check_bad(jwk: &str, expected: &str) {
        let good =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let (set, bad) = KeySet::parse(format!(r#"{{"keys":[{jwk},{good}]}}"#).as_bytes()).unwrap();
        assert_eq!(bad.iter().map(BadKey::to_string).collect::<Vec<_>>(), [expected]);
        assert_eq!(set.keys().len(), 1);
    }

    #[test]
    fn a_bad_key_is_named_and_the_others_are_used() {
        check_bad(r#"{"kid":"a"}"#, r#"key "a" cannot be used: it has no "kty""#);
        check_bad("7", r#"key number 1 cannot be used: it has no "kty""#);
        check_bad(
            r#"{"kty":"RSA"}"#,
            r#"key number 1 cannot be used: its "kty" is "RSA", expected "OKP""#,
        );
        check_bad(
            r#"{"kid":"b","kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
            r#"key "b" cannot be used: its "x" has 3 bytes, expected 32"#,
        );
        check_bad(
            r#"{"kid":"b","kty":"OKP","crv":"Ed25519","x":"+"}"#,
            r#"key "b" cannot be used: its "x" is not base64url"#,
        );
        check_bad(
            r#"{"kid":"b","kty":"OKP","crv":"Ed25519","x":7}"#,
            r#"key "b" cannot be used: its "x" is not a string"#,
        );
    }

    #[test]
    fn a_key_for_something_else_or_with_its_secret_is_bad() {
        let with = |member: &str| {
            let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
            format!(r#"{{"kid":"b","kty":"OKP","crv":"Ed25519","x":"{x}",{member}}}"#)
        };
        for (member, expected) in [
            (r#""use":"enc""#, r#"its "use" is "enc", expected "sig""#),
            (r#""use":7"#, r#"its "use" is not a string"#),
            (r#""alg":"ES256""#, r#"its "alg" is "ES256", expected "EdDSA" or "Ed25519""#),
            (r#""alg":null"#, r#"its "alg" is not a string"#),
            (
                r#""d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A""#,
                r#"it has "d", the private key: anyone who has read the set can sign with it, so make a new key"#,
            ),
        ] {
            check_bad(&with(member), &format!(r#"key "b" cannot be used: {expected}"#));
        }
        for good in [r#""use":"sig","alg":"EdDSA""#, r#""alg":"Ed25519""#] {
            let (set, bad) =
                KeySet::parse(format!(r#"{{"keys":[{}]}}"#, with(good)).as_bytes()).unwrap();
            assert_eq!((set.keys().len(), bad.len()), (1, 0), "{good}");
        }
    }

    #[test]
    fn a_key_that_others_can_sign_for_is_bad() {
        let small = "is a point of small order: anyone can sign for it";
        for (x, expected) in [
            // All points whose order divides eight.
            ("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", small),
            ("xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o", small),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA", small),
            ("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU", small),
            ("7P_______________________________________38", small),
            ("JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_IU", small),
            ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", small),
            ("xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA_o", small),
            // Numbers from the prime on, and a sign for x = 0.
            ("7v_______________________________________38", "is not canonically encoded"),
            ("7f_______________________________________38", "is not canonically encoded"),
            ("8P_______________________________________38", "is not canonically encoded"),
            ("AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA", "is not canonically encoded"),
            ("7P________________________________________8", "is not canonically encoded"),
            // A good key and a point of order eight, and of order two.
            ("kVgxKpqNbjs0yJHW1hRE-LghHFEX660VvbC9aLB-AkU", "is a point of mixed order"),
            ("FqVn_n1O9UgqtAEsNpv4xfEejQwlWdzaUP3llwj4ruU", "is a point of mixed order"),
            ("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "is not a point on the curve"),
        ] {
            check_bad(
                &format!(r#"{{"kid":"b","kty":"OKP","crv":"Ed25519","x":"{x}"}}"#),
                &format!(r#"key "b" cannot be used: its "x" {expected}"#),
            );
        }
    }

    #[test]
    fn a_set_is_an_object_of_at_most_64_keys() {
        for not_a_set in ["", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(matches!(KeySet::parse(not_a_set.as_bytes()), Err(KeySetError::NotASet(_))));
        }
        let many = format!(r#"{{"keys":[{}0]}}"#, "0,".repeat(64));
        assert!(matches!(KeySet::parse(many.as_bytes()), Err(KeySetError::TooMany(65))));
    }
}
