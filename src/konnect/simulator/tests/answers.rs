//! What the API answers: to the documents' examples, to bad requests, and to strangers.

use serde_json::{Value, json};

use super::{PORTAL, Standin, portal};

const DESTINATIONS: &str = "/v3/audit-log-destinations";

#[tokio::test]
async fn the_documents_request_bodies_are_accepted() {
    let create = json!({"id": "07ec3858-066b-4629-bdc5-d4aa893b424d", "name": "My Destination",
        "endpoint": "https://example.com/audit-log", "authorization": "Bearer token",
        "log_format": "cef", "skip_ssl_verification": false});
    let update = json!({"endpoint": "https://example.com/audit-log-json", "log_format": "json",
        "skip_ssl_verification": false});
    for version in ["v2", "v3"] {
        let standin = Standin::new();
        let path = format!("/{version}/audit-log-destinations");
        let (status, made) = standin.call("POST", &path, create.clone()).await;
        assert_eq!(status, 201, "{made}");
        assert_ne!(made["id"], create["id"]);
        assert!(made.get("authorization").is_none());
        let id = made["id"].as_str().unwrap();
        let (status, changed) =
            standin.call("PATCH", &format!("{path}/{id}"), update.clone()).await;
        assert_eq!((status, &changed["log_format"]), (200, &json!("json")));

        let range = json!({"start_at": "2025-06-17T17:32:28Z", "end_at": "2025-06-18T17:32:28Z"});
        let mut webhooks = vec![format!("/{version}/portals/{PORTAL}")];
        if version == "v3" {
            webhooks.push("/v3".to_owned());
        }
        for prefix in webhooks {
            let webhook = format!("{prefix}/audit-log-webhook");
            for body in [
                json!({"enabled": false}),
                json!({"enabled": true}),
                json!({"audit_log_destination_id": id}),
                json!({"audit_log_destination_id": id, "enabled": true}),
            ] {
                let (status, shown) = standin.call("PATCH", &webhook, body.clone()).await;
                assert_eq!(status, 200, "{webhook} {body}: {shown}");
            }
            let shown = standin.get(&webhook).await;
            assert_eq!(shown, json!({"audit_log_destination_id": id, "enabled": true}));
            let job = format!("{prefix}/audit-log-replay-job");
            assert_eq!(standin.call("PUT", &job, range.clone()).await.0, 202);
        }
    }
    let standin = Standin::new();
    for body in [update, json!({"enabled": false}), json!({"enabled": true})] {
        let (status, shown) = standin.call("PATCH", "/v2/audit-log-webhook", body).await;
        assert_eq!(status, 200, "{shown}");
    }
}

/// A bad body, and which field is wrong with it.
async fn check(standin: &Standin, method: &str, path: &str, body: &str, field: &str, reason: &str) {
    let token = "Bearer kpat_test";
    let (status, problem) = standin.call_as(token, method, path, body.to_owned()).await;
    assert_eq!(status, 400, "{path} {body}: {problem}");
    assert_eq!(problem["status"], 400);
    assert_eq!(problem["title"], "Bad Request");
    assert!(problem["instance"].as_str().unwrap().starts_with("konnect:trace:"), "{problem}");
    let wrong = &problem["invalid_parameters"][0];
    assert_eq!((wrong["field"].as_str(), wrong["reason"].as_str()), (Some(field), Some(reason)));
}

#[tokio::test]
async fn a_bad_body_is_answered_with_what_is_wrong() {
    let standin = &Standin::new();
    let post = DESTINATIONS;
    let blank = "cannot be blank";
    check(standin, "POST", post, "{", "body", "request format is invalid").await;
    check(standin, "POST", post, "[]", "body", "request format is invalid").await;
    check(standin, "POST", post, "{}", "name", blank).await;
    let with = |member: &str, value: Value| {
        let mut body = json!({"name": "n", "endpoint": "https://example.com/",
            "authorization": "Bearer x", "log_format": "cef"});
        body[member] = value;
        body.to_string()
    };
    check(standin, "POST", post, &with("authorization", json!("")), "authorization", blank).await;
    check(standin, "POST", post, &with("endpoint", json!("")), "endpoint", blank).await;
    let url = "must be a valid URL";
    check(standin, "POST", post, &with("endpoint", json!("example.com")), "endpoint", url).await;
    let words = "must be one of cef, json, cps";
    check(standin, "POST", post, &with("log_format", json!("xml")), "log_format", words).await;
    let boolean = "must be a boolean";
    let skip = "skip_ssl_verification";
    check(standin, "POST", post, &with(skip, json!("yes")), skip, boolean).await;

    for path in ["/v3/audit-log-webhook".to_owned(), portal("audit-log-webhook")] {
        let (id, reason) = ("audit_log_destination_id", "destination id format is invalid");
        check(standin, "PATCH", &path, &json!({id: "x"}).to_string(), id, reason).await;
        check(standin, "PATCH", &path, r#"{"enabled":1}"#, "enabled", boolean).await;
    }
    check(standin, "PATCH", "/v2/audit-log-webhook", r#"{"endpoint":"/"}"#, "endpoint", url).await;

    let day = |day: u32| format!("2025-06-{day:02}T12:00:00Z");
    let range = |start: &str, end: &str| json!({"start_at": start, "end_at": end}).to_string();
    let kept = "must be within the time that entries are kept";
    for path in ["/v2/audit-log-replay-job".to_owned(), portal("audit-log-replay-job")] {
        check(standin, "PUT", &path, "{}", "start_at", blank).await;
        let bad = range("yesterday", &day(18));
        let reason = "must be a date-time in RFC 3339";
        check(standin, "PUT", &path, &bad, "start_at", reason).await;
        check(standin, "PUT", &path, &range(&day(1), &day(18)), "start_at", kept).await;
        check(standin, "PUT", &path, &range(&day(17), &day(20)), "end_at", kept).await;
        let reason = "must not be before start_at";
        check(standin, "PUT", &path, &range(&day(18), &day(17)), "end_at", reason).await;
    }
}

#[tokio::test]
async fn strangers_and_strange_requests_are_refused() {
    let standin = Standin::new();
    let unknown = "6945c4c4-3e06-4c5c-87e0-726d0cda4e05";
    let check = async |authorization: &str, method: &str, path: &str, expected: u16| {
        let (status, problem) = standin.call_as(authorization, method, path, "{}").await;
        assert_eq!(status, expected, "{method} {path}: {problem}");
        assert_eq!(problem["status"], expected);
        assert!(problem["instance"].as_str().unwrap().starts_with("kong:trace:"));
        assert!(problem["title"].is_string() && problem["detail"].is_string());
    };
    let good = "Bearer kpat_test";
    for wrong in ["", "kpat_test", "Basic kpat_test", "Bearer kpat_tes", "Bearer kpat_test "] {
        check(wrong, "GET", DESTINATIONS, 401).await;
    }
    check("Bearer x", "POST", "/simulate/deliver", 401).await;
    check(good, "GET", "/v3/nothing", 404).await;
    check(good, "GET", "/v2/audit-logs", 404).await;
    check(good, "PUT", DESTINATIONS, 405).await;
    check(good, "DELETE", "/v2/audit-log-webhook", 405).await;
    for method in ["GET", "PATCH", "DELETE"] {
        check(good, method, &format!("{DESTINATIONS}/{unknown}"), 404).await;
        check(good, method, &format!("/v3/portals/{unknown}/audit-log-webhook"), 404).await;
    }
    check(good, "POST", &format!("/simulate/portals/{unknown}/login"), 404).await;
    check(good, "POST", "/simulate/nothing", 404).await;

    let (_, other) = standin.call("POST", "/simulate/tokens", Value::Null).await;
    let without_role = format!("Bearer {}", other["token"].as_str().unwrap());
    check(&without_role, "GET", DESTINATIONS, 403).await;
    check(&without_role, "POST", "/simulate/deliver", 403).await;
    let body = json!({"audit_log_destination_id": unknown});
    assert_eq!(standin.call("PATCH", "/v3/audit-log-webhook", body).await.0, 404);

    let large = vec![b' '; 65 << 10];
    assert_eq!(standin.call_as(good, "POST", DESTINATIONS, large).await.0, 413);
    // The key set is for everybody.
    let (status, keys) = standin.call_as("", "GET", "/v2/audit-log-webhook/jwks.json", "").await;
    assert_eq!((status, &keys["keys"][0]["crv"]), (200, &json!("Ed25519")));
}

#[tokio::test]
async fn both_versions_show_the_same_state() {
    let standin = Standin::new();
    let none = standin.get("/v2/audit-log-webhook").await;
    assert_eq!((&none["endpoint"], &none["enabled"]), (&json!("unconfigured"), &json!(false)));
    assert_eq!(none["updated_at"], "0001-01-01T00:00:00.000Z");
    let body = json!({"endpoint": "https://example.com/a", "authorization": "Bearer x",
                      "enabled": true, "log_format": "cps"});
    assert_eq!(standin.call("PATCH", "/v2/audit-log-webhook", body).await.0, 200);
    let shown = standin.get("/v3/audit-log-webhook").await;
    assert_eq!(shown["enabled"], true);
    let id = shown["audit_log_destination_id"].as_str().unwrap();
    let path = format!("{DESTINATIONS}/{id}");
    let destination = standin.get(&path).await;
    assert_eq!(destination["endpoint"], "https://example.com/a");
    let body = json!({"endpoint": "https://example.com/b"});
    assert_eq!(standin.call("PATCH", &path, body).await.0, 200);
    let shown = standin.get("/v2/audit-log-webhook").await;
    assert_eq!(shown["endpoint"], "https://example.com/b");
    assert_eq!(shown["log_format"], "cps");

    // A destination in use stays.
    let (status, problem) = standin.call("DELETE", &path, Value::Null).await;
    assert_eq!((status, &problem["status"]), (409, &json!(409)));
    assert_eq!(standin.call("DELETE", "/v3/audit-log-webhook", Value::Null).await.0, 204);
    let shown = standin.get("/v3/audit-log-webhook").await;
    assert_eq!(shown, json!({"audit_log_destination_id": "", "enabled": false}));
    assert_eq!(standin.call("DELETE", &path, Value::Null).await.0, 204);
    assert_eq!(standin.call("GET", &path, Value::Null).await.0, 404);
}

#[tokio::test]
async fn a_call_leaves_its_entries_and_a_refused_one_too() {
    let standin = Standin::new();
    standin.get("/v3/audit-log-webhook").await;
    standin.call("DELETE", "/v3/audit-log-webhook", Value::Null).await;
    let pulled = standin.get("/v3/audit-logs").await;
    let data = pulled["data"].as_array().unwrap();
    let types: Vec<_> = data.iter().map(|one| one["type"].as_str().unwrap()).collect();
    // The newest first.
    let change = ["gateway_access", "authorization", "authentication"];
    let read = ["authorization", "authentication"];
    assert_eq!(types, [&change[..], &read[..]].concat());
    assert_ne!(data[2]["trace_id"], data[3]["trace_id"]);
    assert_eq!(data[2]["trace_id"], data[0]["trace_id"]);
    assert_eq!(data[0]["method"], "DELETE");
    assert_eq!(data[0]["status_code"], 204);

    let (_, other) = standin.call("POST", "/simulate/tokens", Value::Null).await;
    let without_role = format!("Bearer {}", other["token"].as_str().unwrap());
    let (_, problem) = standin.call_as(&without_role, "POST", DESTINATIONS, "{}").await;
    let pulled = standin.get("/v3/audit-logs?filter[type]=authorization").await;
    let last = pulled["data"].as_array().unwrap().first().unwrap().clone();
    assert_eq!(last["granted"], false);
    let instance = format!("kong:trace:{}", last["trace_id"].as_str().unwrap());
    assert_eq!(problem["instance"], instance);
}

#[tokio::test]
async fn the_clock_is_set_by_hand_and_not_back() {
    let standin = Standin::new();
    let (status, shown) =
        standin.call("POST", "/simulate/clock", json!({"advance_ms": 1000})).await;
    assert_eq!((status, &shown["now"]), (200, &json!("2025-06-18T21:01:07.000Z")));
    let back = json!({"set": "2025-06-18T21:01:06Z"});
    assert_eq!(standin.call("POST", "/simulate/clock", back).await.0, 400);
    let ahead = json!({"set": "2025-07-18T21:01:06Z"});
    assert_eq!(standin.call("POST", "/simulate/clock", ahead).await.0, 200);
    assert_eq!(standin.get("/simulate/clock").await["held"], true);
}
