//! The page of setup: the authorization value, the test entry and the listener.

use std::fs;

use super::actions::{ACTIONS, act, csrf, page, post, recorded};
use super::host;
use crate::harness::{Serve, Setup, cef};

fn setup(serve: &Serve, target: &str) -> String {
    let answer = page(serve, target, &[]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

const SECRETS: [&str; 2] = ["Splunk first-secret-of-tests", "Bearer second-secret-of-tests"];

fn two_values() -> String {
    format!("[[input]]\nname = 'a'\npath = '/a'\nauthorization = {SECRETS:?}\n")
}

#[test]
fn the_authorization_value_is_on_no_page_without_the_action() {
    for actions in ["", ACTIONS] {
        let serve = Setup::new().config(&(two_values() + actions)).start();
        for target in ["/", "/overview", "/deliveries", "/outputs", "/keys", "/verify", "/setup"] {
            let text = page(&serve, target, &[]).text();
            assert!(!text.contains("secret-of-tests"), "{target}: {text}");
        }
        let token = match actions {
            "" => String::new(),
            _ => csrf(&page(&serve, "/setup", &[])),
        };
        let origin = format!("http://{}", host(&serve));
        // Each lacks something.
        let refused = |headers: &[(&str, &str)], form: String| {
            let answer = post(&serve, "/setup/authorization", headers, &form);
            assert_eq!(answer.status, 403, "{form}: {}", answer.text());
            assert!(!answer.text().contains("secret-of-tests"), "{}", answer.text());
        };
        refused(&[], format!("csrf={token}&input=a"));
        refused(&[("origin", "null")], format!("csrf={token}&input=a"));
        refused(&[("origin", &origin)], "csrf=x&input=a".to_owned());
        assert!(recorded(&serve).is_empty());
        if actions.is_empty() {
            continue;
        }
        let shown = act(&serve, "/setup/authorization", "input=a");
        assert_eq!(shown.status, 200, "{}", shown.text());
        assert_eq!(shown.header("cache-control"), Some("no-store"));
        assert_eq!(shown.header("content-encoding"), None);
        assert!(SECRETS.iter().all(|secret| shown.text().contains(secret)), "{}", shown.text());
        assert_eq!(act(&serve, "/setup/authorization", "input=b").status, 404);
        let [action] = &recorded(&serve)[..] else { panic!("{:?}", recorded(&serve)) };
        assert_eq!(
            (&action["action"], &action["detail"]),
            (&"show authorization".into(), &"a".into())
        );
        let listed = setup(&serve, "/setup");
        assert!(listed.contains(">show authorization<"), "{listed}");
        let log = serve.stderr() + &fs::read_to_string(serve.data().join("actions.jsonl")).unwrap();
        assert!(!log.contains("secret-of-tests"), "{log}");
    }
}

/// Sends a test entry to each input, and checks that it is stored and that the listener notices.
#[track_caller]
fn check_test_entry(serve: &Serve, input: &str) {
    let before = serve.stored().len();
    let waiting = setup(serve, "/setup");
    assert!(waiting.contains("Waiting for the first delivery"), "{waiting}");
    let (_, poll) = waiting.split_once("data-poll=\"").unwrap();
    let poll = poll.split_once('"').unwrap().0.to_owned();
    assert!(setup(serve, &poll).contains("Waiting for the first delivery"));

    let since = poll.split_once('=').unwrap().1;
    let sent = act(serve, "/setup/test", &format!("input={input}&since={since}"));
    assert_eq!(sent.status, 200, "{}", sent.text());
    let text = sent.text();
    assert!(text.contains("The receiver took the test entry"), "{text}");
    assert!(text.contains("answered 200 OK") && text.contains("vidimus test entry"), "{text}");
    assert!(text.contains(&format!("href=\"{poll}\"")), "{text}");
    let stored = serve.stored();
    assert_eq!(stored.len(), before + 1);
    assert_eq!(stored[before].verdict, "unsigned");
    let arrived = setup(serve, &poll);
    assert!(arrived.contains("has arrived") && arrived.contains(": 1 unsigned"), "{arrived}");
    // A page that is opened now waits for the next.
    assert!(setup(serve, "/setup").contains("Waiting for the first delivery"));
}

#[test]
fn a_test_entry_goes_through_the_receiver() {
    let plain = Setup::new().config(ACTIONS).arguments("--no-tls").start();
    check_test_entry(&plain, "default");
    assert_eq!(recorded(&plain)[0]["action"], "send test entry");
    plain.deliver(cef(1));
    check_test_entry(&plain, "default");

    // Its certificate is checked.
    let secure = Setup::new().config(&(two_values() + ACTIONS)).start();
    check_test_entry(&secure, "a");
    let shown = setup(&secure, "/setup");
    assert!(shown.contains("localhost, 127.0.0.1") && shown.contains("itself"), "{shown}");

    assert_eq!(act(&secure, "/setup/test", "input=b").status, 404);
    let off = Setup::new().arguments("--no-tls").start();
    let origin = format!("http://{}", host(&off));
    let answer = post(&off, "/setup/test", &[("origin", &origin)], "input=default");
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(off.stored().is_empty());
    let without = setup(&off, "/setup");
    assert!(without.contains("curl") && !without.contains("Send a test entry"), "{without}");
}

#[test]
fn a_test_entry_that_fails_says_why() {
    // Every delivery is answered 413.
    let config = format!("[receiver]\nmax_body = 10\n{ACTIONS}");
    let serve = Setup::new().config(&config).arguments("--no-tls").start();
    let answer = act(&serve, "/setup/test", "input=default");
    let text = answer.text();
    assert!(text.contains("The receiver did not take the test entry"), "{text}");
    assert!(text.contains("answered 413"), "{text}");
    assert!(serve.stored().is_empty());
}

#[test]
fn the_configuration_in_effect_is_shown() {
    let config = format!("{ACTIONS}[receiver]\nmax_line = '2MiB'\n");
    let serve = Setup::new().config(&config).arguments("--no-tls").start();
    let shown = setup(&serve, "/setup");
    assert!(shown.contains("max_line = &#34;2MiB&#34;"), "{shown}");
    assert!(shown.contains("actions = true") && shown.contains("plain HTTP"), "{shown}");
    assert_eq!(page(&serve, "/setup?since=x", &[]).status, 400);
    assert_eq!(page(&serve, "/setup?other=1", &[]).status, 400);
}
