//! Files with secrets, which only their owner may read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes a file that only its owner can read. After a crash the file has either its old contents or
/// all of the new ones.
pub(crate) fn write(path: &Path, contents: impl AsRef<[u8]>) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(contents.as_ref())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    // The new name is on the disk when the directory is.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
