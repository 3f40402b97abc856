//! The whole way: over loopback with TLS, gzip, verification, every batch synced to disk before its
//! answer. Batches of 500 over 8 connections, prepared beforehand by `vidimus send`.
//!
//! The bound is what ring's verification alone would take on all cores of this machine; sender and
//! receiver share them.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus::konnect::LogFormat;
use vidimus::konnect::sign::Signer;
use vidimus::signature::KeySet;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    let at = |name: &str| folder.path().join(name);
    println!("receive: {total} entries in batches of 500 over 8 connections");

    // The sender's key, which the receiver is given when it starts.
    let (signer, pem) = Signer::generate(None).expect("a key");
    let keys = KeySet::new([Arc::new(signer.key().clone())]);
    std::fs::write(at("jwks.json"), serde_json::to_vec(&keys).expect("JSON")).expect("written");
    std::fs::write(at("key.pem"), pem.expose()).expect("written");

    let bound = common::Signed::new(LogFormat::Cef).bound(common::scaled(100_000));
    let serve = Serve::start(folder.path());
    let url = format!("{}/audit-logs", serve.receiver);
    let output = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["send", "--url", &url, "--batch", "500", "--connections", "8", "--prepare"])
        .args(["--entries", &total.to_string(), "-o", "jsonl", "--insecure"])
        .arg("--authorization-file")
        .arg(at("data").join("authorization"))
        .arg("--key")
        .arg(at("key.pem"))
        .stderr(Stdio::inherit())
        .output()
        .expect("vidimus runs");
    assert!(output.status.success(), "{}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    let rate = report["entries_per_second"].as_f64().expect("a rate");
    let memory = serve.peak_memory();
    serve.stop();

    common::figure("a bare loop of ring, all cores: entries a second", format!("{bound:.0}"), "");
    common::figure("received, verified, synced: entries a second", format!("{rate:.0}"), "");
    let ratio = rate / bound;
    common::figure("received to the bare loop", format!("{ratio:.2}"), "at least 0.60");
    for name in ["p50", "p99", "max"] {
        let latency = report["latency_ms"][name].as_f64().unwrap_or(f64::NAN);
        common::figure(&format!("latency of a batch, {name}"), format!("{latency:.0} ms"), "");
    }
    common::figure("peak resident memory", format!("{} MiB", memory >> 20), "under 150 MiB");

    let serve = Serve::start(folder.path());
    let took = format!("{:.0} ms", serve.ready_after.as_secs_f64() * 1000.0);
    common::figure("ready on the existing store", took, "within 300 ms");
    serve.stop();
}

struct Serve {
    child: Child,
    receiver: String,
    ready_after: Duration,
}

impl Serve {
    fn start(folder: &Path) -> Serve {
        let ready = folder.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let started = Instant::now();
        let child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["serve", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--jwks")
            .arg(folder.join("jwks.json"))
            .arg("--ready-file")
            .arg(&ready)
            .stderr(Stdio::null())
            .spawn()
            .expect("vidimus runs");
        let addresses = loop {
            if let Ok(bytes) = std::fs::read(&ready) {
                break bytes;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let ready_after = started.elapsed();
        let addresses: serde_json::Value = serde_json::from_slice(&addresses).expect("JSON");
        let receiver = addresses["receiver"].as_str().expect("an address").to_owned();
        Serve { child, receiver, ready_after }
    }

    /// The most memory that was resident, in bytes.
    fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    }

    fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().expect("kill runs");
        assert!(self.child.wait().expect("ended").success());
    }
}
