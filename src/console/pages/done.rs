//! The page after an action: what was done, and how it went.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use hyper::StatusCode;

use super::link::Link;
use super::page;
use super::shell::Shell;
use super::text::SafeText;
use crate::console::Console;
use crate::console::problem::Problem;
use crate::control::{self, Task, TaskError, TaskReport};

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
            control::perform(&deliverer, task).map_err(|error| match error {
                TaskError::Store(error) => Problem::from(error),
                TaskError::Fault(error) => Problem::bad_request(error.to_string()),
            })
        })
        .await
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
