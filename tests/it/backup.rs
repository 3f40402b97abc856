//! Backups of a running store, restores, and read-only stores.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

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
        }
    });
    backup(&serve, &to);
    assert_eq!(raw(&to).len(), 600);
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
