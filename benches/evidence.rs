//! `vidimus prove` and `vidimus verify-bundle`, compared with `vidimus verify` on the same lines.
//!
//! Only a server signs the log, so one receives the entries.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of measurements. The median counts.
const ROUNDS: usize = 3;

fn main() {
    let total = common::scaled(10_000);
    let folder = common::folder();
    println!("evidence: a bundle of {total} entries");
    common::serve::make_key(folder.path());
    let serve = common::serve::Serve::start(folder.path(), false);
    serve.load(folder.path(), total);
    serve.stop();

    let (data, lines) = (folder.path().join("data"), folder.path().join("lines"));
    let jwks = folder.path().join("jwks.json");
    let vidimus = || Command::new(env!("CARGO_BIN_EXE_vidimus"));
    let stored = |command: &mut Command| {
        let output = command.arg("--data-dir").arg(&data).output().expect("vidimus runs");
        assert!(output.status.success(), "{}", output.status);
        output.stdout
    };
    let raw = stored(vidimus().args(["export", "-o", "raw"]));
    std::fs::write(&lines, raw).expect("written");
    let vkey = String::from_utf8(stored(vidimus().args(["log", "key"]))).expect("UTF-8");

    for name in ["bundle", "bundle.zip"] {
        let bundle = folder.path().join(name);
        let prove = || {
            remove(&bundle);
            let out = ["--out", bundle.to_str().expect("UTF-8")];
            run(vidimus().arg("prove").args(out).arg("--data-dir").arg(&data))
        };
        let made = common::median((0..ROUNDS).map(|_| prove().as_secs_f64()).collect());
        let what = format!("vidimus prove, {name}");
        common::figure(&what, common::milliseconds(Duration::from_secs_f64(made)), "some seconds");
        // The load of the machine changes, so both are measured in turn.
        let ratio = |_| {
            let check = ["verify-bundle", "--log-key", vkey.trim_end(), "--jwks"];
            let bundle = run(vidimus().args(check).args([&jwks, &bundle]));
            let alone = run(vidimus().arg("verify").arg("--jwks").args([&jwks, &lines]));
            (bundle.as_secs_f64() / alone.as_secs_f64(), bundle)
        };
        let measured: Vec<_> = (0..ROUNDS).map(ratio).collect();
        let took = measured.iter().map(|(_, took)| took.as_secs_f64()).collect();
        let rate = total as f64 / common::median(took);
        let what = format!("vidimus verify-bundle, {name}: entries a second");
        common::figure(&what, format!("{rate:.0}"), "");
        let ratio = common::median(measured.into_iter().map(|(ratio, _)| ratio).collect());
        let what = format!("time of verify-bundle to verify, {name}");
        common::figure(&what, format!("{ratio:.2}"), "about 1");
    }
}

fn remove(bundle: &Path) {
    let _ = match bundle.is_dir() {
        true => std::fs::remove_dir_all(bundle),
        false => std::fs::remove_file(bundle),
    };
}

/// Runs a command and returns its duration.
fn run(command: &mut Command) -> Duration {
    let started = Instant::now();
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = quiet.status().expect("vidimus runs");
    assert!(status.success(), "{status}");
    started.elapsed()
}
