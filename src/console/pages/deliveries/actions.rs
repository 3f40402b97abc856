//! The actions on a delivery: to decode a body in quarantine again, and to send a kept request again.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};

use crate::console::Console;
use crate::console::actions::Action;
use crate::console::pages::done::{DonePage, authorization, said};
use crate::console::pages::link::Link;
use crate::console::pages::text::SafeText;
use crate::console::pages::{HtmlProblem, page};
use crate::console::problem::Problem;
use crate::control::Task;
use crate::konnect::test_entry;
use crate::net::ClientOptions;
use crate::receiver::kept::{KeptBody, KeptRequest};

/// The headers that are sent again.
const SENT_AGAIN: [HeaderName; 2] = [CONTENT_TYPE, CONTENT_ENCODING];

/// `POST /deliveries/quarantine/{id}/retry`
pub(in crate::console::pages) async fn retry(
    State(console): State<Arc<Console>>,
    Path(id): Path<String>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let missing = || Problem::not_found("there is no body in quarantine with this number");
    let number: u64 = id.parse().map_err(|_| missing())?;
    action.record(&console, "retry body in quarantine", &number.to_string()).await?;
    let report = console.perform(Task::Retry { ids: vec![number] }).await?;
    let headings =
        ("The body was decoded and its entries are stored", "The body stays in quarantine");
    let back = (Link::new("/deliveries", &[]), "Back to the deliveries");
    Ok(console.done("Retry of a body", headings, &report, back).await)
}

/// `POST /deliveries/requests/{number}/resend`
///
/// It goes to this receiver with the input's authorization value, or without one to a URL that
/// `console.resend_to` lists.
pub(in crate::console::pages) async fn resend(
    State(console): State<Arc<Console>>,
    Path(number): Path<String>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let request = console.kept_request(&number)?;
    let KeptBody::Whole(body) = &request.body else {
        return Err(Problem::not_found("the body of this request is not kept").into());
    };
    let _permit = console.actions.waiting()?;
    let to = action.field("to");
    let (url, options, authorization) = console.resend_target(&request, to)?;
    let uri = url.parse().map_err(|error| Problem::internal(&error))?;
    let client = console.client(options).await?;
    let detail = format!("{} to {url}", request.number);
    action.record(&console, "send request again", &detail).await?;
    let again = again(&request, body.clone(), uri, authorization);
    let (is_good, said) = said(&url, test_entry::send_once(&client, again).await);
    let done = DonePage {
        shell: console.shell("Request sent again", "/deliveries").await,
        heading: SafeText::new(&format!("Request {} was sent again", request.number)),
        is_good,
        lines: vec![said],
        sent: None,
        back: (Link::to_request(request.number), "Back to the request"),
    };
    Ok(page(StatusCode::OK, &done))
}

/// The request with the body as sent.
fn again(
    request: &KeptRequest,
    body: Bytes,
    uri: hyper::Uri,
    authorization: Option<HeaderValue>,
) -> Request<Full<Bytes>> {
    let mut again = Request::new(Full::new(body));
    *again.method_mut() = Method::POST;
    *again.uri_mut() = uri;
    for name in SENT_AGAIN {
        let kept = request.head.headers.iter().filter(|one| *one.name == *name.as_str());
        for header in kept {
            if let Ok(value) = HeaderValue::from_bytes(&header.value) {
                again.headers_mut().append(name.clone(), value);
            }
        }
    }
    if let Some(authorization) = authorization {
        again.headers_mut().insert(AUTHORIZATION, authorization);
    }
    again
}

impl Console {
    /// Where a request is sent again: the URL, how to connect, and the authorization value.
    fn resend_target(
        &self,
        request: &KeptRequest,
        to: &str,
    ) -> Result<(String, ClientOptions, Option<HeaderValue>), Problem> {
        if to.is_empty() {
            let input =
                self.inputs.iter().find(|one| Some(&one.name) == request.head.input.as_ref());
            let input = input.ok_or_else(|| Problem::not_found("the request is of no input"))?;
            let value = authorization(input)?;
            let url = format!("{}{}", self.receiver.local_base, input.path);
            return Ok((url, self.receiver.client_options(), Some(value)));
        }
        match self.receiver.resend_to.iter().find(|url| *url == to) {
            Some(url) => Ok((url.clone(), ClientOptions::default(), None)),
            None => Err(Problem::forbidden("console.resend_to does not list this URL")),
        }
    }
}
