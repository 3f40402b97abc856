//! `vidimus konnect`: work with Konnect's own API, or with a stand-in for it.
//!
//! - `access`: token, hosts, whose webhook; `waiting`: for signals, for the end of a replay.
//! - `destinations`, `webhook`, `status`, `replay`, `pull`: what the API has, one file each.
//! - `setup` and `teardown`: all of it at once, remembered in `made`; `recipe` prints it instead.
//! - `reconcile`: what the webhook never delivered. `doctor`: why nothing arrives.

mod access;
mod destinations;
mod doctor;
mod made;
mod pull;
mod recipe;
mod reconcile;
mod replay;
mod setup;
mod status;
mod teardown;
mod waiting;
mod webhook;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};

/// Use Konnect's API: set up and watch the webhook, replay, pull, reconcile.
///
/// These commands need a personal (kpat_…) or system (spat_…) access token with the Admin role for
/// audit logs. It is read from --token-file, KONNECT_TOKEN, or token_file in the configuration.
#[derive(Args)]
pub struct Konnect {
    #[command(subcommand)]
    command: Command,
}

// No `Debug`: some hold a secret.
#[derive(Subcommand)]
enum Command {
    Setup(setup::Setup),
    Teardown(teardown::Teardown),
    Doctor(doctor::Doctor),
    Status(status::Status),
    Reconcile(reconcile::Reconcile),
    Replay(replay::Replay),
    Pull(pull::Pull),
    Destinations(destinations::Destinations),
    Webhook(webhook::Webhook),
}

impl Konnect {
    /// Does what is asked for.
    pub fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Setup(setup) => setup.run(),
            Command::Teardown(teardown) => teardown.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Status(status) => status.run(),
            Command::Reconcile(reconcile) => reconcile.run(),
            Command::Replay(replay) => replay.run(),
            Command::Pull(pull) => pull.run(),
            Command::Destinations(destinations) => destinations.run(),
            Command::Webhook(webhook) => webhook.run(),
        }
    }
}
