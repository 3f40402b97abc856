//! Encrypts the deliveries in an object, with a key that the operator keeps in a file.
//!
//! AES-256-GCM (NIST SP 800-38D) from ring. The key of an object comes from the file by HKDF-SHA256
//! (RFC 5869): the salt is the nonce of the object's header, and the info names the epoch. The nonce of
//! AES-GCM is the number of the object. So a key and a nonce meet twice only if two objects have the
//! same 16 random bytes, the same epoch and the same number: that is one object. Nothing of this names
//! the journal, so each journal needs a file of its own. docs/journal-object.md defines all of it, under
//! "Encryption".

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

use super::header;
use super::keys::ObjectId;

/// The least that a file must have: as much as the key of AES-256.
const LEAST_BYTES: u64 = 32;

const MOST_BYTES: u64 = 64 * 1024;

/// What AES-GCM appends to a text, in bytes.
pub(super) const TAG_BYTES: usize = 16;

const ID_INFO: &[u8] = b"vidimus journal 1 id";
const KEY_INFO: &[u8] = b"vidimus journal 1 key";

/// Why a file has no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyFileError {
    #[error("cannot read the key file {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the key file {} has {found} bytes, expected {LEAST_BYTES} to {MOST_BYTES} random bytes \
         (`openssl rand -base64 48`)",
        path.display()
    )]
    Length { path: PathBuf, found: u64 },
}

/// Tells the keys of two files apart. It says nothing of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyId(pub(super) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Encrypts and decrypts objects.
pub(crate) struct Cipher {
    /// All bytes of the file.
    secret: Box<[u8]>,
    id: KeyId,
}

/// The text is not what was encrypted with this key.
#[derive(Debug)]
pub(super) struct NotAuthentic;

impl Cipher {
    /// Reads the key from a file. All of its bytes count, a line end too.
    ///
    /// # Errors
    /// [`KeyFileError`] if the file cannot be read, or is too short or too long.
    pub(crate) fn from_file(path: &Path) -> Result<Cipher, KeyFileError> {
        let failed = |source| KeyFileError::Read { path: path.to_owned(), source };
        let mut secret = Vec::new();
        let file = File::open(path).map_err(failed)?;
        file.take(MOST_BYTES + 1).read_to_end(&mut secret).map_err(failed)?;
        let found = secret.len() as u64;
        if !(LEAST_BYTES..=MOST_BYTES).contains(&found) {
            return Err(KeyFileError::Length { path: path.to_owned(), found });
        }
        Ok(Cipher::new(secret))
    }

    /// Uses these bytes.
    pub(super) fn new(secret: Vec<u8>) -> Cipher {
        let mut id = KeyId([0; 8]);
        expand(&Salt::new(HKDF_SHA256, &[]).extract(&secret), &[ID_INFO], &mut id.0);
        Cipher { secret: secret.into(), id }
    }

    /// The id of the key.
    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    /// Encrypts `text` from `from` on, and appends a tag. `object` has the nonce of its header. `bound`
    /// is authenticated too.
    pub(super) fn seal(
        &self,
        object: (ObjectId, header::Nonce),
        bound: &[u8],
        text: &mut Vec<u8>,
        from: usize,
    ) {
        let (key, nonce) = self.key(object);
        let Some((_, plain)) = text.split_at_mut_checked(from) else { return };
        // ring limits a text to 64 GiB; no object is so large.
        match key.seal_in_place_separate_tag(nonce, Aad::from(bound), plain) {
            Ok(tag) => text.extend_from_slice(tag.as_ref()),
            Err(ring::error::Unspecified) => text.truncate(from),
        }
    }

    /// Decrypts what [`Cipher::seal`] encrypted.
    ///
    /// # Errors
    /// [`NotAuthentic`] if any byte differs, of the text, of `bound` or of `object`.
    pub(super) fn open(
        &self,
        object: (ObjectId, header::Nonce),
        bound: &[u8],
        mut text: Vec<u8>,
    ) -> Result<Vec<u8>, NotAuthentic> {
        let (key, nonce) = self.key(object);
        let opened = key.open_in_place(nonce, Aad::from(bound), &mut text);
        let length = opened.map_err(|ring::error::Unspecified| NotAuthentic)?.len();
        text.truncate(length);
        Ok(text)
    }

    fn key(&self, (id, random): (ObjectId, header::Nonce)) -> (LessSafeKey, Nonce) {
        let ObjectId { epoch, number } = id;
        let secret = Salt::new(HKDF_SHA256, &random.0).extract(&self.secret);
        let mut key = [0; 32];
        expand(&secret, &[KEY_INFO, &epoch.to_be_bytes()], &mut key);
        let mut nonce = [0; NONCE_LEN];
        nonce.iter_mut().rev().zip(number.to_le_bytes()).for_each(|(to, from)| *to = from);
        (aes(&key), Nonce::assume_unique_for_key(nonce))
    }
}

/// The type of the output of HKDF: as long as its buffer.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 8,160 bytes, and 32 are asked for")]
fn expand(secret: &Prk, info: &[&[u8]], to: &mut [u8]) {
    let okm = secret.expand(info, Length(to.len()));
    okm.and_then(|okm| okm.fill(to)).expect("the output is short");
}

#[expect(clippy::expect_used, reason = "the key has the length that AES-256 has")]
fn aes(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"))
}

/// The id of the key, and nothing of the secret.
impl fmt::Debug for Cipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cipher").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn object(epoch: u64, number: u64, random: u8) -> (ObjectId, header::Nonce) {
        (ObjectId { epoch, number }, header::Nonce([random; 16]))
    }

    const OBJECT: (ObjectId, header::Nonce) = object(3, 17, 7);

    const OTHERS: [(ObjectId, header::Nonce); 3] =
        [object(4, 17, 7), object(3, 18, 7), object(3, 17, 8)];

    fn sealed(object: (ObjectId, header::Nonce)) -> Vec<u8> {
        let mut text = b"front and text".to_vec();
        Cipher::new(vec![1; 32]).seal(object, b"bound", &mut text, 5);
        text
    }

    #[test]
    fn only_the_same_key_object_and_bound_bytes_open_a_text() {
        let text = sealed(OBJECT);
        assert_eq!(&text[..5], b"front");
        assert_eq!(text.len(), 14 + TAG_BYTES);
        let check = |secret: u8, object, bound: &[u8], good: bool| {
            let opened = Cipher::new(vec![secret; 32]).open(object, bound, text[5..].to_vec());
            let expected = good.then(|| b" and text".to_vec());
            assert_eq!(opened.ok(), expected, "{secret} {object:?} {bound:?}");
        };
        check(1, OBJECT, b"bound", true);
        check(2, OBJECT, b"bound", false);
        check(1, OBJECT, b"bount", false);
        OTHERS.into_iter().for_each(|other| check(1, other, b"bound", false));
    }

    #[test]
    fn each_object_has_its_own_key_stream() {
        let same = sealed(OBJECT);
        assert_eq!(same, sealed(OBJECT), "a retry has the same bytes");
        for other in OTHERS {
            assert_ne!(same[5..], sealed(other)[5..], "{other:?}");
        }
    }

    #[test]
    fn the_secret_does_not_show() {
        let cipher = Cipher::new(b"hunter2 hunter2 hunter2 hunter2!".to_vec());
        let shown = format!("{cipher:?}");
        assert!(!shown.contains("hunter2") && shown.contains(&cipher.id().to_string()), "{shown}");
        assert_ne!(cipher.id(), Cipher::new(vec![1; 32]).id());
    }

    #[test]
    fn a_key_file_has_enough_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let check = |bytes: usize, good: bool| {
            std::fs::write(&path, vec![b'x'; bytes]).unwrap();
            let read = Cipher::from_file(&path);
            assert_eq!(read.is_ok(), good, "{bytes}: {read:?}");
        };
        check(31, false);
        check(32, true);
        check(65536, true);
        check(65537, false);
        let missing = Cipher::from_file(&folder.path().join("none")).unwrap_err();
        assert!(matches!(missing, KeyFileError::Read { .. }), "{missing}");
    }
}
