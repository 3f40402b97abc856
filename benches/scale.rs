//! A store of 10,000,000 entries, or of as many as `VIDIMUS_SCALE` says: how fast it grows, how
//! large it gets, and how fast it answers then.
//!
//! The real server receives signed entries, as in `receive`. Their times are spread over 30 days. Before
//! each tenth the sender has prepared all its batches, so that making them does not count. The
//! server's processor time shows growth even where other programs use the cores.
//!
//! It needs 5 GB in `target` and up to 20 minutes.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::lines::{BATCH, SignedLines};
use common::serve::{Serve, make_key};
use common::{figure, milliseconds};
use serde_json::Value;

/// How often a page is asked for.
const TRIES: usize = 9;

fn main() {
    let total = match std::env::var("VIDIMUS_SCALE") {
        Ok(number) => number.parse().expect("VIDIMUS_SCALE is a number"),
        Err(_) if common::quick() => 60_000,
        Err(_) => 10_000_000,
    };
    let folder = common::folder();
    let path = folder.path();
    println!("scale: {total} entries in batches of {BATCH} over 8 connections");
    make_key(path);
    // At the end the live segment is half full.
    let half = 25_000.min(total / 2);
    let mut lines = SignedLines::new(path, total + half);
    let serve = Serve::start(path, true);

    receive(&serve, path, &mut lines, total);
    let peak = serve.peak_memory();
    figure("peak resident memory", format!("{} MiB", peak >> 20), "at most 96 MiB");
    until_sealed(path);
    disk(&serve, path, lines.bytes);
    serve.send(path, &FLAGS, |input| lines.write(half, input));
    serve.stop();

    let serve = Serve::start(path, true);
    figure("ready on this store", milliseconds(serve.ready_after), "at most 50 ms");
    queries(&serve, path, &lines);
    check(path);
    serve.stop();
}

/// How `vidimus send` sends the lines that it is given.
const FLAGS: [&str; 4] = ["--batch", "500", "--input", "-"];

/// Sends the entries in ten parts, and prints the rate of each.
fn receive(serve: &Serve, path: &Path, lines: &mut SignedLines, total: usize) {
    let tenth = total / 10;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for part in 1..=10 {
        let before = serve.cpu();
        let report = serve.send(path, &FLAGS, |input| lines.write(tenth, input));
        let rate = report["entries_per_second"].as_f64().expect("a rate");
        // Sealing of the tenth is a part of its cost.
        until_sealed(path);
        let cost = (serve.cpu() - before).as_secs_f64() * 1e6 / tenth as f64;
        let what = format!("tenth {part}: entries a second; processor time of one");
        figure(&what, format!("{rate:.0}"), &format!("{cost:.1} µs"));
        rates.push(rate);
        costs.push(cost);
    }
    let ratio = |last: f64, first: f64| format!("{:.2}", last / first);
    figure("the rate of the last tenth to the first", ratio(rates[9], rates[0]), "at least 0.90");
    figure(
        "the processor time of the first to the last",
        ratio(costs[0], costs[9]),
        "at least 0.90",
    );
}

/// Waits until the live segment is the only one that is not sealed. Queries would use memory.
fn until_sealed(path: &Path) {
    let is_sealed = |file: &Path| {
        let name = file.to_string_lossy();
        name.ends_with(".db") && !name.ends_with(".live.db") && !name.ends_with(".tmp.db")
    };
    loop {
        let files = files(&path.join("data/segments"));
        let databases =
            files.iter().filter(|(file, _)| file.extension().is_some_and(|e| e == "db"));
        if databases.filter(|(file, _)| !is_sealed(file)).count() <= 1 {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn stats(serve: &Serve) -> Value {
    json(&serve.get("/api/v1/stats"))
}

fn json(answer: &str) -> Value {
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    serde_json::from_str(body).expect("JSON")
}

/// Prints the size of the files by kind, and compares them with `line_bytes`, that of the lines.
fn disk(serve: &Serve, path: &Path, line_bytes: u64) {
    let stats = stats(serve);
    let number = |value: &Value| value.as_u64().expect("a number");
    let segments = stats["segments"].as_array().expect("segments");
    let sealed = segments.iter().filter(|one| one["state"] == "sealed");
    let (entries, bytes) = sealed.fold((0, 0), |(entries, bytes), one| {
        (entries + number(&one["entries"]), bytes + number(&one["bytes"]))
    });
    let all_entries = number(&stats["entries"]) as f64;
    let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
    for (file, bytes) in files(&path.join("data")) {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let kind = match name {
            _ if name.contains(".live.db") => "the live segment",
            _ if name.starts_with("catalog.db") => "the catalog",
            _ if file.parent().is_some_and(|folder| folder.ends_with("segments")) => {
                "sealed segments"
            }
            _ => "other files",
        };
        *kinds.entry(kind).or_default() += bytes;
    }
    figure("bytes of lines", format!("{} MB", line_bytes / 1_000_000), "");
    for (kind, bytes) in &kinds {
        figure(&format!("bytes of {kind}"), format!("{:.1} MB", *bytes as f64 / 1e6), "");
    }
    let of_sealed = line_bytes as f64 * entries as f64 / all_entries;
    let ratio = format!("{:.2}", bytes as f64 / of_sealed);
    figure("bytes of sealed segments to those of their lines", ratio, "at most 0.75");
    let ratio = format!("{:.2}", kinds.values().sum::<u64>() as f64 / line_bytes as f64);
    figure("bytes of all files to those of the lines", ratio, "");
}

/// The files in a folder and its folders, with their sizes.
fn files(folder: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        // A log may be removed meanwhile.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        match metadata.is_dir() {
            true => found.extend(files(&path)),
            false if metadata.is_file() => found.push((path, metadata.len())),
            false => {}
        }
    }
    found
}

/// Asks the API of the console for pages, and for its overview.
fn queries(serve: &Serve, path: &Path, lines: &SignedLines) {
    // The newest entry with a principal.
    let newest_of = |range: &str| {
        let answer = serve.get(&format!("/api/v1/entries?limit=50{range}"));
        let entries = json(&answer)["entries"].as_array().expect("entries").clone();
        entries.into_iter().find(|one| one["fields"]["principal_id"].is_string()).expect("an entry")
    };
    let (newest, old) = (newest_of(""), newest_of(&format!("&until={}", lines.early())));
    let page = |of: &Value, field: &str| {
        let value = of["fields"][field].as_str().expect("a field");
        format!("/api/v1/entries?limit=50&q={field}:%22{value}%22")
    };
    let cases = [
        ("the newest", "/api/v1/entries?limit=50".to_owned(), "at most 50 ms"),
        ("by principal_id", page(&newest, "principal_id"), "at most 50 ms"),
        ("by name", page(&newest, "name"), "at most 50 ms"),
        ("by src", page(&newest, "src"), "at most 50 ms"),
        ("by trace_id, among the oldest", page(&old, "trace_id"), "at most 50 ms"),
        ("verdict:invalid", "/api/v1/entries?limit=50&q=verdict:invalid".into(), "at most 50 ms"),
        ("the overview", "/overview".into(), "at most 100 ms"),
        ("the page, histogram and counts of all", "/".into(), ""),
    ];
    for (what, request, wanted) in cases {
        let mut times: Vec<_> = (0..TRIES).map(|_| serve.time(&request)).collect();
        let first = milliseconds(times[0]);
        times.sort();
        let longest = milliseconds(times[TRIES - 1]);
        let what = format!("{what}: first {first}, longest {longest}, median");
        figure(&what, milliseconds(times[TRIES / 2]), wanted);
    }
    let data = path.join("data");
    drop_from_cache(&data);
    // The API would give up after 30 seconds.
    let nowhere = || {
        let started = Instant::now();
        let status = vidimus(&data, &["query", "supercalifragilistic"]).status;
        assert!(status.success(), "{status}");
        format!("{:.2} s", started.elapsed().as_secs_f64())
    };
    figure("a word that is nowhere, cold cache", nowhere(), "at most 4 s");
    nowhere();
    figure("a word that is nowhere, warm cache", nowhere(), "at most 2.5 s");
}

/// Runs a command on the store.
fn vidimus(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(arguments).arg("--data-dir").arg(data);
    command.output().expect("vidimus runs")
}

/// Removes the contents of the files in a folder from the page cache.
fn drop_from_cache(folder: &Path) {
    for (path, _) in files(folder) {
        let file = File::open(&path).expect("a file");
        file.sync_all().expect("synced");
        let advice = rustix::fs::Advice::DontNeed;
        rustix::fs::fadvise(&file, 0, None, advice).expect("dropped from the cache");
    }
}

/// Runs `vidimus store check`.
fn check(path: &Path) {
    let started = Instant::now();
    let output = vidimus(&path.join("data"), &["store", "check", "-o", "jsonl"]);
    let took = started.elapsed();
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["differences"], 0, "{report}");
    let entries = report["entries"].as_u64().expect("a number") as usize;
    let rate = format!("{:.0}", common::rate(entries, took));
    figure("store check: entries a second", rate, "");
}
