//! Actions of the console: who may act, how that is checked, and what is recorded.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{get, host, send};
use crate::harness::{Answer, Endpoint, Reply, Serve, Setup, cef, wait_until};

const TOKEN: &str = "a token of the tests";
pub(crate) const ACTIONS: &str = "[console]\nactions = true\n";

fn file_output() -> String {
    "[[output]]\nname = 'siem'\ntype = 'file'\npath = 'siem.log'\nformat = 'raw'\n".to_owned()
}

/// A server with an output, and with actions.
fn start() -> Serve {
    Setup::new().config(&(file_output() + ACTIONS)).arguments("--no-tls").start()
}

/// A server with actions and an output whose endpoint fails once, and then asks for a pause that no test
/// could wait for.
pub(crate) fn with_output_that_fails_once() -> (Endpoint, Serve) {
    let mut requests = 0;
    let endpoint = Endpoint::start(move |_| {
        requests += 1;
        match requests {
            1 => Reply::Answer(503, "retry-after: 500\r\n", "<b>later</b>".into()),
            _ => Reply::status(200),
        }
    });
    let config = format!(
        "[[output]]\nname = 'siem'\ntype = 'http'\nurl = '{}'\nformat = 'raw'\n\
         batch_every = '100ms'\n{ACTIONS}",
        endpoint.url("/in")
    );
    let serve = Setup::new().config(&config).arguments("--no-tls").start();
    (endpoint, serve)
}

/// The token in the forms of a page.
#[track_caller]
pub(super) fn csrf(page: &Answer) -> String {
    assert_eq!(page.header("content-encoding"), None, "a page with a secret is not compressed");
    let text = page.text();
    let (_, after) = text.split_once("name=\"csrf\" value=\"").unwrap_or_else(|| panic!("{text}"));
    after.split_once('"').unwrap().0.to_owned()
}

/// A page as a browser that accepts gzip gets it.
pub(super) fn page(serve: &Serve, target: &str, headers: &[(&str, &str)]) -> Answer {
    let host = host(serve);
    let own = [("host", host.as_str()), ("accept", "text/html"), ("accept-encoding", "gzip")];
    send(serve, "GET", target, &[&own, headers].concat(), b"")
}

/// Posts a form with these headers.
pub(super) fn post(serve: &Serve, target: &str, headers: &[(&str, &str)], form: &str) -> Answer {
    let host = host(serve);
    let own = [("host", host.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    send(serve, "POST", target, &[&own, headers].concat(), form.as_bytes())
}

/// Posts a form as a page of the console does.
pub(super) fn act(serve: &Serve, target: &str, form: &str) -> Answer {
    let origin = format!("http://{}", host(serve));
    let token = csrf(&page(serve, "/setup", &[]));
    let headers = [("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    post(serve, target, &headers, &format!("csrf={token}&{form}"))
}

/// The recorded actions, the oldest first.
pub(super) fn recorded(serve: &Serve) -> Vec<Value> {
    let text = fs::read_to_string(serve.data().join("actions.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn without_actions_nothing_is_done() {
    let serve = Setup::new().config(&file_output()).arguments("--no-tls").start();
    let shown = page(&serve, "/outputs", &[]);
    assert_eq!(shown.status, 200);
    assert!(!shown.text().contains("<form method=\"post\" action=\"/outputs"), "{}", shown.text());
    let origin = format!("http://{}", host(&serve));
    for target in ["/outputs/siem/test", "/outputs/siem/retry", "/outputs/siem/reset"] {
        let answer = post(&serve, target, &[("origin", &origin)], "to=oldest");
        assert_eq!(answer.status, 403, "{target}");
        assert!(answer.text().contains("actions = true"), "{}", answer.text());
    }
    assert_eq!(get(&serve, "/outputs/siem/reset").status, 403);
    assert!(!serve.data().join("actions.jsonl").exists());
}

#[test]
fn a_form_must_come_from_a_page_of_the_console() {
    let serve = start();
    let origin = format!("http://{}", host(&serve));
    let token = csrf(&page(&serve, "/outputs", &[]));
    let good = format!("csrf={token}");
    let own = ("origin", origin.as_str());
    let refused = |headers: &[(&str, &str)], form: &str| {
        let answer = post(&serve, "/outputs/siem/test", headers, form);
        assert_eq!(answer.status, 403, "{headers:?} {form}: {}", answer.text());
    };
    // No Origin, or a wrong one.
    refused(&[], &good);
    let other_port = format!("http://localhost:{}", super::port(&serve) + 1);
    for wrong in ["null", "http://evil.example", &other_port, &origin.replace("http:", "https:")] {
        refused(&[("origin", wrong)], &good);
    }
    refused(&[own, own], &good);
    // Another site, whatever else is right.
    for site in ["cross-site", "same-site", "none"] {
        refused(&[own, ("sec-fetch-site", site)], &good);
    }
    // No token, a wrong one, or one of another process.
    for form in ["", "csrf=", "csrf=AAAA", &good[..good.len() - 1]] {
        refused(&[own], form);
    }
    refused(&[own], &format!("csrf={}", csrf(&page(&start(), "/outputs", &[]))));
    assert!(recorded(&serve).is_empty(), "{:?}", recorded(&serve));
    // A header of a script is worth nothing where no token is asked for.
    refused(&[("authorization", "Bearer x")], "");

    let done = post(&serve, "/outputs/siem/test", &[own, ("sec-fetch-site", "same-origin")], &good);
    assert_eq!(done.status, 200, "{}", done.text());
    let [action] = &recorded(&serve)[..] else { panic!("{:?}", recorded(&serve)) };
    assert_eq!(action["action"], "test output");
    assert_eq!((&action["detail"], &action["user"]), (&"siem".into(), &"local".into()));
    assert_eq!(action["client"], "127.0.0.1");
    let mode = fs::metadata(serve.data().join("actions.jsonl")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_script_acts_with_the_token_of_the_console_alone() {
    let config = format!("{}{ACTIONS}token_file = 'token'\n", file_output());
    let serve = Setup::new().file("token", TOKEN).config(&config).arguments("--no-tls").start();
    let bearer = format!("Bearer {TOKEN}");
    let authorized = ("authorization", bearer.as_str());
    let test = |headers: &[(&str, &str)], form: &str| {
        post(&serve, "/outputs/siem/test", headers, form).status
    };
    assert_eq!(test(&[], ""), 401);
    assert_eq!(test(&[authorized], ""), 200);
    assert_eq!(recorded(&serve)[0]["user"], "token");
    // A browser has a cookie, and needs the rest.
    let origin = format!("http://{}", host(&serve));
    let login = format!("token={}", TOKEN.replace(' ', "+"));
    for wrong in ["null", "http://evil.example"] {
        assert_eq!(post(&serve, "/login", &[("origin", wrong)], &login).status, 403);
    }
    let logged_in = post(&serve, "/login", &[("origin", &origin)], &login);
    assert_eq!(logged_in.status, 303, "{}", logged_in.text());
    let cookie = logged_in.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let cookie = ("cookie", cookie.as_str());
    let own = ("origin", origin.as_str());
    let good = format!("csrf={}", csrf(&page(&serve, "/outputs", &[cookie])));
    assert_eq!(test(&[cookie], &good), 403);
    assert_eq!(test(&[cookie, own], ""), 403);
    assert_eq!(test(&[cookie, authorized], ""), 403);
    assert_eq!(test(&[cookie, own], &good), 200);
    // Without the cookie the rest is worth nothing.
    assert_eq!(test(&[own], &good), 401);
    assert_eq!(post(&serve, "/logout", &[cookie, ("origin", "null")], "").status, 403);
    assert_eq!(post(&serve, "/logout", &[cookie, own], "").status, 303);
    assert_eq!(recorded(&serve).len(), 2);
}

#[test]
fn what_cannot_be_recorded_is_not_done() {
    let serve = start();
    fs::create_dir(serve.data().join("actions.jsonl")).unwrap();
    serve.deliver(cef(1));
    wait_until("the line", || fs::read(serve.home().join("siem.log")).is_ok_and(|t| t.len() > 9));
    let before = fs::read(serve.home().join("siem.log")).unwrap();
    let answer = act(&serve, "/outputs/siem/reset", "to=oldest");
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert!(answer.text().contains("was not done"), "{}", answer.text());
    serve.deliver(cef(2));
    wait_until("the next line", || {
        fs::read(serve.home().join("siem.log")).unwrap().len() > before.len()
    });
    let lines = fs::read_to_string(serve.home().join("siem.log")).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
}

#[test]
fn an_output_is_reset_to_where_the_form_says() {
    let serve = start();
    serve.deliver([cef(1), cef(2)].join("\n"));
    let lines = || fs::read_to_string(serve.home().join("siem.log")).unwrap_or_default();
    let asked = page(&serve, "/outputs/siem/reset", &[]);
    assert_eq!(asked.status, 200);
    csrf(&asked);

    for (form, expected) in [
        ("to=since&since=yesterday", "expected a time"),
        ("to=since&since=", "expected a time"),
        ("to=elsewhere", "choose where"),
        ("", "choose where"),
    ] {
        let answer = act(&serve, "/outputs/siem/reset", form);
        assert_eq!(answer.status, 400, "{form}");
        assert!(answer.text().contains(expected), "{form}: {}", answer.text());
    }
    assert_eq!(act(&serve, "/outputs/other/reset", "to=oldest").status, 404);
    assert!(recorded(&serve).is_empty());

    // Lines that were written and not saved yet would be taken back.
    let wait_for = |count: usize| {
        wait_until("the lines", || lines().lines().count() == count);
        let saved = format!("{count} in all");
        wait_until("the saved cursor", || page(&serve, "/outputs", &[]).text().contains(&saved));
    };
    wait_for(2);
    assert_eq!(act(&serve, "/outputs/siem/reset", "to=oldest").status, 200);
    wait_for(4);
    assert_eq!(act(&serve, "/outputs/siem/reset", "to=since&since=1d").status, 200);
    wait_for(6);
    assert_eq!(act(&serve, "/outputs/siem/reset", "to=newest").status, 200);
    serve.deliver(cef(3));
    wait_for(7);
    let details: Vec<_> =
        recorded(&serve).iter().map(|one| one["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(details[0], "siem to the oldest entry");
    assert!(details[1].starts_with("siem to the entries received since 20"), "{details:?}");
    assert_eq!((details[2].as_str(), details.len()), ("siem to the newest entry", 3));
}

#[test]
fn outputs_show_their_last_request_and_their_dead_letters() {
    let endpoint = Endpoint::start(|received| match received.lines()[0].contains("/calls/1 ") {
        true => Reply::Answer(400, "", "<b>no</b>".into()),
        false => Reply::status(200),
    });
    let config = format!(
        "[[output]]\nname = 'siem'\ntype = 'http'\nurl = '{}'\nformat = 'raw'\n\
         authorization = 'Splunk a-secret-of-the-tests'\nbatch_every = '100ms'\n{ACTIONS}",
        endpoint.url("/in?key=another-secret")
    );
    let serve = Setup::new().config(&config).arguments("--no-tls").start();
    let shown = || page(&serve, "/outputs", &[]).text();
    assert!(shown().contains(&endpoint.url("/in")) && !shown().contains("secret"), "{}", shown());
    assert_eq!(get(&serve, "/outputs/siem/dead-letters").status, 404);

    serve.deliver("CEF:0|a|b|c|d|e|5|request=/calls/1 x=y");
    wait_until("the dead letter", || shown().contains("&#60;b&#62;no&#60;/b&#62;"));
    assert!(shown().contains("<a href=\"/entries/1\">1</a>"), "{}", shown());
    assert!(shown().contains("<span class=\"bad\">400</span>"), "{}", shown());
    serve.deliver("CEF:0|a|b|c|d|e|5|request=/calls/2 x=y");
    wait_until("the answer", || shown().contains("<span>200</span>"));
    let letters = get(&serve, "/outputs/siem/dead-letters");
    let expected = "attachment; filename=\"dead-letters-siem.jsonl\"";
    assert_eq!(letters.header("content-disposition"), Some(expected));
    let file = fs::read(serve.data().join("dead-letters/siem.jsonl")).unwrap();
    assert_eq!(letters.body, file);
    assert_eq!(get(&serve, "/outputs/other/dead-letters").status, 404);
    assert_eq!(get(&serve, "/outputs/..%2f..%2ftls/dead-letters").status, 404);

    // A test sends one made-up entry, and shows the answer.
    let before = endpoint.received().len();
    let tested = act(&serve, "/outputs/siem/test", "").text();
    assert!(tested.contains("The test of siem succeeded"), "{tested}");
    assert!(tested.contains("answered 200") && !tested.contains("secret"), "{tested}");
    assert_eq!(endpoint.received().len(), before + 1);
}

#[test]
fn a_retry_ends_the_wait_after_a_failure() {
    let (endpoint, serve) = with_output_that_fails_once();
    serve.deliver(cef(1));
    let shown = || page(&serve, "/outputs", &[]).text();
    wait_until("the failure", || shown().contains("Next attempt at"));
    assert!(shown().contains("Retry now"), "{}", shown());
    assert_eq!(act(&serve, "/outputs/siem/retry", "").status, 200);
    assert_eq!(endpoint.wait_for_lines(1), [cef(1)]);
    wait_until("the output to work", || !shown().contains("Retry now"));
    assert_eq!(recorded(&serve)[0]["action"], "retry output");
}

#[test]
fn the_record_of_actions_is_in_backups() {
    let serve = start();
    assert_eq!(act(&serve, "/outputs/siem/test", "").status, 200);
    let to = serve.home().join("backup");
    let run = std::process::Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["store", "backup", to.to_str().unwrap()])
        .current_dir(serve.home())
        .output()
        .unwrap();
    assert!(run.status.success(), "{run:?}");
    let read = |folder: &std::path::Path| fs::read(folder.join("actions.jsonl")).unwrap();
    assert_eq!(read(&to), read(&serve.data()));
}
