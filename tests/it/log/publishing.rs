//! The log in a folder and in object stores: everything that a published checkpoint covers is there,
//! whatever fails, and another copy of the log collides.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::{checkpoint, leaf_hash, lines, root, served, tile_path, vkey, wait_for_size};
use crate::console::get;
use crate::harness::moto::Moto;
use crate::harness::object_store::{Fault, random};
use crate::harness::{ObjectStore, Serve, Setup, wait_until};
use crate::stores::copied;

const FAST: &str = "[log]\ncheckpoint_interval = '100ms'\n";

/// What is published: by key, without the prefix.
type Published = BTreeMap<String, Vec<u8>>;

fn in_folder(folder: &Path) -> Published {
    fn below(folder: &Path, at: &str, found: &mut Published) {
        for one in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let key = format!("{at}{}", one.file_name().to_str().unwrap());
            match one.path().is_dir() {
                true => below(&one.path(), &format!("{key}/"), found),
                // One that is being written is renamed, and may be gone.
                false => found.extend(fs::read(one.path()).ok().map(|bytes| (key, bytes))),
            }
        }
    }
    let mut found = Published::new();
    if folder.is_dir() {
        below(folder, "", &mut found);
    }
    found
}

fn in_store(store: &ObjectStore) -> Published {
    let objects = store.memory().objects().into_iter();
    let of_log =
        objects.filter_map(|(key, body)| Some((key.strip_prefix("log/")?.to_owned(), body)));
    of_log.map(|(key, body)| (key, body.to_vec())).collect()
}

fn newest(published: &Published) -> Option<String> {
    published.get("checkpoint").map(|note| String::from_utf8(note.clone()).unwrap())
}

/// Checks that everything is there that the published checkpoint covers. Returns its size.
#[track_caller]
fn assert_whole(published: &Published, vkey: &str) -> usize {
    let note = newest(published).unwrap();
    let signed = checkpoint(&note, vkey);
    // If a partial tile is gone, the full one has its hashes (C2SP tlog-tiles, "Partial Tiles").
    let at = |kind: &str, index, size| {
        let path = tile_path(kind, index, size);
        let key = path.strip_prefix("/log/").unwrap();
        let full = key.split(".p/").next().unwrap();
        let found = published.get(key).or_else(|| published.get(full));
        found.unwrap_or_else(|| panic!("{key} is missing of {:?}", published.keys()))
    };
    let tiles = 0..signed.size.div_ceil(256);
    let hashes = tiles.clone().flat_map(|index| at("0", index, signed.size).chunks(32));
    let hashes = hashes.map(|hash| hash.try_into().unwrap()).take(signed.size);
    let hashes: Vec<_> = hashes.collect();
    assert_eq!(root(&hashes), signed.root);
    let mut leaves = Vec::new();
    for index in tiles {
        let mut rest = &at("entries", index, signed.size)[..];
        while let [high, low, after @ ..] = rest {
            let (record, after) = after.split_at(u16::from_be_bytes([*high, *low]).into());
            leaves.push(leaf_hash(record));
            rest = after;
        }
    }
    assert_eq!(leaves[..signed.size], hashes);
    if signed.size >= 256 {
        let above: Vec<_> = hashes.chunks_exact(256).flat_map(root).collect();
        assert!(at("1", 0, signed.size / 256).starts_with(&above));
    }
    assert_eq!(published[&format!("checkpoints/{}", signed.size)], note.as_bytes());
    signed.size
}

/// Waits until a server has published a checkpoint of so many leaves.
fn wait_for_published(read: impl Fn() -> Published, size: usize, vkey: &str) -> Published {
    wait_until(&format!("a published checkpoint of {size} leaves"), || {
        newest(&read()).is_some_and(|note| checkpoint(&note, vkey).size == size)
    });
    read()
}

#[test]
fn a_folder_has_all_that_its_checkpoint_covers() {
    let config = format!("{FAST}publish = 'public/log'\n");
    let mut serve = Setup::new().config(&config).start();
    let (vkey, folder) = (vkey(&serve.data()), serve.home().join("public/log"));
    let read = || in_folder(&folder);
    let mut sizes = Vec::new();
    for until in [1, 200, 255, 256, 257, 511, 600] {
        let last = sizes.last().copied().unwrap_or(1);
        if until > last {
            serve.deliver(lines(last - 1..until - 1));
        }
        let published = wait_for_published(read, until, &vkey);
        assert_eq!(assert_whole(&published, &vkey), until);
        sizes.push(until);
    }
    let signed = served(&serve).unwrap();
    for expected in ["vidimus_log_publishing 1", "vidimus_log_published_leaves 600"] {
        wait_until(expected, || {
            get(&serve, "/metrics").text().lines().any(|line| line == expected)
        });
    }
    assert!(get(&serve, "/overview").text().contains("600 leaves are published"));
    // The last one is published at the end, and a restart goes on from there.
    serve.stop();
    let written = |name: &str| fs::metadata(folder.join(name)).unwrap().modified().unwrap();
    let before = written("tile/0/000");
    assert_eq!(newest(&read()), Some(signed));
    serve.restart();
    serve.deliver(lines(599..800));
    let published = wait_for_published(read, 801, &vkey);
    assert_eq!(assert_whole(&published, &vkey), 801);
    assert_eq!(written("tile/0/000"), before);
    // Partial tiles go when the full one is there.
    wait_until("no partial tiles beside full ones", || {
        let published = read();
        let is_left = |key: &&String| {
            let full = key.split_once(".p/").map(|(full, _)| full);
            full.is_some_and(|full| published.contains_key(full))
        };
        !published.keys().any(|key| is_left(&key))
    });
    assert!(read().contains_key("tile/0/003.p/33"));
    serve.stop();
}

#[test]
fn an_object_store_that_fails_delays_nothing() {
    let store = ObjectStore::start();
    let config = format!("{FAST}publish = 's3://bucket/log'\n");
    let start = |setup: Setup| {
        let environment = store.environment();
        let setup =
            environment.iter().fold(setup, |setup, (name, value)| setup.variable(name, value));
        setup.config(&config).start()
    };
    let mut serve = start(Setup::new());
    let (vkey, read) = (vkey(&serve.data()), || in_store(&store));
    wait_for_published(read, 1, &vkey);
    // Nothing is written while each call fails, and checkpoints are signed as before.
    store.inject(Box::new(|_| Some(Fault::Refuse(503))));
    serve.deliver(lines(0..300));
    wait_for_size(&serve, 301);
    let failing = || {
        let metrics = get(&serve, "/metrics").text();
        metrics.lines().any(|line| line == "vidimus_log_publish_failing 1")
    };
    wait_until("the failure in the metrics", failing);
    assert_eq!(assert_whole(&read(), &vkey), 1);
    assert_eq!(get(&serve, "/readyz").status, 200);
    // What is published is whole at every moment, also with faults of every kind.
    store.inject(random(7, 300, std::time::Duration::from_millis(20)));
    for until in [400, 520, 700] {
        let last = serve.stored().len() + 1;
        serve.deliver(lines(last - 1..until - 1));
        wait_until("a published checkpoint", || assert_whole(&read(), &vkey) >= until);
    }
    store.heal();
    // It is killed and goes on.
    serve.kill();
    serve.restart();
    serve.deliver(lines(699..900));
    let published = wait_for_published(read, 901, &vkey);
    assert_eq!(assert_whole(&published, &vkey), 901);
    serve.stop();
}

#[test]
fn a_first_publication_that_is_killed_goes_on() {
    let mut serve = Setup::new().config(FAST).start();
    serve.deliver(lines(0..9_999));
    wait_for_size(&serve, 10_000);
    serve.stop();
    let store = ObjectStore::start();
    let config = format!("{FAST}publish = 's3://bucket/log'\n");
    let setup = copied(&serve.data()).config(&config);
    let environment = store.environment();
    let setup = environment.iter().fold(setup, |setup, (name, value)| setup.variable(name, value));
    // Puts fail after some, so that it cannot end before it is killed.
    let mut left = 40;
    store.inject(Box::new(move |call| {
        left -= i32::from(call.is_create());
        (left < 0).then_some(Fault::Refuse(503))
    }));
    let mut serve = setup.start();
    let vkey = vkey(&serve.data());
    wait_until("some of the tiles", || in_store(&store).len() == 40);
    assert_eq!(newest(&in_store(&store)), None);
    let before = in_store(&store);
    serve.kill();
    store.heal();
    serve.restart();
    let published = wait_for_published(|| in_store(&store), 10_000, &vkey);
    assert_eq!(assert_whole(&published, &vkey), 10_000);
    // What was there is as it was.
    assert!(before.iter().all(|(key, bytes)| published[key] == *bytes));
    serve.stop();
}

#[test]
fn another_s3_server_has_it_too() {
    let Some(moto) = Moto::start() else { return };
    let store = ObjectStore::before(moto.port);
    let environment = store.environment();
    let setup =
        environment.iter().fold(Setup::new(), |setup, (name, value)| setup.variable(name, value));
    let mut serve = setup.config(&format!("{FAST}publish = 's3://bucket/log'\n")).start();
    let published = |leaves: usize| {
        let expected = format!("vidimus_log_published_leaves {leaves}");
        wait_until(&expected, || {
            get(&serve, "/metrics").text().lines().any(|line| line == expected)
        });
    };
    serve.deliver(lines(0..299));
    published(300);
    serve.deliver(lines(299..600));
    published(601);
    // The start reads what is there, as an anchor.
    serve.restart();
    let compared = || get(&serve, "/metrics").text().contains("\nvidimus_log_anchors 1\n");
    wait_until("a comparison", compared);
    serve.deliver(lines(600..700));
    wait_for_size(&serve, 701);
    serve.stop();
    let asked = store.asked();
    assert!(asked.puts > 10 && asked.gets > 3, "{asked:?}");
}

/// Checks that a server has stopped signing because another copy is published.
#[track_caller]
fn assert_forked(serve: &Serve, expected: &str) {
    serve.wait_for_log("no checkpoint of the log is signed any more");
    assert!(serve.stderr().contains(expected), "{}", serve.stderr());
    assert_eq!(get(serve, "/readyz").status, 503);
    let metrics = get(serve, "/metrics").text();
    assert!(metrics.lines().any(|line| line == "vidimus_log_forked 1"), "{metrics}");
}

#[test]
fn two_live_copies_collide() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("log");
    let config = format!("{FAST}publish = '{}'\n", folder.display());
    let mut original = Setup::new().config(&config).start();
    original.deliver(lines(0..10));
    let vkey = vkey(&original.data());
    wait_for_published(|| in_folder(&folder), 11, &vkey);
    original.stop();
    // The two agree when they start, and then go on in different ways.
    let copy = copied(&original.data()).config(&config).start();
    original.restart();
    for serve in [&original, &copy] {
        wait_until("a comparison", || {
            get(serve, "/metrics").text().contains("\nvidimus_log_anchors 1\n")
        });
    }
    original.deliver(lines(10..20));
    wait_for_published(|| in_folder(&folder), 21, &vkey);
    copy.deliver(lines(30..35));
    assert_forked(&copy, "has a checkpoint of 21 leaves, and this log has 16");
    original.deliver(lines(20..25));
    let published = wait_for_published(|| in_folder(&folder), 26, &vkey);
    assert_eq!(assert_whole(&published, &vkey), 26);
    assert_eq!(get(&original, "/readyz").status, 200);

    // A checkpoint with another text under the same size, which another copy was first to create.
    let key = folder.join("checkpoints/30");
    fs::write(&key, &published["checkpoints/26"]).unwrap();
    original.deliver(lines(25..29));
    assert_forked(&original, "checkpoints/30 in file://");
    assert_eq!(newest(&in_folder(&folder)), newest(&published));
}

#[test]
fn a_place_with_something_else_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let config = format!("{FAST}publish = '{}'\n", place.path().display());
    // It was started without the place, because a checkpoint there that is not its own is an anchor.
    let mut serve = Setup::new().config(FAST).start();
    wait_for_size(&serve, 1);
    serve.stop();
    fs::write(place.path().join("checkpoint"), "other").unwrap();
    fs::write(serve.home().join("config.toml"), &config).unwrap();
    serve.restart();
    serve.wait_for_log("nothing is signed until this log was compared with the anchor file://");
    serve.wait_for_log("a checkpoint that is not of this log, so nothing is published there");
    assert_eq!(in_folder(place.path()).len(), 1);
    // It goes on when the place is free.
    fs::remove_file(place.path().join("checkpoint")).unwrap();
    serve.deliver(lines(0..3));
    wait_for_published(|| in_folder(place.path()), 4, &vkey(&serve.data()));
}
