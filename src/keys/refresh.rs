//! The task that keeps the keys current: every few hours, and at once when a well-formed signature
//! fails every key, but at most once a minute for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::ring::KeyRing;
use super::source;
use crate::clock::now;
use crate::config::KeySource;
use crate::net::Client;
use crate::store::Store;

/// Tells the refresher that a signature could not be verified and a new key may mend that.
#[derive(Clone, Debug, Default)]
pub struct Suspicion(Arc<Notify>);

impl Suspicion {
    /// There is a well-formed signature that no key verifies.
    pub fn raise(&self) {
        // One that comes while a refresh waits or runs is remembered.
        self.0.notify_one();
    }
}

/// What the refresher works with.
#[derive(Debug)]
pub struct Refresher {
    /// The ring to keep current.
    pub ring: Arc<KeyRing>,
    /// Where the keys are entered, and verdicts checked again.
    pub store: Arc<Store>,
    /// What is read, each once.
    pub sources: Vec<KeySource>,
    /// For those at URLs.
    pub client: Client,
    /// How often all are read.
    pub every: Duration,
    /// The least time between two refreshes on suspicion.
    pub pause: Duration,
    /// What asks for one.
    pub suspicion: Suspicion,
}

impl Refresher {
    /// Reads those sources once that `which` says.
    pub async fn refresh(&self, which: impl Fn(&KeySource) -> bool) {
        let mut new = false;
        for source in self.sources.iter().filter(|source| which(source)) {
            new |= self.refresh_one(source).await;
        }
        if new {
            self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
        }
    }

    /// Reads all sources at once, and then now and again until it is dropped.
    pub async fn run(self) {
        self.refresh(|_| true).await;
        let mut suspected_at: Option<Instant> = None;
        let mut refreshed_at = Instant::now();
        loop {
            tokio::select! {
                () = sleep_until(refreshed_at + self.every) => {}
                () = self.suspicion.0.notified() => {
                    if let Some(last) = suspected_at {
                        sleep_until(last + self.pause).await;
                    }
                    suspected_at = Some(Instant::now());
                }
            }
            self.refresh(|_| true).await;
            refreshed_at = Instant::now();
        }
    }

    /// Reads one source, and says whether it has a key that is new.
    async fn refresh_one(&self, source: &KeySource) -> bool {
        let name = source.to_string();
        let result = source::read(source, &self.client).await;
        let (new, entered) = match &result {
            Ok((set, bad)) => {
                for bad in bad {
                    tracing::warn!(source = name, "{bad}");
                }
                let new = self.ring.enter(&name, set, now());
                if new {
                    let keys = set.keys().len();
                    tracing::info!(source = name, keys, "the key set has new keys");
                }
                (new, self.enter(&name, Ok(set)).await)
            }
            Err(error) => {
                tracing::warn!(%error, "keys are not refreshed; those at hand go on verifying");
                let error = error.to_string();
                (false, self.enter(&name, Err(&error)).await)
            }
        };
        if let Err(error) = entered {
            tracing::warn!(%error, source = name, "what the source gave is not kept");
        }
        new
    }

    /// Enters in the catalog what a source gave, on a thread that may wait for the disk.
    async fn enter(
        &self,
        name: &str,
        result: Result<&crate::signature::KeySet, &str>,
    ) -> Result<(), crate::store::StoreError> {
        tokio::task::block_in_place(|| self.store.enter_keys(name, result, now()))
    }
}
