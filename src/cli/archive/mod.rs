//! `vidimus archive`: inspect, check and restore the archive in object storage.

mod check;
mod restore;
mod status;

use clap::{Args, Subcommand};
use tokio::runtime::Runtime;

use super::exit::{Exit, Failure};
use crate::archive::place::Place;
use crate::config::{self, Flags};
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

/// The place of the archive, and the store that it is of.
#[derive(Clone, Debug, Args)]
pub(super) struct PlaceArgs {
    /// The URL of the archive, such as s3://bucket/prefix [default: `[archive] url`]
    #[arg(long, value_name = "URL")]
    archive_url: Option<String>,

    /// The id of the store, if the archive has several
    #[arg(long = "store", value_name = "ID")]
    store_id: Option<String>,
}

/// An open archive.
pub(super) struct Opened {
    pub(super) url: BucketUrl,
    pub(super) place: Place,
    // The place uses it.
    _runtime: Runtime,
}

impl PlaceArgs {
    /// Opens the archive.
    pub(super) fn open(&self, flags: &Flags) -> Result<Opened, Failure> {
        let url = match &self.archive_url {
            Some(text) => {
                text.parse().map_err(|error| Failure::usage(format!("--archive-url is {error}")))?
            }
            None => config::archive(flags).map_err(Failure::usage)?.url.ok_or_else(|| {
                Failure::usage("there is no archive: set url of [archive], or use --archive-url")
            })?,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let place = Place::open(&url, runtime.handle().clone())?;
        Ok(Opened { url, place, _runtime: runtime })
    }

    /// The id of the store: the one that is named, or else the only one in the archive.
    pub(super) fn store(&self, opened: &Opened) -> Result<String, Failure> {
        Ok(opened.place.choose(self.store_id.as_deref())?)
    }

    /// The id of the store that is named.
    pub(super) fn named(&self) -> Option<&str> {
        self.store_id.as_deref()
    }
}
