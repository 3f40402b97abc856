//! Runs the real binary for a measurement.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vidimus::konnect::sign::Signer;
use vidimus::signature::KeySet;

/// Writes the key of the sender, and the key set of the receiver.
pub(crate) fn make_key(folder: &Path) {
    let (signer, pem) = Signer::generate(None).expect("a key");
    let keys = KeySet::new([Arc::new(signer.key().clone())]);
    let set = serde_json::to_vec(&keys).expect("JSON");
    std::fs::write(folder.join("jwks.json"), set).expect("written");
    std::fs::write(folder.join("key.pem"), pem.expose()).expect("written");
}

/// The configuration file in the directory. It is optional.
pub(crate) const CONFIG: &str = "config.toml";

/// A running `vidimus serve` with its store in the directory `data`.
pub(crate) struct Serve {
    child: Child,
    /// Scheme, host and port of the receiver.
    pub(crate) receiver: String,
    /// Scheme, host and port of the console.
    pub(crate) console: String,
    pub(crate) ready_after: Duration,
}

impl Serve {
    /// Starts the server and waits until it is ready.
    pub(crate) fn start(folder: &Path, tls: bool) -> Serve {
        let ready = folder.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let started = Instant::now();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"])
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--jwks")
            .arg(folder.join("jwks.json"))
            .arg("--ready-file")
            .arg(&ready)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let config = folder.join(CONFIG);
        if config.exists() {
            command.arg("--config").arg(config);
        }
        if !tls {
            command.arg("--no-tls");
        }
        let child = command.spawn().expect("vidimus runs");
        let addresses = loop {
            if let Ok(bytes) = std::fs::read(&ready) {
                break bytes;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let ready_after = started.elapsed();
        let addresses: serde_json::Value = serde_json::from_slice(&addresses).expect("JSON");
        let address = |name: &str| addresses[name].as_str().expect("an address").to_owned();
        let (receiver, console) = (address("receiver"), address("console"));
        Serve { child, receiver, console, ready_after }
    }

    /// Sends prepared entries with `vidimus send`. Returns its report.
    pub(crate) fn load(&self, folder: &Path, entries: usize) -> serde_json::Value {
        let url = format!("{}/audit-logs", self.receiver);
        let output = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["send", "--url", &url, "--batch", "500", "--connections", "8", "--prepare"])
            .args(["--entries", &entries.to_string(), "-o", "jsonl", "--insecure"])
            .arg("--authorization-file")
            .arg(folder.join("data/authorization"))
            .arg("--key")
            .arg(folder.join("key.pem"))
            .stderr(Stdio::inherit())
            .output()
            .expect("vidimus runs");
        assert!(output.status.success(), "{}", output.status);
        serde_json::from_slice(&output.stdout).expect("a report")
    }

    /// The peak resident memory in bytes, or 0 if it is unknown.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        number.unwrap_or(0) * 1024
    }

    /// The CPU time of all threads, in user and kernel mode.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let stat = stat.unwrap_or_default();
        // The name in brackets may contain anything. Times are in hundredths of a second.
        let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
        let ticks: u64 =
            after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        Duration::from_millis(ticks * 10)
    }

    pub(crate) fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().expect("kill runs");
        assert!(self.child.wait().expect("ended").success());
    }
}

impl Drop for Serve {
    /// Kills the server if the benchmark fails.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
