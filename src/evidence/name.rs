//! The names of the files of a bundle.

use std::fmt;
use std::str::FromStr;

/// The folder with a folder for each entry.
pub(super) const ENTRIES: &str = "entries";

/// A file of a bundle. The order is that of a list by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// What is proved, and how to check it.
    Readme,
    /// The signed checkpoint, with its cosignatures.
    Checkpoint,
    /// The deliveries that the entries came in.
    Deliveries,
    /// The keys, with where and when each was seen.
    Keys,
    /// A file of the entry with this id.
    Entry(u64, Part),
}

/// What a bundle has of each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The line as received, without its line end.
    Line,
    /// The record of its leaf.
    Leaf,
    /// The proof that the leaf is in the log.
    Proof,
    /// The salt of the hashes in the leaf.
    Salt,
}

impl Part {
    pub(super) const ALL: [Part; 4] = [Part::Line, Part::Leaf, Part::Proof, Part::Salt];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Part::Line => "line",
            Part::Leaf => "leaf",
            Part::Proof => "proof.tlog-proof",
            Part::Salt => "salt",
        }
    }
}

impl Name {
    /// The files beside the folder with the entries.
    pub(super) const OUTER: [Name; 4] =
        [Name::Readme, Name::Checkpoint, Name::Deliveries, Name::Keys];

    /// The most bytes that the file may have.
    pub(super) fn limit(self) -> u64 {
        match self {
            // The receiver takes no larger body by default.
            Name::Entry(_, Part::Line) | Name::Deliveries => 1 << 30,
            Name::Entry(_, Part::Leaf) => 1 << 16,
            Name::Entry(_, Part::Salt) => 1 << 8,
            Name::Entry(_, Part::Proof) | Name::Checkpoint | Name::Keys | Name::Readme => 1 << 20,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Readme => f.write_str("README.md"),
            Name::Checkpoint => f.write_str("checkpoint"),
            Name::Deliveries => f.write_str("deliveries.jsonl"),
            Name::Keys => f.write_str("jwks.json"),
            Name::Entry(id, part) => write!(f, "{ENTRIES}/{id}/{}", part.as_str()),
        }
    }
}

/// A name that no file of a bundle has.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UnknownName;

impl FromStr for Name {
    type Err = UnknownName;

    fn from_str(path: &str) -> Result<Name, UnknownName> {
        if let Some(name) = Name::OUTER.into_iter().find(|name| name.to_string() == path) {
            return Ok(name);
        }
        let inner = path.strip_prefix(ENTRIES).and_then(|rest| rest.strip_prefix('/'));
        let (entry, file) = inner.and_then(|rest| rest.split_once('/')).ok_or(UnknownName)?;
        let id = entry_id(entry).ok_or(UnknownName)?;
        let part = Part::ALL.into_iter().find(|part| part.as_str() == file).ok_or(UnknownName)?;
        Ok(Name::Entry(id, part))
    }
}

/// The id of an entry from the name of its folder.
pub(super) fn entry_id(folder: &str) -> Option<u64> {
    folder.parse().ok().filter(|id: &u64| id.to_string() == folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let entry = Part::ALL.map(|part| Name::Entry(17, part));
        for name in Name::OUTER.into_iter().chain(entry) {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        let proof = Name::Entry(17, Part::Proof).to_string();
        assert_eq!(proof, "entries/17/proof.tlog-proof");
        for other in [
            "",
            "/checkpoint",
            "./checkpoint",
            "../checkpoint",
            "Checkpoint",
            "checkpoint/",
            "entries",
            "entries/17",
            "entries//line",
            "entries/+17/line",
            "entries/017/line",
            "entries/18446744073709551616/line",
            "entries/17/line/",
            "entries/17/../checkpoint",
            "entries/17/other",
            "entries\\17\\line",
        ] {
            assert_eq!(other.parse::<Name>(), Err(UnknownName), "{other}");
        }
    }
}
