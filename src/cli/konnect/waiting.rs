//! Runs async code, waits for signals, and waits for the end of a replay.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::exit::Failure;
use crate::konnect::api::WebhookScope;
use crate::konnect::api::{ReplayJob, ReplayStatus};
use crate::konnect::client::Client;

/// Runs a future on a new runtime.
pub(super) fn run<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime?;
    let done = runtime.block_on(future);
    // Do not wait for a running DNS look-up.
    runtime.shutdown_background();
    done
}

/// Runs a future until it ends, or until SIGTERM or SIGINT, and then returns `None`.
pub(super) fn run_until_interrupted<T>(
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<Option<T>, Failure> {
    run(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::select! {
            done = future => done.map(Some),
            _ = terminate.recv() => Ok(None),
            _ = interrupt.recv() => Ok(None),
        }
    })
}

/// How often to check whether a replay is over or an entry has arrived.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Waits until the replay is over or the `deadline` is reached, and returns the job.
pub(super) async fn wait_for_replay(
    client: &Client,
    scope: &WebhookScope,
    deadline: Instant,
) -> Result<ReplayJob, Failure> {
    loop {
        let job = client.replay(scope).await?;
        let is_running = job.status.is_some_and(ReplayStatus::is_running);
        if !is_running || Instant::now() + LOOK > deadline {
            return Ok(job);
        }
        tokio::time::sleep(LOOK).await;
    }
}

pub(super) fn word(status: Option<ReplayStatus>) -> &'static str {
    match status {
        Some(ReplayStatus::Unconfigured) => "unconfigured",
        Some(ReplayStatus::Accepted) => "accepted",
        Some(ReplayStatus::Pending) => "pending",
        Some(ReplayStatus::Running) => "running",
        Some(ReplayStatus::Completed) => "completed",
        Some(ReplayStatus::Failed) => "failed",
        Some(ReplayStatus::Other) | None => "unknown",
    }
}
