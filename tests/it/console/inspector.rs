//! The pages of deliveries, and what can be done there: requests that are kept, sent again and
//! retried, and faults.

use super::actions::{act, page, recorded};
use super::get;
use crate::harness::{Setup, cef};

const CONFIG: &str = "[console]\nactions = true\nkeep_requests = \"1MiB\"\n";

#[test]
fn each_delivery_has_a_page() {
    let serve = Setup::new().config(CONFIG).arguments("--no-tls").start();
    serve.deliver(cef(1));
    let page = page(&serve, "/deliveries/1", &[]);
    assert_eq!(page.status, 200);
    let text = page.text();
    for expected in
        ["Delivery 1", "POST /audit-logs", "none: plain HTTP", "(hidden)", "&#34;stored&#34;:1"]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(!text.contains(&serve.authorization), "{text}");
    let body = get(&serve, "/deliveries/requests/1/body");
    assert_eq!(body.text(), cef(1));
    assert_eq!(body.header("content-type"), Some("application/octet-stream"));
    for missing in [
        "/deliveries/2",
        "/deliveries/x",
        "/deliveries/requests/9",
        "/deliveries/requests/9/body",
        "/deliveries/requests/1/body?decoded=1",
        "/deliveries/quarantine/1",
    ] {
        assert_eq!(get(&serve, missing).status, 404, "{missing}");
    }
    assert_eq!(get(&serve, "/deliveries?state=lost").status, 400);
}

#[test]
fn without_kept_requests_the_page_has_what_is_stored() {
    let serve = Setup::new().arguments("--no-tls").start();
    serve.deliver(cef(1));
    let text = page(&serve, "/deliveries/1", &[]).text();
    assert!(text.contains("console.keep_requests is off"), "{text}");
    assert!(text.contains("New entries") && !text.contains("POST /audit-logs"), "{text}");
    assert_eq!(get(&serve, "/deliveries/requests/1").status, 404);
}

#[test]
fn a_refused_request_is_kept_without_a_body() {
    let serve = Setup::new().config(CONFIG).arguments("--no-tls").start();
    serve.post("/audit-logs", &[("authorization", "Bearer hunter2")], b"a secret body");
    let text = page(&serve, "/deliveries/requests/1", &[]).text();
    assert!(text.contains("Bearer (hidden)") && text.contains("It was not read."), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("a secret body"), "{text}");
    assert_eq!(get(&serve, "/deliveries/requests/1/body").status, 404);
}

#[test]
fn a_request_is_sent_again_to_allowed_urls_only() {
    let serve = Setup::new().config(CONFIG).arguments("--no-tls").start();
    serve.deliver(cef(1));
    let done = act(&serve, "/deliveries/requests/1/resend", "to=");
    assert_eq!(done.status, 200);
    assert!(done.text().contains("duplicates&#34;:1"), "{}", done.text());
    let refused = act(&serve, "/deliveries/requests/1/resend", "to=http%3A%2F%2F127.0.0.1%3A1%2F");
    assert_eq!(refused.status, 403);
    let actions = recorded(&serve);
    assert_eq!(actions.len(), 1);
    assert_eq!(actions[0]["action"], "send request again");
}

#[test]
fn a_body_in_quarantine_is_listed_once_and_retried() {
    let serve = Setup::new().config(CONFIG).arguments("--no-tls").start();
    let authorization = serve.authorization.clone();
    let headers = [("authorization", authorization.as_str()), ("content-encoding", "br")];
    assert_eq!(serve.post("/audit-logs", &headers, b"hello").status, 415);
    let list = get(&serve, "/deliveries").text();
    assert_eq!(list.matches("data-row").count(), 2, "the rows and one row: {list}");
    let text = page(&serve, "/deliveries/quarantine/1", &[]).text();
    assert!(text.contains("68 65 6c 6c 6f"), "{text}");
    assert_eq!(get(&serve, "/deliveries/quarantine/1/body").text(), "hello");
    let done = act(&serve, "/deliveries/quarantine/1/retry", "");
    assert!(done.text().contains("stays in quarantine"), "{}", done.text());
}

#[test]
fn faults_are_set_and_cleared_on_the_setup_page() {
    let serve = Setup::new().config(CONFIG).arguments("--no-tls").start();
    let set = "input=default&fault=500&next=2";
    assert_eq!(act(&serve, "/setup/fault", set).status, 200);
    let authorization = serve.authorization.clone();
    let headers = [("authorization", authorization.as_str())];
    assert_eq!(serve.post("/audit-logs", &headers, cef(1).as_bytes()).status, 500);
    assert!(page(&serve, "/setup", &[]).text().contains("Clear all"));
    assert_eq!(act(&serve, "/setup/fault/clear", "").status, 200);
    assert_eq!(serve.post("/audit-logs", &headers, cef(1).as_bytes()).status, 200);
    for wrong in ["input=default&fault=418&next=2", "input=default&fault=500&next=0"] {
        assert_eq!(act(&serve, "/setup/fault", wrong).status, 400, "{wrong}");
    }
    assert_eq!(act(&serve, "/setup/fault", "input=nobody&fault=500&next=1").status, 404);
    let actions: Vec<_> = recorded(&serve).iter().map(|one| one["action"].clone()).collect();
    assert_eq!(actions, ["set fault", "clear faults"]);
}
