//! `vidimus store`: what the store holds, whether it is sound, and what is kept apart.

mod check;
mod quarantine;
mod retry;
mod stats;
mod upkeep;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};

/// Look at the store, and look after it.
#[derive(Args)]
pub struct Store {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Stats(stats::Stats),
    Check(check::Check),
    Seal(upkeep::Seal),
    Prune(upkeep::Prune),
    Quarantine(quarantine::Quarantine),
}

impl Store {
    /// Does what is asked for.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Stats(stats) => stats.run(),
            Command::Check(check) => check.run(),
            Command::Seal(seal) => seal.run(),
            Command::Prune(prune) => prune.run(),
            Command::Quarantine(quarantine) => quarantine.run(),
        }
    }
}
