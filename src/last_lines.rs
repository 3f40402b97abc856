//! The last lines of a file that only grows, without reading the whole file.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

/// The last lines of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LastLines {
    /// The lines without their ends, the last line first. Half a line at the end of the file, which
    /// a crash leaves, is not among them.
    pub(crate) lines: Vec<Vec<u8>>,
    /// Whether the file has lines before these.
    pub(crate) has_more: bool,
}

/// Reads the last lines of the file at `path`: at most `most` of them, and only those that begin in
/// the last `max_bytes` bytes. A file that does not exist has no lines.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn last_lines(path: &Path, most: usize, max_bytes: u64) -> io::Result<LastLines> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(LastLines::default()),
        Err(error) => return Err(error),
    };
    // One byte more shows whether the first line of the part is a whole one.
    let start = file.metadata()?.len().saturating_sub(max_bytes.saturating_add(1));
    file.seek(SeekFrom::Start(start))?;
    let mut part = Vec::new();
    file.take(max_bytes.saturating_add(1)).read_to_end(&mut part)?;
    let mut pieces: Vec<&[u8]> = part.split(|byte| *byte == b'\n').collect();
    // What follows the last line end: nothing, or half a line.
    pieces.pop();
    let cut = usize::from(start > 0).min(pieces.len());
    let whole = pieces.split_off(cut);
    let lines: Vec<_> = whole.iter().rev().take(most).map(|line| line.to_vec()).collect();
    Ok(LastLines { has_more: start > 0 || lines.len() < whole.len(), lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(contents: &str, (most, max_bytes): (usize, u64), expected: &[&str], has_more: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, contents).unwrap();
        let lines = expected.iter().map(|line| line.as_bytes().to_vec()).collect();
        let found = last_lines(&path, most, max_bytes).unwrap();
        assert_eq!(found, LastLines { lines, has_more }, "{contents:?} {most} {max_bytes}");
    }

    #[test]
    fn the_last_lines_are_read_from_the_end() {
        check("", (5, 100), &[], false);
        check("a\n", (5, 100), &["a"], false);
        check("a\nb\nc\n", (5, 100), &["c", "b", "a"], false);
        check("a\nb\nc\n", (2, 100), &["c", "b"], true);
        // Half a line is not shown.
        check("a\nb\nhalf", (5, 100), &["b", "a"], false);
        check("half", (5, 100), &[], false);
        // Only the last bytes are read. A line that begins before them is left out.
        check("aaaa\nbbb\ncc\n", (5, 7), &["cc", "bbb"], true);
        check("aaaa\nbbb\ncc\n", (5, 6), &["cc"], true);
        check("aaaa\nbbb\ncc\n", (5, 12), &["cc", "bbb", "aaaa"], false);
        check("a long line\n", (5, 3), &[], true);
    }

    #[test]
    fn a_missing_file_has_no_lines() {
        let found = last_lines(Path::new("/nowhere/x"), 5, 100).unwrap();
        assert_eq!(found, LastLines::default());
    }
}
