//! `vidimus konnect replay`: make Konnect send a past time range to the webhook again.

use std::time::Duration;

use clap::{Args, Subcommand};
use tokio::time::Instant;

use super::access::{RangeArgs, Show};
use super::waiting::{run, wait_for_replay, word};
use crate::cli::exit::{Exit, Failure, ignore_closed};
use crate::cli::print::PrintFormat;
use crate::cli::terminal::{Output, tell};
use crate::konnect::api::{ReplayJob, ReplayRange, ReplayStatus};
use crate::settings::units;

/// Make Konnect send a past time range to the webhook again.
///
/// Entries that are already stored are counted as duplicates and not stored again. Each webhook
/// runs one replay at a time.
#[derive(Args)]
pub(super) struct Replay {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a replay
    Start(Start),
    /// Show the progress of the last replay, or wait for it
    Show(Shown),
}

#[derive(Args)]
struct Shown {
    /// Wait at most this long for the replay to finish; the exit code is 1 if it failed
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "10m",
          value_parser = units::duration)]
    wait: Option<Duration>,

    #[command(flatten)]
    show: Show,
}

#[derive(Args)]
struct Start {
    #[command(flatten)]
    span: RangeArgs,

    /// Wait at most this long for the replay to finish; the exit code is 1 if it fails
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "10m",
          value_parser = units::duration)]
    wait: Option<Duration>,

    #[command(flatten)]
    show: Show,
}

impl Replay {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Show(Shown { wait, show }) => {
                let client = show.access.client()?;
                let job = run(async {
                    let scope = show.whose.scope(&client).await?;
                    match wait {
                        Some(wait) => wait_for_replay(&client, &scope, Instant::now() + wait).await,
                        None => Ok(client.replay(&scope).await?),
                    }
                })?;
                ignore_closed(print(show.output, &job))?;
                Ok(exit(&job))
            }
            Command::Start(start) => start.run(),
        }
    }
}

impl Start {
    fn run(self) -> Result<Exit, Failure> {
        let (since, until) = self.span.ends()?;
        let range = ReplayRange { start_at: since.into(), end_at: until.into() };
        let client = self.show.access.client()?;
        let job = run(async {
            let scope = self.show.whose.scope(&client).await?;
            let job = client.start_replay(&scope, &range).await?;
            match self.wait {
                Some(wait) => wait_for_replay(&client, &scope, Instant::now() + wait).await,
                None => Ok(job),
            }
        })?;
        ignore_closed(print(self.show.output, &job))?;
        if self.wait.is_some() && job.status.is_some_and(ReplayStatus::is_running) {
            tell("the replay is still running: see vidimus konnect replay show --wait");
        }
        Ok(exit(&job))
    }
}

fn exit(job: &ReplayJob) -> Exit {
    if job.status == Some(ReplayStatus::Failed) { Exit::Negative } else { Exit::Done }
}

fn print(format: PrintFormat, job: &ReplayJob) -> Result<(), Failure> {
    let mut output = Output::new();
    match format {
        PrintFormat::Jsonl => output.json(job)?,
        PrintFormat::Text => output.line(line(job))?,
    }
    output.flush()
}

fn line(job: &ReplayJob) -> String {
    let mut line = word(job.status).to_owned();
    let real = |time: &crate::konnect::api::Time| !time.is_initial();
    if let (Some(start), Some(end)) = (job.start_at.filter(real), job.end_at.filter(real)) {
        line += &format!(", {start} to {end}");
    }
    if let Some(at) = job.updated_at.filter(real) {
        line += &format!(", as of {at}");
    }
    line
}
