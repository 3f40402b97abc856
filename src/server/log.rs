//! Connects the transparency log with the store.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{self, Config};
use crate::log::LogError;
use crate::log::checkpoints::Checkpoints;
use crate::log::key::{self, KeySettings};
use crate::log::signer::{Signer, Signing};
use crate::log::status::LogStatus;
use crate::store::{Directory, Reader, Store};

/// The log of a store that is open, ready to be signed.
pub(super) struct Log {
    signer: Signer,
    checkpoints: Checkpoints,
    interval: Duration,
    status: Arc<LogStatus>,
}

impl Log {
    /// Opens the log. On the first run it begins. Nothing is signed yet.
    pub(super) fn open(
        config: &Config,
        directory: &Directory,
        store: &Arc<Store>,
    ) -> Result<Log, LogError> {
        let folder = directory.log();
        let key = key::open_or_begin(&folder, &key_settings(&config.log), &store.id()?)?;
        let checkpoints = Checkpoints::new(&folder);
        let status = Arc::<LogStatus>::default();
        Ok(Log {
            signer: Signer::new(
                Arc::clone(store),
                Reader::open_to_follow(directory)?,
                key,
                checkpoints.clone(),
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

    /// Starts the thread. If it cannot, the status says so.
    pub(super) fn start(self) -> Option<Signing> {
        let started = self.signer.start(self.interval);
        let failed = |error: &_| self.status.stop(format!("cannot start its thread: {error}"));
        started.inspect_err(failed).ok()
    }
}

fn key_settings(log: &config::Log) -> KeySettings {
    KeySettings { origin: log.origin.clone(), key_file: log.key_file.clone() }
}
