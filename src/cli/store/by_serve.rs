//! Runs a task in the running `serve`, or in this process if no `serve` runs.

use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::control::{Task, TaskReport, ask};
use crate::store::Directory;

/// Runs the task and prints the result.
pub(super) fn have_done(
    directory: &Directory,
    task: &Task,
    directly: impl FnOnce() -> Result<TaskReport, Failure>,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
    let report = match ask(directory, task).map_err(cannot)? {
        Some(result) => result.map_err(Failure::failed)?,
        None => directly()?,
    };
    report.lines.iter().for_each(tell);
    Ok(if report.has_failures { Exit::BadNews } else { Exit::Done })
}
