//! `vidimus archive`: inspect, check and restore the archive in object storage.

mod check;
mod restore;
mod status;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::archived::PlaceArgs;
use super::exit::{Exit, Failure};
use crate::archive::place::Place;
use crate::config::Flags;
use crate::objects::BucketUrl;

/// Inspect, check and restore the archive in object storage.
#[derive(Args)]
pub(crate) struct Archive {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Status),
    Check(check::Check),
    Restore(restore::Restore),
}

impl Archive {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Status(status) => status.run(),
            Command::Check(check) => check.run(),
            Command::Restore(restore) => restore.run(),
        }
    }
}

/// An open archive.
struct Opened {
    url: BucketUrl,
    place: Place,
    // The place uses it.
    _runtime: Runtime,
}

impl Opened {
    /// Opens the archive. `flags` say where the configuration is.
    fn new(args: &PlaceArgs, flags: &Flags) -> Result<Opened, Failure> {
        let url = args.url(flags)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let place = Place::open(&url, runtime.handle().clone())?;
        Ok(Opened { url, place, _runtime: runtime })
    }
}
