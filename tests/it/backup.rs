//! Backups of a running store, restores, and read-only stores.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use vidimus::store::{Directory, Reader};

use crate::harness::{Serve, Setup, assert_sound, json_lines, output_of, run, stored, wait_until};

fn line(n: usize) -> String {
    format!("{{\"name\":\"Ingress\",\"rt\":{},\"trace_id\":{n}}}", 1_000_000 + n)
}

fn deliver(serve: &Serve, range: std::ops::Range<usize>) {
    let lines: Vec<_> = range.map(line).collect();
    serve.deliver(lines.join("\n"));
}

fn start() -> Serve {
    Setup::new().config("[store]\nsegment_entries = 20\n").arguments("--no-tls").start()
}

fn wait_until_sealed(serve: &Serve, segments: u64) {
    let sealed = "SELECT count(*) FROM segments WHERE state = 'sealed'";
    wait_until("sealed segments", || {
        stored::catalog(&serve.data(), sealed, |row| row.get::<_, u64>(0)) == [segments]
    });
}

fn backup(serve: &Serve, to: &Path) -> String {
    let to = to.to_str().unwrap();
    let (code, _, stderr) = run(["store", "backup", to, "--data-dir"], &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
    stderr
}

fn raw(data: &Path) -> Vec<String> {
    let (code, stdout, stderr) = run(["export", "-o", "raw", "--data-dir"], data);
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().map(str::to_owned).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The leaves and salts of the first entries, and the records of those that are in the files of the log.
fn leaves(data: &Path, entries: u64) -> Vec<(u64, [u8; 16], Option<Vec<u8>>)> {
    let reader = Reader::open(&Directory::open_to_read(data).unwrap()).unwrap();
    let tiles = reader.tiles().unwrap();
    let of = |id| {
        let (leaf, salt) = reader.leaf_of(id).unwrap().unwrap();
        (leaf, salt, (leaf <= 20).then(|| tiles.record(leaf).unwrap()))
    };
    (1..=entries).map(of).collect()
}

#[test]
fn a_backup_of_a_running_store_is_incremental_and_can_be_restored() {
    let serve = start();
    deliver(&serve, 0..20);
    deliver(&serve, 20..30);
    wait_until_sealed(&serve, 1);
    let to = serve.home().join("backup");
    assert!(backup(&serve, &to).contains("30 entries in 2 segments"));
    let modified =
        |name: &str| fs::metadata(to.join("segments").join(name)).unwrap().modified().unwrap();
    let before = modified("0000000000000001.db");

    // The segment is sealed meanwhile, so the sealed file replaces the live file in the backup.
    deliver(&serve, 30..40);
    wait_until_sealed(&serve, 2);
    deliver(&serve, 40..45);
    let report = backup(&serve, &to);
    assert!(
        report.contains("45 entries in 3 segments") && report.contains("1 segments already there"),
        "{report}"
    );
    assert_eq!(modified("0000000000000001.db"), before);
    let expected = ["0000000000000001.db", "0000000000000021.db", "0000000000000041.live.db"];
    assert_eq!(names(&to.join("segments")), expected);
    let all: Vec<_> = (0..45).map(line).collect();
    assert_eq!(raw(&to), all);
    assert_eq!(leaves(&to, 45), leaves(&serve.data(), 45));

    let mut restored = Setup::new().config("[store]\nsegment_entries = 20\n").arguments("--no-tls");
    let data = restored.home().join("vidimus-data");
    let (code, _, stderr) = run(["store", "restore", to.to_str().unwrap(), "--data-dir"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    assert_sound(&data);
    // The restored store works with the same authorization value.
    restored = restored.argument("--authorization", &serve.authorization);
    let mut second = restored.start();
    second.authorization.clone_from(&serve.authorization);
    deliver(&second, 44..50);
    assert_eq!(second.lines().len(), 50);
    second.stop();
    // A restore does not replace a store.
    let (code, _, stderr) = run(["store", "restore", to.to_str().unwrap(), "--data-dir"], &data);
    assert!(code == Some(3) && stderr.contains("is not empty"), "{stderr}");
}

#[test]
fn backups_under_load_are_complete() {
    let serve = start();
    let to = serve.home().join("backup");
    let place = url(&serve.home().join("bucket"));
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| (0..60).for_each(|n| deliver(&serve, n * 10..n * 10 + 10)));
        let mut seen = 0;
        while !sending.is_finished() {
            backup(&serve, &to);
            let lines = raw(&to);
            // Each backup has the first lines that were sent, and no fewer than the one before.
            assert_eq!(lines, (0..lines.len()).map(line).collect::<Vec<_>>());
            assert!(lines.len() >= seen, "{} after {seen}", lines.len());
            seen = lines.len();
            assert_sound(&to);
            backup(&serve, Path::new(&place));
        }
    });
    backup(&serve, &to);
    assert_eq!(raw(&to).len(), 600);
    // Each backup in object storage has the first lines too.
    backup(&serve, Path::new(&place));
    let numbers = fs::read_dir(serve.home().join("bucket/backups")).unwrap().count();
    let mut seen = 0;
    for number in 0..numbers {
        let data = serve.home().join(format!("restored-{number}"));
        let (code, stderr) = restore(&place, Some(&number.to_string()), &data);
        assert_eq!(code, Some(0), "{stderr}");
        let lines = raw(&data);
        assert_eq!(lines, (0..lines.len()).map(line).collect::<Vec<_>>());
        assert!(lines.len() >= seen, "{} after {seen}", lines.len());
        seen = lines.len();
        assert_sound(&data);
    }
    assert_eq!(seen, 600);
}

#[test]
fn a_backup_keeps_its_files_and_a_damaged_backup_is_not_restored() {
    let serve = start();
    deliver(&serve, 0..25);
    wait_until_sealed(&serve, 1);
    let to = serve.home().join("backup");
    backup(&serve, &to);
    // Another store has other lines under the same ids.
    let other = start();
    deliver(&other, 100..110);
    let arguments = ["store", "backup", to.to_str().unwrap(), "--data-dir"];
    let (code, _, stderr) = run(arguments, &other.data());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("kept from an earlier backup"), "{stderr}");
    let third = start();
    deliver(&third, 200..205);
    let (code, _, stderr) = run(arguments, &third.data());
    assert!(code == Some(3) && stderr.contains("nothing was removed"), "{stderr}");
    assert_eq!(raw(&to), (100..110).map(line).collect::<Vec<_>>());

    let sound = serve.home().join("sound");
    backup(&serve, &sound);
    let sealed = sound.join("segments/0000000000000001.db");
    let mut bytes = fs::read(&sealed).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&sealed, bytes).unwrap();
    let target = serve.home().join("restored");
    let (code, _, stderr) =
        run(["store", "restore", sound.to_str().unwrap(), "--data-dir"], &target);
    assert!(code == Some(3) && stderr.contains("0000000000000001.db"), "{stderr}");
    assert!(!target.exists());
    // A backup does not go into a directory with other files.
    let home = serve.home().to_owned();
    let (code, _, stderr) =
        run(["store", "backup", home.to_str().unwrap(), "--data-dir"], &serve.data());
    assert!(code == Some(3) && stderr.contains("is no backup"), "{stderr}");
}

/// The URL of a folder.
fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}

/// Restores a backup. Returns the exit code and what the command said.
fn restore(from: &str, number: Option<&str>, to: &Path) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(["store", "restore", from, "--data-dir"]).arg(to);
    command.args(number.map(|number| ["--number", number]).iter().flatten());
    let (code, _, stderr) = output_of(&mut command);
    (code, stderr)
}

/// The objects under a folder.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for one in fs::read_dir(folder).unwrap() {
        let path = one.unwrap().path();
        match path.is_dir() {
            true => found.extend(objects(&path)),
            false => found.push(path),
        }
    }
    found
}

fn with_flipped_byte(path: &Path, check: impl FnOnce()) {
    let good = fs::read(path).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(path, bad).unwrap();
    check();
    fs::write(path, good).unwrap();
}

#[test]
fn a_backup_in_object_storage_is_incremental_and_can_be_restored() {
    let serve = start();
    deliver(&serve, 0..20);
    deliver(&serve, 20..30);
    wait_until_sealed(&serve, 1);
    // A file in two parts.
    let letters = serve.data().join("dead-letters");
    fs::create_dir_all(&letters).unwrap();
    fs::write(letters.join("siem.jsonl"), vec![b'x'; (32 << 20) + 1]).unwrap();
    let bucket = serve.home().join("bucket");
    let place = url(&bucket.join("a/prefix"));
    let (code, stderr) = restore(&place, None, &serve.home().join("nothing"));
    assert!(code == Some(3) && stderr.contains("has no backup"), "{stderr}");

    let report = backup(&serve, Path::new(&place));
    assert!(report.contains("backed up as number 0: 30 entries in 2 segments"), "{report}");
    assert!(report.contains("0 segments already there"), "{report}");
    let first = objects(&bucket.join("a/prefix/files"));
    let parts = |name: &str| first.iter().filter(|path| path.ends_with(name)).count();
    assert_eq!((parts("0001"), parts("0002")), (1, 0));

    deliver(&serve, 30..45);
    wait_until_sealed(&serve, 2);
    let report = backup(&serve, Path::new(&place));
    assert!(report.contains("backed up as number 1: 45 entries in 3 segments"), "{report}");
    assert!(report.contains("1 segments already there"), "{report}");
    // The catalog, the second segment and the live one are new, and the records, the hashes and the size
    // of the log. Nothing else was put.
    let second = objects(&bucket.join("a/prefix/files"));
    assert!(first.iter().all(|path| second.contains(path)));
    assert_eq!(second.len() - first.len(), 6, "{second:?}");
    assert!(!serve.data().join("backing-up").exists());

    for (number, lines) in [(None, 45), (Some("0"), 30), (Some("1"), 45)] {
        let data = serve.home().join(format!("restored-{number:?}"));
        let (code, stderr) = restore(&place, number, &data);
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains(&format!("restored: {lines} entries")), "{stderr}");
        assert_eq!(raw(&data), (0..lines).map(line).collect::<Vec<_>>());
        assert_sound(&data);
        for name in ["authorization", "dead-letters/siem.jsonl", "segments/0000000000000001.db"] {
            let (restored, original) = (data.join(name), serve.data().join(name));
            assert!(fs::read(&restored).unwrap() == fs::read(&original).unwrap(), "{name}");
            assert_eq!(fs::metadata(&restored).unwrap().mode() & 0o777, 0o600, "{name}");
        }
        assert_eq!(leaves(&data, 30), leaves(&serve.data(), 30));
        let (code, stderr) = restore(&place, number, &data);
        assert!(code == Some(3) && stderr.contains("is not empty"), "{stderr}");
    }
    let (code, stderr) = restore(&place, Some("2"), &serve.home().join("nothing"));
    assert!(code == Some(3) && stderr.contains("no backup with the number 2"), "{stderr}");
    assert!(!serve.home().join("nothing").exists());

    // The restored store takes entries.
    let mut setup = Setup::new().config("[store]\nsegment_entries = 20\n").arguments("--no-tls");
    let (code, stderr) = restore(&place, None, &setup.home().join("vidimus-data"));
    assert_eq!(code, Some(0), "{stderr}");
    setup = setup.argument("--authorization", &serve.authorization);
    let mut again = setup.start();
    again.authorization.clone_from(&serve.authorization);
    deliver(&again, 44..50);
    assert_eq!(again.lines().len(), 50);
}

#[test]
fn an_interrupted_backup_leaves_the_former_one() {
    let serve = start();
    deliver(&serve, 0..20);
    deliver(&serve, 20..30);
    wait_until_sealed(&serve, 1);
    let bucket = serve.home().join("bucket");
    let place = url(&bucket);
    backup(&serve, Path::new(&place));
    let first = objects(&bucket);

    deliver(&serve, 30..45);
    wait_until_sealed(&serve, 2);
    backup(&serve, Path::new(&place));
    // As if it had ended before its last object and the manifest, and left its copies.
    fs::remove_file(bucket.join("backups/0001.json")).unwrap();
    let new: Vec<_> = objects(&bucket).into_iter().filter(|path| !first.contains(path)).collect();
    fs::remove_file(&new[0]).unwrap();
    let left = serve.data().join("backing-up");
    backup(&serve, &left);
    fs::write(left.join("segments/0000000000000041.live.db.part"), "cut").unwrap();

    let data = serve.home().join("former");
    let (code, stderr) = restore(&place, None, &data);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(raw(&data), (0..30).map(line).collect::<Vec<_>>());

    let report = backup(&serve, Path::new(&place));
    assert!(report.contains("backed up as number 1: 45 entries"), "{report}");
    assert!(!left.exists());
    let data = serve.home().join("next");
    let (code, stderr) = restore(&place, None, &data);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(raw(&data), (0..45).map(line).collect::<Vec<_>>());
    assert_sound(&data);

    // Copies of entries that the store lacks are not removed.
    let other = start();
    deliver(&other, 100..110);
    backup(&other, &left);
    let (code, _, stderr) = run(["store", "backup", &place, "--data-dir"], &serve.data());
    assert!(code == Some(3) && stderr.contains("the store lacks entries of it"), "{stderr}");
    assert_eq!(raw(&left).len(), 10);
}

#[test]
fn a_damaged_backup_in_object_storage_is_not_restored() {
    let serve = start();
    deliver(&serve, 0..20);
    deliver(&serve, 20..25);
    wait_until_sealed(&serve, 1);
    let bucket = serve.home().join("bucket");
    let place = url(&bucket);
    backup(&serve, Path::new(&place));
    let target = serve.home().join("restored");
    let refused = |expected: &str| {
        let (code, stderr) = restore(&place, None, &target);
        assert!(code == Some(3) && stderr.contains(expected), "{stderr}");
        assert!(!target.exists());
        assert!(!serve.home().join("restored.restoring").exists());
    };
    let files = objects(&bucket.join("files"));
    assert!(files.len() > 3, "{files:?}");
    for object in &files {
        with_flipped_byte(object, || refused("its SHA-256 differs from that in the manifest"));
    }
    let good = fs::read(serve.data().join("segments/0000000000000001.db")).unwrap();
    let object = files.iter().find(|object| fs::read(object).unwrap() == good).unwrap();
    fs::write(object, [&good[..], b"more"].concat()).unwrap();
    refused("bytes, expected");
    // A backup does not count on it.
    let (code, _, stderr) = run(["store", "backup", &place, "--data-dir"], &serve.data());
    assert!(code == Some(3) && stderr.contains("bytes, expected"), "{stderr}");
    assert_eq!(names(&bucket.join("backups")), ["0000.json"]);
    fs::remove_file(object).unwrap();
    refused("is missing in the backup");
    fs::write(object, good).unwrap();

    let manifest = bucket.join("backups/0000.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let check = |from: &str, to: &str, expected: &str| {
        assert!(text.contains(from));
        fs::write(&manifest, text.replace(from, to)).unwrap();
        refused(expected);
    };
    check("catalog.db", "../x.db", "cannot have the file");
    check("catalog.db", "konnect-setup.json", "lacks the catalog");
    check("segments/0000000000000001.db", "segments/0000000000000009.db", "lacks a segment");
    check("segments/0000000000000001.db", "catalog.db", "cannot make");
    check("\"version\":1", "\"version\":2", "version 2");
    fs::write(&manifest, &text[1..]).unwrap();
    refused("0000.json\" is damaged");
    fs::write(&manifest, &text).unwrap();
    let (code, stderr) = restore(&place, None, &target);
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_place_has_backups_of_one_store_and_damage_is_reported() {
    let mut serve = start();
    deliver(&serve, 0..20);
    deliver(&serve, 20..25);
    wait_until_sealed(&serve, 1);
    let bucket = serve.home().join("bucket");
    let place = url(&bucket);
    backup(&serve, Path::new(&place));
    let before = objects(&bucket);
    let other = start();
    let (code, _, stderr) = run(["store", "backup", &place, "--data-dir"], &other.data());
    assert!(code == Some(3) && stderr.contains("has backups of the store"), "{stderr}");
    assert_eq!(objects(&bucket), before);

    // A sealed segment that was changed is backed up as it is. It is not restored.
    serve.stop();
    let fresh = url(&serve.home().join("fresh"));
    let target = serve.home().join("restored");
    with_flipped_byte(&serve.data().join("segments/0000000000000001.db"), || {
        let (code, _, stderr) = run(["store", "backup", &fresh, "--data-dir"], &serve.data());
        assert!(code == Some(1) && stderr.contains("0000000000000001.db is damaged"), "{stderr}");
        let (code, stderr) = restore(&fresh, None, &target);
        assert!(code == Some(3) && stderr.contains("damaged files: 0000"), "{stderr}");
    });
    for (from, number, expected) in [
        ("s3:///x", None, "the place is"),
        ("ftp://x/y", None, "the place is"),
        ("folder", Some("1"), "a directory has one backup"),
    ] {
        let (code, stderr) = restore(from, number, &target);
        assert!(code == Some(2) && stderr.contains(expected), "{stderr}");
    }
    assert!(!target.exists());
}

/// Runs a command as a user who can only read the store. This is another user if the test runs as
/// root.
fn as_reader(data: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.args(arguments).arg("--data-dir").arg(data);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    output_of(&mut command)
}

/// Makes a data directory readable for everybody and writable for nobody.
fn make_read_only(path: &Path) {
    let is_folder = path.is_dir();
    if is_folder {
        let files: Vec<PathBuf> =
            fs::read_dir(path).unwrap().map(|one| one.unwrap().path()).collect();
        files.iter().for_each(|file| make_read_only(file));
    }
    let mode = if is_folder { 0o555 } else { 0o444 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_read_only_store_can_be_queried_exported_and_checked() {
    // A clean stop, and a crash that leaves the write-ahead log.
    for signal in [Signal::TERM, Signal::KILL] {
        let mut serve = start();
        deliver(&serve, 0..45);
        wait_until_sealed(&serve, 1);
        serve.post("/audit-logs", &[("authorization", "wrong")], b"");
        match signal {
            Signal::TERM => serve.stop(),
            _ => {
                serve.signal(Signal::KILL);
                serve.kill();
            }
        }
        let copy = tempfile::tempdir().unwrap();
        fs::set_permissions(copy.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let data = copy.path().join("data");
        let copied = Command::new("cp").arg("-r").arg(serve.data()).arg(&data).status().unwrap();
        assert!(copied.success());
        // A read-only file system has no shared-memory files.
        for folder in [data.clone(), data.join("segments")] {
            for name in names(&folder).iter().filter(|name| name.ends_with("-shm")) {
                fs::remove_file(folder.join(name)).unwrap();
            }
        }
        make_read_only(&data);
        let (code, stdout, stderr) = as_reader(&data, &["query", "trace_id:44", "-o", "raw"]);
        assert_eq!((code, stdout.trim_end()), (Some(0), line(44).as_str()), "{stderr}");
        let (code, stdout, stderr) = as_reader(&data, &["export", "-o", "raw"]);
        assert_eq!((code, stdout.lines().count()), (Some(0), 45), "{stderr}");
        let (code, stdout, stderr) = as_reader(&data, &["store", "check"]);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let (code, stdout, stderr) = as_reader(&data, &["store", "stats", "-o", "jsonl"]);
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(json_lines(&stdout)[0]["entries"], 45, "{stdout}");
        // A command that writes fails.
        let (code, _, stderr) = as_reader(&data, &["store", "seal"]);
        assert_eq!(code, Some(3), "{stderr}");
        // The directory must be removable at the end.
        for folder in [data.join("segments"), data] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }
}
