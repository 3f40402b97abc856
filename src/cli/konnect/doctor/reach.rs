//! Checks the path to the endpoint from this machine: DNS, TLS, and the response.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, Uri};

use super::finding::{Finding, Findings};
use crate::cli::exit::Failure;
use crate::konnect::api::Destination;
use crate::net::{Client, ClientError, ClientOptions};

/// The time limit for a response.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The maximum size of a response in bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Resolves the host and sends a `GET` to the endpoint, which a receiver refuses without side
/// effects.
pub(super) async fn endpoint(
    destination: &Destination,
    findings: &mut Findings<'_>,
) -> Result<(), Failure> {
    let Ok(url) = destination.endpoint.parse::<Uri>() else {
        let what = format!("{:?} is not a URL", destination.endpoint);
        return findings.add(Finding::problem("endpoint", what, UPDATE));
    };
    let Some(host) = url.host() else {
        let what = format!("{:?} has no host", destination.endpoint);
        return findings.add(Finding::problem("endpoint", what, UPDATE));
    };
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let bare = host.trim_matches(['[', ']']);
    let found = tokio::time::timeout(TIMEOUT, tokio::net::lookup_host((bare, port))).await;
    let addresses: Vec<_> = match found {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip().to_string()).collect(),
        Ok(Err(error)) => return unknown(host, &error.to_string(), findings),
        Err(_) => return unknown(host, "no response in time", findings),
    };
    findings.add(Finding::ok("name", format!("{host} is {}", addresses.join(", "))))?;

    // An aborted handshake would be listed among the refused requests of the receiver.
    let skips = destination.skip_ssl_verification;
    let answer = match ask(&url, skips).await? {
        Err(error @ ClientError::Tls { .. }) => {
            return findings.add(Finding::problem(
                "tls",
                error.without_advice(),
                "Konnect refuses it too: use a publicly trusted certificate, or for development \
                 --skip-ssl-verification on the destination",
            ));
        }
        answer => {
            if url.scheme_str() == Some("https") && answer.is_ok() {
                findings.add(match skips {
                    true => Finding::note(
                        "tls",
                        "the destination skips certificate verification: for development only",
                    ),
                    false => Finding::ok("tls", "this machine trusts the certificate"),
                })?;
            }
            answer
        }
    };
    findings.add(match answer {
        Ok(status) => answered(status),
        Err(error) => Finding::problem(
            "endpoint",
            error.to_string(),
            "are vidimus serve and the tunnel or proxy running?",
        ),
    })
}

const UPDATE: &str = "vidimus konnect destinations update ID --endpoint URL";

fn unknown(host: &str, why: &str, findings: &mut Findings<'_>) -> Result<(), Failure> {
    let what = format!("cannot resolve {host}: {why}");
    findings.add(Finding::problem("name", what, "is the name correct, and is it in the DNS?"))
}

async fn ask(url: &Uri, insecure: bool) -> Result<Result<StatusCode, ClientError>, Failure> {
    let options = ClientOptions { insecure, ..ClientOptions::default() };
    let client = Client::new(options)?;
    let request = Request::get(url).body(Full::<Bytes>::default())?;
    let answer = client.send(request, MAX_ANSWER, TIMEOUT).await;
    Ok(answer.map(|answer| answer.status()))
}

/// The finding for the status of the `GET`.
fn answered(status: StatusCode) -> Finding {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => Finding::ok("endpoint", "a receiver answers there"),
        StatusCode::NOT_FOUND => Finding::problem(
            "endpoint",
            "the endpoint answers 404: the path is unknown",
            "set the path of the destination to that of vidimus serve (--path or [[input]] path)",
        ),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Finding::problem(
                "endpoint",
                format!("a proxy answers with {}", status.as_u16()),
                "is vidimus serve running?",
            )
        }
        status => Finding::note(
            "endpoint",
            format!(
                "a GET is answered with {}, but vidimus serve answers with 405",
                status.as_u16()
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, expected: &str) {
        let finding = answered(StatusCode::from_u16(status).unwrap());
        let json = serde_json::to_value(&finding).unwrap();
        assert_eq!(json["state"], expected, "{finding:?}");
    }

    #[test]
    fn the_status_shows_what_answers() {
        check(405, "ok");
        check(404, "problem");
        check(502, "problem");
        check(200, "note");
        check(401, "note");
    }
}
