//! `vidimus store quarantine drop`: delete bodies from quarantine after listing them.

use clap::Args;
use data_encoding::HEXLOWER;
use ring::digest;

use super::by_serve::have_done;
use crate::cli::exit::{Exit, Failure};
use crate::cli::selection::Place;
use crate::cli::terminal::{Output, confirm, counted, sanitise, tell};
use crate::control::{Task, drop_bodies};
use crate::store::{Options, Store};

/// Delete bodies from quarantine
///
/// The command lists the bodies and asks for confirmation. The catalog records the id, time of
/// receipt, peer, size and SHA-256 of each deleted body.
///
/// The command also works while `vidimus serve` runs.
#[derive(Args)]
pub(super) struct Drop {
    #[command(flatten)]
    place: Place,
    /// The ids of the bodies, as printed by `list`
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    ids: Vec<u64>,
    /// Delete all bodies
    #[arg(long)]
    all: bool,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Only list what would be deleted
    #[arg(long)]
    dry_run: bool,
}

impl Drop {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let ids = self.list()?;
        if self.dry_run || ids.is_empty() {
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Delete these bodies?")? {
            tell("nothing was deleted");
            return Ok(Exit::Done);
        }
        let directory = self.place.directory()?;
        have_done(&directory, &Task::Drop { ids: ids.clone() }, || {
            let store = Store::open(&directory, Options::default())?;
            drop_bodies(&store, &ids).map_err(Failure::failed)
        })
    }

    /// Prints the bodies to delete, and returns their ids.
    fn list(&self) -> Result<Vec<u64>, Failure> {
        let reader = self.place.reader()?;
        let mut ids = self.ids.clone();
        if self.all {
            let bodies = reader.quarantine()?;
            ids = bodies.into_iter().map(|body| body.id).collect();
        }
        ids.sort_unstable();
        ids.dedup();
        let (mut output, mut bytes) = (Output::new(), 0);
        for id in &ids {
            let (what, body) = reader.quarantined(*id)?;
            let sha256 = digest::digest(&digest::SHA256, &body);
            let sha256 = HEXLOWER.encode(sha256.as_ref());
            output.text(sanitise(&format!(
                "{id}  {}  {}  {} bytes  SHA-256 {sha256}  {}",
                what.received_at, what.input, what.bytes, what.reason
            )))?;
            bytes += what.bytes;
        }
        output.flush()?;
        let bodies = counted(ids.len() as u64, "body");
        tell(format_args!("{bodies} to delete, {}", counted(bytes, "byte")));
        Ok(ids)
    }
}
