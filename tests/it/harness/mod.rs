//! What the tests of the running program share.
//!
//! - [`Setup`] makes a directory with files in it, and [`Serve`] is the real binary running there, on
//!   ports of its own. A test that fails prints the whole story: command, directory, status, streams.
//! - [`http`]: a client that says what it is told, byte for byte, and reads answers.
//! - [`stored`]: what is in the data directory, read from the files alone.
//! - [`Signer`] signs entries, [`KeyServer`] gives key sets, well or badly.
//! - [`Endpoint`] takes what outputs send, and answers well or badly.
//! - [`MemoryLimit`] lets a program have so much memory and no more.
//! - [`StandIn`] is the real binary too, standing in for Konnect.
//!
//! Nothing sleeps but [`wait_until`], and nothing asserts on time.

mod endpoint;
mod key_server;
mod memory;
mod serve;
mod signer;
mod stand_in;

pub(crate) mod http;
pub(crate) mod stored;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) use endpoint::{Endpoint, Received, Reply};
pub(crate) use http::{Answer, Raw};
pub(crate) use key_server::{Gives, KeyServer};
pub(crate) use memory::MemoryLimit;
use serde_json::Value;
pub(crate) use serve::{Serve, Setup, write_private};
pub(crate) use signer::{Signer, cef, jwks};
pub(crate) use stand_in::StandIn;

/// How long anything may take: a test that waits longer fails instead of hanging.
pub(crate) const DEADLINE: Duration = Duration::from_secs(100);

/// Waits until `cond` holds. It is the one place that sleeps.
pub(crate) fn wait_until(what: &str, mut cond: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !cond() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs the program on a data directory, whose path follows the arguments: exit code and streams.
pub(crate) fn run<const N: usize>(
    arguments: [&str; N],
    data: &Path,
) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    let output = command.args(arguments).arg(data).stdin(Stdio::null()).output().unwrap();
    let text = |stream: Vec<u8>| String::from_utf8_lossy(&stream).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The objects of JSON lines.
pub(crate) fn lines_of(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Compresses with gzip (RFC 1952).
pub(crate) fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, body).unwrap();
    encoder.finish().unwrap()
}

/// A program that the machine may lack: `None`, and said so, unless tests are to be strict.
pub(crate) fn tool(name: &str) -> Option<Command> {
    let found = installed(name);
    assert!(
        found.is_some() || std::env::var_os("VIDIMUS_TESTS_STRICT").is_none(),
        "{name} is missing, and VIDIMUS_TESTS_STRICT is set"
    );
    found
}

/// A program that nobody has to have: `None`, and said so.
pub(crate) fn installed(name: &str) -> Option<Command> {
    let found = Command::new(name).arg("--version").output().is_ok()
        || Command::new(name).arg("version").output().is_ok();
    if !found {
        eprintln!("SKIPPED: {name} is missing on this machine");
        return None;
    }
    Some(Command::new(name))
}
