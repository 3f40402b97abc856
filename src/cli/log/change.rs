//! `vidimus log rotate-key` and `vidimus log fork`: a new key, and a new origin. Both change the verifier
//! key that auditors need.

use std::path::PathBuf;

use clap::Args;

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{Output, confirm, tell};
use crate::log::LogError;
use crate::log::key;
use crate::store::{Options, Store};
use crate::tlog::leaf::Leaf;
use crate::tlog::note::VerifierKey;

/// Give the log a new key
///
/// A leaf with the new verifier key is added to the log, and both keys sign for 30 days. The new verifier
/// key is printed: give it to the auditors before the 30 days are over. The old one stays valid for all that
/// it has signed.
///
/// The old private key is kept in log/key.previous of the data directory. After 30 days it is not used any
/// more: delete the file. Stop `vidimus serve` first.
///
/// Exit codes: 0 success, 2 usage error, 3 there is no log, or the key cannot be used.
#[derive(Args)]
pub(super) struct RotateKey {
    /// Take the private key in FILE, as `openssl genpkey -algorithm ed25519` makes it, instead of making
    /// one; needed if log.key_file is set
    #[arg(long, value_name = "FILE")]
    new_key: Option<PathBuf>,

    #[command(flatten)]
    store: StoreArgs,
}

/// Give the log a new origin, because there is another log of the old one
///
/// Use this command when the log of `vidimus serve` says that this log and an anchor went on in different
/// ways, and this store is to go on: after a backup was restored, or when a copy of the data directory is
/// used as a store of its own. The leaves stay, and a leaf with the new verifier key is added. What was
/// signed under the old origin stays readable, and `vidimus log check` still checks it.
///
/// To auditors it is another log: they need the new verifier key, which is printed, and a checkpoint of the
/// old origin proves nothing about it. Publish it to a place of its own. Stop `vidimus serve` first.
///
/// Exit codes: 0 success, 2 usage error, 3 there is no log, or it cannot be changed.
#[derive(Args)]
pub(super) struct Fork {
    /// The new origin [default: log.origin if it was changed, or the old origin with a number, such as
    /// siem.example.com/audit/2]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,

    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    store: StoreArgs,
}

impl RotateKey {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let settings = super::settings(&self.store)?;
        let (folder, store) = open(&self.store)?;
        let add = |key: &VerifierKey| add(&store, key);
        let key = key::rotate(&folder, &settings, self.new_key.as_deref(), add)?;
        print(&key)?;
        if let (Some(old), Some(new)) = (&settings.key_file, &self.new_key) {
            tell(format_args!(
                "set log.key_file to {} now: until then the key in {} signs alone",
                new.display(),
                old.display()
            ));
        }
        tell("both keys sign for 30 days; give the new verifier key to the auditors");
        Ok(Exit::Done)
    }
}

impl Fork {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let settings = super::settings(&self.store)?;
        let (folder, store) = open(&self.store)?;
        tell("The log gets a new origin. Whoever verifies it needs the new verifier key.");
        if !self.yes && !confirm("Begin a new origin?")? {
            tell("nothing was changed");
            return Ok(Exit::Failed);
        }
        let key = key::fork(&folder, &settings, self.origin, |key| add(&store, key))?;
        print(&key)?;
        if let Some(old) = settings.origin.filter(|old| old != key.name()) {
            tell(format_args!(
                "set log.origin to {:?}, which is {old:?} now, or remove it",
                key.name()
            ));
        }
        tell(
            "give the new verifier key to the auditors; if log.publish is set, set it to a new place, and \
             replace the checkpoints that log.anchor names",
        );
        Ok(Exit::Done)
    }
}

/// Opens the store to add a leaf, which needs that no other process has it. Returns the folder of the log
/// too.
fn open(store: &StoreArgs) -> Result<(PathBuf, Store), Failure> {
    let directory = store.directory()?;
    let folder = directory.log();
    Ok((folder, Store::open(&directory, Options::default())?))
}

fn add(store: &Store, key: &VerifierKey) -> Result<(), LogError> {
    store.append_leaf(Leaf::Key { vkey: key.to_string() })?;
    Ok(())
}

fn print(key: &VerifierKey) -> Result<(), Failure> {
    let mut output = Output::new();
    output.line(key)?;
    output.flush()
}
