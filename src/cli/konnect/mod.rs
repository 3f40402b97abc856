//! `vidimus konnect`: use the API of Konnect, or of a simulator.
//!
//! - `access`: the shared arguments. `waiting`: waits for signals and for the end of a replay.
//! - `destinations`, `portals`, `webhook`, `status`, `replay`, `pull`: one file per part of the API.
//! - `setup` and `teardown`: the whole set-up, recorded in `setup_record`. `listen`: both around a
//!   receiver that shows what comes.
//! - `reconcile`: finds missing entries. `doctor`: finds out why nothing arrives.

mod access;
mod destinations;
mod doctor;
mod listen;
mod portals;
mod pull;
mod reconcile;
mod replay;
mod setup;
mod setup_record;
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
pub(crate) struct Konnect {
    #[command(subcommand)]
    command: Command,
}

// No `Debug`, because some contain a secret.
#[derive(Subcommand)]
enum Command {
    Setup(setup::Setup),
    Teardown(teardown::Teardown),
    Listen(listen::Listen),
    Doctor(doctor::Doctor),
    Status(status::Status),
    Reconcile(reconcile::Reconcile),
    Replay(replay::Replay),
    Pull(pull::Pull),
    Destinations(destinations::Destinations),
    Webhook(webhook::Webhook),
    Portals(portals::Portals),
}

impl Konnect {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Setup(setup) => setup.run(),
            Command::Teardown(teardown) => teardown.run(),
            Command::Listen(listen) => listen.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Status(status) => status.run(),
            Command::Reconcile(reconcile) => reconcile.run(),
            Command::Replay(replay) => replay.run(),
            Command::Pull(pull) => pull.run(),
            Command::Destinations(destinations) => destinations.run(),
            Command::Webhook(webhook) => webhook.run(),
            Command::Portals(portals) => portals.run(),
        }
    }
}
