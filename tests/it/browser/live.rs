//! Entries as they come.

use super::page::A_WHILE;
use super::{Browser, Look};
use crate::harness::{Setup, cef, wait_until};

#[test]
fn live_entries_come_by_themselves_and_wait_while_it_is_paused() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Look::Desk) else { return };
    browser.go("/");
    browser.wait_for("#entries tbody tr", 1);
    browser.click("#live-toggle");
    wait_until("it listens", || browser.text("#live-said") == "0 new");
    serve.deliver(cef(2));
    browser.wait_for("#entries tbody tr", 2);
    assert_eq!(browser.attributes("#entries tbody tr", "data-id"), ["2", "1"]);
    browser.keep_picture("live");

    browser.click("#live-pause");
    serve.deliver(cef(3));
    wait_until("it waits", || browser.text("#live-said") == "paused, 1 waiting");
    assert_eq!(browser.texts("#entries tbody tr").len(), 2);
    browser.click("#live-pause");
    browser.wait_for("#entries tbody tr", 3);

    browser.click("#live-toggle");
    serve.deliver(cef(4));
    // What must not happen is given a while to happen.
    std::thread::sleep(A_WHILE);
    assert_eq!(browser.texts("#entries tbody tr").len(), 3);
}

#[test]
fn live_entries_are_those_of_the_query() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Look::Desk) else { return };
    browser.go("/?q=trace_id:7");
    browser.click("#live-toggle");
    wait_until("it listens", || browser.text("#live-said") == "0 new");
    serve.deliver(format!("{}\n{}\n{}", cef(6), cef(7), cef(8)));
    browser.wait_for("#entries tbody tr", 1);
    assert_eq!(browser.attributes("#entries tbody tr", "data-id"), ["3"]);
}
