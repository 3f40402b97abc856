//! Vidimus agrees with curl and openssl.

use std::fs;
use std::process::{Command, Output};

use crate::harness::{Serve, Setup, Signer, cef, gzip, jwks, stored, tool};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    println!("{command:?}: {}", output.status);
    println!("{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn curl_delivers_only_with_the_certificate() {
    let Some(_) = tool("curl") else { return };
    let mut serve = Serve::start();
    fs::write(serve.home().join("body.gz"), gzip(cef(1).as_bytes())).unwrap();
    let deliver = |arguments: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--data-binary", "@body.gz"]);
        curl.args(["--header", &format!("Authorization: {}", serve.authorization)]);
        curl.args(["--header", "Content-Type: text/plain"]);
        curl.args(["--header", "Content-Encoding: application/gzip"]).args(arguments);
        run(curl.arg(format!("{}/audit-logs", serve.receiver)).current_dir(serve.home()))
    };
    let trusting = ["--cacert", "vidimus-data/tls.pem"];
    for (how, stored) in [(&["--http1.1"][..], 1), (&["--http2"], 0), (&["--tls-max", "1.2"], 0)] {
        let output = deliver(&[&trusting, how].concat());
        assert!(output.status.success(), "{how:?}");
        let counts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&counts["received"], &counts["stored"]), (&1.into(), &stored.into()));
    }
    assert!(deliver(&["--insecure"]).status.success());
    assert_eq!(deliver(&[]).status.code(), Some(60));
    assert_eq!(serve.lines(), [cef(1).as_bytes()]);
    serve.stop();
    let refused = stored::refused(&serve.data());
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].reason.contains("does not trust our certificate"), "{refused:?}");
}

#[test]
fn openssl_and_the_program_verify_each_others_signatures() {
    let Some(_) = tool("openssl") else { return };
    let folder = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let mut openssl = Command::new("openssl");
        run(openssl.args(arguments.split(' ')).current_dir(folder.path()))
    };
    let write =
        |name: &str, contents: &[u8]| fs::write(folder.path().join(name), contents).unwrap();
    // SubjectPublicKeyInfo of Ed25519 (RFC 8410 section 4) before the 32 bytes.
    let info = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let signer = Signer::new("k1");
    write("public.der", &[&info, signer.public()].concat());
    write("payload", cef(1).as_bytes());
    write("signature", &signer.signature(&cef(1)));
    let verify = "pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin -in payload \
                  -sigfile signature";
    assert!(openssl(verify).status.success());
    write("payload", cef(2).as_bytes());
    assert!(!openssl(verify).status.success());

    // The reverse, with a key that openssl makes.
    assert!(openssl("genpkey -algorithm ed25519 -out private.pem").status.success());
    let public = openssl("pkey -in private.pem -pubout -outform DER").stdout;
    let sign = "pkeyutl -sign -inkey private.pem -rawin -in payload -out signature";
    assert!(openssl(sign).status.success());
    let base64 = |bytes: &[u8]| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
    };
    let x = base64(public.strip_prefix(&info).unwrap());
    let key = serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": "openssl", "x": x});
    let set = serde_json::json!({"keys": [key]}).to_string();
    let signature = base64(&fs::read(folder.path().join("signature")).unwrap());
    let serve = Setup::new().file("jwks.json", set).arguments("--jwks jwks.json").start();
    let answer = serve.deliver(format!("{} sig={signature}", cef(2)));
    assert_eq!(answer["verdicts"]["valid"], 1, "{answer}");
    assert_eq!(serve.stored()[0].kid.as_deref(), Some("openssl"));
}

#[test]
fn the_program_verifies_the_test_signers_entries() {
    let signer = Signer::new("k1");
    let serve =
        Setup::new().file("jwks.json", jwks(&[&signer])).arguments("--jwks jwks.json").start();
    let answer = serve.deliver([signer.cef(1), signer.json(1), signer.cps(1)].join("\n"));
    assert_eq!(answer["verdicts"]["valid"], 3, "{answer}");
}
