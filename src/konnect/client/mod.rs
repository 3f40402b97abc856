//! A client for Konnect's audit-log API, with retries, and errors that say what to try.
//!
//! Destinations are global and are at the global host. Everything else is at the host of the region.
//! A simulator has one address for both. The operations are those of Kong's OpenAPI documents
//! "Konnect Audit Log Settings" and "Portal Management", version 3.
//!
//! - [`calls`]: one function for each operation.
//! - [`pages`]: guards against lists that do not end. [`retry`]: when a call is retried.
//!
//! The token is sent only in the header `Authorization`. No error and no `Debug` shows it.

pub(crate) mod calls;
pub(crate) mod pages;
pub(crate) mod retry;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, StatusCode};

use super::api::Problem;
use crate::config::{BaseUrl, Region};
use crate::konnect::deliver::RetryPolicy;
use crate::net::{self, ClientError};
use crate::settings::Secret;

pub(crate) use calls::{LISTED_LATE, LONGEST_RETENTION, PULL_PAGE, PullFilter};
pub(crate) use pages::Pages;

/// The maximum size of a response in bytes. A page of 1,000 entries fits.
const MAX_ANSWER: usize = 32 << 20;

/// The time-out of one attempt.
const TIMEOUT: Duration = Duration::from_secs(30);

const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(30), most: 4 };

/// The addresses of the API: scheme and host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hosts {
    global: String,
    regional: String,
}

impl Hosts {
    /// The hosts at a base URL, or else those of a region; `None` if there is neither.
    pub(crate) fn chosen(base: Option<&BaseUrl>, region: Option<&Region>) -> Option<Hosts> {
        base.map(Hosts::at).or_else(|| region.map(Hosts::of))
    }

    /// Konnect's hosts for a region other than `auto`.
    pub(crate) fn of(region: &Region) -> Hosts {
        Hosts {
            global: "https://global.api.konghq.com".to_owned(),
            regional: format!("https://{region}.api.konghq.com"),
        }
    }

    /// One address for both.
    pub(crate) fn at(base: &BaseUrl) -> Hosts {
        Hosts { global: base.to_string(), regional: base.to_string() }
    }

    /// The host for destinations.
    pub(crate) fn global(&self) -> &str {
        &self.global
    }

    /// The host for everything else.
    pub(crate) fn regional(&self) -> &str {
        &self.regional
    }

    /// The name of the region, or the URL of an API that is not Konnect's.
    pub(crate) fn region(&self) -> &str {
        let host = self.regional.strip_prefix("https://");
        let region = host.and_then(|host| host.strip_suffix(".api.konghq.com"));
        region.unwrap_or(&self.regional)
    }
}

/// A client. Its clones share connections.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    net: net::Client,
    hosts: Hosts,
    token: Secret,
    retry: RetryPolicy,
    user_agent: Option<String>,
}

struct ApiRequest<'a> {
    method: Method,
    host: &'a str,
    /// Path and query.
    target: String,
    body: Bytes,
}

impl Client {
    pub(crate) fn new(net: net::Client, hosts: Hosts, token: Secret) -> Client {
        Client { net, hosts, token, retry: RETRY, user_agent: None }
    }

    /// The same client with another `User-Agent`, which Konnect writes into the entries of its calls.
    pub(crate) fn with_user_agent(self, user_agent: &str) -> Client {
        Client { user_agent: Some(user_agent.to_owned()), ..self }
    }

    pub(crate) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Makes a call with retries, and returns the body of a 2xx.
    async fn call(&self, call: ApiRequest<'_>) -> Result<Bytes, ApiError> {
        let mut attempts = retry::Attempts::new(self.retry, call.method == Method::POST);
        loop {
            let answer = self.once(&call).await;
            let wait = match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => {
                    attempts.after_answer(answer.status(), answer.headers(), crate::clock::now())
                }
                Err(ApiError::Net(error)) => attempts.after_error(error),
                Err(_) => None,
            };
            let Some(wait) = wait else {
                let answer = answer?;
                return match answer.status().is_success() {
                    true => Ok(answer.into_body()),
                    false => Err(refused(&call, &answer)),
                };
            };
            let path = path(&call.target);
            match &answer {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    tracing::warn!(path, status, ?wait, "calling Konnect again");
                }
                Err(error) => tracing::warn!(path, %error, ?wait, "calling Konnect again"),
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, call: &ApiRequest<'_>) -> Result<Response<Bytes>, ApiError> {
        let bad = |what: String| ApiError::Request { what };
        let mut token = HeaderValue::from_str(&format!("Bearer {}", self.token.expose()))
            .map_err(|_| bad("the token cannot stand in a header".to_owned()))?;
        token.set_sensitive(true);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(format!("{}{}", call.host, call.target))
            .header(AUTHORIZATION, token)
            .header(ACCEPT, "application/json, application/problem+json");
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(user_agent) = &self.user_agent {
            request = request.header(USER_AGENT, user_agent);
        }
        let request = request
            .body(Full::new(call.body.clone()))
            .map_err(|error| bad(format!("{} {}: {error}", call.method, path(&call.target))))?;
        Ok(self.net.send(request, MAX_ANSWER, TIMEOUT).await?)
    }
}

/// Path and query without the query.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// The error for a response that is not 2xx.
fn refused(call: &ApiRequest<'_>, answer: &Response<Bytes>) -> ApiError {
    let status = answer.status();
    let problem = serde_json::from_slice(answer.body()).unwrap_or_else(|_| Problem {
        // It may be the response of a proxy.
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: "the answer is no problem object".to_owned(),
        ..Problem::default()
    });
    ApiError::Refused {
        call: format!("{} {}{}", call.method, call.host, path(&call.target)),
        status,
        problem: Box::new(problem),
        advice: advice(status, path(&call.target)),
    }
}

/// Advice for the user.
fn advice(status: StatusCode, path: &str) -> &'static str {
    match status {
        StatusCode::FORBIDDEN | StatusCode::NOT_FOUND | StatusCode::NOT_IMPLEMENTED
            if path == calls::ENTRIES =>
        {
            "the token's owner needs the role Admin of Audit Logs. Konnect may also not have enabled \
             the pull for this account: then deliveries, the webhook's status and replays still \
             work, and reconcile --portal"
        }
        StatusCode::FORBIDDEN if path.starts_with(calls::PORTALS) => {
            "the token's owner needs the role Admin of Audit Logs, and for Dev Portals the role \
             Portal Creator besides, or must be an organization admin"
        }
        StatusCode::UNAUTHORIZED => {
            "the token is not known here, or has expired: make a new one in Konnect, and look at \
             --token-file and KONNECT_TOKEN"
        }
        StatusCode::FORBIDDEN => {
            "the token's owner needs the role Admin of Audit Logs, or must be an organization admin"
        }
        StatusCode::NOT_FOUND => "is the id right, and is it of this --region?",
        StatusCode::TOO_MANY_REQUESTS => "wait a minute, and try again",
        status if status.is_server_error() => "try again later, or ask Konnect about the instance",
        _ => "",
    }
}

/// A call of Konnect's API failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// There was no response.
    #[error(transparent)]
    Net(#[from] ClientError),
    /// The API responded with an error.
    #[error("{call}: {}", ProblemText { status: *status, problem, advice })]
    Refused {
        /// Method and URL, without the query.
        call: String,
        status: StatusCode,
        problem: Box<Problem>,
        /// Advice for the user; may be empty.
        advice: &'static str,
    },
    /// The response has an unexpected format.
    #[error("{call} gave an answer that is not understood: {}", brief(what))]
    Answer {
        /// Method and URL, without the query.
        call: String,
        what: String,
    },
    #[error("the call cannot be made: {what}")]
    Request { what: String },
}

impl ApiError {
    /// The status, if the API responded with an error.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            ApiError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    pub(crate) fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// Advice for the user; may be empty.
    pub(crate) fn advice(&self) -> &'static str {
        match self {
            ApiError::Refused { advice, .. } => advice,
            _ => "",
        }
    }
}

/// The maximum length of each text of the API in an error, in characters.
const MAX_TEXT: usize = 500;

/// The maximum number of invalid parameters in an error.
const MAX_PARAMETERS: usize = 20;

/// Shortens a text of the API, and puts it on one line.
fn brief(text: &str) -> String {
    let mut characters = text.chars().map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c });
    let mut brief: String = characters.by_ref().take(MAX_TEXT).collect();
    if characters.next().is_some() {
        brief.push('…');
    }
    brief
}

/// Status, title, detail, parameters, instance and advice in one line.
struct ProblemText<'a> {
    status: StatusCode,
    problem: &'a Problem,
    advice: &'a str,
}

impl fmt::Display for ProblemText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProblemText { status, problem, advice } = self;
        let (title, detail) = (brief(&problem.title), brief(&problem.detail));
        write!(f, "{} {title}: {detail}", status.as_u16())?;
        for parameter in problem.invalid_parameters.iter().take(MAX_PARAMETERS) {
            write!(f, "; {} {}", brief(&parameter.field), brief(&parameter.reason))?;
        }
        if let more @ 1.. = problem.invalid_parameters.len().saturating_sub(MAX_PARAMETERS) {
            write!(f, "; and {more} more")?;
        }
        if !problem.instance.is_empty() {
            write!(f, " (instance {})", brief(&problem.instance))?;
        }
        match advice.is_empty() {
            true => Ok(()),
            false => write!(f, "; {advice}"),
        }
    }
}

#[cfg(test)]
mod tests;
