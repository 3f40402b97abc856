//! `vidimus verify` on a file and `vidimus store check`, compared with a bare loop of ring's
//! verification on all cores. And what bad signatures cost in a batch, compared with verifying each
//! alone.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vidimus::entry::Format;
use vidimus::ingest::CheckedLine;
use vidimus::signature::{FailureBudget, KeySet};
use vidimus::store::{Directory, Options, Store};

/// The number of measurements of the bound and the command, in turn.
const ROUNDS: usize = 3;

fn main() {
    let total = common::scaled(200_000);
    let folder = common::folder();
    println!("verify: a file of {total} entries, and a store of as many");
    for format in [Format::Cef, Format::Json] {
        let (mut maker, keys) = common::line_maker(format);
        let lines: Vec<String> = (0..total).map(|n| maker.line(common::time(n))).collect();
        let path = folder.path().join(format!("{format}.log"));
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).expect("a file"));
        lines.iter().for_each(|line| writeln!(file, "{line}").expect("written"));
        file.into_inner().expect("flushed").sync_all().expect("synced");
        let jwks = folder.path().join("jwks.json");
        std::fs::write(&jwks, serde_json::to_vec(&keys).expect("JSON")).expect("written");
        let data = folder.path().join(format!("{format}"));
        fill_store(&data, &lines, &keys);

        let signed = common::SignedPayloads::new(format);
        let bound = format!("{:.0}", signed.rate_of_ring(total));
        common::figure(&format!("a bare loop of ring, {format}: entries a second"), bound, "");
        let verify =
            |command: &mut Command| run(command.arg("verify").arg("--jwks").args([&jwks, &path]));
        let check =
            |command: &mut Command| run(command.args(["store", "check", "--data-dir"]).arg(&data));
        let measure = |command: &dyn Fn(&mut Command) -> Duration| {
            // The load of the machine changes, so the bound is measured right before each run. The
            // median counts.
            let ratio = |_| {
                let bound = signed.rate_of_ring(total);
                let took = command(&mut Command::new(env!("CARGO_BIN_EXE_vidimus")));
                common::rate(total, took) / bound
            };
            format!("{:.2}", common::median((0..ROUNDS).map(ratio).collect()))
        };
        let what = format!("vidimus verify to the bare loop, {format}");
        common::figure(&what, measure(&verify), "at least 3.0");
        let what = format!("vidimus store check to the bare loop, {format}");
        common::figure(&what, measure(&check), "at least 2.5");
    }
    bad_signatures();
}

/// Runs a command and returns its duration.
fn run(command: &mut Command) -> Duration {
    let started = Instant::now();
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = quiet.status().expect("vidimus runs");
    assert!(status.success(), "{status}");
    started.elapsed()
}

/// Makes a store with these lines.
fn fill_store(data: &Path, lines: &[String], keys: &KeySet) {
    let directory = Directory::create(data).expect("a directory");
    let store = Store::open(&directory, Options::default()).expect("a store");
    store.enter_keys("file", Ok(keys), vidimus::clock::now()).expect("entered");
    for group in lines.chunks(1000) {
        common::append(&store, group.join("\n"), keys);
    }
    store.seal().expect("sealed");
}

/// The cost of batches in which some signatures are bad or of another key, to the cost of checking each line alone.
/// One thread checks them.
fn bad_signatures() {
    const BATCH: usize = 256;
    let batches = common::scaled(100);
    let ((mut good, keys), (mut bad, other)) =
        (common::line_maker(Format::Json), common::line_maker(Format::Json));
    let seed = vidimus::random::seed().expect("random bytes");
    // Two of eight keys are used, the first and the last.
    let mut several = vec![keys.keys()[0].clone()];
    several.extend((0..6).map(|_| common::line_maker(Format::Json).1.keys()[0].clone()));
    several.push(other.keys()[0].clone());
    let several = KeySet::new(several);
    // Bad ones are everywhere in a batch.
    let spread = |most: usize| move |n: usize| (n + 37 * (n / BATCH)) % BATCH < most;
    let runs = |length: usize| move |n: usize| (n / length) % 2 == 1;
    type Case<'a> = (&'a str, &'a dyn Fn(usize) -> bool, &'a KeySet);
    let cases: [Case<'_>; 7] = [
        ("no bad signature", &spread(0), &keys),
        ("one bad signature in each batch", &spread(1), &keys),
        ("all bad", &spread(BATCH), &keys),
        ("two of 8 keys in turn", &runs(1), &several),
        ("two of 8 keys, runs of 40", &runs(40), &several),
        ("two of 8 keys, one of the first in each batch", &|n| n % BATCH > 0, &several),
        ("8 keys, one used", &spread(0), &several),
    ];
    for (what, is_of_other, keys) in cases {
        let line = |n: usize| {
            let maker = if is_of_other(n) { &mut bad } else { &mut good };
            maker.line(common::time(n))
        };
        let lines: Vec<String> = (0..batches * BATCH).map(line).collect();
        let (budget, most) = (FailureBudget::unlimited(), usize::MAX);
        let ratio = |_| {
            let started = Instant::now();
            for line in &lines {
                std::hint::black_box(CheckedLine::new(line.as_bytes(), keys, most));
            }
            let alone = started.elapsed();
            let started = Instant::now();
            for batch in lines.chunks(BATCH) {
                let batch = batch.iter().map(String::as_bytes);
                std::hint::black_box(CheckedLine::all(batch, keys, most, &budget, &seed));
            }
            started.elapsed().as_secs_f64() / alone.as_secs_f64()
        };
        let ratio = common::median((0..ROUNDS).map(ratio).collect());
        let wanted = if what.starts_with("no bad") { "" } else { "below 1.5" };
        let what = format!("batches of {BATCH} to each alone, {what}");
        common::figure(&what, format!("{ratio:.2}"), wanted);
    }
}
