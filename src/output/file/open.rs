//! One file that is open: lines gathered, appended, synced.
//!
//! It ends with a line end whenever it is opened: what stands behind the last one was torn by a crash
//! and is cut off. Anything but a regular file is refused.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::mark::Mark;
use crate::config::Fsync;
use crate::entry::Millis;
use crate::output::error::{IoContext, OutputError};

/// An open file.
pub(in crate::output) struct Open {
    file: File,
    inode: u64,
    /// In bytes, without what is gathered.
    length: u64,
    gathered: Vec<u8>,
    is_synced: bool,
    /// When the last line was written.
    pub(super) written_at: Millis,
}

/// What is gathered before it is written, in bytes.
const GATHERED: usize = 256 << 10;

impl Open {
    /// Opens the file at `path`, and makes it with these permissions if it is not there.
    pub(in crate::output) fn new(
        path: &Path,
        mode: u32,
        fsync: Fsync,
    ) -> Result<Open, OutputError> {
        let folder = folder(path);
        // Who may read the files may enter their folders.
        let of_folder = 0o700 | mode | (mode & 0o044) >> 2;
        let make = || DirBuilder::new().recursive(true).mode(of_folder).create(folder);
        make().doing("make the folder of", path)?;
        // A pipe would wait for its other end.
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(OutputError::NoFile(path.to_owned())),
            _ => {}
        }
        let is_new = !path.exists();
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(mode);
        let file = options.open(path).doing("open", path)?;
        if is_new {
            // Whatever the umask says.
            file.set_permissions(Permissions::from_mode(mode)).doing("set the mode of", path)?;
            if fsync != Fsync::Never {
                sync_folder(path).doing("sync the folder of", path)?;
            }
        }
        let found = file.metadata().doing("look at", path)?;
        let length = cut_torn_line(&file, found.len()).doing("cut a torn line from", path)?;
        if length < found.len() {
            let bytes = found.len() - length;
            tracing::warn!(file = %path.display(), bytes, "cut off a line that was torn");
        }
        let written_at = Millis::saturating(found.mtime().saturating_mul(1000));
        let inode = found.ino();
        Ok(Open { file, inode, length, gathered: Vec::new(), is_synced: true, written_at })
    }

    /// Its length in bytes, with what is gathered.
    pub(super) fn length(&self) -> u64 {
        self.length.saturating_add(self.gathered.len() as u64)
    }

    /// How far it has come, when nothing is gathered.
    pub(super) fn mark(&self) -> Mark {
        Mark { inode: self.inode, length: self.length }
    }

    /// Takes a line.
    pub(in crate::output) fn write(
        &mut self,
        path: &Path,
        line: &[u8],
        now: Millis,
    ) -> Result<(), OutputError> {
        self.gathered.extend_from_slice(line);
        self.written_at = now;
        if self.gathered.len() >= GATHERED { self.flush(path) } else { Ok(()) }
    }

    /// Appends what is gathered.
    pub(super) fn flush(&mut self, path: &Path) -> Result<(), OutputError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.is_synced = false;
        self.file.write_all(&self.gathered).doing("write", path)?;
        self.gathered.clear();
        // Not counted: somebody else may have appended too.
        self.length = self.file.metadata().doing("look at", path)?.len();
        Ok(())
    }

    /// Appends what is gathered and makes it reach the disk, unless that is never asked for.
    pub(in crate::output) fn sync(&mut self, path: &Path, fsync: Fsync) -> Result<(), OutputError> {
        self.flush(path)?;
        if !self.is_synced && fsync != Fsync::Never {
            self.file.sync_data().doing("sync", path)?;
        }
        self.is_synced = true;
        Ok(())
    }
}

/// Makes that a file was made or renamed reach the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Cuts off what stands behind the last line end of a file, and returns its length then.
pub(super) fn cut_torn_line(file: &File, length: u64) -> io::Result<u64> {
    let mut block = [0; 8192];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(block.len() as u64);
        let size = usize::try_from(end - start).unwrap_or(block.len());
        let part = block.get_mut(..size).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.log");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, before).unwrap();
        let open = Open::new(&path, 0o640, Fsync::Always).unwrap();
        assert_eq!(open.length(), after.len() as u64);
        assert_eq!(fs::read_to_string(&path).unwrap(), after);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_nothing_else() {
        check("", "");
        check("one\n", "one\n");
        check("one\ntw", "one\n");
        check("on", "");
        let (whole, torn) = (format!("{}\n", "a".repeat(9000)), "b".repeat(20_000));
        check(&format!("{whole}{torn}"), &whole);
    }

    #[test]
    fn a_file_is_made_with_its_mode_and_nothing_else_is_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/x.log");
        let mut open = Open::new(&path, 0o640, Fsync::Never).unwrap();
        open.write(&path, b"line\n", Millis::MIN).unwrap();
        open.sync(&path, Fsync::Never).unwrap();
        assert_eq!(open.mark().length, 5);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap()) & 0o750), (0o640, 0o750));
        let refused = Open::new(folder.path(), 0o600, Fsync::Never).err().unwrap().to_string();
        assert!(refused.contains("no regular file"), "{refused}");
        let refused = Open::new(Path::new("/dev/null"), 0o600, Fsync::Never).err().unwrap();
        assert!(matches!(refused, OutputError::NoFile(_)), "{refused}");
    }
}
