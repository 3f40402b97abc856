//! Entries signed as Konnect signs them, with test keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
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
