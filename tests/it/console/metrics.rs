//! The metrics and the readiness.

use rustix::process::Signal;

use super::{ask, get, line, wait_for};
use crate::full_disk::limit;
use crate::harness::{RawConnection, Serve, Setup, Signer, gzip, jwks, wait_until, write_private};
use crate::vectors::{fixture, vector};

/// The value of a time series, which is named with its labels in order.
pub(crate) fn value(text: &str, series: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

#[track_caller]
fn check(text: &str, expected: &[(&str, f64)]) {
    for (series, expected) in expected {
        assert_eq!(value(text, series), Some(*expected), "{series}\n{text}");
    }
}

#[test]
fn metrics_count_what_happens() {
    let jwks = fixture("jwks.json");
    let config = "[store]\nsegment_entries = 3\n[receiver]\nmax_body = 4000\n\
                  [[input]]\nname = 'one'\npath = '/one'\nauthorization = 'x'\n\
                  [[input]]\nname = 'two'\npath = '/two'\nauthorization = 'x'\n";
    let setup = Setup::new().config(config).argument("--jwks", jwks.to_str().unwrap());
    let mut serve = setup.start();
    serve.authorization = "x".to_owned();
    let text = get(&serve, "/metrics").text();
    check(
        &text,
        &[
            ("vidimus_deliveries_total{input=\"two\",status=\"429\"}", 0.0),
            ("vidimus_last_entry_timestamp_seconds{input=\"one\"}", 0.0),
            ("vidimus_requests_refused_total{status=\"401\"}", 0.0),
            ("vidimus_entries_total{format=\"cef\",kind=\"access\",verdict=\"invalid\"}", 0.0),
        ],
    );

    let access = vector("cef-access.vec");
    let body = access.clone() + &vector("cef-flipped-byte.vec") + "hello\n" + &access;
    let headers = [("authorization", "x"), ("content-encoding", "gzip")];
    let sent = gzip(body.as_bytes());
    let answer = serve.post("/one", &headers, &sent);
    assert_eq!(answer.status, 200, "{}", answer.text());
    serve.deliver_to("/one", access.as_bytes());
    assert_eq!(serve.post("/two", &headers, b"\x1f\x8b no more").status, 400);
    assert_eq!(serve.post("/two", &[("authorization", "x")], &[b'x'; 5000]).status, 413);
    assert_eq!(serve.post("/two", &[("authorization", "y")], b"").status, 401);
    assert_eq!(serve.post("/three", &[("authorization", "x")], b"").status, 404);
    let mut plain = RawConnection::plain(serve.port());
    plain.send("GET / HTTP/1.1\r\n\r\n");
    plain.rest();
    // A failure is counted when the connection has ended.
    let failed = "vidimus_tls_handshake_failures_total{listener=\"receiver\"}";
    wait_until("the refused connection", || {
        value(&get(&serve, "/metrics").text(), failed) == Some(1.0)
    });

    let text = get(&serve, "/metrics").text();
    let decoded = (body.len() + access.len()) as f64;
    check(
        &text,
        &[
            ("vidimus_deliveries_total{input=\"one\",status=\"200\"}", 2.0),
            ("vidimus_deliveries_total{input=\"two\",status=\"200\"}", 0.0),
            ("vidimus_deliveries_total{input=\"two\",status=\"400\"}", 1.0),
            ("vidimus_deliveries_total{input=\"two\",status=\"413\"}", 1.0),
            ("vidimus_requests_refused_total{status=\"401\"}", 1.0),
            ("vidimus_requests_refused_total{status=\"404\"}", 1.0),
            ("vidimus_entries_total{format=\"cef\",kind=\"access\",verdict=\"valid\"}", 1.0),
            ("vidimus_duplicates_total{input=\"one\"}", 2.0),
            ("vidimus_received_bytes_total{input=\"one\"}", (sent.len() + access.len()) as f64),
            ("vidimus_decoded_bytes_total{input=\"one\"}", decoded),
            ("vidimus_last_entry_timestamp_seconds{input=\"two\"}", 0.0),
            (
                "vidimus_connections_refused_total{listener=\"receiver\",reason=\"plain_to_tls\"}",
                1.0,
            ),
            ("vidimus_store_commit_duration_seconds_count", 2.0),
            ("vidimus_store_commit_deliveries_sum", 2.0),
            ("vidimus_store_commit_failures_total", 0.0),
            ("vidimus_delivery_duration_seconds_count", 2.0),
            ("vidimus_store_writable", 1.0),
            ("vidimus_store_missing_ids", 0.0),
            ("vidimus_in_flight_bytes", 0.0),
            ("vidimus_in_flight_limit_bytes", f64::from(512 << 20)),
            ("vidimus_keys", 2.0),
        ],
    );
    let entries = |text: &str, part: &str| -> f64 {
        let lines = text.lines().filter(|line| line.starts_with("vidimus_entries_total{"));
        lines
            .filter(|line| line.contains(part))
            .map(|line| value(text, series_of(line)).unwrap())
            .sum()
    };
    assert_eq!(entries(&text, "verdict=\"invalid\""), 1.0);
    assert_eq!(entries(&text, "kind=\"none\""), 1.0);
    assert_eq!(entries(&text, ""), 3.0);
    let source = format!("source=\"{}\",outcome=\"success\"", jwks.display());
    let refreshes = format!("vidimus_key_refreshes_total{{{source}}}");
    assert!(value(&text, &refreshes) >= Some(1.0), "{text}");
    for series in [
        "vidimus_store_bytes",
        "vidimus_store_free_bytes",
        "vidimus_tls_certificate_expiry_timestamp_seconds{listener=\"receiver\"}",
        "vidimus_last_entry_timestamp_seconds{input=\"one\"}",
    ] {
        assert!(value(&text, series) > Some(1000.0), "{series}\n{text}");
    }
    assert_eq!(
        value(&text, "vidimus_tls_certificate_expiry_timestamp_seconds{listener=\"console\"}"),
        None
    );
    // The server may still count closed connections.
    assert!(value(&text, "vidimus_connections{listener=\"console\"}") >= Some(1.0), "{text}");
    let build = format!("vidimus_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    check(&text, &[(&build, 1.0), ("vidimus_store_segments{state=\"live\"}", 1.0)]);

    // A restart resets the counters, but not the time of the last entry.
    let last = value(&text, "vidimus_last_entry_timestamp_seconds{input=\"one\"}").unwrap();
    serve.stop();
    serve.restart();
    let text = get(&serve, "/metrics").text();
    check(
        &text,
        &[
            ("vidimus_last_entry_timestamp_seconds{input=\"one\"}", last),
            ("vidimus_deliveries_total{input=\"one\",status=\"200\"}", 0.0),
        ],
    );
}

fn series_of(line: &str) -> &str {
    line.rsplit_once(' ').unwrap().0
}

#[test]
fn each_output_has_metrics() {
    let output = |name: &str, path: &str| {
        format!("[[output]]\nname = '{name}'\ntype = 'file'\npath = '{path}'\n")
    };
    let (good, bad) = (output("good", "good.log"), output("bad", "folder/bad.log"));
    let setup = Setup::new().config(&format!("{good}{bad}")).file("folder", "no folder");
    let serve = setup.start();
    serve.deliver(format!("{}{}", line(1, 200), line(2, 200)));
    let metrics = || get(&serve, "/metrics").text();
    let series = |name: &str, output: &str| format!("vidimus_output_{name}{{output=\"{output}\"}}");
    wait_until("the outputs", || {
        let text = metrics();
        value(&text, &series("entries_total", "good")) == Some(2.0)
            && value(&text, &series("failing", "bad")) == Some(1.0)
    });
    let text = metrics();
    for (name, good, bad) in
        [("lag_entries", 0.0, 2.0), ("failing", 0.0, 1.0), ("dead_letters_total", 0.0, 0.0)]
    {
        check(&text, &[(&series(name, "good"), good), (&series(name, "bad"), bad)]);
    }
    assert_eq!(value(&text, &series("lag_seconds", "good")), Some(0.0));
    assert!(value(&text, &series("lag_seconds", "bad")) > Some(0.0), "{text}");
    assert!(value(&text, &series("failures_total", "bad")) >= Some(1.0), "{text}");
    let page = get(&serve, "/outputs").text();
    assert!(page.contains("cannot make its folder"), "{page}");
    let page = get(&serve, "/overview").text();
    assert!(page.contains(">2 outputs, 1 behind<"), "{page}");

    // A removed output is not shown.
    write_private(&serve.home().join("config.toml"), good.as_bytes());
    serve.signal(Signal::HUP);
    wait_until("the output to be gone", || !metrics().contains("output=\"bad\""));
    let page = get(&serve, "/outputs").text();
    assert!(page.contains(">good ") && !page.contains(">bad "), "{page}");
}

#[test]
fn metrics_are_well_formed_and_hold_no_text_of_a_sender() {
    let serve = Serve::start();
    serve.deliver("{\"name\":\"hunter2\",\"rt\":1000,\"src\":\"hunter2\"}\n");
    let headers = [("authorization", "hunter2 hunter2"), ("user-agent", "hunter2")];
    assert_eq!(serve.post("/hunter2", &headers, b"").status, 404);
    let answer = get(&serve, "/metrics");
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    let text = answer.text();
    assert!(text.ends_with("# EOF\n") && !text.contains("hunter2"), "{text}");
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            families.push(family.split(' ').next().unwrap());
        } else if !line.starts_with('#') {
            let family = families.last().unwrap();
            assert!(family.starts_with("vidimus_") && line.starts_with(family), "{line}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
    let mut distinct = families.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), families.len(), "{families:?}");
}

#[test]
fn the_server_is_not_ready_while_keys_are_missing() {
    let serve = Setup::new().arguments("--jwks jwks.json").start();
    let answer = get(&serve, "/readyz");
    super::conforms("get", "/readyz", &answer);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("there are no keys yet for the input default"));
    // The receiver still accepts deliveries.
    assert_eq!(serve.deliver(line(1, 200))["stored"], 1);
    let set = jwks(&[&Signer::new("k1")]);
    write_private(&serve.home().join("jwks.json"), set.as_bytes());
    serve.signal(Signal::HUP);
    wait_for(&serve, "/readyz");
    assert_eq!(ask(&serve, "/readyz")["keys"], "ok");
    assert_eq!(ask(&Serve::start(), "/readyz")["keys"], "not needed");
}

#[test]
fn the_server_is_not_ready_while_the_store_cannot_be_written() {
    let serve = Serve::start();
    let body: String = (0..5000).map(|n| line(1000 + n, 200)).collect();
    let headers = [("authorization", serve.authorization.as_str())];
    limit(&serve, Some(100_000));
    assert_eq!(serve.post("/audit-logs", &headers, body.as_bytes()).status, 500);
    let answer = get(&serve, "/readyz");
    super::conforms("get", "/readyz", &answer);
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("the last write to the store failed"));
    let text = get(&serve, "/metrics").text();
    check(
        &text,
        &[
            ("vidimus_store_writable", 0.0),
            ("vidimus_deliveries_total{input=\"default\",status=\"500\"}", 1.0),
        ],
    );
    assert!(value(&text, "vidimus_store_commit_failures_total") >= Some(1.0));
    // The server becomes ready again without a delivery.
    limit(&serve, None);
    wait_for(&serve, "/readyz");
    assert_eq!(serve.deliver(&body)["stored"], 5000);
    assert_eq!(get(&serve, "/readyz").status, 200);
}
