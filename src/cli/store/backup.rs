//! `vidimus store backup` and `vidimus store restore`: copies of the whole store.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::cli::terminal::tell;
use crate::store::backup::{self, Copied};

/// Copy the store to a folder, while `vidimus serve` may be running
///
/// The copy is consistent: it is the store as it was at one moment. Sealed segments that an earlier
/// backup in the same folder has are not copied again. The folder has the layout of a data directory:
/// `vidimus query --data-dir DIR` and `vidimus store check --data-dir DIR` work on it. It holds the
/// authorization value and the private key of the self-signed certificate too.
///
/// Exit codes: 0 done, 1 done, but a sealed segment is not as it was recorded, 3 it could not be done.
#[derive(Args)]
pub(super) struct Backup {
    /// The folder; it is made if it is not there
    #[arg(value_name = "DIR")]
    to: PathBuf,

    #[command(flatten)]
    place: Place,
}

/// Make a data directory from a backup
///
/// The data directory must not be there yet, or be empty. The SHA-256 of every sealed segment is
/// compared with the one that was recorded. What was received after the backup was made is not in it:
/// `vidimus konnect replay` has Konnect send it again.
#[derive(Args)]
pub(super) struct Restore {
    /// The folder that `vidimus store backup` wrote
    #[arg(value_name = "DIR")]
    from: PathBuf,

    #[command(flatten)]
    place: Place,
}

impl Backup {
    /// Makes the backup.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let copied = self.place.reader()?.backup(&self.to)?;
        summary("backed up", &copied);
        for file in &copied.damaged {
            tell(format_args!("{file} is damaged: its SHA-256 is not the recorded one"));
        }
        if !copied.left.is_empty() {
            let files = copied.left.join(", ");
            tell(format_args!("kept of an earlier backup, and not in the store any more: {files}"));
        }
        Ok(if copied.damaged.is_empty() { Exit::Done } else { Exit::BadNews })
    }
}

impl Restore {
    /// Restores the backup.
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let to = self.place.path()?;
        let copied = backup::restore(&self.from, &to)?;
        summary("restored", &copied);
        Ok(Exit::Done)
    }
}

fn summary(what: &str, copied: &Copied) {
    let Copied { segments, entries, kept, bytes, .. } = copied;
    let bytes = HumanBytes(*bytes);
    tell(format_args!(
        "{what}: {entries} entries in {segments} segments; {bytes} copied, {kept} segments were there"
    ));
}
