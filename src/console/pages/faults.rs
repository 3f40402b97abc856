//! The faults on the setup page: what `vidimus fault` does, through the console.

use std::fmt::Display;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::HtmlProblem;
use super::link::Link;
use super::text::{SafeText, count};
use crate::console::Console;
use crate::console::actions::Action;
use crate::console::problem::Problem;
use crate::control::Task;
use crate::receiver::fault::{Fault, FaultCount, PlannedFault};

/// The faults to choose from. `vidimus fault` takes any delay.
pub(super) const CHOICES: [(&str, &str); 6] = [
    ("500", "answer 500, store nothing"),
    ("429", "answer 429, store nothing"),
    ("reset", "close the connection, store nothing"),
    ("delay=5s", "store, and answer after 5 seconds"),
    ("delay=20s", "store, and answer after 20 seconds"),
    ("delay=1m", "store, and answer after a minute"),
];

/// A fault that the next deliveries to an input get.
pub(super) struct FaultRow {
    pub(super) input: SafeText,
    pub(super) fault: String,
    pub(super) left: String,
    pub(super) injected: String,
}

impl FaultRow {
    pub(super) fn new(planned: &PlannedFault) -> FaultRow {
        FaultRow {
            input: SafeText::new(&planned.input),
            fault: planned.fault.to_string(),
            left: count(planned.left.into()),
            injected: count(planned.injected.into()),
        }
    }
}

/// `POST /setup/fault`
pub(super) async fn set(
    State(console): State<Arc<Console>>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    let invalid = |error: &dyn Display| Problem::bad_request(error.to_string());
    let input = console.input(&action)?.name.clone();
    let fault: Fault = action.field("fault").parse().map_err(|error| invalid(&error))?;
    let next: FaultCount = action.field("next").trim().parse().map_err(|error| invalid(&error))?;
    action.record(&console, "set fault", &format!("{fault} for {input}")).await?;
    let report = console.perform(Task::Fault { input: Some(input), next, fault }).await?;
    Ok(console.done("Faults", ("A fault is set", ""), &report, back()).await)
}

/// `POST /setup/fault/clear`
pub(super) async fn clear(
    State(console): State<Arc<Console>>,
    action: Action,
) -> Result<Response, HtmlProblem> {
    action.record(&console, "clear faults", "all inputs").await?;
    let report = console.perform(Task::ClearFaults { input: None }).await?;
    Ok(console.done("Faults", ("No fault is set", ""), &report, back()).await)
}

fn back() -> (Link, &'static str) {
    (Link::new("/setup", &[]), "Back to the setup")
}
