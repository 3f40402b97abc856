//! Reads a bundle in a folder.

use std::fs::{self, DirEntry, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{ReadError, Unexpected, check_count, damaged};
use crate::evidence::name::{ENTRIES, Name, entry_id};

/// A bundle in a folder.
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Lists the files.
    pub(super) fn open(
        path: &Path,
        unexpected: &mut Unexpected,
    ) -> Result<(Folder, Vec<Name>), ReadError> {
        let mut names = Vec::new();
        let mut listing = Listing { root: path, names: &mut names, unexpected };
        listing.folder("", &|folder| folder == ENTRIES)?;
        names.sort_unstable();
        Ok((Folder(path.to_owned()), names))
    }

    /// Opens a file, which must still be one.
    pub(super) fn open_file(&self, name: Name) -> io::Result<File> {
        // A named pipe would wait for a writer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let path = self.0.join(name.to_string());
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a regular file")),
        }
    }
}

struct Listing<'a> {
    root: &'a Path,
    names: &'a mut Vec<Name>,
    unexpected: &'a mut Unexpected,
}

impl Listing<'_> {
    /// Lists a folder, whose path ends with `/` unless it is empty, and the folders in it that are
    /// expected.
    fn folder(&mut self, inside: &str, expected: &dyn Fn(&str) -> bool) -> Result<(), ReadError> {
        let path = self.root.join(inside);
        let failed = |error| ReadError::Io { path: path.clone(), error };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let (entry, kind) = entry.and_then(with_type).map_err(failed)?;
            check_count(self.root, self.names.len() + self.unexpected.count)?;
            let file_name = entry.file_name();
            let name = format!("{inside}{}", file_name.to_string_lossy());
            match (name.parse(), file_name.to_str()) {
                _ if !kind.is_dir() && !kind.is_file() => {
                    let why = format!("{name:?} is a link or another special file");
                    return Err(damaged(self.root, why));
                }
                (Ok(known), Some(_)) if kind.is_file() => self.names.push(known),
                (_, Some(folder)) if kind.is_dir() && expected(folder) => match inside {
                    "" => self.folder(&format!("{name}/"), &|folder| entry_id(folder).is_some())?,
                    _ => self.folder(&format!("{name}/"), &|_| false)?,
                },
                _ => self.unexpected.add(|| name),
            }
        }
        Ok(())
    }
}

fn with_type(entry: DirEntry) -> io::Result<(DirEntry, FileType)> {
    let kind = entry.file_type()?;
    Ok((entry, kind))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::evidence::name::Part;
    use crate::evidence::read::Bundle;

    fn bundle() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("entries/17")).unwrap();
        fs::write(folder.path().join("checkpoint"), "text").unwrap();
        fs::write(folder.path().join("entries/17/line"), "a line").unwrap();
        folder
    }

    #[test]
    fn files_are_listed_and_read() {
        let folder = bundle();
        let open = || Bundle::open(folder.path()).unwrap();
        let line = Name::Entry(17, Part::Line);
        let bundle = open();
        assert_eq!((bundle.ids(), bundle.unexpected().count), (vec![17], 0));
        assert_eq!(bundle.read(line).unwrap().unwrap(), b"a line");
        assert!(bundle.has(Name::Checkpoint) && !bundle.has(Name::Keys));
        assert!(bundle.read(Name::Keys).unwrap().is_none());
        for name in ["other", "entries/x", "entries/17/x"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir_all(folder.path().join("entries/18/line")).unwrap();
        fs::create_dir_all(folder.path().join("entries/019")).unwrap();
        let bundle = open();
        let mut unexpected = bundle.unexpected().first.clone();
        unexpected.sort();
        let expected = ["entries/019", "entries/17/x", "entries/18/line", "entries/x", "other"];
        assert_eq!((bundle.ids(), unexpected), (vec![17], expected.map(str::to_owned).to_vec()));
        fs::write(folder.path().join("entries/17/salt"), [0; 257]).unwrap();
        let error = open().read(Name::Entry(17, Part::Salt)).unwrap_err().to_string();
        assert_eq!(error, "cannot read entries/17/salt in the bundle: it is too long");
    }

    #[test]
    fn links_and_special_files_are_not_opened() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("line"), "secret").unwrap();
        for (link, to) in [
            ("entries/17/line", outside.path().join("line")),
            ("entries/17", outside.path().to_owned()),
            ("entries", outside.path().to_owned()),
            ("checkpoint", "/dev/zero".into()),
        ] {
            let folder = bundle();
            let path = folder.path().join(link);
            let opened = Bundle::open(folder.path()).unwrap();
            fs::rename(&path, outside.path().join("away")).unwrap();
            symlink(to, &path).unwrap();
            let error = Bundle::open(folder.path()).err().unwrap().to_string();
            assert!(error.contains(&format!("\"{link}\" is a link")), "{error}");
            // It became a link after the files were listed.
            if link == "entries/17/line" {
                opened.read(Name::Entry(17, Part::Line)).unwrap_err();
            }
            let away = outside.path().join("away");
            if away.is_dir() { fs::remove_dir_all(away) } else { fs::remove_file(away) }.unwrap();
        }
    }
}
