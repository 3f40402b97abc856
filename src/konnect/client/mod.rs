//! A client for Konnect's audit-log API: typed calls, with retries, and errors that say what to try.
//!
//! Destinations are the same in all regions and live at the global host; everything else is the
//! region's. A stand-in has both at one address. The calls are those of the vendor's OpenAPI
//! documents "Konnect Audit Log Settings" and "Portal Management", version 3.
//!
//! - [`calls`]: one function for each operation.
//! - [`pages`]: that a list comes to an end. [`retry`]: what is sent again, and when.
//!
//! The token is in the header `Authorization` and nowhere else: no error and no `Debug` shows it.

pub mod calls;
pub mod pages;
pub mod retry;

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

pub use calls::PullFilter;
pub use pages::Pages;

/// The most of one answer, in bytes: a page of 1,000 entries has room in it.
const MAX_ANSWER: usize = 32 << 20;

/// How long one call may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// When a call that failed for a passing reason is made again.
const RETRY: RetryPolicy =
    RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(30), most: 4 };

/// Where the API is, scheme and host each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    global: String,
    regional: String,
}

impl Hosts {
    /// Konnect's own, for a region that is not `auto`.
    pub fn of(region: Region) -> Hosts {
        Hosts {
            global: "https://global.api.konghq.com".to_owned(),
            regional: format!("https://{region}.api.konghq.com"),
        }
    }

    /// One address for everything.
    pub fn at(base: &BaseUrl) -> Hosts {
        Hosts { global: base.to_string(), regional: base.to_string() }
    }

    /// The host of destinations.
    pub fn global(&self) -> &str {
        &self.global
    }

    /// The host of everything else.
    pub fn regional(&self) -> &str {
        &self.regional
    }
}

/// A client. Its clones share connections.
#[derive(Clone, Debug)]
pub struct Client {
    net: net::Client,
    hosts: Hosts,
    /// Its `Debug` hides it.
    token: Secret,
    retry: RetryPolicy,
    user_agent: Option<String>,
}

/// One call, before it is made.
struct ApiRequest<'a> {
    method: Method,
    host: &'a str,
    /// Path and query.
    target: String,
    body: Bytes,
}

impl Client {
    /// A client that calls `hosts` with `token`.
    pub fn new(net: net::Client, hosts: Hosts, token: Secret) -> Client {
        Client { net, hosts, token, retry: RETRY, user_agent: None }
    }

    /// The same client with other retries.
    pub fn with_retry(self, retry: RetryPolicy) -> Client {
        Client { retry, ..self }
    }

    /// The same client under another name, which Konnect writes into the entries of its calls.
    pub fn with_user_agent(self, user_agent: &str) -> Client {
        Client { user_agent: Some(user_agent.to_owned()), ..self }
    }

    /// Where it calls.
    pub fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// Makes a call until it is answered for good: the body of a 2xx.
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

/// The error that an answer is.
fn refused(call: &ApiRequest<'_>, answer: &Response<Bytes>) -> ApiError {
    let status = answer.status();
    let problem = serde_json::from_slice(answer.body()).unwrap_or_else(|_| Problem {
        // Something before the API answered, a proxy perhaps.
        title: status.canonical_reason().unwrap_or_default().to_owned(),
        detail: "the answer is no problem object".to_owned(),
        ..Problem::default()
    });
    ApiError::Refused {
        call: format!("{} {}{}", call.method, call.host, path(&call.target)),
        status,
        problem: Box::new(problem),
        advice: advice(status),
    }
}

/// What to try.
fn advice(status: StatusCode) -> &'static str {
    match status {
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

/// Why a call of Konnect's API came to nothing. Nothing here shows the token.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// There was no answer.
    #[error(transparent)]
    Net(#[from] ClientError),
    /// The API refused.
    #[error("{call}: {}", ProblemText { status: *status, problem, advice })]
    Refused {
        /// Method and URL, without the query.
        call: String,
        /// The status of the answer.
        status: StatusCode,
        /// What the API says.
        problem: Box<Problem>,
        /// What to try; may be empty.
        advice: &'static str,
    },
    /// The answer is not of the documented form.
    #[error("{call} gave an answer that is not understood: {}", brief(what))]
    Answer {
        /// Method and URL, without the query.
        call: String,
        /// What is wrong with it.
        what: String,
    },
    /// The call cannot be made.
    #[error("the call cannot be made: {what}")]
    Request {
        /// What is wrong with it.
        what: String,
    },
}

impl ApiError {
    /// The status of the answer, if there was one.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            ApiError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(StatusCode::NOT_FOUND)
    }

    /// What to try; empty if there is nothing to say.
    pub fn advice(&self) -> &'static str {
        match self {
            ApiError::Refused { advice, .. } => advice,
            _ => "",
        }
    }
}

/// How much of each text of the API's an error shows, in characters.
const MAX_TEXT: usize = 500;

/// How many of the parameters that are wrong it shows.
const MAX_PARAMETERS: usize = 20;

/// A text of the API's as a part of one line.
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
