//! The live list.

use serde_json::json;

use super::{Browser, Viewport};
use crate::harness::{Setup, cef, wait_until};

/// Opens a stream and collects its ids.
const OTHER_STREAM: &str = "const stream = new EventSource('/api/v1/stream');\
    stream.addEventListener('open', () => { window.other = []; });\
    stream.addEventListener('entry', event => window.other.push(JSON.parse(event.data).id));";

#[test]
fn live_entries_appear_and_wait_while_paused() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.wait_for("#entries tbody tr", 1);
    browser.click("#live-toggle");
    wait_until("the live list", || browser.text("#live-said") == "0 new");
    serve.deliver(cef(2));
    browser.wait_for("#entries tbody tr", 2);
    assert_eq!(browser.attributes("#entries tbody tr", "data-id"), ["2", "1"]);
    browser.save_screenshot("live");

    browser.click("#live-pause");
    serve.deliver(cef(3));
    wait_until("a waiting entry", || browser.text("#live-said") == "paused, 1 waiting");
    assert_eq!(browser.texts("#entries tbody tr").len(), 2);
    browser.click("#live-pause");
    browser.wait_for("#entries tbody tr", 3);

    // A list without live entries shows nothing new, while another stream gets the entries.
    browser.click("#live-toggle");
    browser.run(OTHER_STREAM, vec![]);
    wait_until("the other stream", || browser.run("return window.other", vec![]) == json!([]));
    serve.deliver(cef(4));
    wait_until("the entry in the other stream", || {
        browser.run("return window.other", vec![]) == json!([4])
    });
    assert_eq!(browser.texts("#entries tbody tr").len(), 3);
}

#[test]
fn live_entries_are_in_order_and_counted() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(5));
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/?since=2025-06-18T21:00:00Z&limit=20");
    browser.click("#live-toggle");
    wait_until("the live list", || browser.text("#live-said") == "0 new");
    let old = cef(7).replace("rt=1750280556007", "rt=1750000000000");
    serve.deliver(format!("{}\n{old}\n{}", cef(9), cef(3)));
    // Entries before the range are not shown.
    browser.wait_for("#entries tbody tr", 3);
    assert_eq!(browser.attributes("#entries tbody tr", "data-id"), ["2", "1", "4"]);
    wait_until("the total", || browser.text(".total").starts_with("3 entries"));
    assert_eq!(browser.texts("#refine .facet .number")[0], "3");
    assert_eq!(browser.text("#said"), "2 new");
}

#[test]
fn the_page_of_an_empty_store_shows_the_first_delivery() {
    let serve = Setup::new().arguments("--no-tls").start();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    let listens = "return performance.getEntriesByType('resource').length > 0 && !!document.getElementById('first')";
    wait_until("the page", || browser.run(listens, vec![]) == true);
    serve.deliver(cef(1));
    browser.wait_for("#entries tbody tr", 1);
}

#[test]
fn live_entries_match_the_query() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/?q=trace_id:7");
    browser.click("#live-toggle");
    wait_until("the live list", || browser.text("#live-said") == "0 new");
    serve.deliver(format!("{}\n{}\n{}", cef(6), cef(7), cef(8)));
    browser.wait_for("#entries tbody tr", 1);
    assert_eq!(browser.attributes("#entries tbody tr", "data-id"), ["3"]);
}
