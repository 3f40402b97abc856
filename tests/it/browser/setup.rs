//! The page of setup: a test entry turns the listener green, with the mouse and with the keyboard.

use fantoccini::key::Key;

use super::{Browser, Viewport};
use crate::harness::{Serve, Setup, cef, wait_until};

fn start() -> Serve {
    Setup::new().config("[console]\nactions = true\n").start()
}

fn is_green(browser: &Browser) -> bool {
    browser.texts("#listener.arrived").len() == 1
}

#[test]
fn a_delivery_turns_the_open_page_green() {
    let serve = start();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/setup");
    assert!(!is_green(&browser));
    browser.save_screenshot("setup");
    serve.deliver(cef(1));
    wait_until("the page to turn green", || is_green(&browser));
    assert!(browser.text("#listener").contains("Delivery 1 has arrived"));
    assert!(browser.text("#said").contains("Delivery 1 has arrived"));
    browser.save_screenshot("setup-arrived");
    browser.click_link("Show its entries");
    browser.wait_for("#entries tbody tr", 1);
}

#[test]
fn a_test_entry_is_sent_with_the_mouse_and_with_the_keyboard() {
    let serve = start();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/setup");
    browser.click("form[action='/setup/test'] button");
    wait_until("the answer", || browser.text("h1") == "The receiver took the test entry");
    browser.save_screenshot("setup-test");
    browser.click_link("Back to the setup");
    wait_until("the green page", || is_green(&browser));

    browser.go("/setup");
    assert!(!is_green(&browser));
    browser.tab_to("Send a test entry");
    browser.press(Key::Enter, 1);
    wait_until("the answer", || browser.text("h1") == "The receiver took the test entry");
    browser.tab_to("Back to the setup");
    browser.press(Key::Enter, 1);
    wait_until("the green page", || is_green(&browser));
    assert!(browser.text("#listener").contains("Delivery 2 has arrived"));
}

#[test]
fn the_authorization_value_is_shown_and_recorded() {
    let serve = start();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/setup");
    assert!(!browser.text("main").contains(&serve.authorization));
    browser.tab_to("Show the value");
    browser.press(Key::Enter, 1);
    wait_until("the value", || !browser.texts("#value-1").is_empty());
    assert_eq!(browser.text("#value-1"), serve.authorization);
    assert_eq!(browser.texts("button.copy"), ["Copy value"]);
    browser.save_screenshot("authorization");
    browser.click_link("Back to the setup");
    wait_until("the record", || browser.text("main").contains("show authorization"));
}

#[test]
fn the_page_of_setup_fits_a_phone_and_dark_mode() {
    let serve = start();
    for (viewport, name) in [(Viewport::Phone, "phone"), (Viewport::Dark, "dark")] {
        let Some(browser) = Browser::open(&serve.console, viewport) else { return };
        browser.go("/setup");
        browser.click("form[action='/setup/test'] button");
        wait_until("the answer", || browser.text("h1") == "The receiver took the test entry");
        browser.assert_fits();
        browser.save_screenshot(&format!("setup-test-{name}"));
        browser.click_link("Back to the setup");
        wait_until("the green page", || is_green(&browser));
        browser.click("summary");
        browser.assert_fits();
        browser.save_screenshot(&format!("setup-{name}"));
        browser.click("form[action='/setup/authorization'] button");
        wait_until("the value", || !browser.texts("#value-1").is_empty());
        browser.assert_fits();
    }
}
