//! The page of outputs: tests, retries and resets, with the mouse and with the keyboard alone.

use std::fs;

use fantoccini::key::Key;

use super::{Browser, Viewport};
use crate::console::actions::{ACTIONS, with_output_that_fails_once};
use crate::harness::{Endpoint, Reply, Serve, Setup, cef, wait_until};

/// A server with an output to a file.
fn with_file() -> Serve {
    let output = "[[output]]\nname = 'siem'\ntype = 'file'\npath = 'siem.log'\nformat = 'raw'\n";
    Setup::new().config(&format!("{output}{ACTIONS}")).arguments("--no-tls").start()
}

fn lines(serve: &Serve) -> usize {
    fs::read_to_string(serve.home().join("siem.log")).unwrap_or_default().lines().count()
}

/// Waits until the page says that so many lines were written.
fn wait_for_written(browser: &Browser, count: usize) {
    wait_until("the saved cursor", || {
        browser.go("/outputs");
        browser.text("main").contains(&format!("{count} in all"))
    });
}

#[test]
fn an_output_is_tested_and_retried_with_the_mouse() {
    let (endpoint, serve) = with_output_that_fails_once();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    serve.deliver(cef(1));
    wait_until("the failure", || {
        browser.go("/outputs");
        !browser.texts("form[action$='/retry']").is_empty()
    });
    browser.save_screenshot("outputs");
    browser.click("form[action$='/retry'] button");
    wait_until("the retry", || browser.text("h1").contains("siem tries again now"));
    assert_eq!(endpoint.wait_for_lines(1), [cef(1)]);
    wait_for_written(&browser, 1);
    browser.click("form[action$='/test'] button");
    wait_until("the test", || browser.text("h1").contains("The test of siem succeeded"));
    assert!(browser.text("main").contains("answered 200"), "{}", browser.text("main"));
    browser.save_screenshot("output-test");
    browser.click_link("Back to the outputs");
    wait_until("the outputs", || browser.location() == "/outputs");
}

#[test]
fn an_output_is_reset_with_the_mouse_and_with_the_keyboard() {
    let serve = with_file();
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    serve.deliver([cef(1), cef(2)].join("\n"));
    wait_for_written(&browser, 2);
    browser.click_link("Reset…");
    wait_until("the question", || browser.location() == "/outputs/siem/reset");
    browser.save_screenshot("output-reset");
    browser.click("#to-oldest");
    browser.click("form.reset button");
    wait_until("the reset", || browser.text("h1").contains("siem was reset"));
    wait_for_written(&browser, 4);
    assert_eq!(lines(&serve), 4);

    // With the keyboard alone: to the link, to the choice, to the button.
    browser.go("/outputs");
    browser.tab_to("Reset…");
    browser.press(Key::Enter, 1);
    wait_until("the question", || browser.location() == "/outputs/siem/reset");
    browser.tab_to("to-newest");
    browser.press(Key::Down, 2);
    assert_eq!(browser.focus(), "to-since");
    browser.press(Key::Tab, 1);
    assert_eq!(browser.focus(), "since");
    browser.keys("never");
    browser.press(Key::Enter, 1);
    wait_until("the fault", || !browser.texts("#reset-fault").is_empty());
    assert_eq!(browser.attributes("#since", "value"), ["never"]);
    browser.tab_to("since");
    browser.press(Key::Backspace, 5);
    browser.keys("1d");
    browser.press(Key::Tab, 1);
    browser.press(Key::Enter, 1);
    wait_until("the reset", || browser.text("h1").contains("siem was reset"));
    wait_for_written(&browser, 6);
    assert_eq!(lines(&serve), 6);
}

#[test]
fn the_page_of_outputs_fits_a_phone() {
    let endpoint = Endpoint::start(|_| Reply::Answer(400, "", "<b>no</b> ".repeat(50)));
    let config = format!(
        "[[output]]\nname = 'siem'\ntype = 'http'\nurl = '{}'\nbatch_every = '100ms'\n\
         [[output]]\nname = 'archive'\ntype = 'file'\npath = 'folder/{{date}}.log'\n{ACTIONS}",
        endpoint.url("/a-rather-long-path/of-an-endpoint/that-takes-entries")
    );
    let setup = Setup::new().config(&config).file("folder", "no folder").arguments("--no-tls");
    let serve = setup.start();
    serve.deliver(cef(1));
    let Some(browser) = Browser::open(&serve.console, Viewport::Phone) else { return };
    wait_until("a dead letter and a failure", || {
        browser.go("/outputs");
        browser.texts(".output details").len() == 1 && browser.texts(".output .fault").len() == 1
    });
    browser.click(".output summary");
    browser.assert_fits();
    browser.save_screenshot("outputs-phone");
    browser.go("/outputs/siem/reset");
    browser.assert_fits();
    browser.save_screenshot("output-reset-phone");
}
