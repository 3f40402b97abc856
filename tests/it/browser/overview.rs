//! The overview: its ranges load a part of the page, and it fits a phone.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::page::axe;
use super::{Browser, Viewport};
use crate::harness::{Serve, Setup, cef, wait_until};

#[test]
fn a_range_of_the_overview_is_put_in_place() {
    let serve = Setup::new()
        .config("[[output]]\nname = 'siem'\ntype = 'file'\npath = 'siem.log'\n")
        .arguments("--no-tls")
        .start();
    serve.deliver(format!("{}\n{}", cef(1), cef(2).replace("Ingress", &"long".repeat(60))));
    let Some(browser) = Browser::open(&serve.console, Viewport::Phone) else { return };
    browser.go("/overview");
    browser.assert_fits();
    assert!(!browser.texts("#by-verdict-numbers tbody tr").is_empty());
    browser.run("window.mark = 1", vec![]);
    browser.click_link("1 h");
    wait_until("the range", || browser.text("[aria-current=true]") == "1 h");
    assert_eq!(browser.location(), "/overview?since=1h");
    assert_eq!(browser.run("return window.mark", vec![]), json!(1));
    // The entries are of last year, and were received in this hour.
    assert_eq!(browser.texts("section[aria-labelledby=by-verdict] .series").len(), 0);
    let received = browser.texts("section[aria-labelledby=by-receipt] .series");
    assert_eq!(received.iter().map(|text| text.trim()).collect::<Vec<_>>(), ["new 2"]);
    browser.assert_fits();
    browser.save_screenshot("phone-overview-hour");
}

/// Records a comparison of some hours, given by how many hours ago they began and ended.
fn record(data: &Path, now: i64, portal: Option<&str>, (from, until): (i64, i64), missing: u64) {
    let reconciled = json!({"scope": {"region": "eu", "portal": portal},
        "since": now - from * 3_600_000, "until": now - until * 3_600_000,
        "compared": 90, "missing": missing, "fetched": 0});
    let task = json!({"record_reconciled": {"reconciled": reconciled}});
    let mut control = UnixStream::connect(data.join("control.sock")).unwrap();
    writeln!(control, "{task}").unwrap();
    let mut answer = String::new();
    control.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("{\"Ok\""), "{answer}");
}

#[test]
fn the_coverage_is_a_bar_with_its_shares_and_a_table() {
    let serve = Setup::new().config("[konnect]\nregion = 'us'\n").arguments("--no-tls").start();
    let (data, now) = (serve.data(), jiff::Timestamp::now().as_millisecond());
    let portal = "3f51fa25-310a-421d-bd1a-007f859021a3";
    record(&data, now, None, (23, 6), 0);
    record(&data, now, None, (4, 3), 2);
    record(&data, now, Some(portal), (20, 5), 0);
    // It ran from 22 hours ago to 5 hours ago.
    let catalog = Connection::open(data.join("catalog.db")).unwrap();
    let hours_ago = |hours: i64| now - hours * 3_600_000;
    catalog
        .execute("INSERT INTO uptime VALUES (0, ?1, ?2, 1, 0, 0)", (hours_ago(22), hours_ago(5)))
        .unwrap();
    for viewport in [Viewport::Desktop, Viewport::Dark, Viewport::Phone] {
        check_coverage(&serve, viewport, portal, now);
    }
}

fn check_coverage(serve: &Serve, viewport: Viewport, portal: &str, now: i64) {
    let Some(browser) = Browser::open(&serve.console, viewport) else { return };
    let hours_ago = |hours: i64| {
        jiff::Timestamp::from_millisecond(now - hours * 3_600_000).unwrap().to_string()
    };
    browser.go(&format!("/overview?since={}&until={}", hours_ago(24), hours_ago(1)));
    browser.assert_fits();
    browser.run("document.getElementById('coverage').scrollIntoView()", vec![]);
    browser.save_screenshot(&format!("coverage-{viewport:?}"));
    let bars = browser.texts("section[aria-labelledby=coverage] .bar-name");
    let bars: Vec<_> = bars.iter().map(|bar| bar.split_whitespace().collect::<Vec<_>>()).collect();
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let expected = [
        words("eu complete 73.9 % received 4.3 % incomplete 4.3 % down 13.0 % unknown 4.3 %"),
        words(&format!("eu/{portal} replayed 65.2 % received 8.6 % down 17.3 % unknown 8.6 %")),
        words("us received 73.9 % down 17.3 % unknown 8.6 %"),
    ];
    assert_eq!(bars, expected);
    browser.click("#coverage-intervals summary");
    assert!(browser.text("#coverage-intervals dl").contains("Konnect sent everything again"));
    browser.assert_fits();
    browser.run("document.getElementById('coverage-intervals').scrollIntoView()", vec![]);
    browser.save_screenshot(&format!("coverage-intervals-{viewport:?}"));
    for width in [320, 700, 1000, 1900] {
        browser.resize(width);
        browser.assert_fits();
    }
    browser.run("document.getElementById('coverage').scrollIntoView()", vec![]);
    browser.save_screenshot(&format!("coverage-wide-{viewport:?}"));
    if let Some(axe) = axe() {
        browser.run(&axe, vec![]);
        let run = "const done = arguments[arguments.length - 1];\
                   axe.run(document, {resultTypes: ['violations']}).then(\
                     found => done(found.violations.map(v => [v.id, v.help])))";
        assert_eq!(browser.run_async(run, vec![]), json!([]), "{viewport:?}");
    }
}
