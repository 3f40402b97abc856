//! The workbench for entries: completion, the histogram, the facets, the table and what is saved.

use fantoccini::key::Key;
use serde_json::json;

use super::{Browser, Viewport, filled};
use crate::console::get;
use crate::harness::wait_until;

fn location_has(browser: &Browser, text: &str) {
    wait_until(&format!("{text} in the address"), || browser.location().contains(text));
}

#[test]
fn a_field_and_its_value_are_completed() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.keys("/");
    assert_eq!(browser.focus(), "q");
    browser.keys("verd");
    browser.wait_for("#completions li", 1);
    browser.press(Key::Down, 1);
    browser.press(Key::Enter, 1);
    // The name is there, and its values are offered.
    browser.wait_for("#completions li", 2);
    browser.keys("inv");
    browser.wait_for("#completions li", 1);
    assert!(browser.text("#completions li").starts_with("invalid"));
    browser.save_screenshot("completion");
    browser.press(Key::Down, 1);
    browser.press(Key::Enter, 1);
    let typed = "return document.getElementById('q').value";
    assert_eq!(browser.run(typed, vec![]), "verdict:invalid ");
    browser.press(Key::Enter, 1);
    browser.wait_for("#entries [data-row]", 5);
    // The query is coloured, and is offered again later.
    assert_eq!(browser.texts("#q-shown .field"), ["verdict"]);
    browser.go("/");
    browser.click("#q");
    browser.wait_for("#completions li", 1);
    assert!(browser.text("#completions li").starts_with("verdict:invalid"));
    browser.press(Key::Escape, 1);
    assert_eq!(browser.attributes("#q", "aria-expanded"), ["false"]);
}

#[test]
fn facets_include_exclude_and_remove() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.run("window.same = true", vec![]);
    browser.click("[data-field=verdict] li:first-child a:not(.exclude)");
    location_has(&browser, "valid");
    browser.wait_for("#entries [data-row]", 35);
    browser.click("[data-field=verdict] a[aria-current]");
    browser.wait_for("#entries [data-row]", 40);
    browser.click("[data-field=verdict] li:first-child a.exclude");
    browser.wait_for("#entries [data-row]", 5);
    assert!(browser.location().contains("NOT%20verdict"), "{}", browser.location());
    // All that in one page, and back again.
    assert_eq!(browser.run("return window.same", vec![]), true);
    browser.run("history.back()", vec![]);
    browser.wait_for("#entries [data-row]", 40);

    // A facet of any field.
    browser.click("#more");
    browser.keys("status");
    browser.press(Key::Enter, 1);
    browser.wait_for("[data-field=status] li a:not(.exclude)", 2);
    browser.click("[data-field=kind] .hide");
    browser.wait_for("[data-field=kind]", 0);
    browser.wait_for("[data-field=status]", 1);
}

#[test]
fn dragging_on_the_histogram_selects_a_range() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/?since=2025-06-18T00:00:00Z&until=2025-06-19T00:00:00Z");
    assert!(browser.attributes(".ticks text", "x").len() > 3);
    browser.drag("#plot .bars", 0.26, 0.51);
    location_has(&browser, "since=2025-06-18T06");
    location_has(&browser, "until=2025-06-18T12");
    // The part arrives after the address has changed.
    wait_until("the part", || browser.text("#range summary").contains("2025-06-18T06"));
    browser.click_link("← Zoom out");
    location_has(&browser, "since=2025-06-17T");
    // Every bar leads to its entries.
    browser.go("/?since=2025-06-18T00:00:00Z&until=2025-06-19T00:00:00Z&by=kind");
    assert!(browser.text(".legend").contains("access"), "{}", browser.text(".legend"));
    assert_eq!(browser.attributes(".strip rect", "x").len(), 1);
}

#[test]
fn columns_and_modes_are_in_the_address() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.click("#columns-menu summary");
    browser.run("document.getElementById('columns').value = 'status,trace_id'", vec![]);
    browser.click("#columns");
    browser.press(Key::Enter, 1);
    location_has(&browser, "columns=status%2Ctrace_id");
    wait_until("the columns", || {
        browser.texts("#entries th") == ["Time UTC", "status", "trace_id"]
    });
    assert_eq!(browser.texts("#entries [data-row]:first-child td")[1..], ["403", "39"]);
    browser.click_link("raw");
    location_has(&browser, "view=raw");
    browser.wait_for("#entries td.c-raw", 40);
    assert!(browser.text("#entries td.c-raw bdi").contains("CEF:0|"));
    browser.assert_fits();
    browser.save_screenshot("raw");
    // A search keeps the layout.
    browser.click("#q");
    browser.keys("verdict:invalid");
    browser.press(Key::Enter, 1);
    browser.wait_for("#entries [data-row]", 5);
    assert!(browser.location().contains("view=raw"), "{}", browser.location());
}

#[test]
fn a_row_opens_in_place_and_narrows_the_query() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.click("#row-40 a.open");
    browser.wait_for("#detail-40", 1);
    assert!(browser.text("#detail-40").contains("invalid"));
    assert_eq!(browser.attributes("#row-40 a.open", "aria-expanded"), ["true"]);
    browser.save_screenshot("opened");
    let include = "const rows = [...document.querySelectorAll('.detail-fields tr')];\
                   rows.find(row => row.querySelector('th')?.innerText === 'trace_id')\
                       .querySelector('a').click()";
    browser.run(include, vec![]);
    browser.wait_for("#entries [data-row]", 1);
    browser.go("/entries/40?q=verdict:invalid");
    browser.keys("j");
    wait_until("the entry before", || browser.text("h1") == "Entry 39");
    location_has(&browser, "/entries/39");
    browser.keys("k");
    location_has(&browser, "/entries/40");
    wait_until("the title", || {
        browser.run("return document.title", vec![]) == "Entry 40 · Vidimus"
    });
}

#[test]
fn searches_are_saved_in_the_browser_and_exported() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/?q=verdict:invalid");
    browser.click("#saved summary");
    browser.click("#save-name");
    browser.keys("tampered");
    browser.press(Key::Enter, 1);
    browser.go("/");
    browser.click("#saved summary");
    browser.click_link("tampered");
    browser.wait_for("#entries [data-row]", 5);
    browser.keys("e");
    let exports = browser.attributes("#export a", "href");
    assert_eq!(exports.len(), 4);
    let csv = get(&serve, &exports[2]).text();
    assert_eq!(csv.matches(",invalid,").count(), 5, "{csv}");
}

#[test]
fn the_page_works_without_its_script() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::NoScript) else { return };
    browser.go("/");
    assert_eq!(browser.attributes("#zone", "hidden").len(), 1);
    browser.click("[data-field=verdict] li:first-child a.exclude");
    assert_eq!(browser.texts("#entries [data-row]").len(), 5);
    browser.click("#entries a.open");
    assert_eq!(browser.texts("tr.detail").len(), 1);
    browser.go("/");
    browser.click("#range summary");
    browser.click_link("15 min");
    assert!(browser.text("main").contains("No entries match"));
    browser.go("/deliveries");
    browser.click("tbody a");
    assert!(browser.text("h1").starts_with("Delivery"));
    assert_eq!(browser.location(), "/deliveries/1");
}

#[test]
fn a_theme_is_chosen_and_remembered() {
    let serve = filled(40, 35);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/keys");
    let background = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.run(background, vec![]);
    browser.click("#theme");
    assert_eq!(browser.run(background, vec![]), light);
    browser.click("#theme");
    let dark = browser.run(background, vec![]);
    assert_ne!(dark, light);
    browser.go("/");
    assert_eq!(browser.run(background, vec![]), dark);
    browser.keys("?");
    assert_eq!(browser.run("return document.getElementById('help').open", vec![]), json!(true));
}
