//! Credentials for an endpoint: a client certificate, headers from files, and changing tokens.

use std::fs;

use rustix::process::Signal;

use super::*;
use crate::harness::write_private;
use crate::outputs::command::run;

#[test]
fn a_certificate_and_headers_from_files_are_sent() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pem = made.cert.pem() + &made.signing_key.serialize_pem();
    let setup = Setup::new()
        .file("tls.pem", &pem)
        .file("password", "open: sesame\n")
        .file("key", "an api key");
    let endpoint = Endpoint::start_tls(&setup.home().join("tls.pem"), |_| ok());
    let keys = "ca_file = 'tls.pem'\ncert_file = 'tls.pem'\nkey_file = 'tls.pem'\n\
                username = 'vidimus'\npassword_file = 'password'\n\
                [output.headers]\nX-Scope-OrgID = 'audit'\ncontent-type = 'application/json'\n\
                [output.header_files]\nX-API-Key = 'key'\n";
    let serve = setup.config(&http_output(&endpoint.url("/in"), keys)).start();
    serve.deliver(cef(0));
    endpoint.wait_for_lines(1);
    let taken = &endpoint.taken()[0];
    assert!(taken.showed_certificate);
    // "vidimus:open: sesame" (RFC 7617).
    assert_eq!(taken.header("authorization"), Some("Basic dmlkaW11czpvcGVuOiBzZXNhbWU="));
    assert_eq!(taken.header("x-scope-orgid"), Some("audit"));
    assert_eq!(taken.header("x-api-key"), Some("an api key"));
    assert_eq!(taken.header("content-type"), Some("application/json"));
}

#[test]
fn an_expired_token_is_replaced_on_sighup() {
    let endpoint = Endpoint::start(|received| match received.header("authorization") {
        Some("Bearer new-token") => ok(),
        other => Reply::Answer(401, "", format!("{} has expired", other.unwrap())),
    });
    let config = http_output(&endpoint.url("/in"), "format = 'raw'\ntoken_file = 'token'");
    let mut serve = Setup::new().config(&config).file("token", "old-token\n").start();
    serve.deliver(lines(0..10).join("\n"));
    serve.wait_for_log("it answered 401 Unauthorized: (hidden) has expired; look at what");
    write_private(&serve.home().join("token"), b"new-token\n");
    serve.signal(Signal::HUP);
    assert_eq!(endpoint.wait_for_lines(10), lines(0..10));
    serve.stop();
    assert!(dead_letters(&serve).is_empty());
    let log = serve.stderr();
    assert!(!log.contains("old-token") && !log.contains("new-token"), "{log}");
}

#[test]
fn a_test_of_an_output_shows_the_answer() {
    let mut replies = [ok(), Reply::Answer(403, "", "not you".into())].into_iter();
    let endpoint = Endpoint::start(move |_| replies.next().unwrap());
    let config = http_output(&endpoint.url("/in"), "format = 'raw'");
    let serve = Setup::new().config(&config).start();
    let test = "test siem --config config.toml";
    let (code, line, stderr) = run(&serve, test);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(endpoint.taken()[0].body, line.trim_end().as_bytes());
    assert!(
        stderr.contains("/in answered 200 in ") && stderr.contains("the entry was accepted"),
        "{stderr}"
    );
    let (code, _, stderr) = run(&serve, test);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("/in answered 403 in ") && stderr.contains("not you; look at"),
        "{stderr}"
    );
    let nowhere = http_output("http://127.0.0.1:1/in", "format = 'raw'");
    fs::write(serve.home().join("config.toml"), nowhere).unwrap();
    let (code, _, stderr) = run(&serve, test);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("http://127.0.0.1:1/in: cannot connect: "), "{stderr}");
}
