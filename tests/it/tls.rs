//! TLS: versions, protocols, and a certificate that is replaced while it is in use.

use std::fs;
use std::path::Path;

use rustls::ProtocolVersion;

use crate::harness::http::trusting;
use crate::harness::{RawConnection, Serve, Setup, wait_until};

/// A certificate for `localhost` and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Pair {
    fn new() -> Pair {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        Pair { certificate: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    /// Writes both files, one after the other.
    fn write(&self, home: &Path) {
        fs::write(home.join("cert.pem"), &self.certificate).unwrap();
        fs::write(home.join("key.pem"), &self.key).unwrap();
    }

    /// Connects and trusts only this certificate.
    fn connect(&self, serve: &Serve) -> Option<RawConnection> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(&file, &self.certificate).unwrap();
        let config = trusting(Some(file.path()), rustls::ALL_VERSIONS);
        RawConnection::tls_with(serve.port(), config).ok()
    }
}

fn start(pair: &Pair) -> Serve {
    let setup = Setup::new().file("cert.pem", &pair.certificate).file("key.pem", &pair.key);
    setup.arguments("--tls-cert cert.pem --tls-key key.pem").start()
}

/// Delivers line number `n` over an open connection.
fn deliver(serve: &Serve, connection: &mut RawConnection, n: usize) {
    let headers = [("authorization", serve.authorization.as_str())];
    connection.request("POST", "/audit-logs", &headers, format!("{{\"n\":{n}}}").as_bytes());
    let answer = connection.answer();
    assert_eq!((answer.status, &answer.json()["stored"]), (200, &1.into()));
}

#[test]
fn a_certificate_is_replaced_while_connections_are_open() {
    let (old, new) = (Pair::new(), Pair::new());
    let serve = start(&old);
    let mut before = old.connect(&serve).unwrap();
    deliver(&serve, &mut before, 1);
    assert!(new.connect(&serve).is_none());
    new.write(serve.home());
    let mut after = None;
    wait_until("the new certificate", || {
        after = new.connect(&serve);
        after.is_some()
    });
    deliver(&serve, &mut after.unwrap(), 2);
    assert!(old.connect(&serve).is_none());
    // The old connection still works.
    deliver(&serve, &mut before, 3);
    serve.wait_for_log("new connections get the new certificate");
    assert_eq!(serve.lines().len(), 3);
}

#[test]
fn a_mismatched_pair_keeps_the_old_certificate() {
    let (old, new) = (Pair::new(), Pair::new());
    let serve = start(&old);
    fs::write(serve.home().join("cert.pem"), &new.certificate).unwrap();
    serve.wait_for_log("does not belong to the first certificate");
    deliver(&serve, &mut old.connect(&serve).unwrap(), 1);
    fs::write(serve.home().join("cert.pem"), "nonsense").unwrap();
    serve.wait_for_log("cert.pem has no certificate");
    deliver(&serve, &mut old.connect(&serve).unwrap(), 2);
    fs::remove_file(serve.home().join("key.pem")).unwrap();
    serve.wait_for_log("cannot read key.pem");
    deliver(&serve, &mut old.connect(&serve).unwrap(), 3);
    new.write(serve.home());
    wait_until("the new certificate", || new.connect(&serve).is_some());
}

#[test]
fn the_server_does_not_start_with_an_unusable_pair() {
    let (one, other) = (Pair::new(), Pair::new());
    for (certificate, key, expected) in [
        (one.certificate.as_str(), other.key.as_str(), "does not belong to the first certificate"),
        ("", &one.key, "has no certificate"),
        (&one.certificate, "", "has no private key"),
    ] {
        let setup = Setup::new().file("cert.pem", certificate).file("key.pem", key);
        let (status, stderr) = setup.arguments("--tls-cert cert.pem --tls-key key.pem").fail();
        assert_eq!(status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
    let (status, stderr) = Setup::new().arguments("--tls-cert cert.pem").fail();
    assert_eq!(status.code(), Some(2), "{stderr}");
}

#[test]
fn tls_1_2_and_1_3_and_both_versions_of_http_work() {
    let serve = Serve::start();
    let versions = [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ];
    for (n, (version, expected)) in versions.into_iter().enumerate() {
        for (alpn, chosen) in
            [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
        {
            let mut config = trusting(Some(&serve.certificate()), &[version]);
            config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut connection = RawConnection::tls_with(serve.port(), config).unwrap();
            let session = connection.session();
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), chosen.map(str::as_bytes), "{alpn:?}");
            if chosen != Some("h2") {
                deliver(&serve, &mut connection, 10 * n + alpn.len());
            }
        }
    }
}
