//! Refused requests are recorded, and no record or log has a part of a secret.

use std::fs;
use std::path::Path;

use crate::harness::http::trusting;
use crate::harness::{RawConnection, Serve, Setup, stored};

/// Secrets that must not be written anywhere, in upper or lower case.
const SECRETS: [&str; 4] = ["hunter2", "Tr0ub4dor", "correct-horse", "battery-staple"];

#[test]
fn refused_requests_are_recorded_without_secrets() {
    let mut serve = Setup::new().argument("--authorization", "Splunk Tr0ub4dor").start();
    let wrong: [(&str, &[&str], Option<&str>); 7] = [
        ("/audit-logs", &["Bearer Tr0ub4dor"], Some("Bearer")),
        ("/audit-logs", &["bAsIc aHVudGVyMjpodW50ZXIy-hunter2"], Some("Basic")),
        ("/audit-logs", &["hunter2"], None),
        ("/audit-logs", &["hunter2 correct-horse"], Some("other")),
        ("/audit-logs", &["Splunk Tr0ub4dor", "Splunk Tr0ub4dor"], Some("Splunk")),
        ("/audit-logs?token=battery-staple", &[], None),
        ("/logs?token=battery-staple", &["Splunk Tr0ub4dor"], Some("Splunk")),
    ];
    for (path, values, _) in wrong {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", *value)).collect();
        let status = serve.post(path, &headers, b"hunter2").status;
        assert_eq!(status, if path.starts_with("/logs") { 404 } else { 401 }, "{path}");
    }
    // Plain HTTP to a TLS port, a client that does not trust the certificate, and random bytes.
    let mut plain = RawConnection::plain(serve.port());
    plain.request("POST", "/audit-logs", &[("authorization", "Splunk Tr0ub4dor")], b"hunter2");
    assert!(plain.rest().is_empty());
    let distrusting = trusting(None, rustls::ALL_VERSIONS);
    assert!(RawConnection::tls_with(serve.port(), distrusting).is_err());
    let mut nonsense = RawConnection::plain(serve.port());
    nonsense.send(b"\x00hunter2\r\n\r\n");
    nonsense.rest();
    serve.stop();

    let refused = stored::refused(&serve.data());
    let log = serve.stderr();
    for (one, (path, values, scheme)) in refused.iter().zip(wrong) {
        assert_eq!(one.scheme.as_deref(), scheme, "{path} {values:?}");
        let status = if path.starts_with("/logs") { 404 } else { 401 };
        assert_eq!(one.status, Some(status), "{path} {values:?}");
        assert!(one.peer.starts_with("127.0.0.1:"), "{one:?}");
        assert!(log.contains(&one.peer), "{one:?}");
    }
    assert!(refused[6].reason.contains("\"/logs\""), "{refused:?}");
    let others = &refused[wrong.len()..];
    let expected = ["it sent plain HTTP", "does not trust our certificate", "InvalidContentType"];
    assert_eq!(others.len(), expected.len(), "{others:?}");
    for reason in expected {
        let found = others.iter().any(|one| one.reason.contains(reason) && one.status.is_none());
        assert!(found && log.contains(reason), "{reason}: {others:?}");
    }
    check_no_secret(&serve, &SECRETS);
}

#[test]
fn tls_to_a_plain_port_is_recorded() {
    let mut serve = Setup::new().arguments("--no-tls").start();
    let config = trusting(None, rustls::ALL_VERSIONS);
    assert!(RawConnection::tls_with(serve.port(), config).is_err());
    serve.stop();
    let refused = stored::refused(&serve.data());
    assert!(refused[0].reason.contains("it sent TLS to a port that expects plain HTTP"));
    assert_eq!(refused.len(), 1, "{refused:?}");
}

#[test]
fn refused_requests_survive_a_crash() {
    let mut serve = Serve::start();
    serve.post("/nothing", &[], b"");
    crate::harness::wait_until("the recorded request", || {
        stored::refused(&serve.data()).len() == 1
    });
    serve.restart();
    serve.post("/nothing", &[], b"");
    serve.stop();
    assert_eq!(stored::refused(&serve.data()).len(), 2);
}

#[test]
fn the_generated_authorization_is_only_in_its_file() {
    for format in ["text", "json"] {
        let mut serve = Setup::new().argument("--log-format", format).start();
        let (scheme, secret) = serve.authorization.split_once(' ').unwrap();
        assert_eq!((scheme, secret.len()), ("Bearer", 43));
        let secret = secret.to_owned();
        serve.deliver("{}");
        serve.post("/audit-logs", &[("authorization", &format!("Splunk {secret}"))], b"");
        serve.stop();
        check_no_secret(&serve, &[&secret[..20], &secret[23..]]);
        let stderr = serve.stderr();
        assert!(stderr.contains("vidimus-data/authorization"), "{stderr}");
        let events: Vec<serde_json::Value> =
            stderr.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let stored = events.iter().any(|event| event["fields"]["message"] == "delivery stored");
        assert_eq!(stored, format == "json", "{stderr}");
    }
}

/// Checks that no file of the server has a secret, except the file for the authorization.
fn check_no_secret(serve: &Serve, secrets: &[&str]) {
    fn files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
        for file in fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut all = Vec::new();
    files(serve.home(), &mut all);
    all.retain(|path| !path.ends_with("authorization"));
    assert!(all.iter().any(|path| path.ends_with("catalog.db")), "{all:?}");
    for path in all {
        let contents = fs::read(&path).unwrap().to_ascii_lowercase();
        for secret in secrets {
            let secret = secret.to_ascii_lowercase();
            let there = contents.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!there, "{secret:?} is in {}", path.display());
        }
    }
}
