//! The login with the token.

use fantoccini::key::Key;

use super::{Browser, Viewport};
use crate::harness::{Setup, wait_until};

#[test]
fn the_token_logs_in() {
    let serve = Setup::new()
        .file("token", "a secret of the tests\n")
        .config("[console]\ntoken_file = 'token'\n[receiver.tls]\nenabled = false\n")
        .start();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    assert_eq!(browser.location(), "/login");
    browser.click("#token");
    browser.keys("a wrong token");
    browser.press(Key::Enter, 1);
    wait_until("the refused login", || !browser.texts("#login-fault").is_empty());
    browser.save_screenshot("login");
    browser.click("#token");
    browser.keys("a secret of the tests");
    browser.press(Key::Enter, 1);
    wait_until("the entries", || browser.location() == "/");
    assert_eq!(browser.run("return document.cookie", vec![]), "");
    browser.go("/overview");
    assert_eq!(browser.location(), "/overview");
}
