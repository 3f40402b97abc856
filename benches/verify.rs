//! `vidimus verify` on a file, compared with the upper bound: a bare loop of ring's verification on
//! all cores.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vidimus::entry::Format;

/// The number of measurements of the bound and the command, in turn.
const ROUNDS: usize = 3;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    println!("verify: a file of {total} entries");
    for format in [Format::Cef, Format::Json] {
        let (mut maker, keys) = common::line_maker(format);
        let path = folder.path().join(format!("{format}.log"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        for n in 0..total {
            writeln!(file, "{}", maker.line(common::time(n))).expect("written");
        }
        file.into_inner().expect("flushed").sync_all().expect("synced");
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, serde_json::to_vec(&keys).expect("JSON")).expect("written");

        // The load of the machine changes, so the bound is measured right before each run. The
        // median counts.
        let signed = common::SignedPayloads::new(format);
        let (mut bounds, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let bound = signed.rate_of_ring(total);
            let rate = common::rate(total, verify(&jwks, &path));
            bounds.push(bound);
            ratios.push(rate / bound);
        }
        let bound = format!("{:.0}", common::median(bounds));
        common::figure(&format!("a bare loop of ring, {format}: entries a second"), bound, "");
        let ratio = format!("{:.2}", common::median(ratios));
        common::figure(
            &format!("vidimus verify to the bare loop, {format}"),
            ratio,
            "at least 0.90",
        );
    }
}

/// The duration of `vidimus verify`.
fn verify(jwks: &Path, file: &Path) -> Duration {
    let started = Instant::now();
    let status = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .arg("verify")
        .arg("--jwks")
        .args([jwks, file])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("vidimus runs");
    assert!(status.success(), "{status}");
    started.elapsed()
}
