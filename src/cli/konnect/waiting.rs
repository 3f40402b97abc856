//! Waiting: in a runtime, until a signal, for a replay to end.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::cli::exit::Failure;
use crate::konnect::api::{ReplayJob, ReplayStatus};
use crate::konnect::client::{Client, Scope};

/// Runs what waits.
pub(super) fn run<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime?;
    let done = runtime.block_on(future);
    // A look-up of a name may be under way that nobody waits for.
    runtime.shutdown_background();
    done
}

/// Runs what goes on until SIGTERM or SIGINT: then `None`.
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

/// How often it is looked whether a replay is over, or an entry there.
pub(super) const LOOK: Duration = Duration::from_millis(500);

/// Waits until the replay is over, but not beyond `deadline`: the job as it is then.
pub(super) async fn replayed(
    client: &Client,
    scope: &Scope,
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

/// The word of a status.
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
