//! `vidimus prove`: write an evidence bundle of stored entries.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::Args;

use super::args::{QueryArgs, StoreArgs, TimeArgs, print_hints};
use super::exit::{Exit, Failure};
use super::terminal::{counted, tell};
use crate::clock::now;
use crate::config;
use crate::evidence::prove::{Evidence, matching};
use crate::evidence::signed::SignedLog;
use crate::evidence::write::Unfinished;
use crate::log::key::{self, KeySettings};
use crate::store::{Directory, Reader, TimeRange};

/// Write an evidence bundle: entries as received, with proofs that they are in the log.
///
/// The bundle is a folder, or a zip if PATH ends in `.zip`. Its README.md says what is proved, what
/// is not, and how to check it with `vidimus verify-bundle`, with openssl, and with other programs.
/// The proofs are for the newest checkpoint, so the newest entries cannot be proved for some
/// seconds.
///
/// A bundle has at most 100,000 entries. Nothing is overwritten: PATH must not exist or must be
/// empty.
///
/// Exit codes: 0 the bundle is written, 1 no entry matches, 2 usage error, 3 failure.
#[derive(Args)]
pub(crate) struct Prove {
    #[command(flatten)]
    query: QueryArgs,

    /// Prove the entry with this id. Can be repeated; use it without a query and a time range
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<u64>,

    #[command(flatten)]
    range: TimeArgs,

    /// Where to write the bundle
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    #[command(flatten)]
    store: StoreArgs,
}

impl Prove {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let log = config::log(&self.store.flags()).map_err(Failure::usage)?;
        let directory = Directory::open_to_read(&self.store.path()?)?;
        let reader = Reader::open(&directory)?;
        let Some(ids) = self.ids(&reader)? else {
            tell("no entry matches, so nothing is written");
            return Ok(Exit::Negative);
        };
        let settings = KeySettings { origin: log.origin, key_file: log.key_file };
        let key = key::open(&directory.log(), &settings)?.verifier().clone();
        let log = SignedLog::new(&directory.log(), key);
        let at = now();
        let mut evidence = Evidence::new(&reader, &log, ids, at)?;
        let out = self.out.display();
        let failed = |error| Failure::failed(format!("cannot write {out}: {error}"));
        let mut bundle = Unfinished::new(&self.out, at).map_err(failed)?;
        evidence.write(&reader, &mut bundle)?;
        let size = evidence.log_size();
        if let Err(error) = log.note_bundled(size) {
            // The bundle has the checkpoint, and is good without.
            tell(format_args!(
                "warning: the log may drop this checkpoint after 30 days, because it cannot be noted \
                 in its file bundled: {error}"
            ));
        }
        bundle.finish().map_err(failed)?;
        let count = counted(evidence.len() as u64, "entry");
        tell(format_args!("{out}: {count}, with the checkpoint over {size} leaves"));
        Ok(Exit::Done)
    }

    /// The entries to prove. `None` if none matches.
    fn ids(&self, reader: &Reader) -> Result<Option<BTreeSet<u64>>, Failure> {
        let range = self.range.range()?;
        if !self.id.is_empty() {
            return match self.query.is_empty() && range == TimeRange::default() {
                true => Ok(Some(self.id.iter().copied().collect())),
                false => Err(Failure::usage("--id: use it without a query, --since and --until")),
            };
        }
        let filter = self.query.filter()?;
        let ids = matching(reader, &filter, range)?;
        if ids.is_empty() {
            print_hints(reader, &filter)?;
            return Ok(None);
        }
        Ok(Some(ids))
    }
}
