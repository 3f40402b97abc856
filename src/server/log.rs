//! Connects the transparency log with the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::StartError;
use crate::config::{self, Config, KeySource};
use crate::log::anchors::Anchor;
use crate::log::checkpoints::Checkpoints;
use crate::log::key::{self, KeySettings};
use crate::log::publish::{Publisher, Publishing};
use crate::log::signer::{Signer, Signing};
use crate::log::status::LogStatus;
use crate::net::{Client, ClientOptions};
use crate::objects::Blocking;
use crate::store::{Directory, Reader, Store};

/// The log of a store that is open, ready to be signed.
pub(super) struct Log {
    signer: Signer,
    publisher: Option<Publisher>,
    checkpoints: Checkpoints,
    interval: Duration,
    status: Arc<LogStatus>,
}

/// The threads of the log. They are dropped in this order: what was signed last is published.
pub(super) struct Threads {
    _signing: Option<Signing>,
    _publishing: Option<Publishing>,
}

impl Log {
    /// Opens the log. On the first run it begins. Nothing is signed yet.
    pub(super) fn open(
        config: &Config,
        directory: &Directory,
        store: &Arc<Store>,
    ) -> Result<Log, StartError> {
        let folder = directory.log();
        let settings = KeySettings {
            origin: config.log.origin.clone(),
            key_file: config.log.key_file.clone(),
        };
        let keys = key::open_or_begin(&folder, &settings, &store.id()?)?;
        let checkpoints = Checkpoints::new(&folder);
        let status = Arc::<LogStatus>::default();
        let place = config.log.publish.as_ref();
        let place = place.map(|url| Blocking::open(url, Handle::current())).transpose()?;
        let anchors = anchors(&config.log, place.as_ref())?;
        let publisher = |place| -> Result<Publisher, StartError> {
            let names = (keys.known(), keys.verifier().name().to_owned());
            let reader = Reader::open_to_follow(directory)?;
            Ok(Publisher::new(place, reader, checkpoints.clone(), names, Arc::clone(&status)))
        };
        Ok(Log {
            publisher: place.map(publisher).transpose()?,
            signer: Signer::new(
                Arc::clone(store),
                Reader::open_to_follow(directory)?,
                keys,
                checkpoints.clone(),
                anchors,
                Arc::clone(&status),
            ),
            checkpoints,
            interval: config.log.checkpoint_interval,
            status,
        })
    }

    /// How the signer stands.
    pub(super) fn status(&self) -> &Arc<LogStatus> {
        &self.status
    }

    /// The checkpoints.
    pub(super) fn checkpoints(&self) -> &Checkpoints {
        &self.checkpoints
    }

    /// Starts the threads. If it cannot, the status says so.
    pub(super) fn start(self) -> Threads {
        let Log { signer, publisher, interval, status, .. } = self;
        let why = |error: &_| format!("cannot start its thread: {error}");
        let signing = signer.start(interval).inspect_err(|error| status.stop(&why(error)));
        let publishing = publisher.map(|publisher| {
            let started = publisher.start(interval);
            started.inspect_err(|error| status.publishing_fails(why(error)))
        });
        Threads { _signing: signing.ok(), _publishing: publishing.and_then(Result::ok) }
    }
}

/// What the log is compared with before it is signed for the first time.
fn anchors(log: &config::Log, place: Option<&Blocking>) -> Result<Vec<Anchor>, StartError> {
    let of_source = |source: &KeySource| -> Result<Anchor, StartError> {
        Ok(match source {
            KeySource::File(path) => Anchor::File(path.clone()),
            KeySource::Url(url) => Anchor::Url {
                url: url.clone(),
                client: Box::new(Client::new(ClientOptions::default())?),
                runtime: Handle::current(),
            },
        })
    };
    let published = place.cloned().map(|place| Ok(Anchor::Published(place)));
    log.anchor.iter().map(of_source).chain(published).collect()
}
