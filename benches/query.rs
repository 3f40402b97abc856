//! Queries with 1,000,000 stored entries and a full live segment.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use std::time::{Duration, Instant};

use vidimus::entry::Format;
use vidimus::search;
use vidimus::store::{Reader, TimeRange};

const PAGE: usize = 50;

fn main() {
    let total = common::scaled(1_000_000);
    let folder = common::folder();
    println!("query: {total} entries in 20 segments");
    let (_store, directory) =
        common::fill_store(folder.path(), common::UnverifiedLines::new(Format::Cef), total);

    let reader = Reader::open(&directory).expect("a reader");
    let now = vidimus::clock::now().get();
    let page = |query: &str, range: TimeRange| {
        let filter = search::parse(query, now).expect("a query");
        reader.page(&filter, range, PAGE, None).expect("a page").records
    };
    let field = |records: &[vidimus::entry::Record], name: &str| {
        records[records.len() / 2].fields.text(name).expect("the field").to_owned()
    };
    let newest = page("", TimeRange::default());
    // The oldest entries, far from the newest entry, where a page begins.
    let oldest = TimeRange { since: None, until: Some(common::time(100).get()) };
    let old = page("", oldest);
    let middle = common::time(total / 2).get();

    let all = TimeRange::default();
    let cases = [
        ("the newest", String::new(), all, "20 ms"),
        ("by principal", format!("principal_id:{}", field(&newest, "principal_id")), all, "20 ms"),
        (
            "by a principal who is rare",
            format!("principal_id:{}", field(&old, "principal_id")),
            all,
            "20 ms",
        ),
        ("by name", format!("name:{}", field(&newest, "name")), all, "20 ms"),
        (
            "by a range of time",
            String::new(),
            TimeRange { since: Some(middle), until: Some(middle + 60_000) },
            "20 ms",
        ),
        ("one trace_id, the oldest", format!("trace_id:{}", field(&old, "trace_id")), all, "50 ms"),
        ("a word that is nowhere", "supercalifragilistic".to_owned(), all, "2 s"),
    ];
    for (what, query, range, wanted) in cases {
        let (mut times, mut found) = (Vec::new(), 0);
        for _ in 0..5 {
            let started = Instant::now();
            found = page(&query, range).len();
            times.push(started.elapsed());
        }
        let first: Duration = times[0];
        times.sort();
        let value = format!("{:.1} ms", times[2].as_secs_f64() * 1000.0);
        let what =
            format!("{what}: {found} found, first try {:.1} ms", first.as_secs_f64() * 1000.0);
        common::figure(&what, value, &format!("under {wanted}"));
    }
}
