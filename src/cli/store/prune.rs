//! `vidimus store prune`: delete old segments after listing them.

use std::time::Duration;

use clap::Args;
use indicatif::HumanBytes;

use crate::cli::args::StoreArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{Output, confirm, counted, tell};
use crate::settings::units;
use crate::store::{Options, Pruned, Retention, Store};

/// Delete old segments
///
/// The command lists the segments and asks for confirmation. Before it deletes a segment, it
/// records the ids, the file name and the SHA-256 in the catalog.
///
/// Stop `vidimus serve` first, or set retention_age and retention_size to let it prune by itself.
#[derive(Args)]
pub(super) struct Prune {
    #[command(flatten)]
    store: StoreArgs,
    /// Delete segments whose newest entry was received longer ago than this, such as 90d or 12h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    age: Option<Duration>,
    /// Delete the oldest segments until the total size is at most this, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    size: Option<u64>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
    /// Only list what would be deleted
    #[arg(long)]
    dry_run: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(|error| error.to_string())
}

fn size(text: &str) -> Result<u64, String> {
    units::size(text).map_err(|error| error.to_string())
}

impl Prune {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        if self.age.is_none() && self.size.is_none() {
            return Err(Failure::usage("no limit: use --age, --size or both"));
        }
        let retention = Retention { age: self.age, size: self.size };
        if self.dry_run {
            list(&self.store.reader()?.prunable(retention)?)?;
            return Ok(Exit::Done);
        }
        let directory = self.store.directory()?;
        let store = Store::open(&directory, Options::default())?;
        let due = store.prunable(retention)?;
        list(&due)?;
        if due.is_empty() {
            return Ok(Exit::Done);
        }
        if !self.yes && !confirm("Delete these segments?")? {
            tell("nothing was deleted");
            return Ok(Exit::Done);
        }
        let gone = store.prune(retention)?;
        tell(format_args!("{} deleted", counted(gone as u64, "segment")));
        Ok(Exit::Done)
    }
}

fn list(due: &[Pruned]) -> Result<(), Failure> {
    let mut output = Output::new();
    for one in due {
        output.text(format!(
            "{}  ids {} to {}  {}  SHA-256 {}",
            one.file,
            one.first_id,
            one.last_id,
            HumanBytes(one.bytes),
            one.sha256.as_deref().unwrap_or("none, it is not sealed"),
        ))?;
    }
    output.flush()?;
    let entries: u64 = due.iter().map(|one| one.last_id + 1 - one.first_id).sum();
    tell(format_args!("{} segments with {entries} entries to delete", due.len()));
    Ok(())
}
