//! The checkpoint of a bundle: the newest that the log gave out.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::log::LogError;
use crate::log::checkpoints::Checkpoints;
use crate::tlog::note::VerifierKey;

/// The log that bundles are made of: its folder, and its verifier key.
#[derive(Clone, Debug)]
pub(crate) struct SignedLog {
    folder: PathBuf,
    key: VerifierKey,
}

impl SignedLog {
    pub(crate) fn new(folder: &Path, key: VerifierKey) -> SignedLog {
        SignedLog { folder: folder.to_owned(), key }
    }

    /// The newest checkpoint as it was given out. `None` if there is none yet.
    pub(super) fn newest(&self) -> Result<Option<Vec<u8>>, LogError> {
        Checkpoints::new(&self.folder).given_out()
    }

    /// The key that must have signed it.
    pub(super) fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// Notes in `bundled` that the checkpoint over `size` leaves is in a bundle, so that it is
    /// kept. The file has a size on each line.
    pub(crate) fn note_bundled(&self, size: u64) -> io::Result<()> {
        let path = self.folder.join("bundled");
        let noted = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let line = size.to_string();
        if noted.lines().any(|one| one == line) && noted.ends_with('\n') {
            return Ok(());
        }
        let mut file = File::options().create(true).append(true).mode(0o600).open(path)?;
        // A line that was interrupted ends here.
        let before = if noted.is_empty() || noted.ends_with('\n') { "" } else { "\n" };
        file.write_all(format!("{before}{line}\n").as_bytes())?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlog::note::SigningKey;

    #[test]
    fn a_size_is_noted_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = SigningKey::from_seed("example.com/log", &[1; 32]).unwrap();
        let log = SignedLog::new(folder.path(), key.verifier().clone());
        let path = folder.path().join("bundled");
        for size in [12, 1, 12, 123] {
            log.note_bundled(size).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "12\n1\n123\n");
        fs::write(&path, "12\n1").unwrap();
        log.note_bundled(1).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12\n1\n1\n");
    }
}
