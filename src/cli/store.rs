//! `vidimus store`: inspect and maintain the store.

mod backup;
mod by_serve;
mod check;
mod drop;
mod prune;
mod quarantine;
mod repair;
mod retry;
mod seal;
mod stats;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};

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
            Command::Prune(prune) => prune.run(),
            Command::Quarantine(quarantine) => quarantine.run(),
        }
    }
}
