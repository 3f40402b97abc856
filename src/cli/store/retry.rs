//! `vidimus store quarantine retry`: bodies that could not be decoded are tried once more, and leave
//! the quarantine when their entries are stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::Args;

use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::cli::terminal::tell;
use crate::clock::now;
use crate::config::Config;
use crate::ingest::{Batch, Expected};
use crate::keys::KeyRing;
use crate::keys::ring::Judged;
use crate::receiver::Caps;
use crate::receiver::encoding::{Layers, decode};
use crate::server;
use crate::store::{Appended, Delivery, Quarantined, Store};

/// Decode and store bodies once more
///
/// Nobody else may be writing to the store: stop `vidimus serve` before. Entries are verified with
/// the keys that the store knows.
#[derive(Args)]
pub(super) struct Retry {
    #[command(flatten)]
    place: Place,
    /// The numbers of the bodies [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<u64>,
}

impl Retry {
    /// Tries once more. It is bad news if one cannot be stored.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        // For the caps, and for whose entries belong to which input.
        let config = Config::load(&self.place.flags(), &|name| std::env::var(name).ok())
            .map_err(Failure::usage)?;
        let directory = self.place.directory()?;
        let store =
            Store::open(&directory, server::store_options(&config)).map_err(Failure::failed)?;
        let ring = ring(&config, &store)?;
        let ids = match self.ids.is_empty() {
            true => store.quarantined_ids().map_err(Failure::failed)?,
            false => self.ids,
        };
        let mut exit = Exit::Done;
        for id in ids {
            let (what, body) = store.quarantined(id).map_err(Failure::failed)?;
            match retry(&store, &ring, &server::caps(&config), &what, body) {
                Ok(Appended { received, stored, duplicates, .. }) => {
                    store.release(id).map_err(Failure::failed)?;
                    tell(format_args!(
                        "{id}: {received} received, {stored} stored, {duplicates} duplicates"
                    ));
                }
                Err(why) => {
                    tell(format_args!("{id}: stays in quarantine: {why}"));
                    exit = Exit::BadNews;
                }
            }
        }
        Ok(exit)
    }
}

/// The keys that the store knows, for the inputs that are configured and those that were.
fn ring(config: &Config, store: &Store) -> Result<KeyRing, Failure> {
    let mut inputs: HashMap<String, Judged> = HashMap::new();
    for (input, source) in store.inputs().map_err(Failure::failed)? {
        inputs.entry(input).or_default().sources.push(source);
    }
    for input in &config.inputs {
        let expected =
            Expected { org_ids: input.org_ids.clone(), portal_ids: input.portal_ids.clone() };
        // Of an input whose sources are not known every key may be.
        if let Some(judged) = inputs.get_mut(&input.name) {
            judged.expected = Arc::new(expected);
        }
    }
    let known = store.keys().map_err(Failure::failed)?;
    let max_line = server::caps(config).lines.max_line;
    Ok(KeyRing::new(inputs, config.keys.retire_after, max_line, known, now()))
}

fn retry(
    store: &Store,
    ring: &KeyRing,
    caps: &Caps,
    what: &Quarantined,
    body: Vec<u8>,
) -> Result<Appended, String> {
    use crate::store::Judge;
    let layers = Layers::of(what.content_encoding.as_deref()).map_err(|e| e.to_string())?;
    let bytes = body.len() as u64;
    let decoded = decode(&body, layers, caps.max_decoded, |_| Ok(())).map_err(|e| e.to_string())?;
    let body = Bytes::from(decoded.unwrap_or(body));
    let keys = ring.keys(&what.input, what.received_at);
    let decoded_bytes = body.len() as u64;
    let batch = Batch::new(body, &keys, caps.lines).map_err(|e| e.to_string())?;
    let delivery = Delivery {
        received_at: what.received_at,
        started: Instant::now(),
        input: what.input.clone(),
        peer: what.peer.clone(),
        bytes,
        decoded_bytes,
    };
    store.append(delivery, &batch, &ring.expected(&what.input)).map_err(|e| e.to_string())
}
