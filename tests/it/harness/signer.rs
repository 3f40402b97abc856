//! Entries signed as Konnect signs them, with test keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use curve25519_dalek::constants::EIGHT_TORSION;
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ring::digest::{SHA256, SHA512, digest};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

/// A signing key.
pub(crate) struct Signer {
    kid: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    /// The key with this id. The same id always gives the same key.
    pub(crate) fn new(kid: &str) -> Signer {
        let seed = digest(&SHA256, kid.as_bytes());
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).unwrap();
        Signer { kid: kid.to_owned(), pair }
    }

    /// The public key as a JWK (RFC 8037).
    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.public());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x})
    }

    /// The 32 bytes of the public key.
    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The 64 bytes of the signature of a payload.
    pub(crate) fn signature(&self, payload: &str) -> Vec<u8> {
        self.pair.sign(payload.as_bytes()).as_ref().to_vec()
    }

    /// A signature of a payload that holds only with the cofactor. Only the owner of the key can
    /// make one: a point of order eight is added to R before it is hashed.
    pub(crate) fn odd_signature(&self, payload: &str) -> Vec<u8> {
        let seed = digest(&SHA256, self.kid.as_bytes());
        let secret = digest(&SHA512, seed.as_ref());
        let secret = clamp_integer(secret.as_ref()[..32].try_into().unwrap());
        let r = Scalar::from(77_u8);
        let odd = (EdwardsPoint::mul_base(&r) + EIGHT_TORSION[1]).compress().0;
        let k = digest(&SHA512, &[&odd, self.public(), payload.as_bytes()].concat());
        let k = Scalar::from_bytes_mod_order_wide(k.as_ref().try_into().unwrap());
        let s = r + k * Scalar::from_bytes_mod_order(secret);
        [odd, s.to_bytes()].concat()
    }

    /// The CEF entry number `n` with an odd signature.
    pub(crate) fn odd_cef(&self, n: usize) -> String {
        let payload = cef(n);
        let signature = URL_SAFE_NO_PAD.encode(self.odd_signature(&payload));
        format!("{payload} sig={signature}")
    }

    /// Appends the signature to a CEF payload.
    pub(crate) fn sign(&self, payload: &str) -> String {
        format!("{payload} sig={}", URL_SAFE_NO_PAD.encode(self.signature(payload)))
    }

    /// The signed CEF entry number `n`.
    pub(crate) fn cef(&self, n: usize) -> String {
        self.sign(&cef(n))
    }

    /// The signed JSON entry number `n`.
    pub(crate) fn json(&self, n: usize) -> String {
        self.sign_object(&json(n, "list"))
    }

    fn sign_object(&self, payload: &str) -> String {
        let sig = URL_SAFE_NO_PAD.encode(self.signature(payload));
        format!("{},\"sig\":\"{sig}\"}}", payload.strip_suffix('}').unwrap())
    }

    /// The signed CPS entry number `n`. The signature covers the object, which differs from that of
    /// the JSON entry.
    pub(crate) fn cps(&self, n: usize) -> String {
        format!("{{\"event\":{}}}", self.sign_object(&json(n, "show")))
    }
}

/// The key set with these keys.
pub(crate) fn jwks(signers: &[&Signer]) -> String {
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// The CEF entry number `n`, without a signature.
pub(crate) fn cef(n: usize) -> String {
    let rt = 1_750_280_556_000 + n;
    format!(
        "2025-06-18T21:02:36Z konghq.com CEF:0|KongInc|Konnect|1.0|KongGateway|Ingress|1|rt={rt} \
         src=127.0.0.6 request=/v2/runtime-groups/{n} act=POST status=201 \
         org_id=b065b594-6afc-4658-9101-5d9cf3f36b7b trace_id={n} user_agent=grpc-node-js/1.12.4"
    )
}

/// The JSON entry number `n` with this action, without a signature.
fn json(n: usize, action: &str) -> String {
    let rt = 1_750_280_556_000 + n;
    format!(
        "{{\"event_ts\":\"2025-06-18T21:02:36Z\",\"name\":\"Authz.portals\",\"rt\":{rt},\
         \"granted\":true,\"action\":\"{action}\",\"trace_id\":{n},\
         \"org_id\":\"b065b594-6afc-4658-9101-5d9cf3f36b7b\"}}"
    )
}
