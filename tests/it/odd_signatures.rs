//! Signatures that only the equation with the cofactor accepts are valid. Where ring is asked too,
//! they have a warning.

use std::fs;
use std::process::Command;

use rusqlite::Connection;
use serde_json::Value;

use crate::console::get;
use crate::harness::{Serve, Setup, Signer, cef, json_lines, jwks, run, tool};

/// A stopped server with three valid entries, of which the second has an odd signature. The file
/// `lines.log` has their lines.
fn stopped() -> (Serve, Signer) {
    let signer = Signer::new("k1");
    let lines = [signer.cef(1), signer.odd_cef(2), signer.cef(3)].join("\n");
    let setup = Setup::new().file("jwks.json", jwks(&[&signer])).file("lines.log", &lines);
    let mut serve = setup.arguments("--jwks jwks.json").start();
    let answer = serve.deliver(lines);
    assert_eq!(answer["verdicts"]["valid"], 3, "{answer}");
    // The page looks for odd signatures, the list does not.
    let page = |target: &str| get(&serve, target).text();
    assert!(page("/entries/2").contains("odd_signature"), "{}", page("/entries/2"));
    assert!(page("/entries/2").contains("The signature is odd"));
    assert!(!page("/entries/1").contains("odd"));
    assert!(!page("/api/v1/entries/2").contains("odd"));
    serve.stop();
    (serve, signer)
}

#[test]
fn strict_verification_warns() {
    let (serve, _) = stopped();
    let verify = |arguments: &[&str]| {
        let mut vidimus = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        vidimus.args(["verify", "--jwks", "jwks.json", "lines.log"]).args(arguments);
        let output = vidimus.current_dir(serve.home()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr))
    };
    assert_eq!(verify(&[]).0, "");
    let (stdout, stderr) = verify(&["--strict"]);
    assert_eq!(stdout, "lines.log:2 valid odd_signature\n");
    assert!(stderr.contains("warning              1  odd_signature"), "{stderr}");
    let records = json_lines(&verify(&["--strict", "-o", "jsonl"]).0);
    let warnings: Vec<_> = records.iter().map(|record| record["warnings"].to_string()).collect();
    assert_eq!(warnings, ["[]", "[\"odd_signature\"]", "[]"]);
    assert!(records.iter().all(|record| record["verdict"] == "valid"));
}

/// Runs `store check` and returns its report.
fn check(serve: &Serve, strict: bool) -> Value {
    let report = match strict {
        true => run(["store", "check", "-o", "jsonl", "--strict", "--data-dir"], &serve.data()),
        false => run(["store", "check", "-o", "jsonl", "--data-dir"], &serve.data()),
    };
    let (code, stdout, stderr) = report;
    let report = json_lines(&stdout).remove(0);
    assert_eq!(code == Some(0), report["differences"] == 0, "{stdout}{stderr}");
    report
}

#[test]
fn a_strict_check_of_the_store_warns_and_finds_no_difference() {
    let (serve, _) = stopped();
    let report = check(&serve, false);
    assert_eq!((&report["differences"], report.get("odd_signatures")), (&0.into(), None));
    let report = check(&serve, true);
    assert_eq!((&report["differences"], &report["odd_signatures"]), (&0.into(), &1.into()));
    let first = &report["first_odd"][0];
    assert_eq!((&first["id"], &first["what"]), (&2.into(), &"odd_signature".into()));
    let (_, stdout, stderr) = run(["store", "check", "--strict", "--data-dir"], &serve.data());
    assert!(stdout.ends_with(" entry 2: odd_signature\n"), "{stdout}");
    assert!(stderr.contains("warning: 1 odd signature"), "{stderr}");
}

#[test]
fn an_odd_entry_that_an_earlier_version_refused_is_no_difference() {
    let (serve, _) = stopped();
    let refuse = |id: u64| {
        let segments = fs::read_dir(serve.data().join("segments")).unwrap();
        let live = segments
            .map(|one| one.unwrap().path())
            .find(|path| path.to_str().is_some_and(|path| path.ends_with(".live.db")));
        let sql = "UPDATE entries SET verdict = 'invalid', reason = 'no_matching_key', key = NULL,
                   covers = NULL, signed = NULL WHERE id = ?1";
        assert_eq!(Connection::open(live.unwrap()).unwrap().execute(sql, [id]).unwrap(), 1);
    };
    refuse(2);
    assert_eq!(check(&serve, false)["differences"], 0);
    refuse(1);
    let report = check(&serve, false);
    assert_eq!((&report["differences"], &report["first"][0]["id"]), (&1.into(), &1.into()));
}

#[test]
fn openssl_refuses_an_odd_signature() {
    let Some(_) = tool("openssl") else { return };
    let signer = Signer::new("k1");
    let folder = tempfile::tempdir().unwrap();
    let write =
        |name: &str, contents: &[u8]| fs::write(folder.path().join(name), contents).unwrap();
    let info = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    write("public.der", &[&info, signer.public()].concat());
    write("payload", cef(1).as_bytes());
    for (signature, accepted) in
        [(signer.signature(&cef(1)), true), (signer.odd_signature(&cef(1)), false)]
    {
        write("signature", &signature);
        let arguments = "pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin -in payload \
                         -sigfile signature";
        let mut openssl = Command::new("openssl");
        let openssl = openssl.args(arguments.split(' ')).current_dir(folder.path());
        let output = openssl.output().unwrap();
        assert_eq!(output.status.success(), accepted, "{output:?}");
    }
}
