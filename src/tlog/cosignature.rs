//! Cosignatures: a witness states when it saw a checkpoint, and that the log only grew until then
//! (<https://c2sp.org/tlog-cosignature>). Only the type with Ed25519 is known.
//!
//! A cosignature is a signature line of the checkpoint. [`super::note::Note::verify`] verifies it
//! with a key of the type [`KeyType::Cosignature`].

use ring::signature::Ed25519KeyPair;

use super::note::{self, KeyType, Note, Signature, SigningKey, VerifierKey};
use super::{FormatError, MAX_SIZE};

/// The latest time that a cosignature can state, in seconds since 1970 (section "Format").
const MAX_TIMESTAMP: u64 = MAX_SIZE;

/// The bytes of a cosignature: the struct `timestamped_signature` of section "Format".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampedSignature {
    /// When the cosignature was made, by the clock of the witness: seconds since 1970.
    pub timestamp: u64,
    /// The Ed25519 signature over [`message`].
    pub signature: [u8; 64],
}

impl TimestampedSignature {
    /// Reads the 72 bytes. `None` if there are more or fewer, or the time is 2^63 or more.
    pub fn parse(bytes: &[u8]) -> Option<TimestampedSignature> {
        let (timestamp, signature) = bytes.split_first_chunk()?;
        let timestamp = u64::from_be_bytes(*timestamp);
        let signature = signature.try_into().ok()?;
        (timestamp <= MAX_TIMESTAMP).then_some(TimestampedSignature { timestamp, signature })
    }

    /// The 72 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.timestamp.to_be_bytes().as_slice(), &self.signature].concat()
    }

    /// Whether the owner of a public key made it for a checkpoint with this text.
    pub fn verifies(&self, public: [u8; 32], text: &str) -> bool {
        note::verifies(public, message(self.timestamp, text).as_bytes(), &self.signature)
    }
}

/// What a witness signs: two lines and the whole text of the checkpoint (section "Ed25519 signed
/// message").
pub fn message(timestamp: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {timestamp}\n{text}")
}

/// The private key of a witness, with its name.
#[derive(Debug)]
pub struct CosigningKey(SigningKey);

impl CosigningKey {
    /// A key from 32 secret bytes (RFC 8032 section 5.1.5). No other key may have them.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<CosigningKey, FormatError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed);
        SigningKey::new(name, KeyType::Cosignature, pair).map(CosigningKey)
    }

    /// The public key.
    pub fn verifier(&self) -> &VerifierKey {
        self.0.verifier()
    }

    /// Cosigns a checkpoint. `timestamp` is the time now, in seconds since 1970. The caller has
    /// verified the checkpoint, and that it is consistent with the one before.
    pub fn cosign(&self, checkpoint: &Note, timestamp: u64) -> Result<Signature, FormatError> {
        if timestamp > MAX_TIMESTAMP {
            return Err(FormatError::found(&timestamp.to_string(), "a time before 2^63"));
        }
        let signature = self.0.sign_bytes(message(timestamp, checkpoint.text()).as_bytes());
        Ok(self.0.signature([timestamp.to_be_bytes().as_slice(), &signature].concat()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::Checkpoint;
    use super::*;

    /// A checkpoint that a log published, with the cosignature of a witness that runs.
    const CHECKPOINT: &str = "\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
";
    const LOG: &str = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f";
    const WITNESS: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

    #[test]
    fn a_published_checkpoint_verifies() {
        let keys: [VerifierKey; 2] = [LOG, WITNESS].map(|key| key.parse().unwrap());
        let note = Note::parse(CHECKPOINT.as_bytes()).unwrap();
        let verified = note.verify(&keys).unwrap();
        let found: Vec<_> = verified.iter().map(|one| (one.key, one.timestamp)).collect();
        assert_eq!(found, [(&keys[0], None), (&keys[1], Some(1_779_573_024))]);
        assert_eq!(Checkpoint::verify(&note, &keys).unwrap().size(), 1_432_088_532);
        for bad in [
            CHECKPOINT.replacen("1432088532", "1432088533", 1),
            // Another time.
            CHECKPOINT.replacen("AABqEiEg", "AABqEiEh", 1),
            // Six bytes fewer.
            CHECKPOINT.replacen("2net5wAAAABqEiEg", "2net5yEg", 1),
        ] {
            let note = Note::parse(bad.as_bytes()).unwrap();
            assert!(note.verify(&keys[1..]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_example_has_its_time_and_message() {
        let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";
        let line: Signature = line.parse().unwrap();
        let cosignature = TimestampedSignature::parse(line.bytes()).unwrap();
        assert_eq!(cosignature.timestamp, 1_679_315_147);
        assert_eq!(cosignature.to_bytes(), line.bytes());
        let text =
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
        let expected = format!("cosignature/v1\ntime 1679315147\n{text}");
        assert_eq!(message(cosignature.timestamp, text), expected);
    }

    #[test]
    fn a_cosignature_covers_the_time_and_the_text() {
        let log = SigningKey::from_seed("log", &[1; 32]).unwrap();
        let witness = CosigningKey::from_seed("witness", &[2; 32]).unwrap();
        let mut note = Note::sign("log\n0\nextension\n".to_owned(), &log).unwrap();
        note.add(witness.cosign(&note, MAX_TIMESTAMP).unwrap()).unwrap();
        let verified = note.verify([witness.verifier()]).unwrap();
        assert_eq!(verified[0].timestamp, Some(MAX_TIMESTAMP));
        let other = note.to_string().replace("extension", "extension2");
        assert!(Note::parse(other.as_bytes()).unwrap().verify([witness.verifier()]).is_err());

        assert!(witness.cosign(&note, MAX_TIMESTAMP + 1).is_err());
        let bytes = note.signatures()[1].bytes();
        assert_eq!(TimestampedSignature::parse(&bytes[..71]), None);
        assert_eq!(TimestampedSignature::parse(&[bytes, b"\0"].concat()), None);
        assert_eq!(TimestampedSignature::parse(&[0xff; 72]), None);
    }
}
