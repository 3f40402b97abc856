//! The file of a bundle that explains it.

use crate::entry::Millis;
use crate::tlog::checkpoint::Checkpoint;

/// What the text is about.
pub(super) struct Facts<'a> {
    pub(super) at: Millis,
    pub(super) entries: usize,
    /// The first entry.
    pub(super) first: u64,
    pub(super) checkpoint: &'a Checkpoint,
}

/// The text.
pub(super) fn write(facts: &Facts<'_>) -> String {
    let entries = match facts.entries {
        1 => "1 entry".to_owned(),
        many => format!("{many} entries"),
    };
    include_str!("README.md")
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{at}", &facts.at.to_string())
        .replace("{entries}", &entries)
        .replace("{first}", &facts.first.to_string())
        .replace("{size}", &facts.checkpoint.size().to_string())
        .replace("{origin}", facts.checkpoint.origin())
}
