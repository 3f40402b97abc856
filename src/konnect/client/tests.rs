//! The client against an API that says what it is told to.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::entry::Millis;
use crate::konnect::api::WebhookScope;
use crate::net::{ClientOptions, Proxies};

const TOKEN: &str = "kpat_0123456789";

/// Gives these answers, one to each request, over a connection of its own, and notes the requests.
struct Api {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Api {
    async fn giving(answers: Vec<String>) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_whole(&request) {
                    tcp.read_buf(&mut request).await.unwrap();
                }
                noted.lock().unwrap().push(String::from_utf8(request).unwrap());
                tcp.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Api { base, asked }
    }

    fn client(&self) -> Client {
        let options = ClientOptions { proxies: Proxies::none(), ..ClientOptions::default() };
        let hosts = Hosts::at(&self.base.parse().unwrap());
        let client =
            Client::new(net::Client::new(options).unwrap(), hosts, Secret::new(TOKEN).unwrap());
        Client {
            retry: RetryPolicy { first: Duration::ZERO, longest: Duration::ZERO, most: 2 },
            ..client
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

const FORBIDDEN: &str = r#"{"status":403,"title":"Forbidden","instance":"kong:trace:27","detail":"You do not have permission to perform this action"}"#;

#[tokio::test]
async fn what_passes_is_tried_again() {
    let failed = answer("503 Service Unavailable", "no");
    let busy = answer("429 Too Many Requests", "{}");
    let good = answer("200 OK", r#"{"webhook_enabled":true,"webhook_status":"active"}"#);
    let api = Api::giving(vec![failed.clone(), busy, good]).await;
    let status = api.client().status(&WebhookScope::Organization).await.unwrap();
    assert!(status.webhook_enabled);
    let asked = api.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked[2].starts_with("GET /v3/audit-log-webhook/status HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[2].contains(&format!("authorization: Bearer {TOKEN}\r\n")), "{asked:?}");

    let api = Api::giving(vec![failed.clone(), failed.clone(), failed]).await;
    let error =
        api.client().status(&WebhookScope::Portal("p/1".into())).await.unwrap_err().to_string();
    assert!(error.contains("/v3/portals/p%2F1/audit-log-webhook/status: 503 Service"), "{error}");
    assert!(error.contains("try again later"), "{error}");
}

#[tokio::test]
async fn an_error_says_what_the_api_says_and_what_to_try() {
    let api = Api::giving(vec![answer("403 Forbidden", FORBIDDEN)]).await;
    let client = api.client();
    let error = client.webhook(&WebhookScope::Organization).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "GET {}/v3/audit-log-webhook: 403 Forbidden: You do not have permission to perform this \
             action (instance kong:trace:27); the token's owner needs the role Admin of Audit Logs, \
             or must be an organization admin",
            api.base
        )
    );
    for shown in [error, format!("{client:?}")] {
        assert!(!shown.contains("0123456789"), "{shown}");
    }
}

#[tokio::test]
async fn pages_are_followed_to_the_end() {
    let page = |id: &str, next: &str| {
        let body =
            format!(r#"{{"data":[{{"id":"{id}","name":"n"}}],"meta":{{"next":{next},"size":1}}}}"#);
        answer("200 OK", &body)
    };
    let pages = vec![page("1", r#""/x?page%5Bafter%5D=a%3D""#), page("2", "null")];
    let api = Api::giving(pages).await;
    let all = api.client().destinations(None).await.unwrap();
    let ids: Vec<_> = all.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, ["1", "2"]);
    assert!(api.asked()[1].contains("&page%5Bafter%5D=a%3D HTTP"), "{:?}", api.asked());
}

#[tokio::test]
async fn pages_that_go_in_a_circle_are_not_followed() {
    let page = |next: &str| {
        let meta = format!(r#"{{"next":"/x?page[after]={next}","size":1}}"#);
        let body = format!(r#"{{"data":[{{"id":"1","name":"n"}}],"meta":{meta}}}"#);
        answer("200 OK", &body)
    };
    let api = Api::giving(["a", "b", "a"].map(page).into()).await;
    let error = api.client().destinations(None).await.unwrap_err().to_string();
    assert!(error.ends_with("the next page is one that was there before"), "{error}");
    assert_eq!(api.asked().len(), 3);
}

#[tokio::test]
async fn what_the_api_says_is_kept_to_one_line_of_some_length() {
    let long = "x".repeat(1 << 20);
    let bad = vec![format!(r#"{{"field":"{long}","reason":"a\nready: b"}}"#); 30].join(",");
    let problem = format!(r#"{{"title":"{long}","detail":"a\r\nb","invalid_parameters":[{bad}]}}"#);
    let wrong = format!(r#"{{"webhook_enabled":"{long}"}}"#);
    let answers = vec![answer("400 Bad Request", &problem), answer("200 OK", &wrong)];
    let api = Api::giving(answers).await;
    let client = api.client();
    for expected in ["…: a  b; xxx", "invalid type: string \"xxx"] {
        let error = client.status(&WebhookScope::Organization).await.unwrap_err().to_string();
        assert!(error.len() < 30_000 && error.lines().count() == 1, "{error}");
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn a_pull_names_its_range() {
    let body = r#"{"data":[{"type":"new","x":1}],"meta":{"page":{"next":null}}}"#;
    let api = Api::giving(vec![answer("200 OK", body)]).await;
    let filter = PullFilter {
        since: Millis::MIN,
        until: Millis::saturating(1500),
        kind: Some("authentication".into()),
        page: 1000,
    };
    let mut pages = Pages::default();
    let (entries, next) =
        api.client().pull::<serde_json::Value>(&filter, None, &mut pages).await.unwrap();
    assert_eq!((entries.len(), next), (1, None));
    let expected = "GET /v3/audit-logs?page%5Bsize%5D=1000\
                    &filter%5Bts%5D%5Bgte%5D=1970-01-01T00%3A00%3A00.000Z\
                    &filter%5Bts%5D%5Blte%5D=1970-01-01T00%3A00%3A01.500Z\
                    &filter%5Btype%5D=authentication HTTP/1.1\r\n";
    assert!(api.asked()[0].starts_with(expected), "{:?}", api.asked());
}

#[test]
fn a_region_has_its_name_and_another_api_its_url() {
    let region = |url: &str| Hosts::at(&url.parse().unwrap()).region().to_owned();
    assert_eq!(Hosts::of(&"eu".parse().unwrap()).region(), "eu");
    assert_eq!(region("https://us.api.konghq.com/"), "us");
    assert_eq!(region("http://127.0.0.1:8490"), "http://127.0.0.1:8490");
}
