//! The search: refining, paging, and the page of an entry.

use fantoccini::key::Key;

use super::{Browser, Viewport, filled};
use crate::harness::{Setup, wait_until};

#[test]
fn a_search_is_refined_and_paged() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    let first = browser.attributes("#entries tbody tr", "data-id");
    assert_eq!(first[0], "130");
    browser.save_screenshot("entries");
    browser.click_link("Older entries →");
    wait_until("older entries", || {
        browser.attributes("#entries tbody tr", "data-id").first() != first.first()
    });
    let second = browser.attributes("#entries tbody tr", "data-id");
    assert!(!second.is_empty() && second.iter().all(|id| !first.contains(id)), "{second:?}");
    let least = |ids: &[String]| ids.iter().map(|id| id.parse::<u64>().unwrap()).min();
    let greatest = |ids: &[String]| ids.iter().map(|id| id.parse::<u64>().unwrap()).max();
    assert_eq!(least(&first), greatest(&second).map(|id| id + 1));

    // Each click refines the query.
    browser.go("/");
    browser.click_link("invalid");
    browser.wait_for("#entries tbody tr", 10);
    assert!(browser.text(".total").starts_with("10 "), "{}", browser.text(".total"));
    browser.click_link("access");
    wait_until("both terms", || {
        let query = browser.attributes("#q", "value");
        query[0].contains("invalid") && query[0].contains("access")
    });
    browser.wait_for("#entries tbody tr", 10);

    // A bar of the histogram narrows the range.
    browser.go("/");
    let bar = browser.attributes(".histogram svg a", "href").remove(0);
    browser.go(&bar);
    assert!(browser.location().contains("since="), "{}", browser.location());
    assert!(!browser.texts("#entries tbody tr").is_empty());
}

#[test]
fn a_query_error_is_explained_under_the_search_box() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.click("#q");
    browser.keys("status:abc");
    browser.press(Key::Enter, 1);
    wait_until("the fault", || !browser.texts("#query-fault").is_empty());
    assert_eq!(browser.text("#query-fault mark"), "abc");
    assert_eq!(browser.attributes("#q", "aria-invalid"), ["true"]);
    let typed = "return document.getElementById('q').value";
    assert_eq!(browser.run(typed, vec![]), "status:abc");
    browser.save_screenshot("fault");
}

#[test]
fn an_entry_page_explains_the_entry() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/?q=verdict:valid");
    browser.click("#entries tbody a[data-page]");
    wait_until("the entry", || browser.location().starts_with("/entries/"));
    let text = browser.text("main");
    for expected in ["valid", "openssl pkeyutl", "trace_id", "119", "sig="] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(browser.text("pre del.cut").trim_start().starts_with("sig="));
    browser.save_screenshot("entry");
    browser.click("a[href*='trace_id']");
    browser.wait_for("#entries tbody tr", 1);
}

#[test]
fn the_pages_work_with_the_keyboard_alone() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    browser.press(Key::Tab, 1);
    assert_eq!(browser.focus(), "Skip to content");
    browser.press(Key::Enter, 1);
    browser.press(Key::Tab, 1);
    assert_eq!(browser.focus(), "q");
    browser.keys("verdict:invalid");
    browser.press(Key::Enter, 1);
    browser.wait_for("#entries tbody tr", 10);
    // Each element on the way shows its focus.
    let shows = "const s = getComputedStyle(document.activeElement);\
                 return s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0";
    browser.click("#q");
    for _ in 0..30 {
        browser.press(Key::Tab, 1);
        assert_eq!(browser.run(shows, vec![]), true, "{}", browser.focus());
    }
    // Keys move in the list, open a row in place and go to its page.
    browser.go("/?q=verdict:invalid");
    browser.keys("jj");
    let row = "return document.activeElement.closest('[data-row]')?.dataset.id";
    assert_eq!(browser.run(row, vec![]), "129");
    browser.keys("o");
    browser.wait_for("#detail-129", 1);
    browser.keys("o");
    browser.wait_for("#detail-129", 0);
    browser.keys("k");
    assert_eq!(browser.run(row, vec![]), "130");
    browser.press(Key::Enter, 1);
    wait_until("the entry", || browser.location().starts_with("/entries/"));
}

#[test]
fn the_pages_fit_a_phone_and_dark_mode() {
    let serve = filled(130, 120);
    let empty = Setup::new().arguments("--no-tls").start();
    let pages =
        ["/", "/entries/130", "/overview", "/deliveries", "/outputs", "/keys", "/verify", "/setup"];
    if let Some(browser) = Browser::open(&serve.console, Viewport::Phone) {
        for path in pages {
            browser.go(path);
            browser.assert_fits();
            browser.save_screenshot(&format!("phone{}", path.replace('/', "-")));
        }
    }
    let background = "return getComputedStyle(document.body).backgroundColor";
    let open = |viewport| {
        let browser = Browser::open(&serve.console, viewport)?;
        browser.go("/");
        browser.save_screenshot(if viewport == Viewport::Dark { "dark" } else { "light" });
        Some(browser.run(background, vec![]))
    };
    if let (Some(light), Some(dark)) = (open(Viewport::Desktop), open(Viewport::Dark)) {
        assert_ne!(light, dark);
    }
    if let Some(browser) = Browser::open(&empty.console, Viewport::Desktop) {
        browser.go("/");
        assert!(browser.text("main").contains("There are no entries yet"));
        assert!(browser.text("#curl").contains("curl"));
        browser.save_screenshot("empty");
    }
}

#[test]
fn columns_with_names_are_readable_at_every_width() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    let widths = "return [...document.querySelectorAll('#entries tbody tr:first-child td')]\
                  .map(cell => cell.getBoundingClientRect().width)";
    for width in [620, 741, 768, 900, 1024, 1099, 1101, 1279, 1281, 1440] {
        browser.resize(width);
        browser.go("/");
        browser.assert_fits();
        let widths = browser.run(widths, vec![]);
        for (cell, name) in [(2, "name"), (3, "principal"), (5, "outcome")] {
            assert!(widths[cell].as_f64() >= Some(100.0), "{name} at {width}: {widths}");
        }
        browser.save_screenshot(&format!("width-{width}"));
        browser.go("/deliveries");
        browser.assert_fits();
        let out = "return [...document.querySelectorAll('.scroll')]\
                   .filter(e => e.scrollWidth > e.clientWidth).length";
        assert_eq!(browser.run(out, vec![]), 0, "{width}");
        browser.save_screenshot(&format!("deliveries-{width}"));
    }
}

#[test]
fn a_printed_entry_is_complete() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.resize(720);
    browser.go("/entries/1");
    browser.emulate_print();
    browser.assert_fits();
    let cut = "return [...document.querySelectorAll('pre, td, dd')]\
               .filter(e => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight + 2)\
               .map(e => e.innerText)";
    assert_eq!(browser.run(cut, vec![]), serde_json::json!([]));
    let printed = browser.text(".printed");
    assert!(printed.contains(&format!("{}/entries/1", serve.console)), "{printed}");
    assert!(printed.contains(concat!("Vidimus ", env!("CARGO_PKG_VERSION"))), "{printed}");
    assert!(printed.contains("printed 20") && printed.contains("UTC"), "{printed}");
    browser.save_screenshot("paper");
}

#[test]
fn times_are_utc_unless_local_time_is_chosen() {
    let serve = filled(130, 120);
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    browser.go("/");
    let exact = browser.attributes("#entries time", "datetime").remove(0);
    assert!(exact.ends_with('Z'), "{exact}");
    assert!(browser.text("#zone").contains("UTC"));
    browser.click("#zone");
    browser.go("/overview");
    assert_eq!(browser.run("return localStorage.getItem('zone')", vec![]), "local");
    assert!(!browser.attributes("time", "title")[0].is_empty());

    assert_eq!(browser.text("#zone"), "UTC+05:30");
    let shown = browser.text(".facts time");
    assert!(shown.ends_with(" UTC+05:30"), "{shown}");
    assert!(browser.attributes(".facts time", "title")[0].ends_with("+05:30"));

    // The server reads a time without a zone as UTC.
    browser.go("/?since=2025-06-18");
    let since = "return document.getElementById('since').value";
    assert_eq!(browser.run(since, vec![]), "2025-06-18T05:30:00+05:30");
    browser.click("#range summary");
    assert_eq!(browser.text("#range-zone"), "UTC+05:30");
    browser.run("document.getElementById('since').value = '2025-01-31'", vec![]);
    browser.click("#since");
    browser.press(Key::Enter, 1);
    wait_until("the range", || browser.location().contains("2025-01-31"));
    let since = "return new URLSearchParams(location.search).get('since')";
    assert_eq!(browser.run(since, vec![]), "2025-01-31T00:00:00+05:30");
}
