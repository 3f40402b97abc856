//! `vidimus journal skip`: give up an object that cannot be read.

use std::path::PathBuf;

use clap::Args;

use super::{JournalArgs, run};
use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::config::{self, Flags};
use crate::control::{Task, ask};
use crate::journal::ObjectId;
use crate::journal::cipher::Cipher;
use crate::server::{receiver_limits, store_options};
use crate::source::journal::ingest::object_limits;
use crate::source::journal::skip::skip_without_source;
use crate::store::{Directory, Store};

/// Give up an object of the journal that cannot be read, so that its epoch goes on
///
/// An object that is damaged, or of a version that this program does not know, stops its epoch: nothing
/// above it is read. Restore the object, or use a newer program, if you can. Otherwise this command keeps
/// a copy in damaged/ of the data directory, records what was skipped, and lets this store go on. The
/// deliveries in the object are lost to this store. Other stores are not affected.
///
/// The command also works while `vidimus serve` runs.
#[derive(Args)]
pub(super) struct Skip {
    /// The epoch
    #[arg(value_name = "EPOCH")]
    epoch: u64,

    /// The number of the object
    #[arg(value_name = "NUMBER")]
    number: u64,

    /// The data directory [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    #[command(flatten)]
    journal: JournalArgs,
}

impl Skip {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let Skip { epoch, number, data_dir, journal } = self;
        let flags = Flags { config: Some(journal.config.clone()), data_dir, ..Flags::default() };
        let env = |name: &str| std::env::var(name).ok();
        let path = config::data_dir(&flags, &env).map_err(Failure::usage)?;
        let directory = Directory::open(&path)?;
        let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
        let report = match ask(&directory, &Task::SkipObject { epoch, number }).map_err(cannot)? {
            Some(result) => result.map_err(Failure::failed)?,
            None => {
                let flags = Flags { no_receiver: true, ..flags };
                let config = config::Config::load(&flags, &env).map_err(Failure::usage)?;
                let cipher =
                    config.journal.key_file.as_deref().map(Cipher::from_file).transpose()?;
                let limits = receiver_limits(&config);
                let limits = object_limits(config.journal.max_size, limits.max_decoded as u64);
                let bucket = journal.bucket()?;
                let store = Store::open(&directory, store_options(&config))?;
                let journal = super::journal(&bucket);
                run(async {
                    let id = ObjectId { epoch, number };
                    let reading = (cipher.as_ref(), limits);
                    let skipped = skip_without_source(&journal, (&store, &directory), reading, id);
                    Ok(skipped.await?)
                })?
            }
        };
        report.lines.iter().for_each(tell);
        Ok(Exit::Done)
    }
}
