//! Ed25519 private keys as PKCS#8 in PEM or DER (RFC 8410 section 7), as `openssl genpkey
//! -algorithm ed25519` makes them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::random::{NoRandomBytes, secret_bytes};

/// A private key as PKCS#8 in PEM.
pub struct PrivatePem(String);

/// A key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateKeyError {
    /// The system has no random bytes.
    #[error(transparent)]
    NoRandomBytes(#[from] NoRandomBytes),
    /// The text has no block `PRIVATE KEY` in PEM.
    #[error("no private key as PKCS#8 in PEM; openssl genpkey -algorithm ed25519 makes one")]
    NotPem,
    /// A key of another algorithm, or a damaged one.
    #[error("not an Ed25519 key in PKCS#8: {0}")]
    NotEd25519(ring::error::KeyRejected),
}

/// Makes a key from random bytes of the system.
///
/// # Errors
/// When the system has none.
pub fn generate() -> Result<(Ed25519KeyPair, PrivatePem), PrivateKeyError> {
    let seed: [u8; 32] = secret_bytes()?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(PrivateKeyError::NotEd25519)?;
    // PKCS#8 version 1, without the public key, because OpenSSL reads only that.
    let der = STANDARD.encode([PKCS8_V1.as_slice(), &seed].concat());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    Ok((pair, PrivatePem(pem)))
}

/// The DER in a key in PEM.
///
/// # Errors
/// When there is no such key.
pub fn der(pem: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, PrivateKeyError> {
    PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|_| PrivateKeyError::NotPem)
}

/// Reads a key in DER.
///
/// # Errors
/// When it is not one of Ed25519.
pub fn from_der(der: &[u8]) -> Result<Ed25519KeyPair, PrivateKeyError> {
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(PrivateKeyError::NotEd25519)
}

impl PrivatePem {
    /// The PEM text, which is a secret.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivatePem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivatePem(hidden)")
    }
}

/// The bytes before the 32 bytes of an Ed25519 key in PKCS#8 version 1.
const PKCS8_V1: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

#[cfg(test)]
mod tests {
    use ring::signature::KeyPair;

    use super::*;

    #[test]
    fn a_key_is_read_again_and_not_shown() {
        let (pair, pem) = generate().unwrap();
        let again = from_der(der(pem.expose().as_bytes()).unwrap().secret_pkcs8_der()).unwrap();
        assert_eq!(again.public_key().as_ref(), pair.public_key().as_ref());
        assert_eq!(format!("{pem:?}"), "PrivatePem(hidden)");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let check = |pem: &str, expected: &str| {
            let read = der(pem.as_bytes()).and_then(|der| from_der(der.secret_pkcs8_der()));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(expected), "{pem}: {error}");
        };
        check("", "openssl genpkey");
        check("-----BEGIN PRIVATE KEY-----\nAAAA\n", "openssl genpkey");
        check(
            "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n",
            "not an Ed25519 key",
        );
    }
}
