//! `vidimus journal`: look after the journal in object storage.

mod check;
mod patience;
mod prune;
mod retire;
mod skip;
mod status;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use data_encoding::HEXLOWER;
use object_store::ObjectMeta;

use super::exit::{Exit, Failure};
use crate::config::{self, Flags};
use crate::entry::Millis;
use crate::journal::Journal;
use crate::objects::{Bucket, BucketUrl};
use crate::random;

/// Look after the journal in object storage.
#[derive(Args)]
pub(crate) struct JournalCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Status(status::Status),
    Check(check::Check),
    Prune(prune::Prune),
    Skip(skip::Skip),
    Retire(retire::Retire),
}

impl JournalCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Status(status) => status.run(),
            Command::Check(check) => check.run(),
            Command::Prune(prune) => prune.run(),
            Command::Skip(skip) => skip.run(),
            Command::Retire(retire) => retire.run(),
        }
    }
}

/// Which journal.
#[derive(Clone, Debug, Args)]
struct JournalArgs {
    /// The configuration file, with the url in [journal]
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

impl JournalArgs {
    fn url(&self) -> Result<BucketUrl, Failure> {
        let flags = Flags { config: Some(self.config.clone()), ..Flags::default() };
        config::journal(&flags).map_err(Failure::usage)?.url.ok_or_else(|| {
            Failure::usage(format!(
                "{}: journal.url is missing: set it, such as url = \"s3://bucket/prefix\" in the \
                 section [journal]",
                self.config.display()
            ))
        })
    }

    fn bucket(&self) -> Result<Bucket, Failure> {
        Bucket::open(&self.url()?).map_err(Failure::usage)
    }
}

/// The journal in a place.
fn journal(bucket: &Bucket) -> Journal<Bucket> {
    Journal::new(Arc::new(bucket.clone()))
}

/// A random name for objects that a command makes and deletes.
fn random_id() -> Result<String, Failure> {
    Ok(HEXLOWER.encode(&random::secret_bytes::<8>()?))
}

/// When an object was written, by the clock of the object store.
fn millis(meta: &ObjectMeta) -> Millis {
    Millis::saturating(meta.last_modified.timestamp_millis())
}

/// Runs a future on a new runtime.
fn run<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(future);
    // Do not wait for a running DNS look-up.
    runtime.shutdown_background();
    done
}
