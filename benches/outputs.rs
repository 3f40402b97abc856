//! The cost of a file output for the receiver, and the rate at which an output catches up.
//!
//! The receiver is loaded as in `receive`, without and with an output in turn, each time with a new
//! store. Then a new output writes a store of 1,000,000 entries from the oldest on, in one thread.
//! The upper bound is a plain copy of the same bytes to the same disk, synced at the end.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use common::serve::{CONFIG, Serve, make_key};
use vidimus::entry::Format;

const OUTPUT: &str = "[[output]]\nname = 'siem'\ntype = 'file'\npath = 'siem.log'\n\
                      format = 'raw'\nstart = 'oldest'\n";

fn main() {
    let total = common::scaled(100_000);
    println!("outputs: {total} entries received, without and with a file of raw lines");
    let rounds = if common::quick() { 1 } else { 3 };
    let (mut without, mut with, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        without.push(received(total, false).0);
        let (rate, lag) = received(total, true);
        with.push(rate);
        behind.push(lag.as_secs_f64());
    }
    let (without, with) = (common::median(without), common::median(with));
    common::figure("without an output: entries a second", format!("{without:.0}"), "");
    common::figure("with a file of raw lines: entries a second", format!("{with:.0}"), "");
    common::figure("with to without", format!("{:.2}", with / without), "more than 0.90");
    let behind = format!("{:.2} s", common::median(behind));
    common::figure("the file is complete after the last answer by", behind, "about a second");

    catch_up(common::scaled(1_000_000));
}

/// The rate at which entries are received, and the time from the last answer to the complete file.
fn received(total: usize, with_output: bool) -> (f64, Duration) {
    let folder = common::folder();
    make_key(folder.path());
    if with_output {
        fs::write(folder.path().join(CONFIG), OUTPUT).expect("written");
    }
    let serve = Serve::start(folder.path(), true);
    let report = serve.load(folder.path(), total);
    let ended = Instant::now();
    if with_output {
        let file = folder.path().join("siem.log");
        let mut lines = LineCounter::of(&file);
        while lines.count() < total {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let lag = ended.elapsed();
    serve.stop();
    (report["entries_per_second"].as_f64().expect("a rate"), lag)
}

fn catch_up(total: usize) {
    let folder = common::folder();
    make_key(folder.path());
    let lines = common::UnverifiedLines::unsigned(Format::Cef);
    drop(common::fill_store(folder.path(), lines, total));
    // `fill_store` leaves out one entry, so that the last segment stays live.
    let stored = total - 1;
    println!("outputs: {stored} stored entries, caught up with");
    fs::write(folder.path().join(CONFIG), OUTPUT).expect("written");
    let file = folder.path().join("siem.log");
    let mut lines = LineCounter::of(&file);
    let started = Instant::now();
    let serve = Serve::start(folder.path(), false);
    while lines.count() < stored {
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed();
    let (memory, cpu) = (serve.peak_memory(), serve.cpu());
    serve.stop();
    let length = fs::metadata(&file).expect("a file").len();

    let bytes = fs::read(&file).expect("read");
    let started = Instant::now();
    let mut copy = fs::File::create(folder.path().join("copy")).expect("a file");
    copy.write_all(&bytes).and_then(|()| copy.sync_data()).expect("written");
    let bound = started.elapsed();

    let rate = common::rate(stored, took);
    common::figure("caught up with: entries a second", format!("{rate:.0}"), "more than 200000");
    let on_cpu = common::rate(stored, cpu);
    common::figure("the same by the time on processors", format!("{on_cpu:.0}"), "");
    let megabytes = length as f64 / 1e6;
    let written = format!("{:.0} MB/s", megabytes / took.as_secs_f64());
    common::figure(&format!("{megabytes:.0} MB written with"), written, "");
    let plain = format!("{:.0} MB/s", megabytes / bound.as_secs_f64());
    common::figure("a plain write of the same bytes, synced", plain, "");
    common::figure("peak resident memory", format!("{} MiB", memory >> 20), "whatever the lag");
}

/// Counts the lines of a growing file.
struct LineCounter<'a> {
    path: &'a Path,
    file: Option<fs::File>,
    count: usize,
    buffer: Vec<u8>,
}

impl LineCounter<'_> {
    fn of(path: &Path) -> LineCounter<'_> {
        LineCounter { path, file: None, count: 0, buffer: vec![0; 1 << 20] }
    }

    fn count(&mut self) -> usize {
        if self.file.is_none() {
            self.file = fs::File::open(self.path).ok();
        }
        let Some(file) = &mut self.file else { return 0 };
        loop {
            let read = file.read(&mut self.buffer).expect("read");
            if read == 0 {
                return self.count;
            }
            self.count += self.buffer[..read].iter().filter(|byte| **byte == b'\n').count();
        }
    }
}
