//! One open file: lines are buffered, appended and synced.
//!
//! When a file is opened it ends with a line end. A crash may leave half a line at the end, which
//! is cut off. Anything but a regular file is refused.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::settings::{Access, Fsync};
use crate::entry::Millis;
use crate::output::error::{IoContext, OutputError};

pub(in crate::output) struct OpenFile {
    file: File,
    inode: u64,
    /// In bytes, without the buffered lines.
    length: u64,
    gathered: Vec<u8>,
    is_synced: bool,
    /// The time of the last line.
    pub(super) written_at: Millis,
}

/// The size of the buffer in bytes.
const GATHERED: usize = 256 << 10;

impl OpenFile {
    /// Opens the file at `path`. If it does not exist it is created with `access`.
    pub(in crate::output) fn new(
        path: &Path,
        access: &Access,
        fsync: Fsync,
    ) -> Result<OpenFile, OutputError> {
        make_folders(path, access, fsync)?;
        // Opening a pipe would block until there is a reader.
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => return Err(OutputError::NoFile(path.to_owned())),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.read(true).append(true).mode(access.mode);
        let file = match options.open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let file = options.create(true).open(path).doing("make", path)?;
                if let Err(error) = own(&file, path, access) {
                    // With the wrong owner it must not be found and used the next time.
                    let _ = fs::canonicalize(path).and_then(fs::remove_file);
                    return Err(error);
                }
                if fsync != Fsync::Never {
                    sync_folder(path).doing("sync its folder", path)?;
                }
                file
            }
            opened => opened.doing("open", path)?,
        };
        let found = file.metadata().doing("look at it", path)?;
        let length = cut_torn_line(&file, found.len()).doing("cut a torn line from", path)?;
        if length < found.len() {
            let bytes = found.len() - length;
            tracing::warn!(file = %path.display(), bytes, "cut off a line that was torn");
        }
        let written_at = Millis::saturating(found.mtime().saturating_mul(1000));
        let inode = found.ino();
        Ok(OpenFile { file, inode, length, gathered: Vec::new(), is_synced: true, written_at })
    }

    /// The length in bytes, with the buffered lines.
    pub(super) fn length(&self) -> u64 {
        self.length.saturating_add(self.gathered.len() as u64)
    }

    /// The checkpoint of the file. The buffer must be empty.
    pub(super) fn checkpoint(&self) -> Checkpoint {
        Checkpoint { inode: self.inode, length: self.length }
    }

    /// Appends a line to the buffer.
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

    /// Writes the buffer to the file.
    pub(super) fn flush(&mut self, path: &Path) -> Result<(), OutputError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        self.is_synced = false;
        self.file.write_all(&self.gathered).doing("write", path)?;
        self.gathered.clear();
        // The length is read and not added up, as somebody else may have appended too.
        let found = self.file.metadata().doing("look at it", path)?;
        self.length = found.len();
        if found.nlink() == 0 { Err(OutputError::Removed(path.to_owned())) } else { Ok(()) }
    }

    /// Writes the buffer and syncs the file, unless `fsync` is `never`.
    pub(in crate::output) fn sync(&mut self, path: &Path, fsync: Fsync) -> Result<(), OutputError> {
        self.flush(path)?;
        if !self.is_synced && fsync != Fsync::Never {
            self.file.sync_data().doing("sync", path)?;
        }
        self.is_synced = true;
        Ok(())
    }
}

/// Sets the permissions, owner and group of a new file. The umask does not apply.
fn own(file: &File, path: &Path, access: &Access) -> Result<(), OutputError> {
    // The mode comes first, since after `fchown` this process may not be allowed to change it.
    let permissions = Permissions::from_mode(access.mode);
    file.set_permissions(permissions).doing("set its mode", path)?;
    let owner = |source| OutputError::Owner { path: path.to_owned(), source };
    fchown(file, access.owner, access.group).map_err(owner)
}

/// Creates the missing folders of a file. Who may read the file may enter them.
fn make_folders(path: &Path, access: &Access, fsync: Fsync) -> Result<(), OutputError> {
    let mode = 0o700 | access.mode | (access.mode & 0o044) >> 2;
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<_> = folder(path).ancestors().take_while(is_missing).collect();
    let made = DirBuilder::new().recursive(true).mode(mode).create(folder(path));
    made.doing("make its folder", path)?;
    for made in &missing {
        if let Err(source) = lchown(made, access.owner, access.group) {
            // Removed for the same reason as a file. Each folder is empty but for the one before
            // it.
            missing.iter().for_each(|folder| drop(fs::remove_dir(folder)));
            return Err(OutputError::Owner { path: (*made).to_owned(), source });
        }
    }
    if fsync != Fsync::Never {
        for made in &missing {
            sync_folder(made).doing("sync its folder", made)?;
        }
    }
    Ok(())
}

/// Syncs the folder of a file, so that a new name reaches the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder(path))?.sync_all()
}

/// The folder of a file, `.` if the path has none.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Cuts off what follows the last line end of a file. Returns the new length.
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
    /// The access with the owner of this process.
    const OURS: Access = Access { mode: 0o600, owner: None, group: None };

    fn check(before: &str, after: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/x.log");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, before).unwrap();
        let open = OpenFile::new(&path, &OURS, Fsync::Never).unwrap();
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
    fn a_new_file_has_its_mode_and_only_regular_files_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/x.log");
        let access = Access { mode: 0o640, ..OURS };
        let mut open = OpenFile::new(&path, &access, Fsync::Never).unwrap();
        open.write(&path, b"line\n", Millis::MIN).unwrap();
        open.sync(&path, Fsync::Never).unwrap();
        assert_eq!(open.checkpoint().length, 5);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap()) & 0o750), (0o640, 0o750));
        let refused =
            OpenFile::new(folder.path(), &access, Fsync::Never).err().unwrap().to_string();
        assert!(refused.contains("no regular file"), "{refused}");
        let refused = OpenFile::new(Path::new("/dev/null"), &access, Fsync::Never).err().unwrap();
        assert!(matches!(refused, OutputError::NoFile(_)), "{refused}");
    }

    /// The owner and group of a new file with these settings, and of its folder.
    fn made(folder: &Path, access: &Access) -> Result<[(u32, u32); 2], OutputError> {
        let path = folder.join("a/b/x.log");
        OpenFile::new(&path, access, Fsync::Never)?;
        let ids = |path: &Path| fs::metadata(path).map(|found| (found.uid(), found.gid())).unwrap();
        Ok([ids(&path), ids(&folder.join("a"))])
    }

    #[test]
    fn a_file_and_its_folders_have_the_owner_and_the_group() {
        let folder = || tempfile::tempdir().unwrap();
        let kept = folder();
        let found = fs::metadata(kept.path()).unwrap();
        let own = (found.uid(), found.gid());
        assert_eq!(made(kept.path(), &OURS).unwrap(), [own; 2]);
        let to_oneself = Access { owner: Some(own.0), group: Some(own.1), ..OURS };
        assert_eq!(made(folder().path(), &to_oneself).unwrap(), [own; 2]);

        let (owner, group) = (own.0 + 1, own.1 + 2);
        let to_another = Access { owner: Some(owner), group: Some(group), ..OURS };
        let emptied = folder();
        match made(emptied.path(), &to_another) {
            Ok(found) => assert_eq!(found, [(owner, group); 2]),
            // Only root can do it.
            Err(error) => {
                assert!(matches!(error, OutputError::Owner { .. }), "{error}");
                assert_eq!(fs::read_dir(emptied.path()).unwrap().count(), 0);
                assert_ne!(own.0, 0);
            }
        }
        // An existing file is not changed.
        assert_eq!(made(kept.path(), &to_another).unwrap(), [own; 2]);
    }
}
