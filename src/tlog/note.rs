//! Signed notes: text with signatures (<https://c2sp.org/signed-note>).
//!
//! A note is text, an empty line, and a line for each signature. The text of a note means nothing
//! before [`Note::verify`] has found a signature of a key that the reader trusts.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use super::cosignature::TimestampedSignature;
use super::error::{FormatError, VerifyError, at_most};
use super::{from_base64, to_base64};

/// The maximum length of a note, in bytes. The specification recommends a limit.
pub const MAX_BYTES: usize = 1 << 20;

/// The maximum number of signatures of a note. The specification requires 16 or more.
pub const MAX_SIGNATURES: usize = 100;

/// What a key signs (section "Signature types"). The values are the identifier bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// The text of the note, with Ed25519.
    Note = 0x01,
    /// A time and the text of the note, with Ed25519: see [`super::cosignature`].
    Cosignature = 0x04,
}

/// A public key with its name, or "vkey" (section "Verifier keys").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyType,
    public: [u8; 32],
    id: u32,
}

impl VerifierKey {
    /// A key from its 32 bytes (RFC 8032 section 5.1.5). The name must not be empty, and have no
    /// white space, `+` or control character.
    pub fn new(name: &str, kind: KeyType, public: [u8; 32]) -> Result<VerifierKey, FormatError> {
        let mut of_id = digest::Context::new(&digest::SHA256);
        of_id.update(name.as_bytes());
        of_id.update(&[b'\n', kind as u8]);
        of_id.update(&public);
        let id = of_id.finish().as_ref().first_chunk().map_or(0, |id| u32::from_be_bytes(*id));
        Ok(VerifierKey { name: key_name(name)?.to_owned(), kind, public, id })
    }

    /// The name, which the signatures of the key have too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the key signs.
    pub fn kind(&self) -> KeyType {
        self.kind
    }

    /// The 32 bytes of the key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Verifies one signature. Returns its time if it is a cosignature. `None` if it is bad.
    fn verify(&self, text: &str, signature: &[u8]) -> Option<Option<u64>> {
        match self.kind {
            KeyType::Note => verifies(self.public, text.as_bytes(), signature).then_some(None),
            KeyType::Cosignature => {
                let cosignature = TimestampedSignature::parse(signature)?;
                cosignature.verifies(self.public, text).then_some(Some(cosignature.timestamp))
            }
        }
    }
}

impl FromStr for VerifierKey {
    type Err = FormatError;

    fn from_str(vkey: &str) -> Result<VerifierKey, FormatError> {
        let expected = "a verifier key: <name>+<id in hex>+<base64 of the type and the key>";
        let malformed = || FormatError::found(vkey, expected);
        let (name, rest) = vkey.split_once('+').ok_or_else(malformed)?;
        let (id, key) = rest.split_once('+').ok_or_else(malformed)?;
        let key = from_base64(key).ok_or_else(malformed)?;
        let (kind, public) = key.split_first().ok_or_else(malformed)?;
        let kind = match kind {
            0x01 => KeyType::Note,
            0x04 => KeyType::Cosignature,
            other => return Err(FormatError::KeyType(*other)),
        };
        let public = public.try_into().map_err(|_| malformed())?;
        let key = VerifierKey::new(name, kind, public)?;
        if format!("{:08x}", key.id) != id {
            return Err(FormatError::KeyId(id.to_owned(), key.id));
        }
        Ok(key)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = to_base64([[self.kind as u8].as_slice(), &self.public].concat());
        write!(f, "{}+{key}", name_and_id(&self.name, self.id))
    }
}

/// A key as errors name it, and as its vkey begins.
fn name_and_id(name: &str, id: u32) -> String {
    format!("{name}+{id:08x}")
}

/// Whether an Ed25519 signature is valid. It is verified as other implementations of notes do,
/// without the cofactor: all readers of a log must come to the same result.
pub(super) fn verifies(public: [u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// Checks the name of a key (section "Format").
pub fn key_name(name: &str) -> Result<&str, FormatError> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '+' || c < ' ') {
        let expected = "the name of a key: not empty, without spaces, \"+\" and control characters";
        return Err(FormatError::found(name, expected));
    }
    Ok(name)
}

/// A private key with its name.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    verifier: VerifierKey,
}

impl SigningKey {
    /// A key that signs notes, from 32 secret bytes (RFC 8032 section 5.1.5).
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<SigningKey, FormatError> {
        SigningKey::new(name, KeyType::Note, Ed25519KeyPair::from_seed_unchecked(seed))
    }

    /// A key that signs notes, from PKCS#8 in DER (RFC 8410), with or without the public key.
    pub fn from_pkcs8(name: &str, der: &[u8]) -> Result<SigningKey, FormatError> {
        SigningKey::new(name, KeyType::Note, Ed25519KeyPair::from_pkcs8_maybe_unchecked(der))
    }

    pub(super) fn new(
        name: &str,
        kind: KeyType,
        pair: Result<Ed25519KeyPair, ring::error::KeyRejected>,
    ) -> Result<SigningKey, FormatError> {
        let refused = |why: &dyn fmt::Display| FormatError::PrivateKey(why.to_string());
        let pair = pair.map_err(|why| refused(&why))?;
        let public = pair.public_key().as_ref().try_into().map_err(|why| refused(&why))?;
        Ok(SigningKey { verifier: VerifierKey::new(name, kind, public)?, pair })
    }

    /// The public key.
    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// Signs text as it is. [`Note::sign`] makes a note of it.
    fn sign(&self, text: &str) -> Signature {
        self.signature(self.sign_bytes(text.as_bytes()))
    }

    /// The 64 bytes of the signature over a message.
    pub(super) fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    /// The line with a signature that this key made.
    pub(super) fn signature(&self, bytes: Vec<u8>) -> Signature {
        Signature { name: self.verifier.name.clone(), id: self.verifier.id, bytes }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, secret)", self.verifier)
    }
}

/// A signature line of a note (section "Signatures"), without the newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

impl Signature {
    /// Whether this key made it, by its name and id. The bytes are not looked at.
    pub fn names(&self, key: &VerifierKey) -> bool {
        (self.id, &self.name) == (key.id, &key.name)
    }

    /// The signature without the key id. A cosignature is a [`TimestampedSignature`].
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl FromStr for Signature {
    type Err = FormatError;

    fn from_str(line: &str) -> Result<Signature, FormatError> {
        let read = || {
            let (name, text) = line.strip_prefix("— ")?.split_once(' ')?;
            let bytes = from_base64(text)?;
            let (id, bytes) = bytes.split_first_chunk()?;
            (!bytes.is_empty()).then(|| (name, u32::from_be_bytes(*id), bytes.to_vec()))
        };
        let expected = "a signature: an em dash, the name of the key, base64";
        let (name, id, bytes) = read().ok_or_else(|| FormatError::found(line, expected))?;
        Ok(Signature { name: key_name(name)?.to_owned(), id, bytes })
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = to_base64([self.id.to_be_bytes().as_slice(), &self.bytes].concat());
        write!(f, "— {} {text}", self.name)
    }
}

/// A note: text that ends with a newline, and one signature or more. `Display` writes it as it is
/// sent and stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A signature that a known key made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The key.
    pub key: &'a VerifierKey,
    /// The signature.
    pub signature: &'a Signature,
    /// When a cosignature was made, by the clock of the witness: seconds since 1970.
    pub timestamp: Option<u64>,
}

impl Note {
    /// Reads a note (section "Format"). No signature is verified.
    pub fn parse(bytes: &[u8]) -> Result<Note, FormatError> {
        at_most(MAX_BYTES, bytes.len(), "bytes")?;
        let note = std::str::from_utf8(bytes).map_err(|_| FormatError::NotText)?;
        check_characters(note)?;
        let expected = "text, an empty line, and signatures that end with a newline";
        let split = note.rsplit_once("\n\n");
        let split = split.and_then(|(text, lines)| Some((text, lines.strip_suffix('\n')?)));
        let (text, lines) = split.ok_or_else(|| FormatError::found(note, expected))?;
        at_most(MAX_SIGNATURES, lines.split('\n').count(), "signatures")?;
        let signatures = lines.split('\n').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Note { text: format!("{text}\n"), signatures })
    }

    /// Signs text, which must end with a newline and have no other control characters.
    pub fn sign(text: String, key: &SigningKey) -> Result<Note, FormatError> {
        at_most(MAX_BYTES, text.len(), "bytes")?;
        check_characters(&text)?;
        if !text.ends_with('\n') {
            return Err(FormatError::found(&text, "text that ends with a newline"));
        }
        Ok(Note { signatures: vec![key.sign(&text)], text })
    }

    /// Adds a signature at the end. It replaces those of the same key.
    pub fn add(&mut self, signature: Signature) -> Result<(), FormatError> {
        self.signatures.retain(|one| (one.id, &one.name) != (signature.id, &signature.name));
        at_most(MAX_SIGNATURES, self.signatures.len() + 1, "signatures")?;
        self.signatures.push(signature);
        Ok(())
    }

    /// The text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, none of them verified.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Verifies the signatures of known keys, and returns them in their order. Other signatures are
    /// ignored. It is an error if one is bad or there is none (section "Signatures").
    pub fn verify<'a>(
        &'a self,
        keys: impl IntoIterator<Item = &'a VerifierKey>,
    ) -> Result<Vec<Verified<'a>>, VerifyError> {
        let keys: Vec<_> = keys.into_iter().collect();
        let mut verified = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| signature.names(key)) else { continue };
            let timestamp = key
                .verify(&self.text, &signature.bytes)
                .ok_or_else(|| VerifyError::Signature(name_and_id(&key.name, key.id)))?;
            verified.push(Verified { key, signature, timestamp });
        }
        if verified.is_empty() {
            let found = self.signatures.iter().map(|one| name_and_id(&one.name, one.id));
            return Err(VerifyError::NoKnownKey(found.collect()));
        }
        Ok(verified)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}

/// Checks that text has no control characters but newlines.
pub(super) fn check_characters(text: &str) -> Result<(), FormatError> {
    match text.find(|c: char| c < ' ' && c != '\n') {
        None => Ok(()),
        Some(at) => {
            let rest = text.get(at..).unwrap_or_default();
            Err(FormatError::found(rest, "no control characters but newlines"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The keys, the text and the signatures of golang.org/x/mod/sumdb/note.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const ENOCH: &str = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";
    const PETER_SEED: &str = "gQoUAtUUbI2E8kQzMPVAgOv5juF9nHT2JS/F1ccoMXM=";
    const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                        then you don't know what your problem is.\n";
    const BY_PETER: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FF\
                            YC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    const BY_ENOCH: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1a\
                            GrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

    fn key(vkey: &str) -> VerifierKey {
        vkey.parse().unwrap()
    }

    fn peter() -> SigningKey {
        let seed = from_base64(PETER_SEED).unwrap().try_into().unwrap();
        SigningKey::from_seed("PeterNeumann", &seed).unwrap()
    }

    #[test]
    fn known_keys_are_read_and_written() {
        for (vkey, kind) in [
            (PETER, KeyType::Note),
            (ENOCH, KeyType::Note),
            // A witness that runs.
            (
                "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
                KeyType::Cosignature,
            ),
        ] {
            assert_eq!((key(vkey).to_string().as_str(), key(vkey).kind()), (vkey, kind));
        }
        assert_eq!(peter().verifier(), &key(PETER));
        let pkcs8 = data_encoding::HEXLOWER.decode(b"302e020100300506032b657004220420").unwrap();
        let der = [pkcs8, from_base64(PETER_SEED).unwrap()].concat();
        let key = SigningKey::from_pkcs8("PeterNeumann", &der).unwrap();
        assert_eq!(key.verifier(), peter().verifier());
        assert!(!format!("{key:?}").contains("gQoU"), "{key:?}");
        let bad = SigningKey::from_pkcs8("PeterNeumann", &der[1..]).unwrap_err();
        assert!(matches!(bad, FormatError::PrivateKey(_)), "{bad}");
    }

    #[test]
    fn damaged_keys_are_refused() {
        for end in 0..PETER.len() {
            assert!(PETER[..end].parse::<VerifierKey>().is_err(), "{}", &PETER[..end]);
            assert!(PETER[end + 1..].parse::<VerifierKey>().is_err(), "{}", &PETER[end + 1..]);
            let mut damaged = PETER.as_bytes().to_vec();
            damaged[end] += 1;
            assert!(String::from_utf8(damaged).unwrap().parse::<VerifierKey>().is_err(), "{end}");
        }
        let check = |vkey: &str, expected: &str| {
            assert_eq!(vkey.parse::<VerifierKey>().unwrap_err().to_string(), expected);
        };
        check(
            &PETER.replace("c74f20a3", "C74F20A3"),
            r#"found the key id "C74F20A3", expected c74f20a3"#,
        );
        check(
            "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
            "found the signature type 0x65, expected 0x01 or 0x04, both Ed25519",
        );
        for name in ["", "a b", "a\u{a0}b", "a\u{2028}b", "a\nb", "a\u{1}b", "a+b"] {
            assert!(VerifierKey::new(name, KeyType::Note, [0; 32]).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_note_is_signed_as_in_go() {
        let mut note = Note::sign(TEXT.to_owned(), &peter()).unwrap();
        assert_eq!(note.to_string(), format!("{TEXT}\n{BY_PETER}"));
        note.add(BY_ENOCH.trim_end().parse().unwrap()).unwrap();
        note.add(BY_PETER.trim_end().parse().unwrap()).unwrap();
        assert_eq!(note.to_string(), format!("{TEXT}\n{BY_ENOCH}{BY_PETER}"));
        for text in ["", "abc", "a\tb\n", "a\r\n"] {
            assert!(Note::sign(text.to_owned(), &peter()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn signatures_of_known_keys_are_verified() {
        let both = format!("{TEXT}\n{BY_PETER}{BY_ENOCH}");
        let check = |note: &str, keys: &[VerifierKey], expected: Result<&[&str], &str>| {
            let note = Note::parse(note.as_bytes()).unwrap();
            match (note.verify(keys), expected) {
                (Ok(found), Ok(expected)) => {
                    let found: Vec<_> = found.iter().map(|one| one.key.name()).collect();
                    assert_eq!(found, expected);
                }
                (Err(found), Err(expected)) => assert_eq!(found.to_string(), expected),
                (found, expected) => panic!("{found:?}, expected {expected:?}"),
            }
        };
        check(&both, &[key(PETER)], Ok(&["PeterNeumann"]));
        check(&both, &[key(ENOCH), key(PETER)], Ok(&["PeterNeumann", "EnochRoot"]));
        // The example of the specification.
        let example = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnag\
            v1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
        let foo = key("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k");
        check(example, std::slice::from_ref(&foo), Ok(&["example.com/foo"]));

        let unknown = "found signatures of the keys [\"PeterNeumann+c74f20a3\", \
                       \"EnochRoot+af0cfe78\"], expected one of a known key";
        check(&both, &[], Err(unknown));
        check(&both, &[foo], Err(unknown));
        // A key with the same name and another id, and one with the same id and another name.
        let peter = key(PETER);
        let other = VerifierKey::new("PeterNeumann", KeyType::Cosignature, peter.public()).unwrap();
        check(&both, &[other, VerifierKey { name: "P".to_owned(), ..peter.clone() }], Err(unknown));
        let bad = "the signature of the key PeterNeumann+c74f20a3 does not verify";
        check(&both.replace("If", "if"), std::slice::from_ref(&peter), Err(bad));
        check(
            &format!("{TEXT}\n{BY_ENOCH}— PeterNeumann x08go/Y=\n"),
            &[key(ENOCH), peter],
            Err(bad),
        );
    }

    #[test]
    fn a_note_is_read_strictly() {
        let check = |note: &str, expected: &str| {
            let found = Note::parse(note.as_bytes()).unwrap_err().to_string();
            assert!(found.contains(expected), "{note:?}: {found}");
        };
        let split = "expected text, an empty line";
        check(TEXT, split);
        check(&format!("{TEXT}\n"), split);
        check(&format!("\n{BY_PETER}"), split);
        check(&format!("{TEXT}\n{}", BY_PETER.trim_end()), split);
        check(&format!("{TEXT}\n{BY_PETER}\n"), split);
        check(&format!("\u{1}{TEXT}\n{BY_PETER}"), "no control characters");
        check(&format!("{TEXT}\r\n\n{BY_PETER}"), "no control characters");
        let line = "expected a signature";
        check(&format!("{TEXT}\n{BY_PETER}Unexpected line.\n"), line);
        check(&format!("{TEXT}\n{}", BY_PETER.replace('—', "-")), line);
        check(&format!("{TEXT}\n— Peter Neumann x08go/ZJ\n"), line);
        check(&format!("{TEXT}\n— PeterNeumann x08gow==\n"), line);
        // The last bits of this base64 are not zero.
        check(&format!("{TEXT}\n— PeterNeumann x08go/Z=\n"), line);
        check(&format!("{TEXT}\n— Peter+Neumann x08go/ZJ\n"), "expected the name of a key");
        check(&format!("{TEXT}\n{}", BY_PETER.repeat(101)), "found 101 signatures");
        check(&format!("{}\n\n{BY_PETER}", "a".repeat(MAX_BYTES)), "bytes, expected at most");
        assert_eq!(Note::parse(b"\xff\n\n"), Err(FormatError::NotText));

        for text in [TEXT, "\n", "a\n\n", "\n\n\n", "— a b\n", "a\n\n— a b\n", "é\u{7f}\n"] {
            let note = format!("{text}\n{}", BY_PETER.repeat(100));
            let read = Note::parse(note.as_bytes()).unwrap();
            assert_eq!((read.text(), read.to_string().as_str()), (text, note.as_str()));
        }
    }
}
