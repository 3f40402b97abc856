//! Signs entries with Ed25519 (RFC 8032), and places the signature in the line.
//!
//! A key is read from PKCS#8 (RFC 8410, as PEM or DER) or from a JWK with `d` (RFC 8037 section 2).
//! Kong's page "Verify audit log signatures" defines what is signed. In a CPS line, it is the object
//! under `event`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::entry::Format;
use crate::private_key::{self, PrivateKeyError, PrivatePem};
use crate::signature::Key;

/// A key that signs entries.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: Key,
}

/// A key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It cannot be made, or is not in PKCS#8.
    #[error(transparent)]
    PrivateKey(#[from] PrivateKeyError),
    /// The text is not in a known format.
    #[error(
        "no private key, expected PKCS#8 (PEM or DER) or a JWK with \"d\"; \
         openssl genpkey -algorithm ed25519 makes one"
    )]
    NotAKey,
    /// A JWK that is not an Ed25519 private key.
    #[error("not an Ed25519 private key as a JWK: {0}")]
    BadJwk(&'static str),
}

impl Signer {
    /// Makes a key with this `kid`, which is its thumbprint by default.
    pub fn generate(kid: Option<String>) -> Result<(Signer, PrivatePem), SignerError> {
        let (pair, pem) = private_key::generate()?;
        Ok((Signer::of(pair, kid)?, pem))
    }

    /// Reads a key: PKCS#8 as PEM or DER, or a JWK with `d`. The first byte tells which.
    pub fn read(bytes: &[u8]) -> Result<Signer, SignerError> {
        match bytes.trim_ascii_start().first() {
            Some(b'{') => Signer::from_jwk(bytes),
            // A SEQUENCE.
            Some(0x30) => Signer::of(private_key::from_der(bytes)?, None),
            _ => {
                let der = private_key::der(bytes).map_err(|_| SignerError::NotAKey)?;
                Signer::of(private_key::from_der(der.secret_pkcs8_der())?, None)
            }
        }
    }

    fn from_jwk(bytes: &[u8]) -> Result<Signer, SignerError> {
        let jwk: Value =
            serde_json::from_slice(bytes).map_err(|_| SignerError::BadJwk("it is not JSON"))?;
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        if (member("kty"), member("crv")) != (Some("OKP"), Some("Ed25519")) {
            return Err(SignerError::BadJwk("expected \"kty\":\"OKP\" and \"crv\":\"Ed25519\""));
        }
        let decoded = |name| URL_SAFE_NO_PAD.decode(member(name)?.trim_end_matches('=')).ok();
        let seed = decoded("d").ok_or(SignerError::BadJwk("it has no \"d\" in base64url"))?;
        let pair = match decoded("x") {
            Some(public) => Ed25519KeyPair::from_seed_and_public_key(&seed, &public),
            None => Ed25519KeyPair::from_seed_unchecked(&seed),
        };
        let pair = pair.map_err(|_| {
            SignerError::BadJwk("its \"d\" is not 32 bytes, or its \"x\" is of another key")
        })?;
        Signer::of(pair, member("kid").map(str::to_owned))
    }

    fn of(pair: Ed25519KeyPair, kid: Option<String>) -> Result<Signer, SignerError> {
        let public = pair.public_key().as_ref().try_into().map_err(|_| SignerError::NotAKey)?;
        Ok(Signer { key: Key::new(kid, public), pair })
    }

    /// Returns the public key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The JWK set (RFC 7517 section 5) with the public key.
    pub fn jwk_set(&self) -> String {
        format!("{:#}\n", json!({ "keys": [self.key] }))
    }

    /// The signature over `text` in padded base64url, as Konnect writes it.
    pub fn signature(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(text.as_bytes())) + "=="
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({:?}, private key hidden)", self.key.kid())
    }
}

/// The line for `text`, a CEF line or a flat JSON object, with the signature if there is one.
pub fn place(format: Format, text: &str, signature: Option<&str>) -> String {
    let Some(signature) = signature else {
        return match format {
            Format::Cef | Format::Json | Format::Pulled => text.to_owned(),
            Format::Cps => format!("{{\"event\":{text}}}"),
        };
    };
    let open = text.strip_suffix('}').unwrap_or(text);
    match format {
        Format::Cef => format!("{text} sig={signature}"),
        Format::Json | Format::Pulled => format!("{open},\"sig\":\"{signature}\"}}"),
        Format::Cps => format!("{{\"event\":{open},\"sig\":\"{signature}\"}}}}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::entry::VerdictName;
    use crate::ingest::CheckedLine;
    use crate::signature::KeySet;

    /// RFC 8037 appendix A.1.
    const JWK: &str = r#"{"kty":"OKP","crv":"Ed25519",
        "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"of the rfc"}"#;

    #[test]
    fn the_signature_is_that_of_rfc_8037_appendix_a_4() {
        let signer = Signer::read(JWK.as_bytes()).unwrap();
        assert_eq!(
            signer.signature("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg=="
        );
        assert_eq!(signer.key().kid(), "of the rfc");
    }

    #[test]
    fn a_key_is_read_again_in_each_form() {
        let (signer, pem) = Signer::generate(None).unwrap();
        let der = private_key::der(pem.expose().as_bytes()).unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519",
            "d": URL_SAFE_NO_PAD.encode(&der.secret_pkcs8_der()[16..])});
        let forms = [pem.expose().as_bytes(), der.secret_pkcs8_der(), jwk.to_string().as_bytes()]
            .map(<[u8]>::to_vec);
        for form in forms {
            assert_eq!(Signer::read(&form).unwrap().key(), signer.key());
        }
    }

    fn check_refused(bytes: &str, expected: &str) {
        let error = Signer::read(bytes.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{bytes}: {error}");
    }

    #[test]
    fn text_that_is_no_key_is_refused() {
        check_refused("", "expected PKCS#8");
        check_refused("-----BEGIN PRIVATE KEY-----\nAAAA\n", "expected PKCS#8");
        check_refused("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "PKCS#8");
        check_refused("0abc", "not an Ed25519 key in PKCS#8");
        check_refused("{", "not JSON");
        check_refused(r#"{"kty":"RSA"}"#, "OKP");
        check_refused(&JWK.replace("\"d\"", "\"e\""), "no \"d\"");
        check_refused(&JWK.replace("\"d\":\"nW", "\"d\":\"nX"), "of another key");
    }

    #[test]
    fn the_private_key_is_not_shown() {
        let (signer, _) = Signer::generate(Some("k".into())).unwrap();
        assert_eq!(format!("{signer:?}"), "Signer(\"k\", private key hidden)");
        assert!(!signer.jwk_set().contains("\"d\""));
    }

    fn check(format: Format, text: &str, expected: &str) {
        let (signer, _) = Signer::generate(None).unwrap();
        let keys = KeySet::parse(signer.jwk_set().as_bytes()).unwrap().0;
        let strangers = KeySet::new([Arc::new(Key::new(None, [7; 32]))]);
        let signature = signer.signature(text);
        let line = place(format, text, Some(&signature));
        assert_eq!(line, expected.replace("SIG", &signature));
        let verdict =
            |line: &str, keys| CheckedLine::new(line.as_bytes(), keys, 1 << 20).verdict().name();
        assert_eq!(verdict(&line, &keys), VerdictName::Valid);
        assert_eq!(verdict(&line, &strangers), VerdictName::Invalid);
        assert_eq!(verdict(&line.replacen("konnect", "kannect", 1), &keys), VerdictName::Invalid);
        assert_eq!(verdict(&place(format, text, None), &keys), VerdictName::Unsigned);
    }

    #[test]
    fn the_signature_is_put_where_a_receiver_looks_for_it() {
        let cef = "CEF:0|KongInc|Konnect|1.0|konnect|Ingress|1|rt=5 user_agent=";
        check(Format::Cef, cef, &format!("{cef} sig=SIG"));
        check(Format::Json, r#"{"a":"konnect"}"#, r#"{"a":"konnect","sig":"SIG"}"#);
        check(Format::Cps, r#"{"a":"konnect"}"#, r#"{"event":{"a":"konnect","sig":"SIG"}}"#);
    }
}
