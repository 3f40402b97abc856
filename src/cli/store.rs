//! `vidimus store`: what the store holds, whether it is sound, and what is kept apart.

mod check;
mod quarantine;
mod stats;

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
    Quarantine(quarantine::Quarantine),
}

impl Store {
    /// Does what is asked for.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Stats(stats) => stats.run(),
            Command::Check(check) => check.run(),
            Command::Quarantine(quarantine) => quarantine.run(),
        }
    }
}
