//! The files of the log are compared with what the definition says of the same records.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::*;
use crate::tlog::tree::{self, leaf_hash, root_of};

fn directory() -> (tempfile::TempDir, Directory) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = Directory::create(&temporary.path().join("data")).unwrap();
    create(&directory).unwrap();
    (temporary, directory)
}

/// Records of many lengths.
fn record(leaf: u64) -> Vec<u8> {
    let length = usize::try_from(leaf % 7).unwrap();
    [&leaf.to_be_bytes()[..], &vec![b'x'; length]].concat()
}

/// Adds records until there are `size`.
fn grow(directory: &Directory, size: u64) {
    let mut writer = TileWriter::open(directory).unwrap();
    for leaf in writer.next_leaf()..size {
        writer.add(&record(leaf)).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), size);
}

fn root(size: u64) -> Hash {
    root_of((0..size).map(|leaf| leaf_hash(&record(leaf))))
}

/// The bytes of the files that count.
fn bytes(directory: &Directory) -> Vec<(String, Vec<u8>)> {
    let tiles = Tiles::open(directory).unwrap();
    let read = |file: StreamFile| {
        let mut bytes = fs::read(directory.path().join(&file.name)).unwrap();
        bytes.truncate(usize::try_from(file.bytes).unwrap());
        (file.name, bytes)
    };
    tiles.files().into_iter().map(read).collect()
}

#[test]
fn roots_over_sizes_around_256_and_65536_are_taken_from_tiles_alone() {
    let (_temporary, directory) = directory();
    let sizes =
        [0, 1, 2, 255, 256, 257, 511, 512, 513, 65_279, 65_280, 65_535, 65_536, 65_537, 65_793];
    for size in sizes {
        grow(&directory, size);
        let tiles = Tiles::open(&directory).unwrap();
        assert_eq!(tiles.size(), size);
        tiles.check_files(&directory).unwrap();
        for smaller in sizes.into_iter().filter(|smaller| *smaller <= size) {
            assert_eq!(tree::root(&tiles, smaller).unwrap(), root(smaller), "{smaller} of {size}");
        }
    }
    let tiles = Tiles::open(&directory).unwrap();
    for leaf in [0, 1, 255, 256, 65_535, 65_536, 65_792] {
        assert_eq!(tiles.record(leaf).unwrap(), record(leaf), "{leaf}");
    }
    for leaf in [65_793, 65_800, u64::MAX] {
        assert!(matches!(tiles.record(leaf), Err(StoreError::NoSuch { .. })), "{leaf}");
    }
    // A file that is full does not change, and no file has more.
    assert!(tiles.files().iter().any(|file| file.is_full && file.bytes == FILE));
}

#[test]
fn tiles_are_had_by_their_paths_in_every_width() {
    let (_temporary, directory) = directory();
    grow(&directory, 600);
    let tiles = Tiles::open(&directory).unwrap();
    let file = |path: &str| tiles.file(&path.parse().unwrap()).unwrap();
    for (path, leaves) in [
        ("tile/0/000", 0..256),
        ("tile/0/001.p/3", 256..259),
        ("tile/0/002.p/88", 512..600),
        ("tile/0/002.p/1", 512..513),
    ] {
        let hashes: Vec<u8> = leaves.clone().flat_map(|leaf| leaf_hash(&record(leaf)).0).collect();
        assert_eq!(file(path), Some(hashes), "{path}");
        let mut bundle = Vec::new();
        leaves.for_each(|leaf| tile::push_entry(&mut bundle, &record(leaf)).unwrap());
        assert_eq!(file(&path.replace("/0/", "/entries/")), Some(bundle), "{path}");
    }
    let roots = [0, 256].map(|from| root_of((from..from + 256).map(|n| leaf_hash(&record(n)))));
    assert_eq!(file("tile/1/000.p/2"), Some(tile::tile_bytes(&roots)));
    assert_eq!(file("tile/1/000.p/1"), Some(tile::tile_bytes(&roots[..1])));
    for path in [
        "tile/0/002.p/89",
        "tile/0/002",
        "tile/0/003.p/1",
        "tile/1/000.p/3",
        "tile/1/000",
        "tile/2/000.p/1",
        "tile/entries/002",
        "tile/entries/003.p/1",
        "tile/63/000",
        "tile/0/x999/x999/x999/x999/x999/999",
    ] {
        assert_eq!(file(path), None, "{path}");
    }
}

#[test]
fn what_an_interrupted_run_left_is_written_again() {
    let (_temporary, whole) = directory();
    grow(&whole, 1500);
    let expected = bytes(&whole);
    for synced in [0, 1, 255, 256, 300, 512, 1499] {
        let (_temporary, directory) = directory();
        grow(&directory, synced);
        // Other leaves, which were not recorded.
        let mut writer = TileWriter::open(&directory).unwrap();
        (0..900).for_each(|_| writer.add(b"lost").unwrap());
        writer.streams().try_for_each(|stream| stream.sync()).unwrap();
        drop(writer);
        // Bytes that a crash left beyond the end.
        let tiles = Tiles::open(&directory).unwrap();
        for file in tiles.files().into_iter().filter(|file| !file.is_full) {
            let path = directory.path().join(&file.name);
            let file_there = OpenOptions::new().write(true).open(path).unwrap();
            file_there.write_all_at(&[0xff; 99], file.bytes).unwrap();
        }
        assert_eq!(tree::root(&tiles, synced).unwrap(), root(synced));
        grow(&directory, 1500);
        assert_eq!(bytes(&directory), expected, "{synced}");
    }
}

#[test]
fn files_that_are_not_as_they_were_written_are_noticed() {
    let (_temporary, directory) = directory();
    assert_eq!(published(&directory), 0);
    grow(&directory, 300);
    assert_eq!(published(&directory), 300);
    let checkpoint = directory.log().join("checkpoint");
    for (text, expected) in [
        ("example.com/log\n299\nAAAA\n", 300),
        ("example.com/log\n301\nAAAA\n", 301),
        // It is logged, and the store goes on.
        ("example.com/log", 300),
        ("example.com/log\nx\n", 300),
    ] {
        fs::write(&checkpoint, text).unwrap();
        assert_eq!(published(&directory), expected, "{text:?}");
    }
    let size = directory.log().join("size");
    let sound = fs::read_to_string(&size).unwrap();
    for bad in ["", "300", "300\n", "300\n1", "0300\n1\n", "300\n1\n\n", "-1\n1\n", "x\n"] {
        fs::write(&size, bad).unwrap();
        let opened = Tiles::open(&directory);
        assert!(matches!(opened, Err(StoreError::DamagedLog { .. })), "{bad:?}");
        assert!(TileWriter::open(&directory).is_err(), "{bad:?}");
        assert_eq!(fs::read_to_string(&size).unwrap(), bad);
    }
    fs::write(&size, sound).unwrap();
    let tiles = Tiles::open(&directory).unwrap();
    for file in tiles.files() {
        let path = directory.path().join(&file.name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let checked = tiles.check_files(&directory);
        assert!(matches!(checked, Err(StoreError::DamagedLog { .. })), "{}", file.name);
        fs::write(&path, bytes).unwrap();
    }
    tiles.check_files(&directory).unwrap();
    // An offset that leads nowhere.
    let offsets = directory.log().join("offsets/0000");
    let mut bytes = fs::read(&offsets).unwrap();
    bytes[8] = 0xff;
    fs::write(&offsets, bytes).unwrap();
    assert!(matches!(tiles.record(0), Err(StoreError::DamagedLog { .. })));
    assert!(matches!(tiles.record(256), Err(StoreError::DamagedLog { .. })));
}
