//! `vidimus store backup` and `vidimus store restore`: copies of the whole store.

use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::HumanBytes;
use tokio::runtime::Runtime;

use crate::backup::{self, Uploaded};
use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::objects::{Blocking, BucketUrl};
use crate::store::backup::{Copied, restore};

/// Back up the store to a directory or to object storage, also while `vidimus serve` runs
///
/// The backup is a consistent snapshot. Sealed segments that an earlier backup in the same place has
/// are not copied again. It also contains the authorization value and the private key of the
/// self-signed certificate.
///
/// A directory has the layout of a data directory, so `vidimus query --data-dir DIR` and `vidimus
/// store check --data-dir DIR` work on it.
///
/// A URL is s3://bucket/prefix, gs://bucket/prefix, az://container/prefix or file:///folder.
/// Credentials come from the environment. Each backup has a number, and the earlier ones stay. The
/// catalog and the unsealed segments are copied to the data directory first, which must have room for
/// them.
///
/// Exit codes: 0 success, 1 the backup is complete but a sealed segment differs from its recorded
/// SHA-256, 2 usage error, 3 failure.
#[derive(Args)]
pub(super) struct Backup {
    /// The directory, created if it does not exist, or the URL
    #[arg(value_name = "DIR|URL")]
    to: PathBuf,

    #[command(flatten)]
    store: StoreArgs,
}

/// Create a data directory from a backup
///
/// The data directory must be empty or not exist. The SHA-256 of every sealed segment is compared
/// with the recorded one. From a URL, every other file is compared too. Entries that were received
/// after the backup are not included; `vidimus konnect replay` makes Konnect send them again.
#[derive(Args)]
pub(super) struct Restore {
    /// The directory or the URL that `vidimus store backup` wrote to
    #[arg(value_name = "DIR|URL")]
    from: PathBuf,

    /// The number of the backup at the URL [default: the newest]
    #[arg(long, value_name = "N")]
    number: Option<u64>,

    #[command(flatten)]
    store: StoreArgs,
}

impl Backup {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let reader = || self.store.reader();
        let copied = match open(&self.to)? {
            None => {
                let copied = reader()?.backup(&self.to)?;
                summary("backed up", &copied);
                copied
            }
            Some((objects, _runtime)) => {
                let Uploaded { number, copied } = backup::backup(&reader()?, &objects)?;
                summary(&format!("backed up as number {number}"), &copied);
                copied
            }
        };
        for file in &copied.damaged {
            tell(format_args!("{file} is damaged: it is not as it was written"));
        }
        if !copied.left.is_empty() {
            let files = copied.left.join(", ");
            tell(format_args!("kept from an earlier backup, and no longer in the store: {files}"));
        }
        Ok(if copied.damaged.is_empty() { Exit::Done } else { Exit::Negative })
    }
}

impl Restore {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let to = self.store.path()?;
        let copied = match open(&self.from)? {
            Some((objects, _runtime)) => backup::restore(&objects, self.number, &to)?,
            None if self.number.is_some() => {
                return Err(Failure::usage(
                    "--number: a directory has one backup, without a number",
                ));
            }
            None => restore(&self.from, &to)?,
        };
        summary("restored", &copied);
        Ok(Exit::Done)
    }
}

/// Opens a place in object storage, with the runtime that makes its calls. `None` if `place` is a
/// directory.
fn open(place: &Path) -> Result<Option<(Blocking, Runtime)>, Failure> {
    let Some(text) = place.to_str().filter(|text| text.contains("://")) else { return Ok(None) };
    let url: BucketUrl =
        text.parse().map_err(|error| Failure::usage(format!("the place is {error}")))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    let objects = Blocking::open(&url, runtime.handle().clone())?;
    Ok(Some((objects, runtime)))
}

fn summary(what: &str, copied: &Copied) {
    let Copied { segments, entries, kept, bytes, .. } = copied;
    let bytes = HumanBytes(*bytes);
    tell(format_args!(
        "{what}: {entries} entries in {segments} segments; {bytes} copied, {kept} segments \
         already there"
    ));
}
