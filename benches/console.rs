//! The console with 1,000,000 stored entries: the time to the first byte of its pages and their
//! parts, the list that shows new entries live in a browser, and its cost for the receiver.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use vidimus::entry::Format;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use common::browser::Browser;
use common::serve::Serve;

/// The number of open pages with live entries.
const PAGES: usize = 10;

/// The number of measurements of the receiver, without and with open pages in turn.
const ROUNDS: usize = 3;

fn main() {
    let total = common::scaled(1_000_000);
    let folder = common::folder();
    println!("console: {total} entries in 20 segments");
    drop(common::fill_store(folder.path(), common::UnverifiedLines::unsigned(Format::Cef), total));
    common::serve::make_key(folder.path());

    let serve = Serve::start(folder.path(), false);
    let principal = {
        let answer = serve.get("/api/v1/entries?limit=1");
        let at = answer.find("\"principal_id\":\"").expect("an entry") + 16;
        answer[at..].split('"').next().expect("its principal").to_owned()
    };
    let page = |path: &str| (path.to_owned(), None);
    let part = |part: &'static str| ("/".to_owned(), Some(part));
    // The last third of the entries: it begins within a sealed segment.
    let since = common::time(total * 2 / 3).to_string().replace(':', "%3A");
    let cases = [
        ("the page, histogram and counts of all", page("/"), "at most 60 ms"),
        ("the page since a time", page(&format!("/?since={since}")), "at most 60 ms"),
        ("the page of a filtered query", page("/?q=status:%3E%3D500"), "at most 60 ms"),
        ("the page of the newest 50,000 that match", page("/?q=severity:%3E%3D0"), ""),
        ("the table alone", part("table"), "at most 40 ms"),
        ("the histogram and the facets alone", part("counts"), "at most 40 ms"),
        ("names of fields with p", page("/api/v1/fields?prefix=p"), "at most 50 ms"),
        (
            "values of principal_id with a",
            page("/api/v1/facets?field=principal_id&prefix=a"),
            "at most 50 ms",
        ),
        ("values of user_agent", page("/api/v1/facets?field=user_agent&prefix="), "at most 50 ms"),
        ("the API, histogram by input", page("/api/v1/histogram?by=input"), ""),
        ("the overview", page("/overview"), "at most 60 ms"),
        ("the overview since a time", page(&format!("/overview?since={since}")), ""),
        (
            "the API, 50 of a principal",
            page(&format!("/api/v1/entries?limit=50&q=principal_id:{principal}")),
            "under 20 ms",
        ),
        ("the API, 50 of a name", page("/api/v1/entries?limit=50&q=name:Ingress"), "under 20 ms"),
    ];
    println!("  first byte, median of five:");
    for (what, (path, part), wanted) in cases {
        let first = serve.first_byte(&path, part);
        let mut times: Vec<_> = (0..5).map(|_| serve.first_byte(&path, part)).collect();
        times.sort();
        let what = format!("{what}, first try {}", common::milliseconds(first));
        common::figure(&what, common::milliseconds(times[2]), wanted);
    }
    watch(&serve, folder.path());

    let load = common::scaled(100_000);
    let rate = || serve.load(folder.path(), load)["entries_per_second"].as_f64().expect("a rate");
    // The first load fills the caches.
    rate();
    let (mut rates, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let alone = rate();
        let pages: Vec<_> = (0..PAGES).map(|_| OpenPage::open(&serve)).collect();
        let watched = rate();
        drop(pages);
        rates.push(alone);
        ratios.push(watched / alone);
    }
    let alone = format!("{:.0}", common::median(rates));
    common::figure("received: entries a second", alone, "");
    let ratio = format!("{:.2}", common::median(ratios));
    common::figure("the same with ten live pages, to that", ratio, "at least 0.90");
    serve.stop();
}

/// Watches the live list in a browser while 2,000 entries a second are delivered.
fn watch(serve: &Serve, folder: &Path) {
    const RATE: usize = 2000;
    let Some(browser) = Browser::open() else {
        println!("  the live list: skipped, as there is no chromium or no chromedriver");
        return;
    };
    let seconds = if common::quick() { 3 } else { 15 };
    browser.go(&format!("{}/?since=1h", serve.console));
    browser.run(
        "window.long = [];\
         new PerformanceObserver(list => {\
           for (const task of list.getEntries()) window.long.push(task.duration);\
         }).observe({ type: 'longtask' });",
    );
    browser.click("#live-toggle");
    let said = || text(&browser, "#live-said");
    let started = Instant::now();
    while said() != "0 new" {
        assert!(started.elapsed() < Duration::from_secs(30), "{}", said());
        std::thread::sleep(Duration::from_millis(10));
    }
    let (mut rows, mut totals) = (BTreeSet::new(), BTreeSet::new());
    let report = std::thread::scope(|scope| {
        let sent = scope.spawn(|| serve.at_rate(folder, RATE, RATE * seconds));
        // After the last entry the list is refreshed once more.
        let mut ended: Option<Instant> = None;
        while ended.is_none_or(|at| at.elapsed() < Duration::from_secs(2)) {
            rows.insert(text(&browser, "#entries [data-row] td:first-child"));
            totals.insert(text(&browser, ".total strong"));
            if sent.is_finished() {
                ended.get_or_insert_with(Instant::now);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        sent.join().expect("sent")
    });
    let rate = report["entries_per_second"].as_f64().expect("a rate");
    println!(
        "  the live list, {rate:.0} entries a second for {seconds} s, at the end {:?}:",
        said()
    );
    let long = browser.run("return window.long");
    let long: Vec<f64> =
        long.as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect();
    common::figure("tasks of more than 50 ms in the browser", long.len().to_string(), "none");
    if let Some(longest) = long.into_iter().reduce(f64::max) {
        common::figure("the longest of them", format!("{longest:.0} ms"), "");
    }
    // What was there before is the first of each.
    let updates = |seen: BTreeSet<String>| (seen.len() - 1).to_string();
    common::figure("updates of the rows that were seen", updates(rows), "one a second");
    common::figure("updates of the total that were seen", updates(totals), "some");
}

/// The text of the first element that matches a selector, or nothing.
fn text(browser: &Browser, css: &str) -> String {
    let found = browser.run(&format!("return document.querySelector('{css}')?.innerText ?? ''"));
    found.as_str().unwrap_or_default().to_owned()
}

/// The stream of a page with live entries, which is read continuously.
struct OpenPage(TcpStream);

impl OpenPage {
    fn open(serve: &Serve) -> OpenPage {
        let tcp = serve.ask("/api/v1/stream");
        let mut reading = tcp.try_clone().expect("the same connection");
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while reading.read(&mut buffer).is_ok_and(|read| read > 0) {}
        });
        OpenPage(tcp)
    }
}

impl Drop for OpenPage {
    fn drop(&mut self) {
        let _ = self.0.shutdown(std::net::Shutdown::Both);
    }
}
