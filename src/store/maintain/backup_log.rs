//! The files of the log in backups.
//!
//! The checkpoints are copied first and the segments before the tiles, so that the tiles of a backup have
//! the leaves of its checkpoints, and the records that its sealed segments no longer have. They may have
//! more leaves than its segments: then a restored store names them as lost.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use crate::store::directory::{Directory, create_folder};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::backup::{copy_all, make_empty, part, replace};
use crate::store::tiles::Tiles;

/// The files of the log that are copied as they are. The first is a folder.
pub(super) const OTHERS: [&str; 4] = ["checkpoints", "checkpoint", "key", "origin"];

/// Copies the checkpoints, the key and the origin of a log, if there is one. To be called before the segments are
/// copied.
pub(super) fn copy_others(from: &Directory, to: &Directory) -> Result<(), StoreError> {
    if !from.log().is_dir() {
        return Ok(());
    }
    create_folder(&to.log())?;
    OTHERS.iter().try_for_each(|name| copy_all(&from.log().join(name), &to.log().join(name)))
}

/// Copies the tiles, and returns the copies. `with_full` is whether the files that never change again are
/// copied too, where the copy is not there yet.
///
/// # Errors
/// [`StoreError::DamagedLog`] if one of them is missing or too short.
pub(super) fn copy_tiles(
    from: &Directory,
    to: &Directory,
    with_full: bool,
) -> Result<Tiles, StoreError> {
    let tiles = Tiles::open(from)?;
    tiles.check_files(from)?;
    for file in tiles.files() {
        let (source, target) = (from.path().join(&file.name), to.path().join(&file.name));
        if file.is_full && (!with_full || is_same(&source, &target)?) {
            continue;
        }
        target.parent().map_or(Ok(()), create_folder)?;
        let new = part(&target);
        let mut copy = make_empty(&new)?;
        let mut source_file = File::open(&source).doing("open", &source)?.take(file.bytes);
        io::copy(&mut source_file, &mut copy).doing("copy", &source)?;
        copy.sync_all().doing("sync", &new)?;
        replace(&new, &target)?;
    }
    if tiles.size() > 0 {
        // It is last, because it says what the others have.
        tiles.record_in(to)?;
    }
    Ok(tiles)
}

/// Whether two files are there and have the same bytes.
fn is_same(one: &Path, other: &Path) -> Result<bool, StoreError> {
    let length = |path: &Path| fs::metadata(path).map(|found| found.len()).ok();
    if length(other).is_none() || length(one) != length(other) {
        return Ok(false);
    }
    let open = |path: &Path| File::open(path).doing("open", path);
    let (mut first, mut second) = (open(one)?, open(other)?);
    let (mut here, mut there) = (Vec::new(), Vec::new());
    loop {
        here.clear();
        there.clear();
        (&mut first).take(1 << 16).read_to_end(&mut here).doing("read", one)?;
        (&mut second).take(1 << 16).read_to_end(&mut there).doing("read", other)?;
        if here != there {
            return Ok(false);
        }
        if here.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::entry::Millis;
    use crate::ingest::{Batch, Caps, ExpectedIds};
    use crate::signature::KeySet;
    use crate::store::snapshot::restore_files;
    use crate::store::{Delivery, Options, Reader, Store, backup};
    use crate::tlog::leaf::Leaf;
    use crate::tlog::tree;

    fn deliver(store: &Store, lines: std::ops::Range<u64>) {
        let body: String = lines.map(|n| format!("{{\"rt\":{}}}\n", n + 1)).collect();
        let caps = Caps { max_line: 100, max_lines: 1000 };
        let seed = crate::random::seed().unwrap();
        let batch = Batch::new(Bytes::from(body), &KeySet::default(), caps, &seed).unwrap();
        let delivery = Delivery {
            received_at: Millis::saturating(5),
            started: Instant::now(),
            input: "default".into(),
            peer: "p".into(),
            bytes: 1,
            decoded_bytes: 1,
            origin: None,
        };
        store.append(delivery, &batch, &ExpectedIds::default()).unwrap();
    }

    /// The root of the log of a directory, after its store was opened.
    fn assert_goes_on(path: &Path, size: u64, expected: &[u8; 32], others: &[u64]) {
        let directory = Directory::open(path).unwrap();
        assert_eq!(fs::read(directory.log().join("key")).unwrap(), b"secret");
        assert_eq!(fs::read(directory.log().join("checkpoints/7")).unwrap(), b"seven");
        let store = Store::open(&directory, Options::default()).unwrap();
        deliver(&store, 1000..1001);
        let now = store.write_tiles().unwrap();
        let tiles = Reader::open(&directory).unwrap().tiles().unwrap();
        // What the first store gave out is part of it.
        assert_eq!(tree::root(&tiles, size).unwrap().0, *expected);
        let leaf = |leaf| Leaf::parse(&tiles.record(leaf).unwrap()).unwrap().0;
        let found: Vec<u64> = (0..now)
            .filter(|at| !matches!(leaf(*at), Leaf::Entry(_) | Leaf::Seal { .. }))
            .collect();
        assert_eq!(found, others);
    }

    #[test]
    fn a_restored_store_goes_on_after_the_leaves_that_were_given_out() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let directory = Directory::create(&at("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let reader = Reader::open(&directory).unwrap();
        fs::write(directory.log().join("key"), "secret").unwrap();
        fs::write(directory.log().join("checkpoint"), "example.com/log\n1\n").unwrap();
        fs::create_dir(directory.log().join("checkpoints")).unwrap();
        fs::write(directory.log().join("checkpoints/7"), "seven").unwrap();
        deliver(&store, 0..150);
        store.seal().unwrap();
        deliver(&store, 150..160);
        reader.backup(&at("backup")).unwrap();

        // The leaves of the sealed segment are in full files, which are not copied again.
        let full = at("backup").join("log/hashes/0/0000");
        let is_full = Tiles::open(&directory).unwrap().files().iter().any(|file| file.is_full);
        assert!(is_full);
        let modified = fs::metadata(&full).unwrap().modified().unwrap();
        deliver(&store, 160..170);
        let size = store.write_tiles().unwrap();
        let root = tree::root(&reader.tiles().unwrap(), size).unwrap().0;
        let copied = reader.backup(&at("backup")).unwrap();
        assert_eq!(copied.damaged, [""; 0]);
        assert_eq!(fs::metadata(&full).unwrap().modified().unwrap(), modified);
        backup::restore(&at("backup"), &at("restored")).unwrap();
        assert_goes_on(&at("restored"), size, &root, &[0]);

        // The same from the files of a snapshot.
        let snapshot = reader.snapshot_files().unwrap();
        let in_place = |name: &str| directory.path().join(name).exists();
        assert!(snapshot.files.iter().all(|file| in_place(&file.name)));
        let fill = |restoring: &crate::store::snapshot::Restoring<'_>| {
            snapshot.files.iter().try_for_each(|file| -> Result<(), StoreError> {
                let mut new = restoring.create(&file.name)?;
                let (bytes, _) = file.hash()?;
                new.write(&file.read(0, bytes)?)?;
                new.finish()
            })
        };
        restore_files(&at("data"), &at("again"), fill).unwrap();
        drop(snapshot);
        assert_goes_on(&at("again"), size, &root, &[0]);

        // The tiles may have more leaves than the segments, if entries arrive meanwhile.
        copy_tiles(&directory, &Directory::open(&at("backup")).unwrap(), true).unwrap();
        deliver(&store, 170..175);
        let later = store.write_tiles().unwrap();
        let root = tree::root(&reader.tiles().unwrap(), later).unwrap().0;
        copy_tiles(&directory, &Directory::open(&at("backup")).unwrap(), true).unwrap();
        backup::restore(&at("backup"), &at("later")).unwrap();
        assert_goes_on(&at("later"), later, &root, &[0, later]);
    }

    #[test]
    fn a_backup_of_a_damaged_log_says_so_and_is_not_restored() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let directory = Directory::create(&at("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let reader = Reader::open(&directory).unwrap();
        deliver(&store, 0..10);
        store.write_tiles().unwrap();
        reader.backup(&at("backup")).unwrap();
        fs::write(at("backup").join("log/records/0000"), "short").unwrap();
        let restored = backup::restore(&at("backup"), &at("restored"));
        assert!(restored.unwrap_err().to_string().contains("damaged files: log/records/0000"));
        fs::write(directory.log().join("size"), "x").unwrap();
        let copied = reader.backup(&at("backup")).unwrap();
        assert_eq!(copied.damaged, ["log/size"]);
    }
}
