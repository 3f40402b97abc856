//! `vidimus journal retire`: prune no longer waits for a store that is gone.

use clap::Args;

use super::patience::patiently;
use super::{JournalArgs, run};
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::journal::StoreId;

/// Say that a store is gone for good, so that prune does not wait for it
///
/// If the store still runs, it stops when it notices, and cannot read this journal again. `vidimus
/// journal status` lists the stores.
#[derive(Args)]
pub(super) struct Retire {
    /// The id of the store
    #[arg(value_name = "STORE", value_parser = str::parse::<StoreId>)]
    store: StoreId,

    #[command(flatten)]
    journal: JournalArgs,
}

impl Retire {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let bucket = self.journal.bucket()?;
        let store = &self.store;
        run(patiently(bucket, async |journal| {
            if !journal.stores().await?.contains(store) {
                return Err(Failure::usage(format!(
                    "no store {store} reads this journal; `vidimus journal status` lists the stores"
                )));
            }
            journal.retire(store).await?;
            tell(format_args!("the store {store} is retired"));
            Ok(Exit::Done)
        }))
    }
}
