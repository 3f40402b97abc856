//! Files with secrets, which only their owner may read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file that only its owner can read. After a crash the file has either its old contents
/// or all of the new ones.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    make(temporary, contents.as_ref())?;
    fs::rename(temporary, path)?;
    sync_folder(path)
}

/// Writes a file that only its owner can read, unless there is one with this name. Returns whether
/// it was written. After a crash the file is complete, or it is not there. It is written as
/// `temporary` first, which must be on the same file system and is replaced.
pub(crate) fn create(
    path: &Path,
    temporary: &Path,
    contents: impl AsRef<[u8]>,
) -> io::Result<bool> {
    make(temporary, contents.as_ref())?;
    // Unlike a rename, a link replaces nothing.
    let created = match fs::hard_link(temporary, path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(error),
    };
    fs::remove_file(temporary)?;
    sync_folder(path)?;
    Ok(created)
}

/// Replaces a file. Its contents are on the disk then, and its name may not be.
fn make(path: &Path, contents: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

/// The new name of a file is on the disk when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_file_is_created_once_and_written_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let (path, temporary) = (folder.path().join("f"), folder.path().join("f.tmp"));
        // A crash left it.
        fs::write(&temporary, "half").unwrap();
        assert!(create(&path, &temporary, "one").unwrap());
        assert!(!create(&path, &temporary, "two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, "three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }
}
