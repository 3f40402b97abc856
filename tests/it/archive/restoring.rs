//! A store that is rebuilt from the archive alone is the store that wrote it.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::serving::{start, status, wait_until_archived};
use crate::harness::{
    Serve, Setup, Signer, assert_sound, exported, gzip, output_of, run, wait_until, write_private,
};

fn restore(serve: &Serve, to: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["archive", "restore", "--config", "config.toml"]).args(arguments).arg(to);
    let (code, stdout, stderr) = output_of(command.current_dir(serve.home()));
    (code, stdout + &stderr)
}

fn seal(serve: &Serve) {
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
}

/// The deliveries and the bodies in quarantine, as `store stats` shows them.
fn stats(data: &Path) -> (Value, Value) {
    let (code, stdout, stderr) =
        run(["store", "stats", "-o", "jsonl", "--limit", "1000", "--data-dir"], data);
    assert_eq!(code, Some(0), "{stderr}");
    let stats: Value = serde_json::from_str(&stdout).unwrap();
    (stats["deliveries"].clone(), stats["quarantine"].clone())
}

/// All entries, in a format of `export`.
fn export(data: &Path, format: &str) -> String {
    let (code, stdout, stderr) = run(["export", "-o", format, "--data-dir"], data);
    assert_eq!(code, Some(0), "{stderr}");
    stdout
}

fn count(data: &Path) -> usize {
    export(data, "jsonl").lines().count()
}

#[test]
fn a_store_is_rebuilt_from_the_archive_alone() {
    let mut serve = start("", "");
    let signer = Signer::new("k1");
    let mut entries: Vec<String> = (0..30).map(|n| signer.cef(n)).collect();
    entries.extend((0..10).map(|n| signer.json(n)));
    entries.extend((0..10).map(|n| signer.cps(n)));
    entries.push("no entry".into());
    entries.push(
        "{\"name\":\"x\",\"severity\":\"High\",\"other\":[1,  {\"a\":null}],\"n\":1e400}".into(),
    );
    // Twice in the same segment, signed by a key that nobody has, and longer than is parsed.
    entries.push(signer.cef(3));
    entries.push(Signer::new("stranger").cef(50));
    entries.push(format!("{{\"name\":\"{}\"}}", "long".repeat(600_000)));
    serve.deliver(entries.join("\n"));
    seal(&serve);
    // Again after the segment is closed, with other signed text around the signature.
    serve.deliver(signer.cef(60));
    let answer = serve.post(
        "/audit-logs",
        &[("authorization", &serve.authorization), ("content-encoding", "gzip")],
        &gzip(b"cut off")[..12],
    );
    assert_eq!(answer.status, 400);
    seal(&serve);
    wait_until_archived(&serve, 2);
    let nothing = json!({"entries": 0, "deliveries": 0, "changes": 0, "quarantine": 0});
    wait_until("an archive of all", || status(&serve)["not_archived"] == nothing);
    serve.stop();

    let to = serve.home().join("restored");
    let (code, text) = restore(&serve, &to, &[]);
    assert_eq!(code, Some(0), "{text}");
    for format in ["jsonl", "raw"] {
        // Not in the message: there is a long line.
        assert!(export(&to, format) == export(&serve.data(), format), "{format}");
    }
    assert_eq!(stats(&to), stats(&serve.data()));
    assert_sound(&to);
    // It does not replace a store.
    let (code, text) = restore(&serve, &to, &[]);
    assert!(code == Some(3) && text.contains("is not empty"), "{text}");

    // The rebuilt store goes on: nothing is counted twice, and the archive goes on too.
    let before = count(&to);
    fs::rename(serve.data(), serve.home().join("lost")).unwrap();
    fs::rename(&to, serve.data()).unwrap();
    serve.restart();
    let again = serve.deliver([signer.cef(5), signer.cef(70)].join("\n"));
    assert_eq!(again["stored"], 1, "{again}");
    seal(&serve);
    wait_until_archived(&serve, 3);
    assert_eq!(count(&serve.data()), before + 1);
    let second = serve.home().join("second");
    let (code, text) = restore(&serve, &second, &[]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(count(&second), before + 1);
}

#[test]
fn a_range_is_brought_back_to_be_read() {
    let mut serve = start("segment_entries = 1", "");
    for (n, day) in ["2024-01-01", "2024-06-01", "2025-01-01"].iter().enumerate() {
        serve
            .deliver(format!("{{\"event_ts\":\"{day}T00:00:00Z\",\"rt\":\"\",\"name\":\"n{n}\"}}"));
    }
    wait_until_archived(&serve, 3);
    serve.stop();
    let to = serve.home().join("part");
    let (code, text) = restore(&serve, &to, &["--since", "2024-03-01", "--until", "2024-12-01"]);
    assert_eq!(code, Some(0), "{text}");
    let all = exported(&serve.data());
    assert_eq!(exported(&to), all[1..2]);
    assert_sound(&to);
    let data = to.display().to_string();
    let (status, stderr) = Setup::new().argument("--data-dir", &data).arguments("--no-tls").fail();
    assert!(!status.success() && stderr.contains("can only be read"), "{stderr}");
}

#[test]
fn a_damaged_archive_is_not_restored() {
    let mut serve = start("segment_entries = 1", "");
    serve.deliver("{\"name\":\"x\"}");
    wait_until_archived(&serve, 1);
    serve.stop();
    let file = super::serving::files(&serve).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[50] ^= 1;
    write_private(&file, &bytes);
    let to = serve.home().join("restored");
    let (code, text) = restore(&serve, &to, &[]);
    assert!(code == Some(3) && text.contains("its SHA-256 differs"), "{text}");
    assert!(!to.exists());
}
