//! `[[source]] type = "konnect-pull"`: stores the organization's entries that Konnect's API lists and
//! no delivery brought, for receivers that Konnect cannot reach and for gaps.
//!
//! Only entries older than the delay are stored: until then a delivery may bring them. Each is stored
//! as the API wrote it, with the format `pulled` and the verdict `unsigned`, because nobody has said
//! what the `signature` in this shape covers. The position is in a file. If it is lost, the list is
//! read again, and what is stored already is left out.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::late;
use crate::clock::now;
use crate::entry::time::DAY;
use crate::entry::{Format, Millis};
use crate::ingest::{Batch, Caps, ExpectedIds};
use crate::konnect::client::{ApiError, Client, LISTED_LATE, LONGEST_RETENTION};
use crate::konnect::reconcile::{
    Keys, PartError, Pulled, StoredEntry, candidates, compare, pull_parts, vouches,
};
use crate::net::Shutdown;
use crate::private_file;
use crate::search;
use crate::store::{Delivery, Directory, Position, Reader, Store, StoreError};

/// The settings of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Its name, which is the `input` of its entries.
    pub(crate) name: String,
    /// How often the API is asked.
    pub(crate) interval: Duration,
    /// The age from which entries are stored.
    pub(crate) delay: Duration,
    /// How far back the first pull goes. `None`: as far as Konnect does.
    pub(crate) since: Option<Duration>,
}

/// The source, ready to run.
pub(crate) struct KonnectPull {
    settings: Settings,
    client: Client,
    store: Arc<Store>,
    reader: Reader,
    caps: Caps,
    path: PathBuf,
}

/// How far a source got.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Everything up to this time was pulled.
    until: Option<i64>,
    /// What was delivered up to here was compared with the pulled entries.
    #[serde(default)]
    compared: Option<Position>,
}

/// The maximum number of entries in a delivery of a source.
const MOST: usize = 1000;

/// Why a round failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PullError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error("cannot use {}: {source}", path.display())]
    Progress { path: PathBuf, source: io::Error },
    #[error("the entries are too many for a delivery: {0}")]
    Caps(#[from] crate::ingest::TooManyLines),
    #[error(transparent)]
    Query(#[from] search::QueryError),
}

impl KonnectPull {
    /// # Errors
    /// When the store cannot be read.
    pub(crate) fn new(
        settings: Settings,
        client: Client,
        store: Arc<Store>,
        directory: &Directory,
        caps: Caps,
    ) -> Result<KonnectPull, StoreError> {
        let path = directory.path().join(format!("source-{}.json", settings.name));
        Ok(KonnectPull { settings, client, store, reader: Reader::open(directory)?, caps, path })
    }

    /// Pulls every interval until shutdown. An error is logged, and the next round tries again.
    pub(crate) async fn run(self, mut shutdown: Shutdown) {
        loop {
            tokio::select! {
                round = self.round() => if let Err(error) = round {
                    let source = &self.settings.name;
                    tracing::warn!(source, %error, "entries cannot be pulled; trying again later");
                },
                _ = shutdown.begun() => return,
            }
            if tokio::time::timeout(self.settings.interval, shutdown.begun()).await.is_ok() {
                return;
            }
        }
    }

    /// Stores what is missing up to the delay, and hides what was delivered meanwhile.
    async fn round(&self) -> Result<(), PullError> {
        let mut progress = self.progress()?;
        let from = progress.compared.unwrap_or(Position::OLDEST);
        progress.compared = Some(tokio::task::block_in_place(|| {
            late::hide(&self.store, &self.reader, from, self.settings.delay)
        })?);
        let delay = i64::try_from(self.settings.delay.as_millis()).unwrap_or(i64::MAX);
        let until = now().get().saturating_sub(delay);
        self.save(progress)?;
        let since = match progress.until {
            Some(at) => at - LISTED_LATE,
            None => self.beginning(until).await?,
        };
        let mut stored = 0;
        for start in (since..until).step_by(DAY as usize) {
            // A later round goes on after the last day that was read whole.
            let end = start.saturating_add(DAY).min(until);
            stored += self.pull(Millis::saturating(start), Millis::saturating(end)).await?;
            progress.until = Some(end);
            self.save(progress)?;
        }
        if stored > 0 {
            let source = &self.settings.name;
            tracing::info!(source, stored, "entries that no delivery brought were pulled");
        }
        Ok(())
    }

    /// Where the first pull begins. The days before Konnect's oldest entry are not asked for one by one,
    /// because each call to the API makes entries.
    async fn beginning(&self, until: i64) -> Result<i64, PullError> {
        let first = match self.settings.since {
            Some(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            None => LONGEST_RETENTION,
        };
        let since = until.saturating_sub(first);
        let ends = (Millis::saturating(since), Millis::saturating(until));
        let oldest = self.client.oldest(ends.0, ends.1).await?;
        Ok(oldest.map_or(until - LISTED_LATE, |oldest| oldest.get().max(since)))
    }

    /// Stores the missing entries of a range, and returns their number.
    async fn pull(&self, since: Millis, until: Millis) -> Result<u64, PullError> {
        let mut stored = 0;
        let unread = pull_parts(&self.client, since, until, |part| -> Result<(), PullError> {
            stored += tokio::task::block_in_place(|| self.store_missing(part))?;
            Ok(())
        });
        if let unread @ 1.. = unread.await? {
            let source = &self.settings.name;
            tracing::warn!(source, unread, "entries without a time cannot be compared");
        }
        Ok(stored)
    }

    /// Stores the entries that the store lacks, and returns their number.
    fn store_missing(&self, part: Vec<Pulled>) -> Result<u64, PullError> {
        let stored = self.stored(&part)?;
        let missing = compare(part, &stored).missing;
        let mut count = 0;
        for some in missing.chunks(MOST) {
            let lines: Vec<_> = some.iter().map(Pulled::line).collect();
            let body = Bytes::from(lines.join("\n"));
            let (bytes, received_at) = (body.len() as u64, now());
            let delivery = Delivery {
                received_at,
                started: Instant::now(),
                input: self.settings.name.clone(),
                peer: self.client.hosts().regional().to_owned(),
                bytes,
                decoded_bytes: bytes,
                origin: None,
            };
            let batch = Batch::pulled(body, self.caps)?;
            count += self.store.append(delivery, &batch, &ExpectedIds::default())?.appended.stored;
        }
        Ok(count)
    }

    /// The stored entries that may be these, pulled ones too.
    fn stored(&self, pulled: &[Pulled]) -> Result<Vec<StoredEntry>, StoreError> {
        let keys = Keys::of(pulled);
        candidates(&self.reader, pulled, |record, identity| match record.format {
            Some(Format::Pulled) => keys.has(identity),
            _ => vouches(&keys, identity, record.verdict),
        })
    }

    fn progress(&self) -> Result<Progress, PullError> {
        match fs::read(&self.path) {
            // A damaged file is as good as none.
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Progress::default()),
            Err(source) => Err(PullError::Progress { path: self.path.clone(), source }),
        }
    }

    fn save(&self, progress: Progress) -> Result<(), PullError> {
        let json = serde_json::to_string(&progress).unwrap_or_default();
        private_file::write(&self.path, &(json + "\n"))
            .map_err(|source| PullError::Progress { path: self.path.clone(), source })
    }
}
