//! The page that verifies and explains pasted lines. Nothing is stored.

use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::response::Response;
use hyper::StatusCode;
use serde::Deserialize;

use super::explanation::Explanation;
use super::shell::Shell;
use super::text::{Badge, SafeText, VERDICTS};
use super::{HtmlProblem, page};
use crate::console::Console;
use crate::console::problem::Problem;
use crate::entry::lines;
use crate::signature::KeySet;

/// The maximum number of lines on the page. The API takes more.
const MOST: usize = 200;

#[derive(Template)]
#[template(path = "verify.html")]
pub(super) struct VerifyPage {
    pub(super) shell: Shell,
    /// The pasted text, to edit it again.
    pub(super) pasted: String,
    pub(super) keys: usize,
    pub(super) fault: Option<SafeText>,
    pub(super) tally: Vec<(Badge, usize)>,
    pub(super) lines: Vec<Line>,
}

pub(super) struct Line {
    pub(super) number: usize,
    pub(super) explanation: Explanation,
}

/// The form.
#[derive(Deserialize)]
pub(super) struct Pasted {
    lines: String,
}

/// `GET /verify`
pub(super) async fn empty(State(console): State<Arc<Console>>) -> Response {
    let shell = console.shell("Verify", "/verify").await;
    page(StatusCode::OK, &VerifyPage::new(shell, String::new(), &console.ring.all()))
}

/// `POST /verify`
pub(super) async fn verify(
    State(console): State<Arc<Console>>,
    pasted: Result<Form<Pasted>, FormRejection>,
) -> Result<Response, HtmlProblem> {
    let Form(Pasted { lines }) = pasted.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::too_large("the pasted lines have more than 2 MiB")
        }
        _ => Problem::bad_request(error.body_text()),
    })?;
    let (shell, keys) = (console.shell("Verify", "/verify").await, console.ring.all());
    let verified = console.read(move |_| Ok(VerifyPage::new(shell, lines, &keys))).await?;
    let status = if verified.fault.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    Ok(page(status, &verified))
}

impl VerifyPage {
    pub(super) fn new(shell: Shell, pasted: String, keys: &KeySet) -> VerifyPage {
        let ranges: Vec<_> = lines(pasted.as_bytes()).take(MOST + 1).collect();
        let too_many = ranges.len() > MOST;
        let explain = |(at, range): (usize, std::ops::Range<usize>)| {
            let line = pasted.as_bytes().get(range).unwrap_or_default();
            Line { number: at + 1, explanation: Explanation::of(line, keys) }
        };
        let lines: Vec<_> = match too_many {
            true => Vec::new(),
            false => ranges.into_iter().enumerate().map(explain).collect(),
        };
        let of =
            |name: &str| lines.iter().filter(|line| line.explanation.verdict.0 == name).count();
        let tally = VERDICTS.into_iter().map(|(name, _)| (Badge(name), of(name)));
        let fault = format!(
            "More than {MOST} lines. POST /api/v1/verify takes up to 5,000 lines, and vidimus verify any number."
        );
        VerifyPage {
            shell,
            keys: keys.keys().len(),
            fault: too_many.then(|| SafeText::new(&fault)),
            tally: tally.filter(|(_, number)| *number > 0).collect(),
            lines,
            pasted,
        }
    }
}
