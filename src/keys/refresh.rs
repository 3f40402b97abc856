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

/// Is told how each reading of a source of keys ended; it must not block.
pub trait Watcher: Send + Sync + 'static {
    /// Whether `source` gave a key set.
    fn read(&self, source: &str, gave: bool);
}

/// Nobody watches.
impl Watcher for () {
    fn read(&self, _: &str, _: bool) {}
}

/// What the refresher works with.
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
    /// Is told how it goes.
    pub watcher: Arc<dyn Watcher>,
}

impl Refresher {
    /// Reads those sources once that `which` says, and says whether all of them gave a key set.
    pub async fn refresh(&self, which: impl Fn(&KeySource) -> bool) -> bool {
        let (mut new, mut all) = (false, true);
        for source in self.sources.iter().filter(|source| which(source)) {
            match self.refresh_one(source).await {
                Some(has_new) => new |= has_new,
                None => all = false,
            }
        }
        if new {
            self.store.recheck(Arc::clone(&self.ring) as Arc<_>);
        }
        all
    }

    /// Reads the sources that are files, so that what is received first is verified already.
    pub async fn read_files(&self) {
        self.refresh(is_file).await;
    }

    /// Reads all sources at once but the files, which [`read_files`](Refresher::read_files) has
    /// read, and then all of them now and again until it is dropped.
    pub async fn run(self) {
        self.refresh(|source| !is_file(source)).await;
        let mut due = Instant::now() + self.every;
        // Whether there is a suspicion that is not acted on yet, and from when one may be.
        let (mut suspected, mut allowed) = (false, Instant::now());
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                () = sleep_until(allowed), if suspected => allowed = Instant::now() + self.pause,
                () = self.suspicion.0.notified(), if !suspected => {
                    suspected = true;
                    continue;
                }
            }
            // A source that failed may have had the key: what waits for it must not wait for hours.
            suspected &= !self.refresh(|_| true).await;
            due = Instant::now() + self.every;
        }
    }

    /// Reads one source, and says whether it has a key that is new; `None` if it gave no set.
    async fn refresh_one(&self, source: &KeySource) -> Option<bool> {
        let name = source.to_string();
        let result = source::read(source, &self.client).await;
        self.watcher.read(&name, result.is_ok());
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
                (Some(new), self.enter(&name, Ok(set)).await)
            }
            Err(error) => {
                match self.ring.is_empty() {
                    true => tracing::warn!(%error, "{NO_KEYS}"),
                    false => tracing::warn!(
                        %error,
                        "keys are not refreshed; those at hand go on verifying"
                    ),
                }
                let error = error.to_string();
                (None, self.enter(&name, Err(&error)).await)
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

/// What it means that a source gave nothing while there are no keys.
const NO_KEYS: &str = "there are no keys, so nothing can be verified; what is received until this \
                       source can be read is verified when it can";

fn is_file(source: &KeySource) -> bool {
    matches!(source, KeySource::File(_))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;
    use crate::entry::Millis;
    use crate::keys::ring::Judged;
    use crate::net::ClientOptions;
    use crate::store::{Directory, Options};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_source_that_failed_is_asked_again_as_long_as_something_waits() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let set = home.path().join("jwks.json");
        let judged = Judged { sources: vec![set.display().to_string()], ..Judged::default() };
        let inputs = HashMap::from([("default".to_owned(), judged)]);
        let long = Duration::from_secs(1000);
        let ring = Arc::new(KeyRing::new(inputs, long, 100, (vec![], vec![]), Millis::MIN));
        let refresher = Refresher {
            ring: Arc::clone(&ring),
            store,
            sources: vec![KeySource::File(set.clone())],
            client: Client::new(ClientOptions::default()).unwrap(),
            every: long,
            pause: Duration::from_millis(1),
            suspicion: Suspicion::default(),
            watcher: Arc::new(()),
        };
        assert!(!refresher.refresh(|_| true).await);
        // Raised once, it stays until every source has answered.
        refresher.suspicion.raise();
        let store = Arc::clone(&refresher.store);
        let attempted = || store.keys().unwrap().1[0].attempted_at;
        let running = tokio::spawn(refresher.run());
        let happens = async {
            // Suspected, and again as long as it fails.
            for _ in 0..3 {
                let before = attempted();
                while attempted() == before {
                    tokio::task::yield_now().await;
                }
            }
            let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/vectors");
            std::fs::copy(vectors.join("jwks.json"), set).unwrap();
            while ring.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), happens).await.unwrap();
        running.abort();
    }
}
