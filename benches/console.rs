//! The console with 1,000,000 stored entries, and its cost for the receiver.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "a benchmark ends where it fails")]

mod common;

use vidimus::entry::Format;

use std::io::Read;
use std::net::TcpStream;

use common::serve::Serve;

/// The number of open pages with live entries.
const PAGES: usize = 10;

/// The number of measurements of the receiver, without and with open pages in turn.
const ROUNDS: usize = 3;

fn main() {
    let total = common::scaled(1_000_000);
    let folder = common::folder();
    println!("console: {total} entries in 20 segments");
    drop(common::fill_store(folder.path(), common::UnverifiedLines::new(Format::Cef), total));
    common::serve::make_key(folder.path());

    let serve = Serve::start(folder.path(), false);
    let principal = {
        let answer = serve.get("/api/v1/entries?limit=1");
        let at = answer.find("\"principal_id\":\"").expect("an entry") + 16;
        answer[at..].split('"').next().expect("its principal").to_owned()
    };
    let by_principal = format!("/api/v1/entries?limit=50&q=principal_id:{principal}");
    let cases = [
        ("the page, histogram and counts of all", "/", "under 300 ms"),
        ("the page of the newest 50,000 that match", "/?q=severity:%3E%3D0", ""),
        ("the overview", "/overview", ""),
        ("the API, names of fields", "/api/v1/fields?prefix=p", "under 50 ms"),
        (
            "the API, values of a summarised field by prefix",
            "/api/v1/facets?field=principal_id&prefix=a",
            "under 50 ms",
        ),
        (
            "the API, values of another field by prefix",
            "/api/v1/facets?field=user_agent&prefix=m",
            "under 50 ms",
        ),
        ("the API, histogram by kind", "/api/v1/histogram?by=kind", "under 300 ms"),
        ("the API, histogram by input", "/api/v1/histogram?by=input", "under 300 ms"),
        ("the API, 50 of a principal", by_principal.as_str(), "under 20 ms"),
        ("the API, 50 of a name", "/api/v1/entries?limit=50&q=name:Ingress", "under 20 ms"),
    ];
    for (what, path, wanted) in cases {
        let mut times: Vec<_> = (0..5).map(|_| serve.time(path)).collect();
        let first = common::milliseconds(times[0]);
        times.sort();
        let what = format!("{what}, first try {first}");
        common::figure(&what, common::milliseconds(times[2]), wanted);
    }

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
