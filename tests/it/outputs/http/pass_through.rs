//! The received lines, delivered as Konnect delivers them.

use hyper::header::HeaderValue;
use rustix::process::Signal;
use vidimus::konnect::batch::Encoding;
use vidimus::konnect::deliver::headers;

use super::*;
use crate::harness::{Signer, jwks, write_private};

#[test]
fn another_receiver_gets_every_line_and_verifies_every_signature() {
    let signer = Signer::new("k1");
    let second =
        Setup::new().file("jwks.json", jwks(&[&signer])).arguments("--jwks jwks.json").start();
    let url = format!("{}/audit-logs", second.receiver);
    let certificate = std::fs::read(second.certificate()).unwrap();
    let keys = "format = 'raw'\nca_file = 'ca.pem'\nauthorization_file = 'authorization'";
    let mut first = Setup::new()
        .file("ca.pem", certificate)
        .file("authorization", &second.authorization)
        .config(&http_output(&url, keys))
        .start();
    let signed: Vec<_> =
        (0..300).flat_map(|n| [signer.cef(n), signer.json(n), signer.cps(n)]).collect();
    for body in signed.chunks(200) {
        first.deliver(body.join("\n"));
    }
    first.deliver(b"{\"no entry\xff\n  \x01CEF:\tneither \r\n".as_slice());
    wait_until("all lines at the second", || second.lines().len() == first.lines().len());
    assert!(second.lines() == first.lines(), "the lines differ");
    let verdicts = second.verdicts();
    assert!(verdicts[..signed.len()].iter().all(|verdict| verdict == "valid"), "{verdicts:?}");
    first.stop();
    assert!(dead_letters(&first).is_empty());
}

#[test]
fn a_delivery_looks_like_konnects() {
    let endpoint = Endpoint::start(|_| ok());
    let config =
        http_output(&endpoint.url("/audit-logs"), "format = 'raw'\nauthorization = 'Splunk 0123'");
    let serve = Setup::new().config(&config).start();
    serve.deliver(lines(0..3).join("\n"));
    endpoint.wait_for_lines(3);
    let taken = endpoint.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].body, lines(0..3).join("\n").into_bytes());
    assert_eq!(taken[0].target, "/audit-logs");
    let theirs = headers(Encoding::ApplicationGzip, Some(HeaderValue::from_static("Splunk 0123")));
    for (name, value) in &theirs {
        assert_eq!(taken[0].header(name.as_str()), value.to_str().ok(), "{name}");
    }
    let mut names: Vec<_> = taken[0].headers.iter().map(|(name, _)| name.as_str()).collect();
    names.retain(|name| !theirs.contains_key(*name));
    names.sort_unstable();
    assert_eq!(names, ["content-length", "host", "user-agent"]);
}

#[test]
fn a_receiver_with_the_splunk_profile_gets_every_line() {
    let signer = Signer::new("k1");
    let token = "Splunk 01234567-89ab-cdef-0123-456789abcdef";
    let input = format!(
        "[[input]]\nname = 'hec'\npath = '/services/collector/raw'\nauthorization = '{token}'\n\
         response_profile = 'splunk-hec'\n"
    );
    let second = Setup::new()
        .file("jwks.json", jwks(&[&signer]))
        .config(&input)
        .arguments("--jwks jwks.json --no-tls")
        .start();
    let url = format!("{}/services/collector/raw", second.receiver);
    let output = |token: &str| {
        let keys = format!("format = 'raw'\nbody = 'hec_raw'\nauthorization = '{token}'");
        http_output(&url, &format!("{keys}\nsourcetype = 'kong:audit'"))
    };
    let first = Setup::new().config(&output("Splunk 4567")).start();
    let signed: Vec<_> = (0..20).map(|n| signer.cef(n)).collect();
    first.deliver(signed.join("\n"));
    // With wrong credentials the output waits, and writes no dead letters.
    first.wait_for_log("Invalid token");
    assert!(second.lines().is_empty() && dead_letters(&first).is_empty());
    write_private(&first.home().join("config.toml"), output(token).as_bytes());
    first.signal(Signal::HUP);
    wait_until("all lines at the second", || second.lines().len() == signed.len());
    assert!(second.lines() == first.lines(), "the lines differ");
    assert_eq!(second.verdicts(), vec!["valid"; signed.len()]);
}
