//! The overview: its ranges load a part of the page, and it fits a phone.

use serde_json::json;

use super::{Browser, Viewport};
use crate::harness::{Setup, cef, wait_until};

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
