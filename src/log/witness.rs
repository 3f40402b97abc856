//! Witnesses: services outside that cosign checkpoints after they saw that the log only grew
//! (C2SP tlog-witness). The formats are in [`tlog::witness`](crate::tlog::witness).
//!
//! Each witness has a task. It asks for a cosignature over the newest checkpoint, with a proof from the
//! size that the witness has. Checkpoints that were superseded meanwhile are skipped. A failure is
//! tried again after a pause, and delays nothing else.
//!
//! What a witness has is not kept here. The first request after a start names the size of the newest
//! checkpoint, which the witness has as a rule. If not, it answers 409 with the size that it has. So
//! each start compares the log with its witnesses, and a copy or a rolled-back log is found: the
//! witness has a larger tree, or another one. That is a [`Fork`], after which nothing is signed.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::CONTENT_TYPE;

use super::LogError;
use super::checkpoints::{Checkpoints, check_tree};
use super::party::{Newest, Party, PartyStatus, Pauses, said};
use super::status::LogStatus;
use crate::net::{Client, ClientError};
use crate::settings::HttpUrl;
use crate::store::Reader;
use crate::tlog::FormatError;
use crate::tlog::checkpoint::Checkpoint;
use crate::tlog::note::{Note, Signature, VerifierKey};
use crate::tlog::tree::{Hash, ProveError, prove_consistency};
use crate::tlog::witness::{AddCheckpoint, Answer, PATH, WitnessError, read_response};

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often one checkpoint is sent with another old size. A second one is needed only if somebody
/// else submits checkpoints of the log.
const MOST_CONFLICTS: usize = 3;

/// How long a checkpoint that the witness has may take to be known here. The signer gives one out
/// before it tells, and anybody can submit it.
const GRACE: Duration = Duration::from_secs(5);

/// What a witness needs of the log. The functions may block.
pub(crate) trait Witnessed: Send + Sync {
    /// The proof that the tree of `old` leaves is the beginning of the one in a checkpoint of this log
    /// (RFC 6962 section 2.1.2). `old` is neither 0 nor larger. The proof is right for the root in the
    /// checkpoint.
    fn prove(&self, old: u64, new: &Checkpoint) -> Result<Vec<Hash>, LogError>;

    /// Keeps verified cosignatures with the checkpoint over `size` leaves.
    fn keep(&self, size: u64, cosignatures: &[Signature]) -> Result<(), LogError>;

    /// Is told that nothing may be signed any more.
    fn forked(&self, fork: &Fork);
}

/// The log of a store, as witnesses need it.
#[derive(Debug)]
pub(crate) struct LogOfStore {
    pub(crate) reader: Reader,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) status: Arc<LogStatus>,
}

impl Witnessed for LogOfStore {
    fn prove(&self, old: u64, new: &Checkpoint) -> Result<Vec<Hash>, LogError> {
        let tiles = self.reader.tiles()?;
        check_tree(new, &tiles)?;
        prove_consistency(&tiles, old, new.size()).map_err(|error| match error {
            ProveError::Read(error) => error.into(),
            ProveError::NotThere(source) => {
                let path = self.checkpoints.path().to_owned();
                LogError::Checkpoint { path, source: source.into() }
            }
        })
    }

    fn keep(&self, size: u64, cosignatures: &[Signature]) -> Result<(), LogError> {
        self.checkpoints.add_signatures(size, cosignatures)
    }

    fn forked(&self, fork: &Fork) {
        self.status.stop(&LogError::Contradiction(fork.clone().into()));
    }
}

/// A witness has cosigned a checkpoint that contradicts this log. So the log was signed elsewhere too,
/// or is an older copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fork {
    /// The witness, the size of its tree, and the size of the newest checkpoint here.
    #[error(
        "the witness {0} has cosigned {1} leaves of this log, and the newest checkpoint here has {2}: this \
         is an older copy of the log, or another copy is signed too"
    )]
    Larger(String, u64, u64),
    /// The witness, and the size of its tree.
    #[error(
        "the witness {0} has cosigned {1} other leaves under the name of this log: another copy is \
         signed too, or leaves were changed"
    )]
    Other(String, u64),
}

/// Why there is no cosignature.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CosignError {
    #[error(transparent)]
    Fork(#[from] Fork),
    #[error(transparent)]
    Ask(#[from] ClientError),
    /// What is wrong with the answer, and what it said.
    #[error("{0}{1}")]
    Answer(WitnessError, String),
    /// A status of 409 with the same size as the request.
    #[error("the witness answered 409 with the size {0}, which is the old size of the request")]
    SameSize(u64),
    /// The sizes change with each request.
    #[error("the witness answered 409 to {MOST_CONFLICTS} requests, each time with another size")]
    Unsteady,
    /// The checkpoint cannot be read.
    #[error("the newest checkpoint: {0}")]
    Checkpoint(#[from] FormatError),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// A witness.
#[derive(Debug)]
pub(crate) struct Witness {
    key: VerifierKey,
    party: Party,
}

impl Witness {
    /// A witness with this verifier key. Its calls begin at `url`, the submission prefix. Nothing is
    /// sent yet.
    ///
    /// # Errors
    /// [`LogError::SameKey`] if the key is one of the log: a log must not be its own witness.
    pub(crate) fn new(
        key: VerifierKey,
        url: &HttpUrl,
        client: Client,
        log: &[VerifierKey],
    ) -> Result<Witness, LogError> {
        if let Some(log) = log.iter().find(|log| log.public() == key.public()) {
            return Err(LogError::SameKey { log: log.to_string(), witness: key.to_string() });
        }
        let call = format!("{}/{PATH}", url.shown().trim_end_matches('/'));
        // It stays a URL with a longer path.
        let url = call.parse().unwrap_or_else(|_| url.uri().clone());
        let party = Party::new(key.name(), client, url, "text/plain; charset=utf-8");
        Ok(Witness { key, party })
    }

    /// How it stands.
    pub(crate) fn status(&self) -> &Arc<PartyStatus> {
        &self.party.status
    }

    /// Asks for cosignatures until the signer ends, or a fork is found. Must be called in a runtime
    /// with several threads.
    pub(crate) async fn run(self: Arc<Witness>, log: impl Witnessed, mut newest: Newest) {
        let mut pauses = Pauses::up_to(LONGEST_PAUSE);
        // The size that it has cosigned last. `None`: it was not asked yet.
        let mut known = None;
        newest.mark_changed();
        while newest.changed().await.is_ok() {
            let Some(note) = newest.borrow_and_update().clone() else { continue };
            match self.cosign(&note, known, &log, &mut newest).await {
                Ok(size) => {
                    known = Some(size);
                    pauses.reset();
                }
                Err(CosignError::Fork(fork)) => {
                    self.party.status.fails(fork.to_string());
                    return log.forked(&fork);
                }
                Err(error) => {
                    self.party.status.fails(error.to_string());
                    pauses.pause().await;
                    newest.mark_changed();
                }
            }
        }
    }

    /// Asks for a cosignature over a checkpoint, and keeps it. Returns the size that the witness has
    /// then. `known` is the one that it had before.
    async fn cosign(
        &self,
        note: &Note,
        known: Option<u64>,
        log: &impl Witnessed,
        newest: &mut Newest,
    ) -> Result<u64, CosignError> {
        let checkpoint = Checkpoint::parse(note.text())?;
        let size = checkpoint.size();
        let mut old = match known {
            Some(old) => old,
            None => self.ask_size(note).await?,
        };
        for _ in 0..MOST_CONFLICTS {
            if old > size {
                return self.overtaken(old, size, newest).await;
            }
            let proof = match old == 0 || old == size {
                true => Vec::new(),
                false => tokio::task::block_in_place(|| log.prove(old, &checkpoint))?,
            };
            match self.add_checkpoint(note, size, old, proof).await? {
                Answer::Cosigned(cosignatures) => {
                    tokio::task::block_in_place(|| log.keep(size, &cosignatures))?;
                    self.party.status.vouched(size);
                    return Ok(size);
                }
                Answer::Conflict { size: theirs } => old = theirs,
            }
        }
        Err(CosignError::Unsteady)
    }

    /// The witness has cosigned more leaves than the checkpoint that it was asked about has. Somebody
    /// may have submitted a newer one, which is known here soon, and is next.
    async fn overtaken(
        &self,
        theirs: u64,
        size: u64,
        newest: &mut Newest,
    ) -> Result<u64, CosignError> {
        let reaches = |newest: &Option<Arc<Note>>| {
            let newest = newest.as_ref().and_then(|note| Checkpoint::parse(note.text()).ok());
            newest.is_some_and(|newest| newest.size() >= theirs)
        };
        let wait = tokio::time::timeout(GRACE, newest.wait_for(reaches));
        let is_reached = matches!(wait.await, Ok(Ok(_)));
        if !is_reached {
            return Err(Fork::Larger(self.name(), theirs, size).into());
        }
        newest.mark_changed();
        Ok(theirs)
    }

    /// Asks how many leaves of the log the witness has cosigned. `note` is the newest checkpoint that
    /// the log has signed, or one of the empty tree if it has signed none.
    ///
    /// The protocol has no call for this. So the witness is asked to cosign `note` with its own size as
    /// the old one. If the witness has another size, it answers 409 and changes nothing. If it has this
    /// size, it compares the roots and cosigns again what it has cosigned before. With the old size 0
    /// it would cosign the first checkpoint of a log that it has not seen, which is more than to ask.
    ///
    /// The size may be larger than that of `note`: then the caller knows whether the log has signed so
    /// much. A smaller tree may still be another one. Only a proof shows that, which [`Witness::run`]
    /// sends.
    ///
    /// # Errors
    /// [`Fork::Other`] if the witness has another tree of the size of `note`, and others if it cannot
    /// be asked.
    pub(crate) async fn ask_size(&self, note: &Note) -> Result<u64, CosignError> {
        let size = Checkpoint::parse(note.text())?.size();
        match self.add_checkpoint(note, size, size, Vec::new()).await? {
            Answer::Cosigned(_) => Ok(size),
            Answer::Conflict { size: theirs } => Ok(theirs),
        }
    }

    /// Sends a checkpoint of `size` leaves with a proof from `old`, which is right. A size in a
    /// conflict is not `old`.
    async fn add_checkpoint(
        &self,
        note: &Note,
        size: u64,
        old: u64,
        proof: Vec<Hash>,
    ) -> Result<Answer, CosignError> {
        let request = AddCheckpoint { old_size: old, proof, checkpoint: note.clone() };
        let response = self.party.post(request.to_string().into_bytes()).await?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|one| one.to_str().ok());
        let body = response.body();
        let keys = std::slice::from_ref(&self.key);
        match read_response(status, content_type, body, note, keys) {
            // The witness has compared the sizes before, and the proof is right. Or it has compared the
            // roots, and has nothing else to say than this size.
            Err(WitnessError::Refused(422, _)) if old > 0 => {
                Err(Fork::Other(self.name(), old).into())
            }
            Ok(Answer::Conflict { size: theirs }) if theirs == old => {
                match old == size && old > 0 {
                    true => Err(Fork::Other(self.name(), old).into()),
                    false => Err(CosignError::SameSize(old)),
                }
            }
            Err(error) => Err(CosignError::Answer(error, said(body))),
            Ok(answer) => Ok(answer),
        }
    }

    fn name(&self) -> String {
        self.key.name().to_owned()
    }
}
