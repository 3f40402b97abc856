//! `vidimus store backup` and `vidimus store restore`: copies of the whole store.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::store::backup::{self, Copied};

/// Back up the store to a directory, also while `vidimus serve` runs
///
/// The backup is a consistent snapshot. Sealed segments that an earlier backup in the same
/// directory has are not copied again. The directory has the layout of a data directory, so
/// `vidimus query --data-dir DIR` and `vidimus store check --data-dir DIR` work on it. It also
/// contains the authorization value and the private key of the self-signed certificate.
///
/// Exit codes: 0 success, 1 the backup is complete but a sealed segment differs from its recorded
/// SHA-256, 3 failure.
#[derive(Args)]
pub(super) struct Backup {
    /// The directory; created if it does not exist
    #[arg(value_name = "DIR")]
    to: PathBuf,

    #[command(flatten)]
    store: StoreArgs,
}

/// Create a data directory from a backup
///
/// The data directory must be empty or not exist. The SHA-256 of every sealed segment is compared
/// with the recorded one. Entries that were received after the backup are not included; `vidimus
/// konnect replay` makes Konnect send them again.
#[derive(Args)]
pub(super) struct Restore {
    /// The directory that `vidimus store backup` wrote
    #[arg(value_name = "DIR")]
    from: PathBuf,

    #[command(flatten)]
    store: StoreArgs,
}

impl Backup {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let copied = self.store.reader()?.backup(&self.to)?;
        summary("backed up", &copied);
        for file in &copied.damaged {
            tell(format_args!("{file} is damaged: its SHA-256 differs from the recorded one"));
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
        let copied = backup::restore(&self.from, &to)?;
        summary("restored", &copied);
        Ok(Exit::Done)
    }
}

fn summary(what: &str, copied: &Copied) {
    let Copied { segments, entries, kept, bytes, .. } = copied;
    let bytes = HumanBytes(*bytes);
    tell(format_args!(
        "{what}: {entries} entries in {segments} segments; {bytes} copied, {kept} segments \
         already there"
    ));
}
