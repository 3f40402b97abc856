//! Time stamps. openssl is the authority and the verifier.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{checkpoint, lines, vkey, wait_for_size};
use crate::console::get;
use crate::console::metrics::value;
use crate::harness::{Endpoint, Received, Reply, Setup, output_of, tool, wait_until};

const TSA: &str = "\
[tsa]
default_tsa = one
[one]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
ess_cert_id_alg = sha256
[one_that_knows_no_sha256]
serial = serial
signer_cert = tsa.pem
signer_key = tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha512
";

/// Runs openssl. Its arguments have no spaces.
#[track_caller]
fn openssl(folder: &Path, arguments: &str) -> (Option<i32>, String) {
    let mut openssl = Command::new("openssl");
    let (code, stdout, stderr) = output_of(openssl.args(arguments.split(' ')).current_dir(folder));
    (code, stdout + &stderr)
}

/// Makes an authority.
fn authority(folder: &Path) {
    fs::write(folder.join("tsa.conf"), TSA).unwrap();
    fs::write(folder.join("serial"), "01\n").unwrap();
    let make = "req -x509 -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.pem -subj /CN=tsa.example \
                -days 2 -addext keyUsage=critical,digitalSignature -addext \
                extendedKeyUsage=critical,timeStamping";
    let (code, output) = openssl(folder, make);
    assert_eq!(code, Some(0), "{output}");
}

/// The response of a section of the configuration to a request.
fn response(folder: &Path, section: &str, request: &[u8]) -> Reply {
    fs::write(folder.join("request.tsq"), request).unwrap();
    let reply = format!(
        "ts -reply -config tsa.conf -section {section} -queryfile request.tsq -out response.tsr"
    );
    // A refusal is a response too, and a failure of the command.
    let (_, output) = openssl(folder, &reply);
    Reply::Bytes(fs::read(folder.join("response.tsr")).expect(&output))
}

#[test]
fn openssl_verifies_the_time_stamp_of_a_checkpoint() {
    let Some(_) = tool("openssl") else { return };
    let folder = tempfile::tempdir().unwrap();
    authority(folder.path());
    let home = folder.path().to_owned();
    let mut answers = 0;
    // It fails in each way, and then grants.
    let endpoint = Endpoint::start(move |received: &Received| {
        assert_eq!(received.target, "/tsa?key=x");
        assert_eq!(received.header("content-type"), Some("application/timestamp-query"));
        let mut request = received.body.clone();
        answers += 1;
        match answers {
            1 => Reply::Answer(500, "", "no time".into()),
            2 => Reply::Answer(200, "", "<html>".into()),
            3 => response(&home, "one_that_knows_no_sha256", &request),
            // The last bytes are a nonce of 8 and three for the certificate, and the hash is before.
            4 => {
                request[65] ^= 1;
                response(&home, "one", &request)
            }
            5 => {
                request[40] ^= 1;
                response(&home, "one", &request)
            }
            _ => response(&home, "one", &request),
        }
    });
    let config =
        format!("[log]\ncheckpoint_interval = '100ms'\ntsa = '{}'\n", endpoint.url("/tsa?key=x"));
    let mut serve = Setup::new().config(&config).start();
    // Nobody waits for it.
    serve.deliver(lines(0..300));
    wait_for_size(&serve, 301);
    let metric = |name: &str| {
        value(&get(&serve, "/metrics").text(), &format!("vidimus_log_{name}")).unwrap()
    };
    wait_until("a time stamp", || metric("timestamped_leaves") > 0.0);
    assert_eq!(metric("timestamp_failures_total"), 5.0);
    for why in [
        "answered 500, expected 200, and said: no time",
        "without a TimeStampResp",
        "refused with the status 2, expected 0 (granted), and said: ",
        "with another nonce",
        "with another hash",
    ] {
        assert!(serve.stderr().contains(why), "{why}: {}", serve.stderr());
    }
    assert!(!serve.stderr().contains("key=x"), "{}", serve.stderr());

    let kept = serve.data().join("log/timestamps");
    let size = metric("timestamped_leaves");
    let note = kept.join(format!("{size}.note"));
    let signed = checkpoint(&fs::read_to_string(&note).unwrap(), &vkey(&serve.data()));
    assert_eq!(signed.size as f64, size);
    let verify = |note: &Path| {
        let (tsr, ca) = (kept.join(format!("{size}.tsr")), folder.path().join("tsa.pem"));
        let arguments = format!(
            "ts -verify -in {} -data {} -CAfile {}",
            tsr.display(),
            note.display(),
            ca.display()
        );
        openssl(folder.path(), &arguments)
    };
    let (code, output) = verify(&note);
    assert!(code == Some(0) && output.contains("Verification: OK"), "{output}");
    let other = folder.path().join("other");
    fs::write(&other, "another note").unwrap();
    assert_ne!(verify(&other).0, Some(0));
    serve.stop();
}
