//! `vidimus store seal`: seal now what a running receiver would seal later.

use clap::Args;

use super::by_serve::have_done;
use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::control::{self, Task};
use crate::store::{Options, Store};

/// Close the live segment, and seal all closed segments
///
/// The command also works while `vidimus serve` runs.
#[derive(Args)]
pub(super) struct Seal {
    #[command(flatten)]
    place: Place,
}

impl Seal {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let directory = self.place.directory()?;
        have_done(&directory, &Task::Seal {}, || {
            let store = Store::open(&directory, Options::default())?;
            control::seal(&store).map_err(Failure::failed)
        })
    }
}
