//! What a certificate in DER says of itself (RFC 5280). Nothing in it is checked: that is for the
//! client to do.

use std::net::IpAddr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::X509Certificate;

/// What a certificate says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateInfo {
    /// The host names and addresses that it is for (4.2.1.6).
    pub(crate) names: Vec<String>,
    /// When it expires, in seconds since the epoch (4.1.2.5).
    pub(crate) expires_at: i64,
    /// Whether it is its own issuer.
    pub(crate) is_self_signed: bool,
}

impl CertificateInfo {
    /// Reads a certificate. `None` if it is not one.
    pub(super) fn of(der: &[u8]) -> Option<CertificateInfo> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        Some(CertificateInfo {
            names: names(&certificate),
            expires_at: certificate.validity().not_after.timestamp(),
            is_self_signed: certificate.subject().as_raw() == certificate.issuer().as_raw(),
        })
    }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()?;
    Some(address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = rcgen::CertificateParams::new(names.to_vec()).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_expiry_is_read_in_both_encodings() {
        // UTCTime until 2049, GeneralizedTime from then on.
        for (year, expected) in [(1999, 920_246_400), (2049, 2_498_169_600), (2050, 2_529_705_600)]
        {
            let found = CertificateInfo::of(&certificate(year)).unwrap();
            assert_eq!(found.expires_at, expected, "{year}");
        }
        let whole = certificate(2049);
        for length in 0..whole.len() {
            assert_eq!(CertificateInfo::of(&whole[..length]), None, "{length}");
        }
    }

    #[test]
    fn the_names_and_the_issuer_are_read() {
        let found = CertificateInfo::of(&certificate(2049)).unwrap();
        assert_eq!(found.names, ["localhost", "127.0.0.1", "::1"]);
        assert!(found.is_self_signed);

        let key = rcgen::KeyPair::generate().unwrap();
        let mut issuer = rcgen::CertificateParams::new(Vec::new()).unwrap();
        issuer.distinguished_name.push(rcgen::DnType::CommonName, "a CA");
        let issuer = rcgen::Issuer::new(issuer, key);
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["siem.example.com".to_owned()]).unwrap();
        let issued = params.signed_by(&key, &issuer).unwrap();
        let found = CertificateInfo::of(issued.der()).unwrap();
        assert_eq!(found.names, ["siem.example.com"]);
        assert!(!found.is_self_signed);
    }
}
