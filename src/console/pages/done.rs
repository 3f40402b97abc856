//! The page after an action: what was done, and how it went. And what actions share: tasks, requests
//! and how their answers read.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::response::Response;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::link::Link;
use super::page;
use super::shell::Shell;
use super::text::SafeText;
use crate::console::Console;
use crate::console::problem::Problem;
use crate::control::{self, Task, TaskError, TaskReport};
use crate::net::{Client, ClientError, ClientOptions};
use crate::receiver::InputEndpoint;

#[derive(Template)]
#[template(path = "done.html")]
pub(super) struct DonePage {
    pub(super) shell: Shell,
    pub(super) heading: SafeText,
    /// Whether it went well.
    pub(super) is_good: bool,
    pub(super) lines: Vec<SafeText>,
    /// What was sent, with its name.
    pub(super) sent: Option<(&'static str, SafeText)>,
    pub(super) back: (Link, &'static str),
}

impl Console {
    /// Performs a task of the running `serve`.
    pub(super) async fn perform(&self, task: Task) -> Result<TaskReport, Problem> {
        let deliverer = Arc::clone(&self.deliverer);
        self.blocking(move || {
            control::perform(&deliverer, None, task).map_err(|error| match error {
                TaskError::Store(error) => Problem::from(error),
                error @ (TaskError::Fault(_) | TaskError::Skip(_) | TaskError::NoJournal) => {
                    Problem::bad_request(error.to_string())
                }
            })
        })
        .await
    }

    /// A client for the request of an action.
    pub(super) async fn client(&self, options: ClientOptions) -> Result<Client, Problem> {
        // It reads files.
        self.blocking(move || Client::new(options).map_err(|error| Problem::internal(&error))).await
    }

    /// The page after a task. `headings` are for success and for failure.
    pub(super) async fn done(
        &self,
        title: &str,
        headings: (&str, &str),
        report: &TaskReport,
        back: (Link, &'static str),
    ) -> Response {
        let is_good = !report.has_failures;
        let done = DonePage {
            shell: self.shell(title, "").await,
            heading: SafeText::new(if is_good { headings.0 } else { headings.1 }),
            is_good,
            lines: report.lines.iter().map(|line| SafeText::truncated(line, 500)).collect(),
            sent: None,
            back,
        };
        page(StatusCode::OK, &done)
    }
}

/// The authorization value of a request to `input`.
pub(super) fn authorization(input: &InputEndpoint) -> Result<HeaderValue, Problem> {
    let value = input.authorization.first();
    let value = value.and_then(|one| HeaderValue::from_str(one.expose()).ok());
    value.ok_or_else(|| Problem::bad_request("the input accepts no authorization value"))
}

/// Whether the server at `url` took a request, and what it said in which time.
pub(super) fn said(
    url: &str,
    (answer, took): (Result<hyper::Response<Bytes>, ClientError>, Duration),
) -> (bool, SafeText) {
    let (is_good, said) = match answer {
        Ok(answer) => {
            let (status, body) = (answer.status(), String::from_utf8_lossy(answer.body()));
            let said = format!("{url} answered {status} in {} ms: {body}", took.as_millis());
            (status.is_success(), said)
        }
        Err(error) => (false, error.to_string()),
    };
    (is_good, SafeText::truncated(said.trim_end(), 2000))
}
