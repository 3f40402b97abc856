//! The files of the log in backups.
//!
//! The checkpoints are copied first and the segments before the tiles, so that the tiles of a backup have
//! the leaves of its checkpoints, and the records that its sealed segments no longer have. They may have
//! more leaves than its segments: then a restored store names them as lost. The copies of the catalog and of
//! the checkpoints get their names last. So a backup that is interrupted has the leaves of its sealed
//! segments and of its checkpoints, also if there was one before it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::store::directory::{Directory, create_folder, sync};
use crate::store::error::{SqliteContext, StoreError};
use crate::store::maintain::backup::{copy_all, copy_file, make_empty, part, replace};
use crate::store::tiles::{self, Tiles};

/// The folders of the log that are copied, besides those of the tiles.
pub(super) const FOLDERS: [&str; 2] = ["checkpoints", "timestamps"];

/// The files of the log that are copied, besides those of the tiles.
pub(super) const FILES: [&str; 7] =
    ["checkpoint", "key", "key.previous", "vkeys", "origin", "start", "bundled"];

/// Copies that get their names when the tiles are copied.
#[derive(Debug, Default)]
#[must_use]
pub(super) struct Unnamed(Vec<(PathBuf, PathBuf)>);

/// Copies the checkpoints, the key and the origin of a log and what else is beside its tiles, if there is
/// one. To be called before the segments are copied. The checkpoints get their names when the tiles are
/// copied.
pub(super) fn copy_others(from: &Directory, to: &Directory) -> Result<Unnamed, StoreError> {
    if !from.log().is_dir() {
        return Ok(Unnamed::default());
    }
    create_folder(&to.log())?;
    let mut copies = Vec::new();
    let mut copy = |name: &str| {
        let (source, target) = (from.log().join(name), to.log().join(name));
        copies.push((part(&target), target));
        copies.last().map_or(Ok(()), |(copy, _)| copy_file(&source, copy))
    };
    // Whatever is in `checkpoint` is in the folder too, if that is copied later.
    if from.log().join("checkpoint").exists() {
        copy("checkpoint")?;
    }
    if from.log().join("checkpoints").is_dir() {
        create_folder(&to.log().join("checkpoints"))?;
        for name in names(&from.log().join("checkpoints"))? {
            let name = format!("checkpoints/{name}");
            if is_file_name(&name) {
                copy(&name)?;
            }
        }
    }
    for name in FILES.iter().chain(&FOLDERS).filter(|name| !name.starts_with("checkpoint")) {
        copy_all(&from.log().join(name), &to.log().join(name))?;
    }
    sync(&to.log())?;
    sync(to.path())?;
    Ok(Unnamed(copies))
}

impl Unnamed {
    /// Adds a copy that gets its name before those that are there.
    pub(super) fn push(&mut self, copy: PathBuf, path: PathBuf) {
        self.0.push((copy, path));
    }

    /// Gives the copies their names.
    pub(super) fn name(self) -> Result<(), StoreError> {
        self.0.into_iter().rev().try_for_each(|(copy, path)| replace(&copy, &path))
    }
}

/// The names of the files in a folder, in order; none if there is no folder.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for file in fs::read_dir(folder).doing("list", folder)? {
        names.push(file.doing("list", folder)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Whether a file of the log may have this name in its folder.
pub(super) fn is_file_name(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|one| one.is_ascii_digit());
    match name.split_once('/') {
        None => FILES.contains(&name) || tiles::is_file_name(name),
        Some(("checkpoints", day)) => {
            let shape = day.bytes().map(|one| if one.is_ascii_digit() { b'0' } else { one });
            shape.eq(*b"0000-00-00")
        }
        Some(("timestamps", file)) => {
            let size = file.strip_suffix(".tsr").or_else(|| file.strip_suffix(".note"));
            size.is_some_and(is_number)
        }
        Some(_) => tiles::is_file_name(name),
    }
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
        tiles::sync_folders(to)?;
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
        assert_eq!(fs::read(directory.log().join("checkpoints/2026-01-02")).unwrap(), b"second");
        assert_eq!(fs::read(directory.log().join("timestamps/7.tsr")).unwrap(), b"stamp");
        assert_eq!(fs::read(directory.log().join("timestamps/7.note")).unwrap(), b"stamped");
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
        for (folder, file, text) in [
            ("checkpoints", "2026-01-02", "second"),
            ("checkpoints", "2026-01-02.tmp", "half"),
            ("timestamps", "7.tsr", "stamp"),
            ("timestamps", "7.note", "stamped"),
        ] {
            let _ = fs::create_dir(directory.log().join(folder));
            fs::write(directory.log().join(folder).join(file), text).unwrap();
        }
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

    /// The sizes of the tree and of the checkpoint in a backup.
    fn sizes(backup: &Path) -> (u64, u64) {
        let tiles = Tiles::open(&Directory::open_to_read(backup).unwrap()).unwrap();
        let note = fs::read_to_string(backup.join("log/checkpoint")).unwrap_or_default();
        (tiles.size(), note.lines().nth(1).map_or(0, |size| size.parse().unwrap()))
    }

    #[test]
    fn a_backup_that_is_interrupted_has_the_leaves_of_its_checkpoints() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let directory = Directory::create(&at("data")).unwrap();
        let store = Store::open(&directory, Options::default()).unwrap();
        let reader = Reader::open(&directory).unwrap();
        fs::create_dir(directory.log().join("checkpoints")).unwrap();
        let sign = |lines| {
            deliver(&store, lines);
            let size = store.write_tiles().unwrap();
            let note = format!("example.com/log\n{size}\n");
            fs::write(directory.log().join("checkpoint"), &note).unwrap();
            fs::write(directory.log().join("checkpoints/2026-01-02"), &note).unwrap();
            size
        };
        let first = sign(0..10);
        reader.backup(&at("backup")).unwrap();
        assert_eq!(sizes(&at("backup")), (first, first));
        // The records of a sealed segment are in the tiles alone.
        store.seal().unwrap();
        let second = sign(10..20);
        store.seal().unwrap();
        let to = Directory::open(&at("backup")).unwrap();
        let day = at("backup").join("log/checkpoints/2026-01-02");
        let signed = |size| format!("example.com/log\n{size}\n");
        let assert_goes_on = |name: &str, expected| {
            backup::restore(&at("backup"), &at(name)).unwrap();
            assert_eq!(sizes(&at(name)), expected);
            let restored = Directory::open(&at(name)).unwrap();
            let store = Store::open(&restored, Options::default()).unwrap();
            deliver(&store, 100..101);
            assert!(store.write_tiles().unwrap() > expected.0);
        };
        // Each step of the second backup, as it is when the one after it does not happen.
        let (_, _, unnamed) = reader.copy_to(&to, |_| true).unwrap();
        assert_eq!(fs::read_to_string(&day).unwrap(), signed(first));
        assert_goes_on("one", (first, first));
        copy_tiles(&directory, &to, true).unwrap();
        assert_goes_on("two", (second, first));
        unnamed.name().unwrap();
        assert_eq!(fs::read_to_string(&day).unwrap(), signed(second));
        assert_eq!(names(&at("backup").join("log/checkpoints")).unwrap(), ["2026-01-02"]);
        assert_goes_on("three", (second, second));
    }
}
