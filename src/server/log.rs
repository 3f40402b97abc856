//! Connects the transparency log with the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::StartError;
use super::parties::{Parties, Standing};
use crate::config::{self, Config, KeySource};
use crate::evidence::signed::SignedLog;
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
    signed: SignedLog,
    interval: Duration,
    status: Arc<LogStatus>,
    parties: Parties,
}

/// The threads and tasks of the log. They are dropped in this order: what is signed last is sent to
/// witnesses at the next start, and is published.
pub(super) struct Threads {
    _asking: JoinSet<()>,
    _signing: Option<Signing>,
    _publishing: Option<Publishing>,
}

impl Log {
    /// Opens the log. On the first run it begins. Nothing is signed yet.
    pub(super) fn open(
        config: &Config,
        directory: &Directory,
        store: &Arc<Store>,
        client: &Client,
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
        let signed = SignedLog::new(&folder, keys.verifier().clone());
        let mut anchors = anchors(&config.log, place.as_ref())?;
        let known = keys.known();
        let parties = Parties::new(&config.log, &known, directory, &checkpoints, &status, client)?;
        anchors.extend(parties.anchors());
        let publisher = |place| -> Result<Publisher, StartError> {
            let names = (known, keys.verifier().name().to_owned());
            let reader = Reader::open_to_follow(directory)?;
            Ok(Publisher::new(place, reader, checkpoints.clone(), names, Arc::clone(&status)))
        };
        Ok(Log {
            publisher: place.map(publisher).transpose()?,
            parties,
            signed,
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

    /// What evidence bundles are made of.
    pub(super) fn signed(&self) -> &SignedLog {
        &self.signed
    }

    /// How the witnesses and the time-stamping authority stand.
    pub(super) fn parties(&self) -> Standing {
        self.parties.standing()
    }

    /// Starts the threads, and the tasks that ask others about what is signed. If a thread cannot be
    /// started, the status says so.
    pub(super) fn start(self) -> Threads {
        let Log { signer, publisher, interval, status, parties, .. } = self;
        let why = |error: &_| format!("cannot start its thread: {error}");
        let asking = parties.start(&signer.given_out());
        let signing = signer.start(interval).inspect_err(|error| status.stop(&why(error)));
        let publishing = publisher.map(|publisher| {
            let started = publisher.start(interval);
            started.inspect_err(|error| status.publishing_fails(why(error)))
        });
        Threads {
            _asking: asking,
            _signing: signing.ok(),
            _publishing: publishing.and_then(Result::ok),
        }
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
