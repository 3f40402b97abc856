//! Connects the witnesses and the time-stamping authority with the transparency log.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use crate::config;
use crate::log::LogError;
use crate::log::anchors::Anchor;
use crate::log::checkpoints::Checkpoints;
use crate::log::party::{Newest, PartyStatus};
use crate::log::status::LogStatus;
use crate::log::timestamp::Authority;
use crate::log::witness::{LogOfStore, Witness};
use crate::net::Client;
use crate::store::{Directory, Reader};
use crate::tlog::note::VerifierKey;

/// Those who are asked to vouch for checkpoints, not asked yet.
pub(super) struct Parties {
    /// Each with the log, as it needs it.
    witnesses: Vec<(Arc<Witness>, LogOfStore)>,
    authority: Option<Authority>,
}

/// How they stand.
pub(super) struct Standing {
    pub(super) witnesses: Vec<Arc<PartyStatus>>,
    pub(super) authority: Option<Arc<PartyStatus>>,
}

impl Parties {
    /// Those in the configuration. `keys` are those of the log.
    ///
    /// # Errors
    /// [`LogError::SameKey`] if a witness has one of them, and others if the store cannot be read.
    pub(super) fn new(
        config: &config::Log,
        keys: &[VerifierKey],
        directory: &Directory,
        checkpoints: &Checkpoints,
        status: &Arc<LogStatus>,
        client: &Client,
    ) -> Result<Parties, LogError> {
        let witness = |witness: &config::Witness| {
            let log = LogOfStore {
                reader: Reader::open_to_follow(directory)?,
                checkpoints: checkpoints.clone(),
                status: Arc::clone(status),
            };
            let witness = Witness::new(witness.key.clone(), &witness.url, client.clone(), keys)?;
            Ok((Arc::new(witness), log))
        };
        let witnesses = config.witnesses.iter().map(witness).collect::<Result<_, LogError>>()?;
        let authority = config.tsa.as_ref();
        let authority = authority.map(|url| Authority::new(url, client, &directory.log()));
        Ok(Parties { witnesses, authority })
    }

    /// The witnesses as anchors.
    pub(super) fn anchors(&self) -> impl Iterator<Item = Anchor> {
        let anchor = |witness: &Arc<Witness>| Anchor::Witness {
            witness: Arc::clone(witness),
            runtime: Handle::current(),
        };
        self.witnesses.iter().map(move |(witness, _)| anchor(witness))
    }

    /// How they stand.
    pub(super) fn standing(&self) -> Standing {
        let witnesses = self.witnesses.iter().map(|(one, _)| Arc::clone(one.status())).collect();
        let authority = self.authority.as_ref().map(|one| Arc::clone(one.status()));
        Standing { witnesses, authority }
    }

    /// Starts a task for each, which is told of the newest checkpoint. Dropping the set ends them. Must
    /// be called in a runtime with several threads.
    pub(super) fn start(self, newest: &Newest) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for (witness, log) in self.witnesses {
            tasks.spawn(witness.run(log, newest.clone()));
        }
        if let Some(authority) = self.authority {
            tasks.spawn(authority.run(newest.clone()));
        }
        tasks
    }
}
