//! `vidimus store quarantine retry`: decode bodies again. A body leaves the quarantine when its
//! entries are stored.

use std::collections::HashMap;
use std::sync::Arc;

use clap::Args;

use super::by_serve::have_done;
use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::clock::now;
use crate::config::Config;
use crate::control::{self, Task};
use crate::ingest::ExpectedIds;
use crate::keys::{InputVerification, KeyRing};
use crate::server;
use crate::store::Store;

/// Decode and store bodies in quarantine again
///
/// Entries are verified with the keys in the store. The command also works while `vidimus serve`
/// runs.
#[derive(Args)]
pub(super) struct Retry {
    #[command(flatten)]
    place: Place,
    /// The ids of the bodies [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
}

impl Retry {
    /// The result is negative if a body cannot be stored.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let directory = self.place.directory()?;
        have_done(&directory, &Task::Retry { ids: self.ids.clone() }, || {
            // For the limits, and for the expected organizations and portals of each input.
            let config = Config::load(&self.place.flags(), &|name| std::env::var(name).ok())
                .map_err(Failure::usage)?;
            let store = Store::open(&directory, server::store_options(&config))?;
            let ring = ring(&config, &store)?;
            control::retry(&store, &ring, &server::receiver_limits(&config), self.ids)
                .map_err(Failure::failed)
        })
    }
}

/// The keys in the store, for current and former inputs.
fn ring(config: &Config, store: &Store) -> Result<KeyRing, Failure> {
    let mut inputs: HashMap<String, InputVerification> = HashMap::new();
    for (input, source) in store.inputs()? {
        inputs.entry(input).or_default().sources.push(source);
    }
    for input in &config.inputs {
        let expected =
            ExpectedIds { org_ids: input.org_ids.clone(), portal_ids: input.portal_ids.clone() };
        // An input with unknown sources may use every key.
        if let Some(judged) = inputs.get_mut(&input.name) {
            judged.expected = Arc::new(expected);
        }
    }
    let known = store.keys()?;
    let max_line = server::receiver_limits(config).lines.max_line;
    Ok(KeyRing::new(inputs, config.keys.retire_after, max_line, known, now()))
}
