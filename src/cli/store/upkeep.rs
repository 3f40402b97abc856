//! `vidimus store seal` and `vidimus store prune`: what a running receiver does by itself.

use std::time::Duration;

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::cli::terminal::tell;
use crate::config::units;
use crate::store::{Options, Retention, Store};

/// Close the live segment, and seal all that is closed
///
/// Nobody else may be writing to the store: stop `vidimus serve` before.
#[derive(Args)]
pub(super) struct Seal {
    #[command(flatten)]
    place: Place,
}

impl Seal {
    /// Seals.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let directory = self.place.directory()?;
        let store = Store::open(&directory, Options::default()).map_err(Failure::failed)?;
        store.seal().map_err(Failure::failed)?;
        tell("sealed");
        Ok(Exit::Done)
    }
}

/// Give up old segments, for ever
///
/// Nobody else may be writing to the store: stop `vidimus serve` before, or set retention_age and
/// retention_size for it.
#[derive(Args)]
pub(super) struct Prune {
    #[command(flatten)]
    place: Place,
    /// Give up segments that received nothing for so long, as 90d or 12h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    age: Option<Duration>,
    /// Give up the oldest segments while all of them are larger than this, as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<u64>,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    units::size(text).map_err(|error| error.to_string())
}

impl Prune {
    /// Prunes.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        if self.age.is_none() && self.size.is_none() {
            return Err(Failure::usage("there is nothing to prune by: give --age, --size or both"));
        }
        let directory = self.place.directory()?;
        let store = Store::open(&directory, Options::default()).map_err(Failure::failed)?;
        let retention = Retention { age: self.age, size: self.size };
        let gone = store.prune(retention).map_err(Failure::failed)?;
        tell(format_args!("{gone} segments are gone"));
        Ok(Exit::Done)
    }
}
