//! The archive of 10,000,000 entries, or of as many as `VIDIMUS_SCALE` says: its size, how long it takes
//! to find a principal, a day and a trace in it, and what archiving costs the receiver.
//!
//! The archive is a folder. DuckDB is that of Python in `target/python`, if it is there. It needs 7 GB in
//! `target` and up to 30 minutes.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::figure;
use common::lines::SignedLines;
use common::serve::{CONFIG, KEY, Serve, make_key};
use serde_json::Value;

/// The number of measurements of the receiver, without and with an archive in turn.
const ROUNDS: usize = 3;

/// How often a query is run. The median counts.
const TRIES: usize = 3;

fn main() {
    let total = match std::env::var("VIDIMUS_SCALE") {
        Ok(number) => number.parse().expect("VIDIMUS_SCALE is a number"),
        Err(_) if common::quick() => 60_000,
        Err(_) => 10_000_000,
    };
    let folder = common::folder();
    println!("archive: {total} entries in 200 segments");
    make_key(folder.path());
    receiver(folder.path(), common::scaled(200_000));

    let segment = (total / 200).max(1);
    let total = segment * 200;
    let home = home(folder.path(), "archived", segment, true);
    let mut lines = SignedLines::new(&home, total);
    let serve = Serve::start(&home, false);
    let started = Instant::now();
    serve.send(&home, &["--batch", "500", "--input", "-"], |input| lines.write(total, input));
    // A delivery is never divided, so segments have some more entries, and the last one is not full.
    vidimus(&home, &["store", "seal"]);
    until_archived(&home, total as u64);
    figure("received, sealed and archived after", seconds(started.elapsed()), "");
    size(&home, total, lines.bytes);
    queries(&home, &serve, &lines);
    serve.stop();
}

/// Makes a folder for a server whose segments have so many entries.
fn home(folder: &Path, name: &str, segment: usize, has_archive: bool) -> PathBuf {
    let home = folder.join(name);
    fs::create_dir(&home).expect("a folder");
    for file in [KEY, "jwks.json"] {
        fs::copy(folder.join(file), home.join(file)).expect("copied");
    }
    let mut config = format!("[store]\nsegment_entries = {segment}\n");
    if has_archive {
        let url = home.join("bucket");
        config += &format!("[archive]\nurl = \"file://{}\"\n", url.display());
    }
    fs::write(home.join(CONFIG), config).expect("written");
    home
}

/// The rate of the receiver while it archives, to that without an archive. Segments are small, so that
/// something is archived all the time.
fn receiver(folder: &Path, load: usize) {
    let segment = (load / 20).max(1);
    let homes = [("without", false), ("with", true)]
        .map(|(name, has_archive)| home(folder, name, segment, has_archive));
    let servers = homes.each_ref().map(|home| Serve::start(home, false));
    let rate = |n: usize| {
        let report = servers[n].load(&homes[n], load);
        report["entries_per_second"].as_f64().expect("a rate")
    };
    // The first load fills the caches.
    rate(0);
    rate(1);
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (without, with) = (rate(0), rate(1));
        rates.push(without);
        ratios.push(with / without);
    }
    servers.into_iter().for_each(Serve::stop);
    let alone = format!("{:.0}", common::median(rates));
    figure("received without an archive: entries a second", alone, "");
    let ratio = format!("{:.2}", common::median(ratios));
    figure("received while archiving to that", ratio, "at least 0.95");
}

/// Runs the program on the store and the archive.
fn vidimus(home: &Path, arguments: &[&str]) -> Vec<u8> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(arguments).arg("--config").arg(home.join(CONFIG));
    command.arg("--data-dir").arg(home.join("data"));
    let output = command.output().expect("vidimus runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    output.stdout
}

/// Waits until the archive has so many entries.
fn until_archived(home: &Path, entries: u64) {
    loop {
        // There is no manifest at first.
        let is_there = home.join("bucket/archive").exists();
        let archived = is_there.then(|| {
            let status = vidimus(home, &["archive", "status", "-o", "jsonl"]);
            let status: Value = serde_json::from_slice(&status).expect("JSON");
            status["entries"].as_u64().expect("a number")
        });
        if archived.is_some_and(|archived| archived >= entries) {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The files in a folder and below, with their sizes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(files(&entry.path())),
            false => found.push((entry.path(), entry.metadata().map_or(0, |meta| meta.len()))),
        }
    }
    found
}

/// Prints the size of the archive and that of its entries, compared with `line_bytes`.
fn size(home: &Path, entries: usize, line_bytes: u64) {
    let all = files(&home.join("bucket"));
    let is_of_entries = |path: &Path| path.components().any(|part| part.as_os_str() == "entries");
    let of_entries = all.iter().filter(|(path, _)| is_of_entries(path));
    let (count, bytes) = of_entries.fold((0, 0), |(count, sum), (_, size)| (count + 1, sum + size));
    let all: u64 = all.iter().map(|(_, size)| size).sum();
    let per_entry = |bytes: u64| format!("{:.1}", bytes as f64 / entries as f64);
    figure("files of entries", count, "");
    figure("bytes of a line", per_entry(line_bytes), "");
    figure("bytes of an entry in the archive", per_entry(bytes), "");
    let ratio = format!("{:.3}", bytes as f64 / line_bytes as f64);
    figure("  that to a line", ratio, "at most 0.35");
    figure("bytes of all for an entry", per_entry(all), "");
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Finds a principal, a day and a trace, with the program and with DuckDB.
fn queries(home: &Path, serve: &Serve, lines: &SignedLines) {
    let answer = serve.get("/api/v1/entries?limit=1");
    let value = |name: &str| {
        let at = answer.find(&format!("\"{name}\":\"")).expect("an entry") + name.len() + 4;
        answer[at..].split('"').next().expect("its value").to_owned()
    };
    let (principal, trace) = (value("principal_id"), value("trace_id"));
    // A whole day of UTC in the middle of the period.
    let early = lines.early();
    let day: jiff::Timestamp = early.parse().expect("a time");
    let day = day + jiff::SignedDuration::from_hours(10 * 24);
    let [since, until] = [0, 1].map(|more| {
        let time = day + jiff::SignedDuration::from_hours(24 * more);
        format!("{}T00:00:00Z", &time.to_string()[..10])
    });
    let principal_is = format!("principal_id:{principal}");
    let trace_is = format!("trace_id:{trace}");
    let cases = [
        (
            "50 of a principal",
            &["query", "--archive", "-o", "jsonl", "--limit", "50", &principal_is][..],
            format!("principal_id = '{principal}' ORDER BY time DESC LIMIT 50"),
        ),
        (
            "the lines of a day",
            &["export", "--archive", "-o", "raw", "--since", &since, "--until", &until],
            format!("time >= TIMESTAMPTZ '{since}' AND time < TIMESTAMPTZ '{until}'"),
        ),
        (
            "a trace",
            &["query", "--archive", "-o", "jsonl", &trace_is],
            format!("trace_id = '{trace}'"),
        ),
    ];
    for (what, arguments, condition) in cases {
        let time = |_| {
            let started = Instant::now();
            vidimus(home, arguments);
            started.elapsed().as_secs_f64()
        };
        let ours = common::median((0..TRIES).map(time).collect());
        figure(&format!("{what}: vidimus"), format!("{ours:.2} s"), "");
        match duckdb(home, &condition) {
            Some(theirs) => figure(&format!("{what}: DuckDB"), format!("{theirs:.2} s"), ""),
            None => println!("  DuckDB is missing in target/python"),
        }
    }
}

/// The time that DuckDB takes for a query, without its start; `None` if it is missing.
fn duckdb(home: &Path, condition: &str) -> Option<f64> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let has_it = Command::new(&python).args(["-c", "import duckdb"]).status();
    if !has_it.is_ok_and(|status| status.success()) {
        return None;
    }
    let pattern = home.join("bucket/archive/store=*/entries/*/*.parquet");
    let sql = format!(
        "SELECT line FROM read_parquet('{}', hive_partitioning = true, union_by_name = true) \
         WHERE {condition}",
        pattern.display()
    );
    let program = "import sys, time, duckdb\n\
                   times = []\n\
                   for _ in range(int(sys.argv[2])):\n \
                   started = time.monotonic()\n \
                   duckdb.connect().execute(sys.argv[1]).fetchall()\n \
                   times.append(time.monotonic() - started)\n\
                   print(sorted(times)[len(times) // 2])";
    let tries = TRIES.to_string();
    let output = Command::new(python).args(["-c", program, &sql, &tries]).output().ok()?;
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{sql}: {error}");
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
