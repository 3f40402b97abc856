//! Entries that would do harm as markup.

use serde_json::json;

use super::{Browser, Viewport};
use crate::harness::Setup;

/// The values for every field.
const HOSTILE: [&str; 8] = [
    "<script>window.pwned = 1</script>",
    "\"><img src=x onerror='window.pwned = 1'>",
    "{{constructor.constructor('window.pwned=1')()}}",
    "${window.pwned=1}",
    "javascript:window.pwned=1",
    "\u{1b}]0;pwned\u{7}\u{1b}[2J",
    "\u{202e}\u{2066}txt.exe\u{2069}",
    "=cmd|' /C calc'!A0",
];

const FIELDS: [&str; 14] = [
    "name",
    "event_class_id",
    "src",
    "org_id",
    "portal_id",
    "principal_id",
    "principal_name",
    "actor_id",
    "trace_id",
    "user_agent",
    "request",
    "action",
    "act",
    "other.field",
];

#[test]
fn hostile_entries_are_shown_as_text() {
    let serve = Setup::new().arguments("--no-tls").start();
    let long = "A".repeat(100_000);
    let values = HOSTILE.into_iter().chain([long.as_str()]);
    let line = |value: &str| {
        let fields = FIELDS.map(|field| (field.to_owned(), json!(value)));
        let mut line: serde_json::Map<_, _> = fields.into_iter().collect();
        line.insert(
            format!("<b>{}", &value[..value.len().min(20)].replace('\u{202e}', "")),
            json!(1),
        );
        json!(line).to_string()
    };
    let lines: Vec<_> = values.map(line).collect();
    serve.deliver(lines.join("\n"));
    let Some(browser) = Browser::open(&serve.console, Viewport::Desktop) else { return };
    let mut pages = vec!["/".to_owned(), "/overview".into(), "/deliveries".into(), "/keys".into()];
    pages.push("/?q=%3Cscript%3Ewindow.pwned%3D1%3C/script%3E".into());
    pages.extend((1..=lines.len()).map(|id| format!("/entries/{id}")));
    for path in pages {
        browser.go(&path);
        assert_eq!(browser.run("return window.pwned ?? null", vec![]), json!(null), "{path}");
        let odd = browser.texts("main script, main img, main b:not([class])");
        assert!(odd.is_empty(), "{path}: {odd:?}");
        let text = browser.text("main");
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{2066}']), "{path}");
        browser.assert_fits();
    }
    // The live list too, whose rows a script makes.
    browser.go("/");
    browser.click("#live-toggle");
    crate::harness::wait_until("the live list", || browser.text("#live-said") == "0 new");
    serve.deliver(
        lines[..8].iter().map(|line| line.replace('{', "{\"n\":1,") + "\n").collect::<String>(),
    );
    crate::harness::wait_until("the live entries", || browser.text("#live-said") == "8 new");
    assert_eq!(browser.run("return window.pwned ?? null", vec![]), json!(null));
    assert!(browser.texts("main script, main img").is_empty());
    browser.save_screenshot("hostile");
}
