//! What `Content-Encoding` says, and the body decoded.
//!
//! The vendor's page names the encoding `application/gzip`, and its own receivers look for `gzip`
//! (RFC 9110 section 8.4.1). Both are taken, in any case, and so is a gzip body under no header at
//! all and a plain body under the header. Several gzip members are one stream (RFC 1952 section 2.2).

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;

/// How often a body may be gzipped at most.
const MAX_LAYERS: usize = 4;

/// The first two bytes of a gzip member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The body is decoded in steps of this many bytes, each reserved before.
const STEP: usize = 1 << 20;

/// How often a body may have to be gunzipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers(usize);

/// An encoding that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the Content-Encoding {0:?} is not known, expected gzip, application/gzip or identity")]
pub struct UnknownEncoding(String);

impl Layers {
    /// What `content_encoding` says: the value of the header, of several joined by commas.
    pub fn of(content_encoding: Option<&str>) -> Result<Layers, UnknownEncoding> {
        let shown = content_encoding.unwrap_or_default();
        let unknown = || UnknownEncoding(shown.chars().take(100).collect());
        let mut gzips: usize = 0;
        for coding in shown.split(',').map(|coding| coding.trim().to_ascii_lowercase()) {
            match coding.as_str() {
                "gzip" | "x-gzip" | "application/gzip" => gzips += 1,
                "identity" | "" => {}
                _ => return Err(unknown()),
            }
        }
        // One layer is looked for even if none is announced.
        if gzips > MAX_LAYERS { Err(unknown()) } else { Ok(Layers(gzips.max(1))) }
    }
}

/// Why a body is not decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is larger than it may be.
    #[error("over the cap")]
    TooLarge,
    /// There was no room for it in time.
    #[error("overloaded")]
    Overloaded,
    /// It is not what it says it is.
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Decodes a body of at most `max` bytes. `reserve` is asked for room before each step, and is told
/// how many bytes there will be in all.
pub fn decode(
    body: &[u8],
    layers: Layers,
    max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), DecodeError>,
) -> Result<Option<Vec<u8>>, DecodeError> {
    let mut decoded: Option<Vec<u8>> = None;
    for _ in 0..layers.0 {
        let from = decoded.as_deref().unwrap_or(body);
        if !from.starts_with(&MAGIC) {
            break;
        }
        let before = decoded.as_ref().map_or(0, Vec::len);
        decoded = Some(gunzip(from, max, |bytes| reserve(before + bytes))?);
    }
    Ok(decoded)
}

fn gunzip(
    from: &[u8],
    max: usize,
    mut reserve: impl FnMut(usize) -> Result<(), DecodeError>,
) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = MultiGzDecoder::new(from);
    let mut decoded = Vec::new();
    let mut filled = 0;
    loop {
        if filled == decoded.len() {
            // One byte over the cap is room to see that there is more.
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

    fn layers(values: &[&str]) -> Result<Layers, UnknownEncoding> {
        Layers::of((!values.is_empty()).then(|| values.join(", ")).as_deref())
    }

    fn check(values: &[&str], body: &[u8], expected: &[u8]) {
        let decoded = decode(body, layers(values).unwrap(), 100, |_| Ok(())).unwrap();
        assert_eq!(decoded.as_deref().unwrap_or(body), expected, "{values:?}");
    }

    #[test]
    fn gzip_in_every_spelling() {
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
        for value in ["br", "gzip, br", "zstd", "gzip, gzip, gzip, gzip, gzip"] {
            assert!(layers(&[value]).is_err(), "{value}");
        }
    }

    #[test]
    fn a_body_is_decoded_up_to_the_cap() {
        let one = layers(&[]).unwrap();
        let ok = |_: usize| Ok(());
        let exact = vec![b'x'; 3 * STEP];
        assert_eq!(decode(&gzip(&exact), one, exact.len(), ok).unwrap().unwrap(), exact);
        let over = decode(&gzip(&exact), one, exact.len() - 1, ok);
        assert!(matches!(over, Err(DecodeError::TooLarge)));
        // A bomb asks for no more than the cap and a byte.
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
    fn a_body_that_is_broken_is_refused() {
        let one = layers(&[]).unwrap();
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
