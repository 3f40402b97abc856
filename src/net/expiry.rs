//! When a certificate ends: the one value of X.509 (RFC 5280, 4.1) that TLS does not give out.
//!
//! It reads no more of the certificate than what stands before it, and believes none of it: whether
//! a certificate is good is for the peer to say. Anything unexpected is `None`.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Tags of the Distinguished Encoding Rules (X.690).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// When the certificate, in DER, is valid no more: seconds since the epoch.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (_, certificate, _) = value(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = value(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if let Some((VERSION, _, after)) = value(rest) {
        rest = after;
    }
    // The serial number, the signature's algorithm, the issuer.
    for _ in 0..3 {
        (_, _, rest) = value(rest)?;
    }
    let (_, validity, _) = value(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, _, rest) = value(validity)?;
    let (tag, text, _) = value(rest)?;
    time(tag, std::str::from_utf8(text).ok()?)
}

/// The tag and the contents of what `bytes` begin with, and what follows it.
fn value(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [tag, first, rest @ ..] = bytes else { return None };
    let (length, rest) = match usize::from(*first) {
        short @ ..=0x7f => (short, rest),
        // No certificate of 64 KiB and more is of interest.
        long @ (0x81 | 0x82) => {
            let (length, rest) = rest.split_at_checked(long & 0x7f)?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (contents, after) = rest.split_at_checked(length)?;
    Some((*tag, contents, after))
}

/// A time of a certificate (RFC 5280, 4.1.2.5): always with seconds, always of UTC.
fn time(tag: u8, text: &str) -> Option<i64> {
    let full = match tag {
        // Two digits of the year, of 1950 to 2049.
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%SZ", full).ok()?;
    Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 3, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_read_in_either_form() {
        for (year, expected) in [(1999, 920_246_400), (2049, 2_498_169_600), (2050, 2_529_705_600)]
        {
            assert_eq!(not_after(&certificate(year)), Some(expected), "{year}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_none() {
        let whole = certificate(2049);
        for length in 0..200 {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
        assert_eq!(not_after(b"\x30\x84\xff\xff\xff\xff"), None);
        assert_eq!(time(UTC_TIME, "990101"), None);
        assert_eq!(time(GENERALIZED_TIME, "20990101000000+0100"), None);
        assert_eq!(time(0x16, "20990101000000Z"), None);
    }
}
