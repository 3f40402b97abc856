//! Checkpoints: the length of each file, kept with the cursor as JSON, `{"path":[inode,length]}`.
//!
//! A path that is not UTF-8 has no checkpoint. Settings cannot name one.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::output::error::{IoContext, OutputError};

/// The length of a file when the cursor was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub(super) struct Checkpoint {
    /// Tells whether another file has taken the name.
    pub(super) inode: u64,
    /// In bytes.
    pub(super) length: u64,
}

impl From<(u64, u64)> for Checkpoint {
    fn from((inode, length): (u64, u64)) -> Checkpoint {
        Checkpoint { inode, length }
    }
}

impl From<Checkpoint> for (u64, u64) {
    fn from(checkpoint: Checkpoint) -> (u64, u64) {
        (checkpoint.inode, checkpoint.length)
    }
}

/// Writes checkpoints as JSON, or an empty string if there are none.
pub(super) fn write(checkpoints: &BTreeMap<PathBuf, Checkpoint>) -> String {
    if checkpoints.is_empty() {
        return String::new();
    }
    let checkpoints: BTreeMap<_, _> = checkpoints
        .iter()
        .filter_map(|(path, checkpoint)| Some((path.to_str()?, checkpoint)))
        .collect();
    serde_json::to_string(&checkpoints).unwrap_or_default()
}

/// Reads checkpoints. Text that is not the JSON above has none.
pub(super) fn read(text: &str) -> BTreeMap<PathBuf, Checkpoint> {
    serde_json::from_str(text).unwrap_or_default()
}

impl Checkpoint {
    /// Cuts the file back to the checkpoint, unless another file has taken its name.
    pub(super) fn restore(self, path: &Path) -> Result<(), OutputError> {
        let file_name = path.display();
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if is_gone(&error) => {
                if self.length > 0 {
                    tracing::warn!(
                        file = %file_name,
                        missing = self.length,
                        "the file is gone: unless it was renamed, lines that were written are lost"
                    );
                }
                return Ok(());
            }
            opened => opened.doing("open", path)?,
        };
        let found = file.metadata().doing("look at it", path)?;
        if found.ino() != self.inode || !found.is_file() {
            return Ok(());
        }
        if found.len() < self.length {
            let missing = self.length - found.len();
            tracing::warn!(file = %file_name, missing, "the file is shorter than it was");
        } else if found.len() > self.length {
            let bytes = found.len() - self.length;
            tracing::info!(file = %file_name, bytes, "took back what was written past the cursor");
            file.set_len(self.length).doing("cut", path)?;
            file.sync_data().doing("sync", path)?;
        }
        Ok(())
    }
}

/// Whether the file does not exist, or its folder is no longer a folder.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn checkpoints_are_read_as_they_were_written() {
        let checkpoints =
            BTreeMap::from([("a/b.log".into(), Checkpoint { inode: 1 << 60, length: 9 })]);
        assert_eq!(write(&checkpoints), r#"{"a/b.log":[1152921504606846976,9]}"#);
        assert_eq!(read(&write(&checkpoints)), checkpoints);
        assert!(read("").is_empty() && read("[]").is_empty());
        assert_eq!(write(&BTreeMap::new()), "");
    }

    #[test]
    fn only_lines_past_the_checkpoint_of_the_same_file_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let check = |contents: &str, other_inode: bool, length, expected: &str| {
            fs::write(&path, contents).unwrap();
            let inode = fs::metadata(&path).unwrap().ino() + u64::from(other_inode);
            Checkpoint { inode, length }.restore(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        };
        check("one\ntwo\n", false, 4, "one\n");
        check("one\ntwo\n", false, 8, "one\ntwo\n");
        check("one\n", false, 8, "one\n");
        check("one\ntwo\n", true, 4, "one\ntwo\n");
        // The file is missing, or its folder is a file now.
        for gone in ["none", "none/x", "x/x"] {
            Checkpoint { inode: 1, length: 1 }.restore(&folder.path().join(gone)).unwrap();
        }
    }
}
