//! The manifest of a backup: which files it has. The format is defined in docs/store.md.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::BackupError;
use crate::objects::Blocking;

/// The version of the format.
const VERSION: u32 = 1;

/// The folder of the manifests.
const FOLDER: &str = "backups";

/// The most bytes of a manifest: that of some 400,000 files.
const MAX_BYTES: usize = 64 << 20;

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of the format.
    pub(super) version: u32,
    pub(super) number: u64,
    /// The id of the store; none if its catalog is of an earlier version.
    pub(super) store: Option<String>,
    /// When the backup was complete, in milliseconds since the epoch.
    pub(super) made_at: i64,
    /// The program that wrote it.
    pub(super) program: String,
    pub(super) files: Vec<File>,
}

/// A file of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct File {
    /// Its name in the data directory.
    pub(super) name: String,
    pub(super) bytes: u64,
    /// Its SHA-256 in hexadecimal, which names its objects.
    pub(super) sha256: String,
}

impl Manifest {
    /// A manifest of these files, made at this time.
    pub(super) fn new(store: Option<String>, made_at: i64, files: Vec<File>) -> Manifest {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        Manifest { version: VERSION, number: 0, store, made_at, program, files }
    }

    /// As an object.
    pub(super) fn to_body(&self) -> Result<Bytes, BackupError> {
        let damaged = |what: String| BackupError::Damaged { key: key(self.number), what };
        let body = serde_json::to_vec(self).map_err(|error| damaged(error.to_string()))?;
        match body.len() <= MAX_BYTES {
            true => Ok(body.into()),
            false => Err(damaged(too_large(body.len()))),
        }
    }

    /// Reads the manifest of the backup `number`; `None` if there is none.
    pub(super) fn read(objects: &Blocking, number: u64) -> Result<Option<Manifest>, BackupError> {
        let key = key(number);
        let Some(body) = objects.get(&key)? else { return Ok(None) };
        Manifest::parse(number, &body).map(Some)
    }

    fn parse(number: u64, body: &[u8]) -> Result<Manifest, BackupError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |what: String| BackupError::Damaged { key: key(number), what };
        if body.len() > MAX_BYTES {
            return Err(damaged(too_large(body.len())));
        }
        // A later version may have other fields.
        let unreadable = |error: serde_json::Error| damaged(error.to_string());
        let found: Version = serde_json::from_slice(body).map_err(unreadable)?;
        if found.version != VERSION {
            let found = found.version;
            return Err(damaged(format!("it has version {found}, this program knows {VERSION}")));
        }
        let manifest: Manifest = serde_json::from_slice(body).map_err(unreadable)?;
        if manifest.number != number {
            return Err(damaged(format!("it says that it has the number {}", manifest.number)));
        }
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(is_hex);
        match manifest.files.iter().find(|file| !is_hash(&file.sha256)) {
            None => Ok(manifest),
            Some(file) => Err(damaged(format!("{:?} has no SHA-256", file.name))),
        }
    }
}

/// The name of a manifest.
pub(super) fn key(number: u64) -> String {
    format!("{FOLDER}/{number:04}.json")
}

/// The number of the newest backup; `None` if there is none. Manifests are listed, so that the oldest may
/// be deleted.
pub(super) fn newest(objects: &Blocking) -> Result<Option<u64>, BackupError> {
    let number = |name: &str| {
        let number = name.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(".json")?;
        number.parse().ok().filter(|number| key(*number) == name)
    };
    let listed = objects.list(FOLDER)?;
    Ok(listed.iter().filter_map(|(name, _)| number(name)).max())
}

fn too_large(bytes: usize) -> String {
    format!("it has {bytes} bytes, expected at most {MAX_BYTES}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_strictly() {
        let file = File { name: "catalog.db".into(), bytes: 3, sha256: "0a".repeat(32) };
        let good = Manifest::new(Some("x".into()), 5, vec![file]);
        let body = String::from_utf8(good.to_body().unwrap().to_vec()).unwrap();
        assert_eq!(Manifest::parse(0, body.as_bytes()).unwrap(), good);
        let check = |number: u64, body: &str, expected: &str| {
            let error = Manifest::parse(number, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(1, &body, "says that it has the number 0");
        check(0, &body.replace("\"version\":1", "\"version\":2"), "it has version 2");
        check(0, &body.replace("0a0a", "0A0A"), "\"catalog.db\" has no SHA-256");
        check(0, &body.replace("0a0a", "../x"), "\"catalog.db\" has no SHA-256");
        check(0, &body.replace("bytes\":3", "bytes\":-3"), "invalid value");
        check(0, &body[..body.len() - 1], "EOF");
        check(0, "", "EOF");
    }
}
