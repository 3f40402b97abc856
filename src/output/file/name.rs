//! The names of rotated files.
//!
//! `audit.jsonl` is renamed to `audit-20250516T200954.123Z.jsonl` in the same folder, so that a
//! program that follows the file reads on. If the name is taken the time is one millisecond later.
//! A compressed file ends in `.gz` or `.zst` as well, and while it is being written in `.tmp` and a
//! number.

use std::fs;
use std::path::{Path, PathBuf};

use super::open::folder;
use crate::entry::Millis;
use crate::output::error::{IoContext, OutputError};

/// Renames the file `path` to a free name with the time `time`, or a later one. Returns that time.
pub(super) fn move_away(path: &Path, mut time: Millis) -> Result<Millis, OutputError> {
    let name = Name::of(path);
    loop {
        let to = folder(path).join(format!("{}-{}{}", name.stem, stamp(time), name.extension));
        let taken = ENDINGS.map(|ending| with_ending(&to, ending).exists());
        if !to.exists() && !taken.contains(&true) {
            return fs::rename(path, to).map(|()| time).doing("rotate", path);
        }
        time = Millis::saturating(time.get().saturating_add(1));
    }
}

/// The form of a time in a name. A `0` stands for any digit.
const STAMP: &[u8] = b"00000000T000000.000Z";

/// The length of such a time in bytes.
pub(in crate::output) const STAMP_LENGTH: usize = STAMP.len();

/// The endings of compressed files, for gzip and Zstandard.
pub(in crate::output) const ENDINGS: [&str; 2] = [".gz", ".zst"];

/// Whether a text has the form of a time in a name.
pub(in crate::output) fn is_stamp(text: &[u8]) -> bool {
    let fits = |(found, form): (&u8, &u8)| match form {
        b'0' => found.is_ascii_digit(),
        form => found == form,
    };
    text.len() == STAMP_LENGTH && text.iter().zip(STAMP).all(fits)
}

/// A time in the form that names have. Such texts sort like the times.
pub(super) fn stamp(time: Millis) -> String {
    time.to_string().replace(['-', ':'], "")
}

/// The name of a file, split at its extension.
pub(super) struct Name {
    stem: String,
    /// With the dot. Empty if there is none.
    extension: String,
}

impl Name {
    pub(super) fn of(path: &Path) -> Name {
        let text =
            |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let extension = text(path.extension()).map_or_else(String::new, |one| format!(".{one}"));
        Name { stem: text(path.file_stem()).unwrap_or_default(), extension }
    }

    /// The time and form of the rotated file `name`, or `None` if it is not a rotated file of this
    /// one.
    pub(super) fn rotated(&self, name: &str) -> Option<(String, RotatedForm)> {
        let rest = name.strip_prefix(&self.stem)?.strip_prefix('-')?;
        let compressed = |rest: &'_ str| {
            ENDINGS.iter().find_map(|ending| rest.strip_suffix(ending)).map(str::to_owned)
        };
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (plain, kept) = match (compressed(rest), rest.rsplit_once(".tmp")) {
            (Some(plain), _) => (plain, RotatedForm::Compressed),
            (None, Some((rest, end))) if number(end) => (compressed(rest)?, RotatedForm::Partial),
            (None, _) => (rest.to_owned(), RotatedForm::Plain),
        };
        let stamp = plain.strip_suffix(&self.extension)?;
        is_stamp(stamp.as_bytes()).then(|| (stamp.to_owned(), kept))
    }
}

/// The form of a rotated file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RotatedForm {
    Plain,
    Compressed,
    /// Compression is not finished, or was interrupted.
    Partial,
}

pub(super) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(ending);
    path.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_rotated_files() {
        let check = |name: &str, expected: Option<RotatedForm>| {
            let rotated = Name::of(Path::new("o/a.log")).rotated(name);
            let stamp = "19700101T000000.000Z";
            assert_eq!(rotated, expected.map(|kept| (stamp.to_owned(), kept)), "{name}");
        };
        let plain = "a-19700101T000000.000Z.log";
        check(plain, Some(RotatedForm::Plain));
        check(&format!("{plain}.gz"), Some(RotatedForm::Compressed));
        check(&format!("{plain}.zst.tmp12"), Some(RotatedForm::Partial));
        for end in [".tmp1", ".gz.tmpx", ".gz.gz", ".bz2", "x"] {
            check(&format!("{plain}{end}"), None);
        }
        check("a.log", None);
        check("aa-19700101T000000.000Z.log", None);
        check("a-19700101T000000.000Z", None);
    }

    #[test]
    fn no_file_takes_the_name_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        for n in 0..3 {
            fs::write(&path, n.to_string()).unwrap();
            move_away(&path, Millis::MIN).unwrap();
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("a-19700101T000000.000Z.log"), "0");
        assert_eq!(read("a-19700101T000000.002Z.log"), "2");
    }
}
