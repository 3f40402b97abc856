//! The receiver from end to end: loopback, TLS, gzip, verification, and a sync to disk before each
//! answer. `vidimus send` prepares batches of 500 and sends them over 8 connections.
//!
//! The upper bound is the rate of ring's verification alone on all cores. Sender and receiver share
//! the cores. The latency of small batches is measured at a steady rate, as Konnect sends.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use vidimus::entry::Format;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    println!("receive: {total} entries in batches of 500 over 8 connections");

    common::serve::make_key(folder.path());
    // The load of the machine changes, so the bound is measured before and after.
    let signed = common::SignedPayloads::new(Format::Cef);
    let before = signed.rate_of_ring(common::scaled(100_000));
    let serve = common::serve::Serve::start(folder.path(), true);
    let report = serve.load(folder.path(), total);
    let rate = report["entries_per_second"].as_f64().expect("a rate");
    let memory = serve.peak_memory();
    let steady = serve.steady(folder.path(), common::scaled(20_000));
    serve.stop();
    let bound = f64::midpoint(before, signed.rate_of_ring(common::scaled(100_000)));

    common::figure("a bare loop of ring, all cores: entries a second", format!("{bound:.0}"), "");
    common::figure("received, verified, synced: entries a second", format!("{rate:.0}"), "");
    let ratio = rate / bound;
    common::figure("received to the bare loop", format!("{ratio:.2}"), "at least 1.3");
    for (what, report, wanted) in [
        ("latency of a batch", &report, ""),
        ("of a batch of 10, 1,000 entries a second", &steady, "p99 at most 25 ms"),
    ] {
        for name in ["p50", "p99", "max"] {
            let latency = report["latency_ms"][name].as_f64().unwrap_or(f64::NAN);
            common::figure(&format!("{what}, {name}"), format!("{latency:.1} ms"), wanted);
        }
    }
    common::figure("peak resident memory", format!("{} MiB", memory >> 20), "under 150 MiB");

    let serve = common::serve::Serve::start(folder.path(), true);
    let took = format!("{:.0} ms", serve.ready_after.as_secs_f64() * 1000.0);
    common::figure("ready on the existing store", took, "within 300 ms");
    serve.stop();
}
