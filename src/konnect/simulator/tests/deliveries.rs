//! Deliveries: to whom, in which form, how often, and what the status shows of them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::webhook::BatchOutcome;
use super::super::{Options, TamperingPlan};
use super::{Endpoint, PORTAL, Say, Standin, portal, verdict};
use crate::entry::VerdictName;
use crate::konnect::batch::Encoding;

const SECOND: u64 = 1000;

/// Delivers two logins to an endpoint that answers so, the clock moved to each retry: the waits, and
/// what became of the batch at last.
async fn check(said: &[Say], waits: &[u64], last: BatchOutcome, status: &str, code: Option<u16>) {
    let attempt_timeout =
        Duration::from_millis(if said.contains(&Say::Hang) { 200 } else { 60_000 });
    let standin = Standin::with(Options { attempt_timeout, ..Options::default() });
    let endpoint = Endpoint::start().await;
    standin.enable(&format!("/v3/portals/{PORTAL}"), &endpoint.url, "cef").await;
    standin.logins(2).await;
    endpoint.say(said.iter().copied());
    let (mut found, mut outcome) = (Vec::new(), None);
    loop {
        let reports = standin.deliver().await;
        let [report] = reports.as_slice() else { panic!("{said:?}: {reports:?}") };
        assert_eq!((report.entries, report.attempt), (2, found.len() + 1), "{said:?}");
        outcome = report.outcome.or(outcome);
        let Some(wait) = report.wait_ms else { break };
        found.push(wait);
        // Not before its time.
        standin.clock.advance(Duration::from_millis(wait - 1));
        assert_eq!(standin.deliver().await, [], "{said:?}");
        standin.clock.advance(Duration::from_millis(1));
    }
    assert_eq!((found.as_slice(), outcome), (waits, Some(last)), "{said:?}");
    let delivered = endpoint.lines().len();
    assert_eq!(delivered, if last == BatchOutcome::Delivered { 2 } else { 0 }, "{said:?}");
    let shown = standin.get(&portal("audit-log-webhook/status")).await;
    assert_eq!(shown["webhook_status"], status, "{said:?}");
    assert_eq!(shown["webhook_enabled"], true);
    assert_eq!(shown["last_response_code"], code.map_or(Value::Null, Value::from), "{said:?}");
    let now = standin.clock.now().to_string();
    assert_eq!(shown["last_attempt_at"], now, "{said:?}");
    let message = shown["last_response_message"].as_str().unwrap();
    match code {
        Some(code) => assert_eq!(message, format!("said {code}")),
        None => assert!(!message.is_empty()),
    }
}

#[tokio::test]
async fn a_delivery_that_is_taken_is_made_once() {
    check(&[], &[], BatchOutcome::Delivered, "active", Some(200)).await;
}

#[tokio::test]
async fn connection_errors_429_and_500_are_tried_again_until_the_webhook_is_turned_off() {
    const ALL: [u64; 4] = [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND];
    let s = Say::Status;
    check(&[s(500); 5], &ALL, BatchOutcome::Lost, "inactive", Some(500)).await;
    check(&[s(429); 5], &ALL, BatchOutcome::Lost, "inactive", Some(429)).await;
    check(&[Say::Drop; 5], &ALL, BatchOutcome::Lost, "inactive", None).await;
    check(&[s(500), s(429), Say::Drop, s(500)], &ALL, BatchOutcome::Delivered, "active", Some(200))
        .await;
    check(&[Say::Hang, Say::Hang], &ALL[..2], BatchOutcome::Delivered, "active", Some(200)).await;
    check(&[Say::Hang; 5], &ALL, BatchOutcome::Lost, "inactive", None).await;
}

#[tokio::test]
async fn any_other_status_loses_the_batch() {
    let s = Say::Status;
    for status in [301, 400, 401, 408, 413, 502, 503] {
        check(&[s(status)], &[], BatchOutcome::Lost, "active", Some(status)).await;
    }
    check(&[s(500), s(503)], &[SECOND], BatchOutcome::Lost, "active", Some(503)).await;
}

#[tokio::test]
async fn many_refusals_in_a_row_turn_it_off_too() {
    let standin = Standin::new();
    let endpoint = Endpoint::start().await;
    standin.enable(&format!("/v3/portals/{PORTAL}"), &endpoint.url, "cef").await;
    endpoint.say([Say::Status(401); 5]);
    for n in 1..=5 {
        standin.logins(1).await;
        assert_eq!(standin.deliver().await.len(), 1);
        let shown = standin.get(&portal("audit-log-webhook/status")).await;
        let expected = if n < 5 { "active" } else { "inactive" };
        assert_eq!(shown["webhook_status"], expected, "{n}");
    }
    standin.logins(1).await;
    assert_eq!(standin.deliver().await, []);
}

#[tokio::test]
async fn an_outage_is_mended_by_a_replay_and_every_entry_is_the_same_bytes() {
    let standin = Standin::new();
    let endpoint = Endpoint::start().await;
    standin.logins(1).await;
    standin.enable(&format!("/v3/portals/{PORTAL}"), &endpoint.url, "cef").await;
    standin.logins(3).await;
    assert_eq!(standin.deliver().await.len(), 1);
    // What happened before is not sent.
    let first = endpoint.lines();
    assert_eq!(first.len(), 3);

    // The receiver is away; the key changes; more happens, of which nothing is sent.
    endpoint.say([Say::Drop; 5]);
    standin.logins(2).await;
    let all = standin.core.deliver_all(true).await;
    assert_eq!(all.last().unwrap().outcome, Some(BatchOutcome::Lost));
    assert_eq!(all.len(), 5);
    assert_eq!(standin.call("POST", "/simulate/rotate-key", Value::Null).await.0, 200);
    standin.logins(4).await;
    assert_eq!(standin.deliver().await, []);
    let now = standin.clock.now();
    let range = json!({"start_at": "2025-06-18T00:00:00Z", "end_at": now.to_string()});
    let path = portal("audit-log-replay-job");
    assert_eq!(standin.get(&path).await["status"], "unconfigured");
    let (status, job) = standin.call("PUT", &path, range.clone()).await;
    assert_eq!((status, &job["status"]), (202, &json!("accepted")));
    let (status, problem) = standin.call("PUT", &path, range).await;
    assert_eq!((status, &problem["title"]), (409, &json!("Resource Conflict")));

    // A replay is sent while the webhook is off, and that turns it on again.
    standin.deliver().await;
    assert_eq!(standin.get(&path).await["status"], "completed");
    let shown = standin.get(&portal("audit-log-webhook/status")).await;
    assert_eq!(shown["webhook_status"], "active");
    let replayed = endpoint.lines();
    let distinct: BTreeSet<_> = replayed.iter().collect();
    assert_eq!((replayed.len(), distinct.len()), (10, 10));
    assert!(first.iter().all(|line| distinct.contains(line)), "the bytes differ");
    let keys = standin.keys();
    assert!(replayed.iter().all(|line| verdict(line, &keys) == VerdictName::Valid));

    // What happens now is sent again.
    standin.logins(1).await;
    standin.deliver().await;
    assert_eq!(endpoint.lines().len(), 1);
}

#[tokio::test]
async fn a_replay_needs_a_webhook_and_goes_in_batches() {
    let standin = Standin::with(Options { batch: 10, ..Options::default() });
    let endpoint = Endpoint::start().await;
    standin.logins(25).await;
    standin.clock.advance(Duration::from_secs(10));
    standin.logins(5).await;
    let range = json!({"start_at": "2025-06-18T21:00:00Z", "end_at": "2025-06-18T21:01:06Z"});
    let path = portal("audit-log-replay-job");
    assert_eq!(standin.call("PUT", &path, range.clone()).await.0, 202);
    standin.deliver().await;
    assert_eq!(standin.get(&path).await["status"], "failed");
    standin.enable(&format!("/v3/portals/{PORTAL}"), &endpoint.url, "json").await;
    assert_eq!(standin.call("PUT", &path, range.clone()).await.0, 202);
    let sizes: Vec<_> = standin.deliver().await.iter().map(|one| one.entries).collect();
    assert_eq!(sizes, [10, 10, 5]);
    // One batch of a replay is lost: the rest is sent, and the job has failed.
    endpoint.say([Say::Status(413)]);
    assert_eq!(standin.call("PUT", &path, range).await.0, 202);
    assert_eq!(standin.deliver().await.len(), 3);
    assert_eq!(standin.get(&path).await["status"], "failed");
}

#[tokio::test]
async fn each_webhook_has_its_own_entries_in_its_format() {
    for (format, encoding) in
        [("cef", Encoding::Gzip), ("json", Encoding::ApplicationGzip), ("cps", Encoding::Gzip)]
    {
        let standin = Standin::with(Options { encoding, ..Options::default() });
        let (own, portals) = (Endpoint::start().await, Endpoint::start().await);
        standin.enable("/v3", &own.url, format).await;
        standin.enable(&format!("/v2/portals/{PORTAL}"), &portals.url, format).await;
        standin.logins(2).await;
        let made = standin.call("POST", "/simulate/entries", json!({"count": 20})).await;
        assert_eq!((made.0, &made.1["count"]), (200, &json!(20)));
        let (_, delivered) = standin.call("POST", "/simulate/deliver", Value::Null).await;
        assert_eq!(delivered["attempts"].as_array().unwrap().len(), 2, "{delivered}");
        let (own, portals) = (own.received(), portals.received());
        let keys = standin.keys();
        // Beside the 20 there are those of the calls: that which enabled the webhook, and the two that
        // set up the portal's leave three each.
        for (received, count, product) in [(&own[0], 29, "Konnect"), (&portals[0], 2, "Dev-Portal")]
        {
            assert_eq!(received.lines.len(), count, "{format}");
            assert_eq!(received.headers["authorization"], "Splunk 0123");
            assert_eq!(received.headers["content-type"], "text/plain");
            assert_eq!(received.headers["content-encoding"], encoding.as_str());
            for line in &received.lines {
                assert_eq!(verdict(line, &keys), VerdictName::Valid, "{line}");
                assert!(line.contains(product), "{line}");
                assert_eq!(line.starts_with("{\"event\":{"), format == "cps", "{line}");
            }
        }
    }
}

#[tokio::test]
async fn shares_of_the_traffic_are_tampered_with_unsigned_or_sent_twice() {
    let [a, b, c] = ["10%", "20%", "5%"].map(|share| share.parse().unwrap());
    let tampering = TamperingPlan::new(a, b, c).unwrap();
    let standin = Standin::with(Options { tampering, ..Options::default() });
    let endpoint = Endpoint::start().await;
    standin.enable(&format!("/v3/portals/{PORTAL}"), &endpoint.url, "cef").await;
    let body = json!({"count": 100, "portal": PORTAL});
    assert_eq!(standin.call("POST", "/simulate/entries", body).await.0, 200);
    standin.deliver().await;
    let (lines, keys) = (endpoint.lines(), standin.keys());
    let count = |name| lines.iter().filter(|line| verdict(line, &keys) == name).count();
    assert_eq!(count(VerdictName::Invalid), 10);
    assert_eq!(count(VerdictName::Unsigned), 20);
    assert_eq!(count(VerdictName::Valid), 75);
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), 100);
}

#[tokio::test]
async fn a_change_to_the_destination_turns_the_webhook_on_again() {
    let standin = Standin::new();
    let endpoint = Endpoint::start().await;
    let nobody = "http://127.0.0.1:9/audit-logs";
    standin.enable(&format!("/v3/portals/{PORTAL}"), nobody, "cef").await;
    standin.logins(1).await;
    assert_eq!(standin.core.deliver_all(true).await.len(), 5);
    let shown = standin.get(&portal("audit-log-webhook")).await;
    let id = shown["audit_log_destination_id"].as_str().unwrap();
    let path = format!("/v2/audit-log-destinations/{id}");
    let (status, _) = standin.call("PATCH", &path, json!({"endpoint": endpoint.url})).await;
    assert_eq!(status, 200);
    standin.logins(1).await;
    standin.deliver().await;
    assert_eq!(endpoint.lines().len(), 1);
}
