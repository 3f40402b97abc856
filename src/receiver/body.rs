//! The body of a delivery: read within the limits, then decoded.
//!
//! Kong's documentation names the encoding `application/gzip`, and Kong's own receivers expect `gzip`
//! (RFC 9110 section 8.4.1). Both are accepted, in upper or lower case. A gzip body without the header
//! is accepted too, and so is a plain body with it. Several gzip members are one stream (RFC 1952
//! section 2.2). Other receivers also take `deflate`, which is zlib (RFC 1950) in the standard, and
//! without the header of zlib in some clients (RFC 1951).

use std::io::{self, Read};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Body;
use tokio::time::{Instant, timeout_at};

use super::ReceiverLimits;
use crate::net::{MemoryBudget, RequestBody, Reservation};

/// The most layers of coding that a body may have.
const MAX_LAYERS: usize = 4;

/// The first two bytes of a gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// A body is decoded in steps of this many bytes. Each step is reserved first.
const STEP: usize = 1 << 20;

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// The body is over the limit.
    TooLarge,
    /// There was no memory for the body in time.
    Overloaded,
    /// The body did not arrive in time, or the client left.
    Lost(String),
}

/// A body that was read to its end.
#[derive(Debug)]
pub(super) struct ReadBody {
    pub(super) bytes: Vec<u8>,
    pub(super) reservation: Reservation,
    /// How long it took, without waits for memory.
    pub(super) read: Duration,
    /// How long it waited for memory.
    pub(super) waited: Duration,
}

/// Reads the body of an authorized request. Its bytes are reserved as they arrive.
pub(super) async fn read(
    request: Request<RequestBody>,
    limits: &ReceiverLimits,
    budget: &MemoryBudget,
) -> Result<ReadBody, BodyError> {
    let mut incoming = request.into_body();
    let announced = incoming.size_hint().exact();
    if announced.is_some_and(|length| length > limits.max_body as u64) {
        return Err(BodyError::TooLarge);
    }
    let (mut bytes, mut reservation) = (Vec::new(), budget.reserve());
    let (begun, mut waited) = (Instant::now(), Duration::ZERO);
    let deadline = begun + limits.body_timeout;
    loop {
        let frame = match timeout_at(deadline, incoming.frame()).await {
            Ok(None) => {
                let read = begun.elapsed().saturating_sub(waited);
                return Ok(ReadBody { bytes, reservation, read, waited });
            }
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(BodyError::Lost(format!("the body broke off: {error}")));
            }
            Err(_) => {
                let seconds = limits.body_timeout.as_secs();
                return Err(BodyError::Lost(format!("the body did not arrive within {seconds} s")));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > limits.max_body {
            return Err(BodyError::TooLarge);
        }
        let asked = Instant::now();
        reservation
            .grow(data.len(), limits.queue_timeout)
            .await
            .map_err(|_| BodyError::Overloaded)?;
        waited += asked.elapsed();
        bytes.extend_from_slice(&data);
    }
}

/// The codings that a body may have by its `Content-Encoding`, in the order in which they are undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codings(Vec<Coding>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
}

/// The `Content-Encoding` is not supported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Content-Encoding {0:?} is not supported, expected gzip, application/gzip, deflate or identity"
)]
pub(crate) struct UnknownEncoding(String);

impl Codings {
    /// Parses the value of the header. Several headers are joined by commas.
    pub(crate) fn of(content_encoding: Option<&str>) -> Result<Codings, UnknownEncoding> {
        let shown = content_encoding.unwrap_or_default();
        let unknown = || UnknownEncoding(shown.chars().take(100).collect());
        let mut codings = Vec::new();
        for coding in shown.rsplit(',').map(|coding| coding.trim().to_ascii_lowercase()) {
            match coding.as_str() {
                "gzip" | "x-gzip" | "application/gzip" => codings.push(Coding::Gzip),
                "deflate" => codings.push(Coding::Deflate),
                "identity" | "" => {}
                _ => return Err(unknown()),
            }
        }
        if codings.is_empty() {
            // A layer of gzip is expected even if the header names none.
            codings.push(Coding::Gzip);
        }
        if codings.len() > MAX_LAYERS { Err(unknown()) } else { Ok(Codings(codings)) }
    }
}

/// Why a body was not decoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    /// The decoded body is over the limit.
    #[error("it is over the limit")]
    TooLarge,
    /// There was no memory for the decoded body in time.
    #[error("overloaded")]
    Overloaded,
    /// The body is not what its coding says.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Decodes a body to at most `max` bytes. `None` if it is not encoded. Before each step it calls `reserve`
/// with the number of decoded bytes that are in memory after the step.
pub(crate) fn decode(
    body: &[u8],
    codings: &Codings,
    max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), DecodeError>,
) -> Result<Option<Vec<u8>>, DecodeError> {
    let mut decoded: Option<Vec<u8>> = None;
    for coding in &codings.0 {
        let from = decoded.as_deref().unwrap_or(body);
        let before = decoded.as_ref().map_or(0, Vec::len);
        let reserve = |bytes| reserve(before + bytes);
        decoded = match coding {
            Coding::Gzip if from.starts_with(&GZIP_MAGIC) => {
                Some(read_to_end(MultiGzDecoder::new(from), max, reserve)?)
            }
            Coding::Deflate if !is_text(from) => {
                Some(read_to_end(Inflate::new(from), max, reserve)?)
            }
            // It is plain, whatever the header says.
            Coding::Gzip | Coding::Deflate => decoded,
        };
    }
    Ok(decoded)
}

/// Whether bytes are text. What `deflate` makes never is, but for a few bytes of it.
fn is_text(bytes: &[u8]) -> bool {
    let is_control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r');
    std::str::from_utf8(bytes).is_ok_and(|text| !text.chars().any(is_control))
}

/// Reads zlib, or deflate without the header of zlib. Unlike the readers of flate2, it fails if the
/// stream breaks off or goes on after its end.
struct Inflate<'a> {
    stream: Decompress,
    from: &'a [u8],
    ended: bool,
}

impl<'a> Inflate<'a> {
    fn new(from: &'a [u8]) -> Inflate<'a> {
        // RFC 1950 section 2.2: the method is 8, and the two bytes are a multiple of 31.
        let is_zlib = |first: u8, second: u8| {
            first & 0x0f == 8 && u16::from_be_bytes([first, second]).is_multiple_of(31)
        };
        let has_header = matches!(from, [first, second, ..] if is_zlib(*first, *second));
        Inflate { stream: Decompress::new(has_header), from, ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let broken = |why| io::Error::new(io::ErrorKind::InvalidData, why);
        if self.ended {
            return Ok(0);
        }
        let (read, written) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(self.from, room, FlushDecompress::None)?;
        let read = usize::try_from(self.stream.total_in() - read).unwrap_or(usize::MAX);
        let written = usize::try_from(self.stream.total_out() - written).unwrap_or(usize::MAX);
        self.from = self.from.get(read..).unwrap_or_default();
        self.ended = status == Status::StreamEnd;
        match self.ended {
            true if !self.from.is_empty() => {
                Err(broken("there are bytes after the deflate stream"))
            }
            false if written == 0 && !room.is_empty() => {
                Err(broken("the deflate stream breaks off"))
            }
            _ => Ok(written),
        }
    }
}

fn read_to_end(
    mut decoder: impl Read,
    max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoded = Vec::new();
    let mut filled = 0;
    loop {
        if filled == decoded.len() {
            // One byte over the limit shows that there is more.
            let room = (filled + STEP).min(max + 1);
            if room == filled {
                return Err(DecodeError::TooLarge);
            }
            reserve(room)?;
            decoded.reserve_exact(room - filled);
            decoded.resize(room, 0);
        }
        let room = decoded.get_mut(filled..).unwrap_or_default();
        match decoder.read(room)? {
            0 => break,
            read => filled += read,
        }
    }
    if filled > max {
        return Err(DecodeError::TooLarge);
    }
    decoded.truncate(filled);
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(body: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn raw_deflate(body: &[u8]) -> Vec<u8> {
        let fast = flate2::Compression::fast();
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), fast);
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    }

    fn codings(values: &[&str]) -> Result<Codings, UnknownEncoding> {
        Codings::of((!values.is_empty()).then(|| values.join(", ")).as_deref())
    }

    fn check(values: &[&str], body: &[u8], expected: &[u8]) {
        let decoded = decode(body, &codings(values).unwrap(), 100, |_| Ok(())).unwrap();
        assert_eq!(decoded.as_deref().unwrap_or(body), expected, "{values:?}");
    }

    #[test]
    fn every_name_of_gzip_is_accepted() {
        for value in
            ["gzip", "x-gzip", "application/gzip", "GZIP", " Application/GZip ", "identity"]
        {
            check(&[value], &gzip(b"abc"), b"abc");
            check(&[value], b"abc", b"abc");
        }
        check(&[], &gzip(b"abc"), b"abc");
        check(&["identity, gzip"], &gzip(b"abc"), b"abc");
        check(&["gzip, gzip"], &gzip(&gzip(b"abc")), b"abc");
        check(&["gzip", "identity"], &gzip(b""), b"");
        check(&["gzip"], &[gzip(b"abc"), gzip(b"def")].concat(), b"abcdef");
        check(&[], b"", b"");
        for value in ["br", "gzip, br", "zstd", "gzip, gzip, gzip, deflate, gzip"] {
            assert!(codings(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn deflate_is_accepted_with_the_header_of_zlib_and_without() {
        let line = "{\"rt\":1}\n".repeat(9).into_bytes();
        for value in ["deflate", "Deflate", "identity, deflate"] {
            check(&[value], &zlib(&line), &line);
            check(&[value], &raw_deflate(&line), &line);
            check(&[value], &line, &line);
            check(&[value], b"", b"");
        }
        check(&["deflate, gzip"], &gzip(&zlib(&line)), &line);
        check(&["gzip, deflate"], &zlib(&gzip(&line)), &line);
        let deflate = codings(&["deflate"]).unwrap();
        for whole in [zlib(&line), raw_deflate(&line)] {
            let garbage = [whole.as_slice(), &[0; 9]].concat();
            for broken in [&whole[..whole.len() - 3], &garbage] {
                let result = decode(broken, &deflate, 1000, |_| Ok(()));
                assert!(matches!(result, Err(DecodeError::Broken(_))), "{}", broken.escape_ascii());
            }
        }
        let bomb = zlib(&vec![0; 64 * STEP]);
        let result = decode(&bomb, &deflate, 2 * STEP, |_| Ok(()));
        assert!(matches!(result, Err(DecodeError::TooLarge)));
    }

    #[test]
    fn a_body_is_decoded_up_to_the_limit() {
        let one = &codings(&[]).unwrap();
        let ok = |_: usize| Ok(());
        let exact = vec![b'x'; 3 * STEP];
        assert_eq!(decode(&gzip(&exact), one, exact.len(), ok).unwrap().unwrap(), exact);
        let over = decode(&gzip(&exact), one, exact.len() - 1, ok);
        assert!(matches!(over, Err(DecodeError::TooLarge)));
        // A gzip bomb reserves no more than the limit and one byte.
        let mut asked = 0;
        let bomb = gzip(&vec![0; 64 * STEP]);
        let result = decode(&bomb, one, 2 * STEP, |bytes| {
            asked = bytes;
            Ok(())
        });
        assert!(matches!(result, Err(DecodeError::TooLarge)));
        assert_eq!(asked, 2 * STEP + 1);
    }

    #[test]
    fn a_damaged_body_is_refused() {
        let one = &codings(&[]).unwrap();
        let whole = gzip(b"abcdefghijklmnop");
        let mut flipped = whole.clone();
        let last = flipped.len() - 5;
        flipped[last] ^= 1;
        let garbage = [whole.as_slice(), b"garbage"].concat();
        for broken in [&whole[..whole.len() - 1], &whole[..5], &flipped, &garbage] {
            let result = decode(broken, one, 100, |_| Ok(()));
            assert!(matches!(result, Err(DecodeError::Broken(_))), "{}", broken.escape_ascii());
        }
    }
}
