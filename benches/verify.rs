//! `vidimus verify` over a file, against the bound that ring's verification sets: a bare loop of it
//! on as many threads, over the same payloads and signatures.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Instant;

use vidimus::konnect::LogFormat;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    println!("verify: a file of {total} entries");
    for format in [LogFormat::Cef, LogFormat::Json] {
        let (mut maker, keys) = common::maker(format);
        let path = folder.path().join(format!("{format}.log"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        for n in 0..total {
            writeln!(file, "{}", maker.line(common::time(n))).expect("written");
        }
        file.into_inner().expect("flushed").sync_all().expect("synced");
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, serde_json::to_vec(&keys).expect("JSON")).expect("written");

        let bound = common::bound(total);
        let started = Instant::now();
        let status = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .arg("verify")
            .arg("--jwks")
            .args([&jwks, &path])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("vidimus runs");
        let rate = common::rate(total, started.elapsed());
        assert!(status.success(), "{status}");
        common::figure("a bare loop of ring: entries a second", format!("{bound:.0}"), "");
        common::figure(
            &format!("vidimus verify, {format}: entries a second"),
            format!("{rate:.0}"),
            "",
        );
        let ratio = format!("{:.2}", rate / bound);
        common::figure(
            &format!("vidimus verify to the bare loop, {format}"),
            ratio,
            "at least 0.90",
        );
    }
}
