//! Runs the real binary for a measurement.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
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
    std::fs::write(folder.join(KEY), pem.expose()).expect("written");
}

/// The private key of the sender in the directory.
pub(crate) const KEY: &str = "key.pem";

/// The configuration file in the directory. It is optional.
pub(crate) const CONFIG: &str = "config.toml";

/// A running `vidimus serve` with its store in the directory `data`, or `vidimus receive`.
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
        let flags = ["serve", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"];
        let flags = [&flags[..], if tls { &[] } else { &["--no-tls"] }].concat();
        let mut command = Serve::command(folder, &flags);
        command.arg("--jwks").arg(folder.join("jwks.json"));
        Serve::run(command, folder)
    }

    /// Starts a receiver without a store, which the configuration gives a journal.
    pub(crate) fn receive(folder: &Path, environment: &[(String, String)]) -> Serve {
        let flags = ["receive", "--listen", "127.0.0.1:0", "--console", "127.0.0.1:0", "--no-tls"];
        let mut command = Serve::command(folder, &flags);
        command.envs(environment.iter().cloned());
        Serve::run(command, folder)
    }

    /// Starts a store that has only the sources of the configuration.
    pub(crate) fn without_receiver(folder: &Path, environment: &[(String, String)]) -> Serve {
        let flags = ["serve", "--no-receiver", "--console", "127.0.0.1:0"];
        let mut command = Serve::command(folder, &flags);
        command.arg("--jwks").arg(folder.join("jwks.json"));
        command.envs(environment.iter().cloned());
        Serve::run(command, folder)
    }

    fn command(folder: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command
            .args(flags)
            .arg("--data-dir")
            .arg(folder.join("data"))
            .arg("--ready-file")
            .arg(folder.join("ready.json"))
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let config = folder.join(CONFIG);
        if config.exists() {
            command.arg("--config").arg(config);
        }
        command
    }

    fn run(mut command: Command, folder: &Path) -> Serve {
        let ready = folder.join("ready.json");
        let _ = std::fs::remove_file(&ready);
        let started = Instant::now();
        let mut child = command.spawn().expect("vidimus runs");
        let addresses = loop {
            if let Ok(bytes) = std::fs::read(&ready) {
                break bytes;
            }
            let ended = child.try_wait().expect("a status");
            assert!(ended.is_none(), "{command:?} ended: {ended:?}");
            std::thread::sleep(Duration::from_millis(1));
        };
        let ready_after = started.elapsed();
        let addresses: serde_json::Value = serde_json::from_slice(&addresses).expect("JSON");
        let address = |name: &str| addresses[name].as_str().unwrap_or_default().to_owned();
        let (receiver, console) = (address("receiver"), address("console"));
        Serve { child, receiver, console, ready_after }
    }

    /// Sends prepared entries in batches of 500 over 8 connections. Returns the report.
    pub(crate) fn load(&self, folder: &Path, entries: usize) -> serde_json::Value {
        self.signed(folder, &["--batch", "500"], entries)
    }

    /// Sends 1,000 entries a second in batches of 10 over 8 connections. Returns the report.
    pub(crate) fn steady(&self, folder: &Path, entries: usize) -> serde_json::Value {
        self.signed(folder, &["--batch", "10", "--rate", "1000"], entries)
    }

    /// Sends so many entries a second in batches of 100 over 8 connections. Returns the report.
    pub(crate) fn at_rate(&self, folder: &Path, rate: usize, entries: usize) -> serde_json::Value {
        self.signed(folder, &["--batch", "100", "--rate", &rate.to_string()], entries)
    }

    /// Sends prepared entries with these flags. Returns the report.
    pub(crate) fn signed(
        &self,
        folder: &Path,
        flags: &[&str],
        entries: usize,
    ) -> serde_json::Value {
        let (entries, key) = (entries.to_string(), folder.join(KEY));
        let more = ["--entries", &entries, "--key", key.to_str().expect("UTF-8")];
        self.send(folder, &[flags, &more].concat(), drop)
    }

    /// Runs `vidimus send` with prepared batches and these further flags, over 8 connections unless
    /// they say another number. `input` writes to its standard input. Returns its report.
    pub(crate) fn send(
        &self,
        folder: &Path,
        flags: &[&str],
        input: impl FnOnce(ChildStdin),
    ) -> serde_json::Value {
        let connections: &[&str] = match flags.contains(&"--connections") {
            true => &[],
            false => &["--connections", "8"],
        };
        let mut child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["send", "--url", &format!("{}/audit-logs", self.receiver)])
            .args(["--prepare", "-o", "jsonl", "--insecure"])
            .args(connections)
            .args(flags)
            .arg("--authorization-file")
            .arg(folder.join("data/authorization"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("vidimus runs");
        input(child.stdin.take().expect("a pipe"));
        let output = child.wait_with_output().expect("vidimus runs");
        assert!(output.status.success(), "{}", output.status);
        serde_json::from_slice(&output.stdout).expect("a report")
    }

    /// Sends a request to the console. Returns the connection.
    pub(crate) fn ask(&self, path: &str) -> TcpStream {
        self.ask_part(path, None)
    }

    fn ask_part(&self, path: &str, part: Option<&str>) -> TcpStream {
        let host = self.console.strip_prefix("http://").expect("plain http");
        let mut tcp = TcpStream::connect(host).expect("connected");
        let part = part.map(|part| format!("vidimus-part: {part}\r\n")).unwrap_or_default();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{part}connection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).expect("asked");
        tcp
    }

    /// The response of the console, with its headers.
    pub(crate) fn get(&self, path: &str) -> String {
        let mut answer = Vec::new();
        self.ask(path).read_to_end(&mut answer).expect("answered");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{path}");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The time of a response of the console.
    pub(crate) fn time(&self, path: &str) -> Duration {
        let started = Instant::now();
        self.get(path);
        started.elapsed()
    }

    /// The time to the first byte of a response of the console, of a part or of the whole page.
    pub(crate) fn first_byte(&self, path: &str, part: Option<&str>) -> Duration {
        const GOOD: &[u8] = b"HTTP/1.1 200";
        let started = Instant::now();
        let mut tcp = self.ask_part(path, part);
        let mut answer = vec![0];
        tcp.read_exact(&mut answer).expect("answered");
        let time = started.elapsed();
        tcp.read_to_end(&mut answer).expect("answered");
        assert!(answer.starts_with(GOOD), "{path}");
        time
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
