//! `vidimus store seal`: seal now what a running receiver would seal later.

use clap::Args;

use super::run_task;
use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::control::{self, Task};
use crate::store::{Options, Store};

/// Close the live segment, and seal all closed segments
///
/// The command also works while `vidimus serve` runs.
#[derive(Args)]
pub(super) struct Seal {
    #[command(flatten)]
    store: StoreArgs,
}

impl Seal {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let directory = self.store.directory()?;
        run_task(&directory, &Task::Seal {}, || {
            let store = Store::open(&directory, Options::default())?;
            control::seal(&store).map_err(Failure::failed)
        })
    }
}
