//! `vidimus store`: inspect and maintain the store.

mod backup;
mod check;
mod prune;
mod quarantine;
mod repair;
mod reseal;
mod seal;
mod stats;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::terminal::tell;
use crate::control::{Task, TaskReport, ask};
use crate::store::Directory;

/// Inspect and maintain the store.
#[derive(Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Stats(stats::Stats),
    Check(check::Check),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Repair(repair::Repair),
    Seal(seal::Seal),
    Reseal(reseal::Reseal),
    Prune(prune::Prune),
    Quarantine(quarantine::Quarantine),
}

impl Store {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Stats(stats) => stats.run(),
            Command::Check(check) => check.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Repair(repair) => repair.run(),
            Command::Seal(seal) => seal.run(),
            Command::Reseal(reseal) => reseal.run(),
            Command::Prune(prune) => prune.run(),
            Command::Quarantine(quarantine) => quarantine.run(),
        }
    }
}

/// Runs the task in the running `serve`, or in this process if no `serve` runs, and prints the result.
fn run_task(
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
    Ok(if report.has_failures { Exit::Negative } else { Exit::Done })
}
