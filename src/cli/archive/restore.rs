//! `vidimus archive restore`: bring entries back from the archive, as a data directory.

use std::path::PathBuf;

use clap::Args;
use indicatif::ProgressBar;

use super::Opened;
use crate::archive::rebuild::{Rebuilt, rebuild};
use crate::cli::archived::PlaceArgs;
use crate::cli::args::TimeArgs;
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::{counted, counting_bar, tell};
use crate::config::Flags;

/// Make a data directory from the archive: the whole store, or the segments of a range of time
///
/// The entries have the ids that they had. Without --since and --until, the data directory is that of the
/// store, with its id: `vidimus serve` goes on with it. It must not be used beside the store that wrote
/// the archive. With a range, whole segments are brought back that have an entry of that time. That data
/// directory can be read by every command, and takes no new entries.
///
/// Cursors of outputs, refused requests and certificates are not in the archive.
///
/// Exit codes: 0 success, 1 some entries that are recorded as valid cannot be verified, 2 usage error, 3
/// the archive is damaged or the data directory cannot be made; then there is none.
#[derive(Args)]
pub(super) struct Restore {
    /// The data directory to make; it must not exist, or be empty
    #[arg(value_name = "DIR")]
    to: PathBuf,

    #[command(flatten)]
    range: TimeArgs,

    #[command(flatten)]
    place: PlaceArgs,

    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Restore {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let range = self.range.range()?;
        let flags = Flags { config: self.config.clone(), ..Flags::default() };
        let opened = Opened::new(&self.place, &flags)?;
        let store = opened.place.choose(self.place.store())?;
        let bar: ProgressBar = counting_bar("entries");
        let rebuilt = rebuild(&opened.place, &store, range, &self.to, &|entries| bar.inc(entries));
        bar.finish_and_clear();
        let Rebuilt { segments, entries, deliveries, quarantine, unverified } = rebuilt?;
        tell(format_args!(
            "restored: {} and {} in {}, {} in quarantine",
            counted(entries, "entry"),
            counted(deliveries, "delivery"),
            counted(segments, "segment"),
            counted(quarantine, "body")
        ));
        if unverified > 0 {
            tell(format_args!(
                "warning: {} recorded as valid cannot be verified with the keys in the archive; \
                 `vidimus store check` lists them",
                counted(unverified, "entry")
            ));
            return Ok(Exit::Negative);
        }
        Ok(Exit::Done)
    }
}
