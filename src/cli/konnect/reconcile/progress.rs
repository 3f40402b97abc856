//! How far a comparison got. It is written to the cursor file after each part, so that an interrupted
//! command goes on there.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cli::exit::Failure;
use crate::entry::Millis;
use crate::konnect::reconcile::{Comparison, Parts, Pulled, Tally, by_kind};
use crate::private_file;

/// The progress of a comparison. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The host of the API.
    api: String,
    pub(super) since: i64,
    pub(super) until: i64,
    /// The API's cursor for the next page.
    pub(super) after: Option<String>,
    /// What was pulled and is not compared yet.
    pub(super) parts: Parts,
    /// The number of entries that Konnect lists.
    pub(super) pulled: usize,
    /// The number of entries without a time, which are not compared.
    pub(super) unread: usize,
    /// The missing entries by their kinds.
    pub(super) missing: BTreeMap<String, usize>,
    /// How many of them are listed.
    pub(super) listed: usize,
    /// How many of them are older than what Konnect keeps.
    pub(super) old: usize,
    /// How many of them are so young that they may still arrive.
    pub(super) young: usize,
    /// How many of them the store has with another outcome, and invalid.
    pub(super) altered: usize,
    /// The first and the last time of those that can be replayed.
    pub(super) replayable: Option<(i64, i64)>,
    /// The missing entries and those that could be confused with them, if they are replayed.
    pub(super) awaited: Vec<Pulled>,
    /// How many of the missing entries are among them.
    pub(super) followed: usize,
    /// What is proved, of the time that can be proved.
    #[serde(default)]
    pub(super) tally: Option<Tally>,
}

impl Progress {
    /// The beginning of a comparison with the API at `api`.
    pub(super) fn new(api: &str, since: Millis, until: Millis) -> Progress {
        Progress {
            api: api.to_owned(),
            since: since.get(),
            until: until.get(),
            after: None,
            parts: Parts::default(),
            pulled: 0,
            unread: 0,
            missing: BTreeMap::new(),
            listed: 0,
            old: 0,
            young: 0,
            altered: 0,
            replayable: None,
            awaited: Vec::new(),
            followed: 0,
            tally: None,
        }
    }

    /// The progress in a file; `None` if there is none.
    ///
    /// # Errors
    /// When the file cannot be read, or is of another API.
    pub(super) fn read(path: &Path, api: &str) -> Result<Option<Progress>, Failure> {
        let bad = |why: String| {
            Failure::failed(format!("cannot read the progress in {}: {why}", path.display()))
        };
        let progress: Progress = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad(error.to_string())),
        };
        match progress.api == api {
            true => Ok(Some(progress)),
            false => Err(Failure::usage(format!(
                "{} belongs to a comparison with {}: use another file",
                path.display(),
                progress.api
            ))),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        private_file::write(path, &(serde_json::to_string(self)? + "\n"))
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
    }

    /// The number of missing entries.
    pub(super) fn missing(&self) -> usize {
        self.missing.values().sum()
    }

    /// Adds the result for a part. Entries before `horizon` cannot be replayed, and those after `young`
    /// may still arrive.
    pub(super) fn add(&mut self, found: &Comparison, horizon: Millis, young: i64) {
        for (kind, count) in by_kind(&found.missing) {
            *self.missing.entry(kind).or_default() += count;
        }
        self.altered += found.altered;
        for at in found.missing.iter().map(|one| one.identity.at) {
            self.young += usize::from(at.get() > young);
            if at < horizon {
                self.old += 1;
                continue;
            }
            let (first, last) = self.replayable.get_or_insert((at.get(), at.get()));
            (*first, *last) = ((*first).min(at.get()), (*last).max(at.get()));
        }
    }
}
