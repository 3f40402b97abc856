//! What is in an object of deliveries, after the header of the protocol. docs/journal-object.md
//! defines it.
//!
//! ```text
//! 24      0: not encrypted; 1: AES-256-GCM
//! 25..33  the length of the deliveries before compression
//! 33..65  not encrypted: the SHA-256 of the object without these bytes, and of its key
//! 33..41  encrypted: the id of the key that encrypts
//! ...     the deliveries: a frame of zstd, encrypted or not
//! ```
//!
//! Others may be able to write to the object store. So parsing is total: any bytes are deliveries or an
//! error. The caller sets how much memory the deliveries may take.

use std::io::{self, Read, Write};

use bytes::Bytes;
use ring::digest;

use super::cipher::{Cipher, KeyId, NotAuthentic, TAG_BYTES};
use super::{Header, HeaderError, Kind, ObjectId};
use crate::entry::Millis;
use crate::ingest::sha256;

/// Where the deliveries or what guards them begins.
const GUARD: usize = Header::LEN + 9;

const PLAIN: u8 = 0;
const AES_256_GCM: u8 = 1;

const SHA256_BYTES: usize = 32;
const KEY_ID_BYTES: usize = 8;

/// The largest window of a frame, as a power of two. zstd takes so much memory besides the deliveries.
const WINDOW_LOG: u32 = 23;

/// The least that a delivery takes, in bytes: one without texts and body.
const LEAST: usize = 36;

/// A delivery as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The name of the input.
    pub(crate) input: String,
    /// The sender, as in the store: an address and a port, or the address that a trusted proxy names.
    pub(crate) peer: String,
    /// When its headers were read, by the clock of the receiver.
    pub(crate) received_at: Millis,
    /// The `Content-Encoding` as sent.
    pub(crate) content_encoding: Option<String>,
    /// The size of the body as sent, in bytes.
    pub(crate) sent: u64,
    /// Why the body is as sent: it could not be decoded. `None`: it is decoded.
    pub(crate) undecoded: Option<Undecoded>,
    pub(crate) body: Bytes,
}

/// Why a body was not decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Undecoded {
    /// The status of the answer.
    pub(crate) status: u16,
    pub(crate) reason: String,
}

/// How much an object may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectLimits {
    /// The most that all deliveries may take before compression, in bytes.
    pub(crate) bytes: u64,
    /// The most deliveries.
    pub(crate) deliveries: usize,
}

/// Why an object has no deliveries that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("it is no object of deliveries, but of the kind {0:?}")]
    Kind(Kind),
    #[error("it breaks off after {0} bytes")]
    Short(usize),
    #[error("it is encrypted in the unknown way {0}; a newer Vidimus may read it")]
    Encryption(u8),
    #[error("it is encrypted with the key {0}; set journal.key_file to the file of that key")]
    NeedsKey(KeyId),
    #[error(
        "it is encrypted with the key {found}, and journal.key_file has the key {ours}: it is the \
         wrong file, or another receiver has another one"
    )]
    WrongKey { found: KeyId, ours: KeyId },
    #[error("it is not encrypted, and journal.key_file is set: anybody may have written it")]
    NotEncrypted,
    #[error("it is damaged, or was copied from another key: its checksum does not match")]
    Checksum,
    #[error("it is damaged, or was copied from another key: it cannot be decrypted")]
    NotAuthentic,
    #[error("it holds {found} bytes of deliveries, expected at most {most}")]
    TooLarge { found: u64, most: u64 },
    #[error("it holds {found} deliveries, expected at most {most}")]
    TooMany { found: usize, most: usize },
    #[error("it cannot be decompressed: {0}")]
    Compression(io::Error),
    #[error("it has {found} bytes of deliveries, and says that it has {stated}")]
    Length { found: u64, stated: u64 },
    #[error("delivery {position} is malformed: {what}")]
    Delivery { position: usize, what: &'static str },
    #[error("there are {0} bytes after the last delivery")]
    Trailing(usize),
}

/// Deliveries that are compressed, but have no key yet.
#[derive(Debug)]
pub(crate) struct PackedDeliveries {
    /// A frame of zstd.
    frame: Vec<u8>,
    /// The length before compression, in bytes.
    length: u64,
}

impl PackedDeliveries {
    /// Compresses deliveries. This takes some milliseconds for each MiB.
    ///
    /// # Errors
    /// When zstd has no memory.
    pub(crate) fn new(deliveries: &[Delivery]) -> io::Result<PackedDeliveries> {
        let mut encoder = zstd::Encoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL)?;
        let count = u32::try_from(deliveries.len()).map_err(io::Error::other)?;
        let mut length = 4;
        encoder.write_all(&count.to_be_bytes())?;
        for delivery in deliveries {
            let front = delivery.front();
            encoder.write_all(&front)?;
            encoder.write_all(&delivery.body)?;
            length += (front.len() + delivery.body.len()) as u64;
        }
        Ok(PackedDeliveries { frame: encoder.finish()?, length })
    }

    /// The object `id`, which begins with this header.
    pub(crate) fn object(&self, id: ObjectId, header: &Header, cipher: Option<&Cipher>) -> Bytes {
        let key = id.key();
        let capacity = GUARD + SHA256_BYTES + self.frame.len() + TAG_BYTES;
        let mut object = Vec::with_capacity(capacity);
        object.extend_from_slice(&header.to_bytes());
        object.push(if cipher.is_some() { AES_256_GCM } else { PLAIN });
        object.extend_from_slice(&self.length.to_be_bytes());
        match cipher {
            None => {
                let sum = checksum(&object, &key, &self.frame);
                object.extend_from_slice(&sum);
                object.extend_from_slice(&self.frame);
            }
            Some(cipher) => {
                object.extend_from_slice(&cipher.id().0);
                let bound = [&object, key.as_bytes()].concat();
                let from = object.len();
                object.extend_from_slice(&self.frame);
                cipher.seal((id, header.nonce), &bound, &mut object, from);
            }
        }
        object.into()
    }
}

/// Reads the deliveries of the object `id`.
///
/// # Errors
/// [`ContentError`] if any byte differs from what was written, if the key is missing or wrong, or if
/// the deliveries are over a limit.
pub(crate) fn deliveries(
    id: ObjectId,
    object: &[u8],
    cipher: Option<&Cipher>,
    limits: ObjectLimits,
) -> Result<Vec<Delivery>, ContentError> {
    let (header, rest) = Header::parse(object)?;
    if header.kind != Kind::Deliveries {
        return Err(ContentError::Kind(header.kind));
    }
    let short = ContentError::Short(object.len());
    let Some((&[encryption, ref stated @ ..], rest)) = rest.split_first_chunk::<9>() else {
        return Err(short);
    };
    let front = object.get(..GUARD).unwrap_or_default();
    let (stated, key) = (u64::from_be_bytes(*stated), id.key());
    let opened: Vec<u8>;
    let frame = match encryption {
        PLAIN => {
            let Some((sum, frame)) = rest.split_first_chunk::<SHA256_BYTES>() else {
                return Err(short);
            };
            if checksum(front, &key, frame) != *sum {
                return Err(ContentError::Checksum);
            }
            if cipher.is_some() {
                return Err(ContentError::NotEncrypted);
            }
            frame
        }
        AES_256_GCM => {
            let Some((key_id, text)) = rest.split_first_chunk::<KEY_ID_BYTES>() else {
                return Err(short);
            };
            let found = KeyId(*key_id);
            let cipher = cipher.ok_or(ContentError::NeedsKey(found))?;
            if cipher.id() != found {
                return Err(ContentError::WrongKey { found, ours: cipher.id() });
            }
            let bound = [front, key_id, key.as_bytes()].concat();
            opened = cipher
                .open((id, header.nonce), &bound, text.to_vec())
                .map_err(|NotAuthentic| ContentError::NotAuthentic)?;
            &opened
        }
        other => return Err(ContentError::Encryption(other)),
    };
    if stated > limits.bytes {
        return Err(ContentError::TooLarge { found: stated, most: limits.bytes });
    }
    parse(decompressed(frame, stated)?.into(), limits.deliveries)
}

/// The SHA-256 of an object without its checksum, and of its key.
fn checksum(front: &[u8], key: &str, frame: &[u8]) -> [u8; SHA256_BYTES] {
    let mut context = digest::Context::new(&digest::SHA256);
    [front, key.as_bytes(), frame].into_iter().for_each(|part| context.update(part));
    sha256(&context.finish())
}

/// Decompresses one frame, which must have `stated` bytes. It takes memory for one byte more.
fn decompressed(frame: &[u8], stated: u64) -> Result<Vec<u8>, ContentError> {
    let failed = ContentError::Compression;
    let mut decoder = zstd::Decoder::with_buffer(frame).map_err(failed)?.single_frame();
    decoder.window_log_max(WINDOW_LOG).map_err(failed)?;
    let most = stated.saturating_add(1);
    // A buffer that grows would take more than that.
    let mut bytes = Vec::with_capacity(usize::try_from(most).unwrap_or_default());
    (&mut decoder).take(most).read_to_end(&mut bytes).map_err(failed)?;
    let found = bytes.len() as u64;
    if found != stated {
        return Err(ContentError::Length { found, stated });
    }
    match decoder.finish().len() {
        0 => Ok(bytes),
        trailing => Err(ContentError::Trailing(trailing)),
    }
}

fn parse(bytes: Bytes, most: usize) -> Result<Vec<Delivery>, ContentError> {
    let mut fields = Fields { bytes, at: 0 };
    let malformed = |position| move |what| ContentError::Delivery { position, what };
    let found = fields.number::<4>("the number of deliveries").map_err(malformed(0))?;
    let found = usize::try_from(u32::from_be_bytes(found)).unwrap_or(usize::MAX);
    if found > most {
        return Err(ContentError::TooMany { found, most });
    }
    // The number is not believed: memory is taken for what can be there.
    let mut deliveries = Vec::with_capacity(found.min(fields.left() / LEAST));
    for position in 0..found {
        deliveries.push(fields.delivery().map_err(malformed(position))?);
    }
    match fields.left() {
        0 => Ok(deliveries),
        left => Err(ContentError::Trailing(left)),
    }
}

impl Delivery {
    /// All but the body.
    fn front(&self) -> Vec<u8> {
        let Delivery { input, peer, received_at, content_encoding, sent, undecoded, body } = self;
        let mut front = Vec::with_capacity(256);
        front.extend_from_slice(&received_at.get().to_be_bytes());
        let status = undecoded.as_ref().map_or(0, |undecoded| undecoded.status);
        front.extend_from_slice(&status.to_be_bytes());
        front.push(u8::from(undecoded.is_some()));
        front.push(u8::from(content_encoding.is_some()));
        let encoding = content_encoding.as_deref().unwrap_or_default();
        let reason = undecoded.as_ref().map_or("", |undecoded| &undecoded.reason);
        for text in [input, peer, encoding, reason] {
            let text = shortened(text);
            let length = u16::try_from(text.len()).unwrap_or_default();
            front.extend_from_slice(&length.to_be_bytes());
            front.extend_from_slice(text.as_bytes());
        }
        front.extend_from_slice(&sent.to_be_bytes());
        front.extend_from_slice(&(body.len() as u64).to_be_bytes());
        front
    }
}

/// The beginning of a text, as much as has room. Texts of a receiver are much shorter.
fn shortened(text: &str) -> &str {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Reads fields, and never beyond the end.
struct Fields {
    bytes: Bytes,
    at: usize,
}

impl Fields {
    fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, &'static str> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or(what)?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], &'static str> {
        self.take(N, what)?.first_chunk().copied().ok_or(what)
    }

    fn flag(&mut self, what: &'static str) -> Result<bool, &'static str> {
        match self.number(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(what),
        }
    }

    fn text(&mut self, what: &'static str) -> Result<String, &'static str> {
        let length = u16::from_be_bytes(self.number(what)?);
        let bytes = self.take(usize::from(length), what)?;
        std::str::from_utf8(&bytes).map(str::to_owned).map_err(|_| what)
    }

    fn delivery(&mut self) -> Result<Delivery, &'static str> {
        let received_at = i64::from_be_bytes(self.number("the time of receipt")?);
        let received_at = Millis::new(received_at).ok_or("the time of receipt")?;
        let status = u16::from_be_bytes(self.number("the status")?);
        let is_undecoded = self.flag("whether it was decoded")?;
        let has_encoding = self.flag("whether it has a Content-Encoding")?;
        let input = self.text("the input")?;
        let peer = self.text("the peer")?;
        let encoding = self.text("the Content-Encoding")?;
        let reason = self.text("the reason")?;
        if !has_encoding && !encoding.is_empty() {
            return Err("the Content-Encoding");
        }
        if !is_undecoded && (status != 0 || !reason.is_empty()) {
            return Err("the status");
        }
        let sent = u64::from_be_bytes(self.number("the size as sent")?);
        let length = u64::from_be_bytes(self.number("the length of the body")?);
        let length = usize::try_from(length).map_err(|_| "the length of the body")?;
        Ok(Delivery {
            input,
            peer,
            received_at,
            content_encoding: has_encoding.then_some(encoding),
            sent,
            undecoded: is_undecoded.then_some(Undecoded { status, reason }),
            body: self.take(length, "the body")?,
        })
    }
}

#[cfg(test)]
mod tests;
