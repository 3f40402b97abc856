//! The files that `send` writes and reads: the JWK set, the key, the acknowledged lines.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::exit::Failure;
use crate::konnect::sign::Signer;
use crate::private_key::PrivatePem;

/// The maximum size of a key file in bytes.
const MAX_KEY: u64 = 64 << 10;

/// Replaces a file atomically: a reader sees the old or the new file.
pub(super) fn write_by_rename(path: &Path, contents: &[u8]) -> Result<(), Failure> {
    let cannot = |error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(cannot)
}

/// Writes a private key that only the owner can read. It does not overwrite a file, which may be
/// the only copy of another key.
pub(super) fn write_key(path: &Path, key: &PrivatePem) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(key.expose().as_bytes())).map_err(|error| {
        let path = path.display();
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::usage(format!(
                "--key-out {path}: the file already exists; to sign with it, use --key {path}"
            )),
            _ => Failure::failed(format!("cannot write {path}: {error}")),
        }
    })
}

pub(super) fn read_key(path: &Path) -> Result<Signer, Failure> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_KEY + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    if bytes.len() as u64 > MAX_KEY {
        return Err(Failure::usage(format!("{shown} is larger than 64 KiB and not a key")));
    }
    Signer::read(&bytes).map_err(|error| Failure::usage(format!("{shown}: {error}")))
}

/// Opens a file for appending.
pub(super) fn appending(path: &Path) -> Result<File, Failure> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_readable_by_its_owner_only_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let (signer, pem) = Signer::generate(None).unwrap();
        write_key(&path, &pem).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(read_key(&path).unwrap().key(), signer.key());
        let again = write_key(&path, &pem).unwrap_err();
        assert!(again.to_string().contains("already exists"), "{again}");
        assert_eq!(again.exit() as u8, 2);
    }

    #[test]
    fn a_file_is_replaced_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwks.json");
        write_by_rename(&path, b"one").unwrap();
        write_by_rename(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
        assert!(write_by_rename(&folder.path().join("a/b"), b"").is_err());
    }
}
