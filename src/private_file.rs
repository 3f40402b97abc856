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

/// Waits until the name of a file is on the disk: it is there when its folder is.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
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
    fn a_file_is_written_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        // A crash left it.
        fs::write(folder.path().join("f.tmp"), "half").unwrap();
        write(&path, "one").unwrap();
        write(&path, "three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }
}
