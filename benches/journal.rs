//! The journal: what it costs against a store that receives by itself, how long an answer takes when the
//! object store is slow, and how many objects are written.
//!
//! An answer waits for a put, and a put for other deliveries. So there are more connections than in the
//! other benchmarks, or their number would limit the rate.
//!
//! The object store is in the memory of this process, with plain HTTP on the loopback address. Senders,
//! receivers, the store and the object store share the cores, so ratios count.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;
#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "the tests use more of it")]
#[path = "../tests/it/harness/object_store/mod.rs"]
mod object_store;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::figure;
use common::serve::{CONFIG, KEY, Serve, make_key};
use object_store::{BUCKET, ObjectStore};
use serde_json::Value;

/// The connections of each sender.
const CONNECTIONS: &str = "64";

/// What 1,000 PUTs cost in S3 Standard in us-east-1, in dollars, by the list of December 2026.
const PRICE_OF_1000_PUTS: f64 = 0.005;

/// The hours of a month.
const MONTH: f64 = 30.0 * 24.0;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    println!(
        "journal: {total} entries in batches of 500 over {CONNECTIONS} connections to each receiver"
    );
    make_key(folder.path());
    throughput(folder.path(), total);
    latency(folder.path());
    puts(folder.path());
}

/// Makes a folder for a program, with the keys and this configuration.
fn home(folder: &Path, name: &str, config: &str) -> PathBuf {
    let home = folder.join(name);
    fs::create_dir(&home).expect("a folder");
    for file in [KEY, "jwks.json"] {
        fs::copy(folder.join(file), home.join(file)).expect("copied");
    }
    fs::write(home.join(CONFIG), config).expect("written");
    home
}

/// The configuration of a receiver.
fn receiver(journal: &str) -> String {
    format!("[journal]\nurl = \"s3://{BUCKET}/{journal}\"\n")
}

fn number(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or(f64::NAN)
}

/// Sends entries as fast as they are answered. Returns the report.
fn load(serve: &Serve, home: &Path, entries: usize) -> Value {
    serve.signed(home, &["--connections", CONNECTIONS, "--batch", "500"], entries)
}

/// Sends so many entries a second in batches of `batch`. Returns the report.
fn spread(serve: &Serve, home: &Path, rate: usize, batch: usize, entries: usize) -> Value {
    let (rate, batch) = (rate.to_string(), batch.to_string());
    let flags = ["--connections", CONNECTIONS, "--batch", &batch, "--rate", &rate];
    serve.signed(home, &flags, entries)
}

/// The rate of one store that receives by itself, and of 1 and 3 receivers before one.
fn throughput(folder: &Path, total: usize) {
    let straight = home(folder, "straight", "");
    let serve = Serve::start(&straight, false);
    let direct = number(&load(&serve, &straight, total), "entries_per_second");
    serve.stop();
    figure("straight into the store: entries a second", format!("{direct:.0}"), "");
    for count in [1, 3] {
        let (acknowledged, stored) = through_the_journal(folder, count, total);
        let what = format!("into the journal, {count} receivers: entries a second");
        figure(&what, format!("{acknowledged:.0}"), "");
        figure("  that to the store alone", format!("{:.2}", acknowledged / direct), "");
        let what = format!("through it into the store, {count} receivers: entries a second");
        figure(&what, format!("{stored:.0}"), "");
        figure("  that to the store alone", format!("{:.2}", stored / direct), "");
    }
}

/// The rate of the acknowledged entries, and that until the store has them all.
fn through_the_journal(folder: &Path, count: usize, total: usize) -> (f64, f64) {
    let objects = ObjectStore::start();
    let environment = objects.environment();
    let name = format!("with-{count}");
    let config = receiver(&name);
    let homes: Vec<_> =
        (0..count).map(|n| home(folder, &format!("{name}-receiver-{n}"), &config)).collect();
    let source = "[[source]]\nname = \"main\"\ntype = \"journal\"\n";
    let store_home = home(folder, &format!("{name}-store"), &format!("{config}{source}"));
    let store = Serve::without_receiver(&store_home, &environment);
    let receivers: Vec<_> = homes.iter().map(|home| Serve::receive(home, &environment)).collect();
    let share = total / count;
    // The senders prepare their batches first, and say what the sending took.
    let reports: Vec<Value> = std::thread::scope(|scope| {
        let senders = receivers
            .iter()
            .zip(&homes)
            .map(|(receiver, home)| scope.spawn(move || load(receiver, home, share)));
        let senders: Vec<_> = senders.collect();
        senders.into_iter().map(|sender| sender.join().expect("sent")).collect()
    });
    let sent = Instant::now();
    let acknowledged = reports.iter().map(|report| number(report, "entries_per_second")).sum();
    let wanted = (share * count) as u64;
    while entries(&store) < wanted {
        std::thread::sleep(Duration::from_millis(20));
    }
    let took = Duration::from_secs_f64(wanted as f64 / acknowledged) + sent.elapsed();
    receivers.into_iter().for_each(Serve::stop);
    store.stop();
    (acknowledged, common::rate(wanted as usize, took))
}

/// The number of stored entries.
fn entries(store: &Serve) -> u64 {
    let answer = store.get("/api/v1/stats");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let stats: Value = serde_json::from_str(body).expect("JSON");
    stats["entries"].as_u64().expect("a number")
}

/// The latency of small batches at a steady rate, for some latencies of the object store.
fn latency(folder: &Path) {
    println!("  batches of 10, 1,000 entries a second:");
    for slow in [0, 20, 100] {
        let objects = ObjectStore::start();
        objects.set_latency(Duration::from_millis(slow));
        let name = format!("latency-{slow}");
        let home = home(folder, &name, &receiver(&name));
        let serve = Serve::receive(&home, &objects.environment());
        let report = spread(&serve, &home, 1000, 10, common::scaled(20_000));
        serve.stop();
        for name in ["p50", "p99"] {
            let latency = number(&report["latency_ms"], name);
            let what = format!("an answer, a put takes {slow} ms: {name}");
            figure(&what, format!("{latency:.1} ms"), "");
        }
    }
}

/// The puts of one receiver at some rates, and what they cost.
fn puts(folder: &Path) {
    let seconds = if common::quick() { 2 } else { 30 };
    println!("  puts of one receiver, measured over {seconds} s; a put takes 20 ms:");
    for (rate, batch) in [(1, 1), (100, 10), (10_000, 100)] {
        let objects = ObjectStore::start();
        objects.set_latency(Duration::from_millis(20));
        let name = format!("puts-{rate}");
        let home = home(folder, &name, &receiver(&name));
        let serve = Serve::receive(&home, &objects.environment());
        let entries = rate * seconds;
        let before = objects.asked();
        let report = spread(&serve, &home, rate, batch, entries);
        let after = objects.asked();
        serve.stop();
        // The last batch is answered before its second is over.
        let took = (entries as f64 / number(&report, "entries_per_second")).max(seconds as f64);
        let an_hour = (after.puts - before.puts) as f64 / took * 3600.0;
        let cost = format!("${:.2} a month", an_hour * MONTH / 1000.0 * PRICE_OF_1000_PUTS);
        let what = format!("{rate} entries a second in batches of {batch}: puts an hour");
        figure(&what, format!("{an_hour:.0}"), &cost);
        let bytes = (after.bytes - before.bytes) as f64 / entries as f64;
        figure("  bytes in the journal for an entry", format!("{bytes:.0}"), "");
    }
}
