//! Commands that use a running server, and work without one.

use std::path::Path;

use rusqlite::Connection;

use crate::harness::stored::{catalog, quarantined};
use crate::harness::{Serve, cef, run};

/// The SHA-256 of the first body, by `sha256sum`.
const FIRST: &str = "dc5a15facf67219b0f19c02f8b3785d815c5bcc8e6b0bec27d7d35129600dacd";

/// A server with two bodies in quarantine, 1 and 2.
fn serving() -> Serve {
    let serve = Serve::start();
    for (encoding, body, status) in
        [("gzip", b"\x1f\x8b no more".as_slice(), 400), ("br", cef(1).as_bytes(), 415)]
    {
        let headers =
            [("authorization", serve.authorization.as_str()), ("content-encoding", encoding)];
        assert_eq!(serve.post("/audit-logs", &headers, body).status, status);
    }
    assert_eq!(quarantined(&serve.data()).len(), 2);
    serve
}

/// The records of dropped bodies: id, size and SHA-256.
fn dropped(data: &Path) -> Vec<(u64, u64, String)> {
    catalog(data, "SELECT id, bytes, sha256 FROM dropped ORDER BY id", |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })
}

fn states(data: &Path) -> Vec<String> {
    catalog(data, "SELECT state FROM segments ORDER BY first_id", |row| row.get(0))
}

#[test]
fn seal_and_retry_work_while_the_server_runs() {
    let mut serve = serving();
    let data = serve.data();
    serve.deliver(cef(2));
    assert_eq!(states(&data), ["live"]);
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &data);
    assert_eq!((code, stderr.as_str()), (Some(0), "sealed\n"));
    assert_eq!(states(&data), ["sealed", "live"]);

    // Removes the cause of the failure: the body was not encoded.
    let mend = "UPDATE quarantine SET content_encoding = NULL WHERE id = 2";
    Connection::open(data.join("catalog.db")).unwrap().execute(mend, []).unwrap();
    let (code, _, stderr) = run(["store", "quarantine", "retry", "--data-dir"], &data);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("1: stays in quarantine: "), "{stderr}");
    assert!(stderr.contains("2: 1 received, 1 stored, 0 duplicates"), "{stderr}");
    assert_eq!(quarantined(&data).len(), 1);
    assert_eq!(serve.lines(), [cef(2).into_bytes(), cef(1).into_bytes()]);
    let (code, _, stderr) = run(["store", "quarantine", "retry", "7", "--data-dir"], &data);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("no body in quarantine 7"), "{stderr}");

    // The server still works, and the commands give the same results without it.
    serve.deliver(cef(3));
    serve.stop();
    assert!(!data.join("control.sock").exists());
    let (code, _, stderr) = run(["store", "seal", "--data-dir"], &data);
    assert_eq!((code, stderr.as_str()), (Some(0), "sealed\n"));
    assert_eq!(states(&data), ["sealed", "sealed", "live"]);
    let (code, _, stderr) = run(["store", "quarantine", "retry", "--data-dir"], &data);
    assert!(code == Some(1) && stderr.contains("1: stays in quarantine: "), "{stderr}");
}

#[test]
fn a_quarantine_drop_lists_asks_and_is_recorded() {
    let mut serve = serving();
    let data = serve.data();
    let (code, listed, stderr) =
        run(["store", "quarantine", "drop", "--all", "--dry-run", "--data-dir"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let shown = format!("  10 bytes  SHA-256 {FIRST}  ");
    assert!(listed.starts_with("1  ") && listed.contains(&shown), "{listed}");
    // The command cannot ask without a terminal.
    let (code, _, stderr) = run(["store", "quarantine", "drop", "1", "--data-dir"], &data);
    assert!(code == Some(2) && stderr.contains("--yes"), "{stderr}");
    let (code, _, stderr) = run(["store", "quarantine", "drop", "--data-dir"], &data);
    assert_eq!(code, Some(2), "{stderr}");
    let (code, _, stderr) = run(["store", "quarantine", "drop", "9", "--yes", "--data-dir"], &data);
    assert!(code == Some(3) && stderr.contains("no body in quarantine 9"), "{stderr}");
    assert_eq!(quarantined(&data).len(), 2);

    let (code, _, stderr) = run(["store", "quarantine", "drop", "1", "--yes", "--data-dir"], &data);
    assert!(code == Some(0) && stderr.ends_with("1: dropped\n"), "{stderr}");
    assert_eq!(quarantined(&data).len(), 1);
    assert_eq!(dropped(&data), [(1, 10, FIRST.to_owned())]);

    // A killed server leaves its socket, and nobody answers there.
    serve.kill();
    assert!(data.join("control.sock").exists());
    let (code, _, stderr) =
        run(["store", "quarantine", "drop", "--all", "--yes", "--data-dir"], &data);
    assert!(code == Some(0) && stderr.ends_with("2: dropped\n"), "{stderr}");
    assert!(quarantined(&data).is_empty());
    assert_eq!(dropped(&data).len(), 2);
    serve.restart();
    let (code, _, stderr) =
        run(["store", "quarantine", "drop", "--all", "--yes", "--data-dir"], &data);
    assert_eq!((code, stderr.as_str()), (Some(0), "0 bodies to delete, 0 bytes\n"));
}
