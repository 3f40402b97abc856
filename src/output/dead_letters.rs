//! The dead letters of an output: entries that the endpoint rejects for good, and entries whose
//! lines are too long. Each is a line of JSON, synced before the cursor moves past the entry.
//!
//! The file is opened by its path for each batch of letters, so a file that was renamed is replaced
//! by a new one. The operator looks after it. This program only ever cuts off half a line at the
//! end, which a crash leaves.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::now;
use crate::entry::record::beginning;
use crate::entry::{Millis, Record};
use crate::last_lines::last_lines;
use crate::output::error::OutputError;
use crate::output::file::{Access, Fsync, OpenFile};

/// Only the owner can read it, since it holds entries.
const ACCESS: Access = Access { mode: 0o600, owner: None, group: None };

/// The file of an output.
pub(super) struct DeadLetters {
    path: PathBuf,
    output: String,
}

/// How many bytes of a long line a letter holds.
const BEGINNING: usize = 4096;

/// An entry that was not sent, and the reason.
#[derive(Serialize)]
pub(super) struct DeadLetter {
    /// The time of the letter.
    pub(super) time: Millis,
    /// The status of the response, or of the item of a `_bulk`. `None` if the entry was not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
    /// The reason, as the endpoint gave it, or ours.
    pub(super) reason: String,
    /// The URL that it was sent to, without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
    pub(super) entry: Record,
}

impl DeadLetter {
    /// The letter of an entry whose line is too long to be sent. It has the beginning of the line.
    pub(super) fn too_long(record: &Record) -> DeadLetter {
        let id = record.id().unwrap_or_default();
        let raw = beginning(&record.raw, BEGINNING).to_vec();
        DeadLetter {
            time: now(),
            status: None,
            reason: format!(
                "the line is longer than the receiver parses, and does not go out; \
                 `vidimus export -o raw id:{id}` writes it whole"
            ),
            url: None,
            entry: Record { raw, ..record.clone() },
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    output: &'a str,
    #[serde(flatten)]
    letter: DeadLetter,
}

impl DeadLetters {
    /// The file at `path`, for the output `output`. It is created with the first letter.
    pub(super) fn new(path: PathBuf, output: &str) -> DeadLetters {
        DeadLetters { path, output: output.to_owned() }
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends letters and syncs the file.
    pub(super) fn append(
        &self,
        letters: impl Iterator<Item = DeadLetter>,
    ) -> Result<(), OutputError> {
        let mut file = OpenFile::new(&self.path, &ACCESS, Fsync::Always)?;
        let mut line = Vec::new();
        for letter in letters {
            line.clear();
            // Every key is text, so this cannot fail, and JSON escapes line ends.
            drop(serde_json::to_writer(&mut line, &Line { output: &self.output, letter }));
            line.push(b'\n');
            file.write(&self.path, &line, now())?;
        }
        file.sync(&self.path, Fsync::Always)
    }
}

/// The last letters of a file.
#[derive(Debug, Default)]
pub(crate) struct RecentLetters {
    /// The newest first.
    pub(crate) letters: Vec<RecentLetter>,
    /// Whether the file has others.
    pub(crate) has_more: bool,
}

/// A letter as it is shown. The texts are those of the endpoint, and hostile.
#[derive(Debug, Deserialize)]
pub(crate) struct RecentLetter {
    /// The time of the letter, in RFC 3339.
    pub(crate) time: String,
    pub(crate) status: Option<u16>,
    pub(crate) reason: String,
    pub(crate) entry: LetterEntry,
}

/// The entry of a letter.
#[derive(Debug, Deserialize)]
pub(crate) struct LetterEntry {
    pub(crate) id: Option<u64>,
}

/// How much of the file is read at most to list the last letters, in bytes. A letter has a whole
/// entry.
const MAX_READ: u64 = 4 << 20;

/// Reads the last letters of the file at `path`: at most `most`. A file that does not exist has
/// none.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn recent_letters(path: &Path, most: usize) -> io::Result<RecentLetters> {
    let found = last_lines(path, most, MAX_READ)?;
    let parse = |line: &Vec<u8>| serde_json::from_slice(line).ok();
    Ok(RecentLetters {
        letters: found.lines.iter().filter_map(parse).collect(),
        has_more: found.has_more,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::entry::record::WholeLine;
    use crate::output::testing::record;

    fn letters(ids: std::ops::Range<u64>) -> impl Iterator<Item = DeadLetter> {
        ids.map(|id| DeadLetter {
            time: Millis::MIN,
            status: Some(400),
            reason: "bad\n\"line\"".into(),
            url: Some("https://a.test/x".into()),
            entry: record(id, 0),
        })
    }

    #[test]
    fn letters_are_appended_and_a_torn_one_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/a.jsonl");
        let file = DeadLetters::new(path.clone(), "siem");
        file.append(letters(1..2)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let expected = r#"{"output":"siem","time":"1970-01-01T00:00:00.000Z","status":400,"reason":"bad\n\"line\"","url":"https://a.test/x","entry":{"id":1,"#;
        assert!(text.starts_with(expected), "{text}");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));

        fs::write(&path, format!("{text}{{\"output\":\"si")).unwrap();
        file.append(letters(2..4)).unwrap();
        let ids = || -> Vec<u64> {
            let text = fs::read_to_string(&path).unwrap();
            let id = |line| {
                let letter: serde_json::Value = serde_json::from_str(line).unwrap();
                letter["entry"]["id"].as_u64().unwrap()
            };
            text.lines().map(id).collect()
        };
        assert_eq!(ids(), [1, 2, 3]);
        let recent = recent_letters(&path, 2).unwrap();
        let shown = |one: &RecentLetter| (one.entry.id, one.status, one.reason.clone());
        let found: Vec<_> = recent.letters.iter().map(shown).collect();
        let reason = "bad\n\"line\"".to_owned();
        assert_eq!(found, [(Some(3), Some(400), reason.clone()), (Some(2), Some(400), reason)]);
        assert!(recent.has_more);
        // Somebody renames the file.
        fs::rename(&path, folder.path().join("b")).unwrap();
        file.append(letters(4..5)).unwrap();
        assert_eq!(ids(), [4]);
    }

    #[test]
    fn a_dead_letter_has_the_beginning_of_a_long_line() {
        let whole = WholeLine { bytes: Some(1 << 30), sha256: Some([1; 32]) };
        let record = Record { raw: vec![b'x'; 5000], whole: Some(whole), ..record(7, 0) };
        let letter = serde_json::to_value(DeadLetter::too_long(&record)).unwrap();
        assert_eq!(letter["entry"]["raw"], "x".repeat(4096));
        assert_eq!(letter["entry"]["raw_bytes"], 1 << 30);
        assert_eq!((letter.get("status"), letter.get("url")), (None, None));
        assert!(letter["reason"].as_str().unwrap().contains("export -o raw id:7"), "{letter}");
    }

    #[test]
    fn only_a_regular_file_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let file = DeadLetters::new(folder.path().to_owned(), "siem");
        let error = file.append(letters(1..2)).unwrap_err();
        assert!(matches!(error, OutputError::NoFile(_)), "{error}");
    }
}
