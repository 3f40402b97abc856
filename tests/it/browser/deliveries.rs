//! The inspector for deliveries: the live list, and the page of each.

use super::{Browser, Viewport};
use crate::harness::{Setup, cef, wait_until};

#[test]
fn the_list_is_live_and_filtered_and_each_delivery_has_a_page() {
    let serve =
        Setup::new().config("[console]\nkeep_requests = \"1MiB\"\n").arguments("--no-tls").start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/deliveries");
    browser.wait_for("[data-row]", 1);
    serve.deliver(format!("{}\n{}", cef(2), cef(3)));
    serve.post("/nowhere", &[("authorization", "Bearer hunter2")], b"");
    browser.wait_for("[data-row]", 3);
    browser.save_screenshot("deliveries");
    browser.click_link("refused");
    browser.wait_for("[data-row]", 1);
    assert!(browser.location().contains("state=refused"), "{}", browser.location());

    // The page of a refused request has its headers, and neither its secret nor a body.
    browser.click("[data-row] a");
    wait_until("the request", || browser.location().starts_with("/deliveries/requests/"));
    let text = browser.text("main");
    for expected in ["404", "POST /nowhere", "Bearer (hidden)", "It was not read."] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains("hunter2"), "{text}");

    // The page of a stored one has everything.
    browser.go("/deliveries");
    browser.press(fantoccini::key::Key::Tab, 1);
    browser.keys("jj");
    browser.press(fantoccini::key::Key::Enter, 1);
    wait_until("the delivery", || browser.location() == "/deliveries/2");
    let text = browser.text("main");
    for expected in ["200", "POST /audit-logs", "stored as delivery 2", "\"stored\":2", "verify"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.contains("Compared with request"), "{text}");
    assert_eq!(browser.texts(".entry-lines li").len(), 2);
    browser.save_screenshot("delivery");
    browser.click_link("Older →");
    wait_until("the delivery before", || browser.location() == "/deliveries/1");
}
