//! The task that refreshes the keys: every few hours, and at once when no key verifies a well-formed
//! signature. The latter happens at most once a minute.

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

/// Asks the refresher for a refresh. Clones ask the same refresher.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefreshTrigger(Arc<Notify>);

impl RefreshTrigger {
    /// Asks for a refresh, for example because no key verifies a signature.
    pub(crate) fn trigger(&self) {
        // A request during a refresh is remembered.
        self.0.notify_one();
    }
}

/// Observes the reading of key sources. It must not block.
pub(crate) trait RefreshObserver: Send + Sync + 'static {
    /// A source was read.
    fn read(&self, source: &str, succeeded: bool);
}

impl RefreshObserver for () {
    fn read(&self, _: &str, _: bool) {}
}

/// Keeps a key ring current.
pub(crate) struct Refresher {
    pub(crate) ring: Arc<KeyRing>,
    /// Keeps the keys, and checks entries again when there are new ones.
    pub(crate) store: Arc<Store>,
    /// The sources to read, without duplicates.
    pub(crate) sources: Vec<KeySource>,
    pub(crate) client: Client,
    /// The time between two regular refreshes.
    pub(crate) interval: Duration,
    /// The shortest time between two triggered refreshes.
    pub(crate) min_trigger_interval: Duration,
    pub(crate) trigger: RefreshTrigger,
    pub(crate) observer: Arc<dyn RefreshObserver>,
}

impl Refresher {
    /// Reads the sources that `which` selects. Returns whether all of them had a key set.
    pub(crate) async fn refresh(&self, which: impl Fn(&KeySource) -> bool) -> bool {
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

    /// Reads the sources that are files, so that the first deliveries can be verified.
    pub(crate) async fn read_files(&self) {
        self.refresh(is_file).await;
    }

    /// Reads the URLs at once, and then all sources at intervals, until it is dropped.
    /// [`read_files`](Refresher::read_files) must have read the files.
    pub(crate) async fn run(self) {
        self.refresh(|source| !is_file(source)).await;
        let mut due = Instant::now() + self.interval;
        // Whether a triggered refresh is pending, and the earliest time for it.
        let (mut pending, mut allowed) = (false, Instant::now());
        loop {
            tokio::select! {
                () = sleep_until(due) => {}
                () = sleep_until(allowed), if pending => {
                    allowed = Instant::now() + self.min_trigger_interval;
                }
                () = self.trigger.0.notified(), if !pending => {
                    pending = true;
                    continue;
                }
            }
            // A source that failed may have the missing key, so the refresh stays pending.
            pending &= !self.refresh(|_| true).await;
            due = Instant::now() + self.interval;
        }
    }

    /// Reads one source. Returns whether it has a new key, or `None` if it has no key set.
    async fn refresh_one(&self, source: &KeySource) -> Option<bool> {
        let name = source.to_string();
        let result = source::read(source, &self.client).await;
        self.observer.read(&name, result.is_ok());
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
                        "keys were not refreshed; the current keys stay in use"
                    ),
                }
                let error = error.to_string();
                (None, self.enter(&name, Err(&error)).await)
            }
        };
        if let Err(error) = entered {
            tracing::warn!(%error, source = name, "the result of reading the source was not stored");
        }
        new
    }

    /// Stores the result of reading a source in the catalog. It may block.
    async fn enter(
        &self,
        name: &str,
        result: Result<&crate::signature::KeySet, &str>,
    ) -> Result<(), crate::store::StoreError> {
        tokio::task::block_in_place(|| self.store.enter_keys(name, result, now()))
    }
}

/// The warning when a source has no key set and there are no other keys.
const NO_KEYS: &str = "there are no keys, so nothing can be verified; entries received now are \
                       verified when the source can be read";

fn is_file(source: &KeySource) -> bool {
    matches!(source, KeySource::File(_))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::path::Path;

    use super::*;
    use crate::entry::Millis;
    use crate::keys::InputVerification;
    use crate::net::ClientOptions;
    use crate::store::{Directory, Options, Retirements};

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_failed_source_is_read_again_while_a_refresh_is_pending() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let store = Arc::new(Store::open(&directory, Options::default()).unwrap());
        let set = home.path().join("jwks.json");
        let sources = vec![set.display().to_string()];
        let input = InputVerification { sources, ..InputVerification::default() };
        let inputs = HashMap::from([("default".to_owned(), input)]);
        let long = Duration::from_secs(1000);
        let ring = Arc::new(KeyRing::new(
            inputs,
            Retirements::always(long),
            100,
            (vec![], vec![]),
            Millis::MIN,
        ));
        let refresher = Refresher {
            ring: Arc::clone(&ring),
            store,
            sources: vec![KeySource::File(set.clone())],
            client: Client::new(ClientOptions::default()).unwrap(),
            interval: long,
            min_trigger_interval: Duration::from_millis(1),
            trigger: RefreshTrigger::default(),
            observer: Arc::new(()),
        };
        assert!(!refresher.refresh(|_| true).await);
        // One request stays pending until every source was read.
        refresher.trigger.trigger();
        let store = Arc::clone(&refresher.store);
        let attempted = || store.keys().unwrap().1[0].attempted_at;
        let running = tokio::spawn(refresher.run());
        let happens = async {
            // It is refreshed again as long as the source fails.
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
