//! `vidimus log`: the transparency log of the store.

mod change;
mod check;
mod coverage;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::args::StoreArgs;
use super::exit::{Exit, Failure};
use super::terminal::Output;
use crate::config;
use crate::log::LogError;
use crate::log::checkpoints::Checkpoints;
use crate::log::key::{self, KeySettings, Keys};
use crate::store::Directory;

/// Show and check the transparency log of the store.
#[derive(Args)]
pub(crate) struct Log {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Key(Key),
    Checkpoint(Checkpoint),
    Check(check::Check),
    RotateKey(change::RotateKey),
    Fork(change::Fork),
    Coverage(coverage::CoverageCommand),
}

impl Log {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Key(key) => key.run(),
            Command::Checkpoint(checkpoint) => checkpoint.run(),
            Command::Check(check) => check.run(),
            Command::RotateKey(rotate) => rotate.run(),
            Command::Fork(fork) => fork.run(),
            Command::Coverage(coverage) => coverage.run(),
        }
    }
}

/// Print the verifier key of the log
///
/// Auditors keep it: with it they verify checkpoints. It has the origin of the log, an id and the
/// public key, as signed-note of C2SP says.
///
/// Exit codes: 0 success, 2 usage error, 3 there is no log, or its key cannot be read.
#[derive(Args)]
struct Key {
    #[command(flatten)]
    store: StoreArgs,
}

impl Key {
    fn run(self) -> Result<Exit, Failure> {
        let (_, keys) = open(&self.store)?;
        let mut output = Output::new();
        output.line(keys.verifier())?;
        output.flush()?;
        Ok(Exit::Done)
    }
}

/// Print the newest checkpoint of the log
///
/// It has the origin, the number of leaves, the root of the tree and the signature, as
/// tlog-checkpoint of C2SP says. Keep one elsewhere, and `vidimus log check --against` tells
/// whether anything that it covers was removed or changed.
///
/// Exit codes: 0 success, 2 usage error, 3 there is no checkpoint.
#[derive(Args)]
struct Checkpoint {
    #[command(flatten)]
    store: StoreArgs,
}

impl Checkpoint {
    fn run(self) -> Result<Exit, Failure> {
        let checkpoints = Checkpoints::new(&folder(&self.store)?);
        let missing = || LogError::NoCheckpoint(checkpoints.path().to_owned());
        let note = checkpoints.given_out()?.ok_or_else(missing)?;
        let mut output = Output::new();
        output.bytes(&note)?;
        output.flush()?;
        Ok(Exit::Done)
    }
}

/// The folder of the log.
fn folder(store: &StoreArgs) -> Result<PathBuf, Failure> {
    Ok(Directory::open_to_read(&store.path()?)?.log())
}

/// The folder of the log, and its keys.
fn open(store: &StoreArgs) -> Result<(PathBuf, Keys), Failure> {
    let folder = folder(store)?;
    let keys = key::open(&folder, &settings(store)?)?;
    Ok((folder, keys))
}

/// What the configuration says of the key.
fn settings(store: &StoreArgs) -> Result<KeySettings, Failure> {
    let log = config::log(&store.flags()).map_err(Failure::usage)?;
    Ok(KeySettings { origin: log.origin, key_file: log.key_file })
}
