//! Lists by pages: destinations, and the pull of entries while new ones come.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Options, Standin};
use crate::konnect::api::{DestinationPage, PulledEntry, PulledPage};

/// What tells an entry from all others: a request may leave several with one trace id.
fn signature(entry: &PulledEntry) -> String {
    match entry {
        PulledEntry::Authorization(one) => one.signature.clone(),
        PulledEntry::GatewayAccess(one) => one.signature.clone(),
        PulledEntry::Authentication(one) => one.signature.clone(),
        PulledEntry::Other => panic!(),
    }
}

#[tokio::test]
async fn a_pull_of_100_000_entries_neither_repeats_nor_misses_one_while_new_ones_come() {
    const COUNT: u64 = 100_000;
    let standin = Standin::new();
    let entries = json!({"count": COUNT});
    assert_eq!(standin.call("POST", "/simulate/entries", entries).await.0, 200);
    // Portals' entries are not pulled.
    standin.logins(3).await;
    standin.clock.advance(Duration::from_millis(1));
    let mut next = Some("/v3/audit-logs?page[size]=1000".to_owned());
    let (mut seen, mut pulled) = (HashSet::new(), 0);
    while let Some(path) = next {
        let page: PulledPage = serde_json::from_value(standin.get(&path).await).unwrap();
        assert_eq!(page.meta.page.size, 1000);
        pulled += page.data.len() as u64;
        seen.extend(page.data.iter().map(signature));
        standin.clock.advance(Duration::from_millis(1));
        assert_eq!(standin.call("POST", "/simulate/entries", json!({"count": 7})).await.0, 200);
        next = page.meta.page.next;
    }
    // Later entries are before the first page.
    assert_eq!((pulled, seen.len() as u64), (COUNT, COUNT));
}

#[tokio::test]
async fn filters_and_pages_backwards() {
    let standin = Standin::new();
    let made = standin.call("POST", "/simulate/entries", json!({"count": 300})).await;
    assert_eq!(made.0, 200);
    for kind in ["authorization", "authentication", "gateway_access"] {
        let path = format!("/v3/audit-logs?filter[type]={kind}&page[size]=10");
        let first = standin.get(&path).await;
        let data = first["data"].as_array().unwrap();
        assert!(data.len() == 10 && data.iter().all(|one| one["type"] == kind), "{first}");
        let next = first["meta"]["page"]["next"].as_str().unwrap();
        let second = standin.get(next).await;
        let previous = second["meta"]["page"]["previous"].as_str().unwrap();
        assert_eq!(standin.get(previous).await["data"], first["data"], "{kind}");
    }
    standin.clock.advance(Duration::from_secs(60));
    standin.call("POST", "/simulate/entries", json!({"count": 1})).await;
    let count = async |range: &str| {
        let path = format!("/v3/audit-logs?page[size]=1000&{range}");
        standin.get(&path).await["data"].as_array().unwrap().len()
    };
    // The nine calls above left two each.
    assert_eq!(count("filter[ts][lte]=2025-06-18T21:01:06Z").await, 318);
    assert_eq!(
        count("filter[ts][gte]=2025-06-18T21:02:06Z&filter[ts][lte]=2025-06-18T21:02:05Z").await,
        0
    );
    for bad in ["filter[type]=access", "filter[ts][gte]=x", "page[size]=1001", "page[after]=x"] {
        let (status, problem) =
            standin.call("GET", &format!("/v3/audit-logs?{bad}"), Value::Null).await;
        assert_eq!(status, 400, "{bad}");
        let field = bad.split('=').next().unwrap();
        assert_eq!(problem["invalid_parameters"][0]["field"], field);
    }
}

#[tokio::test]
async fn entries_are_kept_for_the_retention() {
    let retention = Duration::from_secs(3600);
    let standin = Standin::with(Options { retention, ..Options::default() });
    standin.call("POST", "/simulate/entries", json!({"count": 5})).await;
    standin.clock.advance(Duration::from_secs(3601));
    assert_eq!(standin.get("/v3/audit-logs").await["data"], json!([]));
}

#[tokio::test]
async fn a_thousand_destinations_page() {
    let standin = Standin::new();
    for n in 0..1000 {
        let body = json!({"name": format!("d-{n}"), "endpoint": "https://example.com/",
                          "authorization": "Bearer x", "log_format": "cef"});
        let (status, _) = standin.call("POST", "/v2/audit-log-destinations", body).await;
        assert_eq!(status, 201);
    }
    for version in ["v2", "v3"] {
        let mut next = Some(format!("/{version}/audit-log-destinations?page[size]=64"));
        let mut names = Vec::new();
        while let Some(path) = next {
            let page: DestinationPage = serde_json::from_value(standin.get(&path).await).unwrap();
            names.extend(page.data.into_iter().map(|one| one.name));
            next = page.meta.next;
        }
        let expected: Vec<_> = (0..1000).map(|n| format!("d-{n}")).collect();
        assert_eq!(names, expected);
    }
    // d-99 and d-990 to d-999.
    let path = "/v3/audit-log-destinations?filter[name][contains]=d-99&page[size]=6";
    let page: DestinationPage = serde_json::from_value(standin.get(path).await).unwrap();
    assert_eq!(page.data.len(), 6);
    let next = page.meta.next.unwrap();
    let page: DestinationPage = serde_json::from_value(standin.get(&next).await).unwrap();
    assert_eq!((page.data.len(), page.meta.next), (5, None));
}
