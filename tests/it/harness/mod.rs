//! Helpers for the tests of the running program.
//!
//! - [`Setup`] prepares a directory with files, and [`Serve`] is the real binary that runs there on
//!   its own ports. A failed test prints the command, the directory, the status and the streams.
//! - [`http`] is a client that sends exact bytes and reads answers.
//! - [`home`] is a store that the test opens itself.
//! - [`stored`] reads the files of a data directory.
//! - [`Signer`] signs entries. [`KeyServer`] serves key sets, and fails on request.
//! - [`Endpoint`] receives what outputs send, and fails on request.
//! - [`ObjectStore`] is a strict object store in memory, with faults. [`moto`] is another one.
//!   [`SessionTokens`] gives credentials that end.
//! - [`MemoryLimit`] limits the memory of a program.
//! - [`Simulator`] is the real binary as a simulator of Konnect.
//!
//! Only [`wait_until`] sleeps, and no test asserts on time.

mod endpoint;
mod key_server;
mod memory;
mod serve;
mod session_tokens;
mod signer;
mod simulator;

pub(crate) mod home;
pub(crate) mod http;
pub(crate) mod moto;
pub(crate) mod object_store;
pub(crate) mod stored;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use endpoint::{Endpoint, Received, Reply};
pub(crate) use http::{Answer, RawConnection};
pub(crate) use key_server::{KeyReply, KeyServer};
pub(crate) use memory::MemoryLimit;
pub(crate) use object_store::ObjectStore;
use serde_json::Value;
pub(crate) use serve::{Serve, Setup, write_private};
pub(crate) use session_tokens::SessionTokens;
pub(crate) use signer::{Signer, cef, jwks};
pub(crate) use simulator::Simulator;

/// The longest wait. A test that waits longer fails instead of hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(100);

/// Waits until `cond` holds.
pub(crate) fn wait_until(what: &str, mut cond: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !cond() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program with the path of a data directory as the last argument. Returns the exit code,
/// standard output and standard error.
pub(crate) fn run<const N: usize>(
    arguments: [&str; N],
    data: &Path,
) -> (Option<i32>, String, String) {
    output_of(Command::new(env!("CARGO_BIN_EXE_vidimus")).args(arguments).arg(data))
}

/// Runs a command. Returns the exit code, standard output and standard error.
pub(crate) fn output_of(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |stream: Vec<u8>| String::from_utf8_lossy(&stream).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Checks that `store check` reports no difference.
#[track_caller]
pub(crate) fn assert_sound(data: &Path) {
    let (code, stdout, stderr) = run(["store", "check", "--data-dir"], data);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

/// The entries that `export` prints.
#[track_caller]
pub(crate) fn exported(data: &Path) -> Vec<Value> {
    let (code, stdout, stderr) = run(["export", "-o", "jsonl", "--data-dir"], data);
    assert_eq!(code, Some(0), "{stderr}");
    json_lines(&stdout)
}

/// Parses JSON lines.
pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    encoder.finish().unwrap()
}

/// Finds a program. If it is missing, prints so and returns `None`, or panics in strict mode
/// (`VIDIMUS_TESTS_STRICT`).
pub(crate) fn tool(name: &str) -> Option<Command> {
    let found = optional_tool(name);
    assert!(
        found.is_some() || std::env::var_os("VIDIMUS_TESTS_STRICT").is_none(),
        "{name} is missing, and VIDIMUS_TESTS_STRICT is set"
    );
    found
}

/// Finds a program that is optional in strict mode too. If it is missing, prints so and returns
/// `None`.
pub(crate) fn optional_tool(name: &str) -> Option<Command> {
    let found = Command::new(name).arg("--version").output().is_ok()
        || Command::new(name).arg("version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {name} is missing on this machine");
        return None;
    }
    Some(Command::new(name))
}
