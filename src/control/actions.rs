//! The record of what was done through the console: `actions.jsonl` in the data directory.
//!
//! It has a line of JSON for each action, which is on the disk before the action is done. A line has
//! a limited length. Nothing is ever removed from the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::entry::Millis;
use crate::last_lines::last_lines;
use crate::store::Directory;

/// The maximum length of the detail of an action in characters.
const MAX_DETAIL: usize = 300;

/// How much of the file is read at most to list the last actions, in bytes.
const MAX_READ: u64 = 256 << 10;

/// An action as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedAction {
    /// The time, in RFC 3339.
    pub(crate) at: String,
    /// The address of the client.
    pub(crate) client: IpAddr,
    /// `token` if the client gave the console's token, or else `local`.
    pub(crate) user: String,
    /// What was done, such as `reset output`.
    pub(crate) action: String,
    /// To what, and how.
    pub(crate) detail: String,
}

impl RecordedAction {
    /// An action at the time `at`. A long `detail` is cut.
    pub(crate) fn new(
        at: Millis,
        client: IpAddr,
        user: &str,
        action: &str,
        detail: &str,
    ) -> RecordedAction {
        RecordedAction {
            at: at.to_string(),
            client,
            user: user.to_owned(),
            action: action.to_owned(),
            detail: detail.chars().take(MAX_DETAIL).collect(),
        }
    }
}

/// The file of the actions.
#[derive(Debug)]
pub(crate) struct ActionLog {
    path: PathBuf,
    /// Held while a line is written.
    writing: Mutex<()>,
}

impl ActionLog {
    /// The record of the data directory. The file is created with the first action.
    pub(crate) fn new(directory: &Directory) -> ActionLog {
        ActionLog { path: directory.actions(), writing: Mutex::new(()) }
    }

    /// Appends an action and syncs the file. Blocks.
    ///
    /// # Errors
    /// When the file cannot be written. Then the action must not be done.
    pub(crate) fn append(&self, action: &RecordedAction) -> io::Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !self.path.exists();
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut line = serde_json::to_vec(action)?;
        line.push(b'\n');
        // A crash or a copy may have left half a line, which must not spoil this one.
        if !ends_with_line_end(&mut file)? {
            line.insert(0, b'\n');
        }
        file.write_all(&line)?;
        file.sync_all()?;
        match self.path.parent() {
            Some(folder) if is_new => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }

    /// The last actions, the newest first: at most `most`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn newest(&self, most: usize) -> io::Result<Vec<RecordedAction>> {
        let found = last_lines(&self.path, most, MAX_READ)?;
        // Half a line is not JSON.
        Ok(found.lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }
}

/// Whether the last line of a file is complete.
fn ends_with_line_end(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn action(detail: &str) -> RecordedAction {
        let client = "192.0.2.1".parse().unwrap();
        RecordedAction::new(Millis::MIN, client, "token", "reset output", detail)
    }

    #[test]
    fn actions_are_appended_and_listed() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        let log = ActionLog::new(&directory);
        assert_eq!(log.newest(9).unwrap(), []);
        log.append(&action("one")).unwrap();
        log.append(&action("two\n\"quoted\"")).unwrap();
        let path = directory.actions();
        let text = fs::read_to_string(&path).unwrap();
        let expected = r#"{"at":"1970-01-01T00:00:00.000Z","client":"192.0.2.1","user":"token","action":"reset output","detail":"one"}"#;
        assert_eq!(text.lines().next(), Some(expected));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        // Half a line at the end is left as it is, and the next action stands on its own line.
        fs::write(&path, format!("{text}{{\"at\":\"19")).unwrap();
        log.append(&action("three")).unwrap();
        let details = |most| -> Vec<String> {
            log.newest(most).unwrap().into_iter().map(|action| action.detail).collect()
        };
        assert_eq!(details(9), ["three", "two\n\"quoted\"", "one"]);
        assert_eq!(details(1), ["three"]);
    }

    #[test]
    fn a_line_has_a_limited_length() {
        let long = action(&"é\u{0}".repeat(10_000));
        assert_eq!(long.detail.chars().count(), MAX_DETAIL);
        assert!(serde_json::to_string(&long).unwrap().len() < 4096);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::create(&home.path().join("data")).unwrap();
        fs::create_dir(directory.actions()).unwrap();
        assert!(ActionLog::new(&directory).append(&action("one")).is_err());
    }
}
