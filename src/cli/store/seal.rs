//! `vidimus store seal`: what a running receiver does by itself.

use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::cli::terminal::tell;
use crate::store::{Options, Store};

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
