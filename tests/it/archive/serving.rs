//! `serve` writes an archive, and `vidimus archive` shows and checks it. Retention waits for it, also if it
//! is another one or has lost something.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::console::get;
use crate::harness::{Serve, Setup, Signer, jwks, output_of, run, stored, wait_until};

/// A server with an archive in its folder. `store` and `archive` are further lines of these sections.
pub(super) fn start(store: &str, archive: &str) -> Serve {
    let setup = Setup::new();
    let url = format!("file://{}/bucket", setup.home().display());
    let config = format!(
        "[archive]\nurl = \"{url}\"\n{archive}\n[store]\n{store}\n[keys]\njwks = [\"keys.json\"]\n"
    );
    setup
        .file("keys.json", jwks(&[&Signer::new("k1")]))
        .config(&config)
        .arguments("--no-tls")
        .start()
}

fn deliver(serve: &Serve, range: std::ops::Range<usize>) {
    let signer = Signer::new("k1");
    serve.deliver(range.map(|n| signer.cef(n)).collect::<Vec<_>>().join("\n"));
}

fn archive(serve: &Serve, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command.arg("archive").args(arguments).args(["--config", "config.toml"]);
    output_of(command.current_dir(serve.home()))
}

pub(super) fn status(serve: &Serve) -> Value {
    let (code, stdout, stderr) = archive(serve, &["status", "-o", "jsonl"]);
    assert_eq!(code, Some(0), "{stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn check(serve: &Serve) -> (Option<i32>, String) {
    let (code, stdout, stderr) = archive(serve, &["check", "--jwks", "keys.json"]);
    (code, stdout + &stderr)
}

pub(super) fn wait_until_archived(serve: &Serve, segments: u64) {
    let sql = "SELECT count(*) FROM archived";
    wait_until("archived segments", || {
        stored::catalog(&serve.data(), sql, |row| row.get::<_, u64>(0)) == [segments]
    });
}

/// The files of the archive of entries.
pub(super) fn files(serve: &Serve) -> Vec<PathBuf> {
    fn below(folder: &Path, found: &mut Vec<PathBuf>) {
        for one in fs::read_dir(folder).unwrap() {
            let path = one.unwrap().path();
            match path.is_dir() {
                true => below(&path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    below(&serve.home().join("bucket"), &mut found);
    found.retain(|path| path.to_string_lossy().contains("/entries/"));
    found.sort();
    found
}

#[test]
fn a_server_archives_its_segments_and_goes_on_after_it_was_killed() {
    let mut serve = start("segment_entries = 20", "");
    deliver(&serve, 0..20);
    deliver(&serve, 20..25);
    wait_until_archived(&serve, 1);
    let shown = status(&serve);
    assert_eq!((&shown["segments"], &shown["entries"]), (&1.into(), &20.into()), "{shown}");
    let lost = &shown["not_archived"];
    assert_eq!((&lost["entries"], &lost["deliveries"]), (&5.into(), &1.into()), "{shown}");
    serve.kill();
    serve.restart();
    deliver(&serve, 25..45);
    wait_until_archived(&serve, 2);
    let (code, text) = check(&serve);
    assert!(code == Some(0) && text.contains("45 entries in 2 segments"), "{text}");
    serve.stop();

    // A flipped byte, and a file that is missing.
    let file = files(&serve).remove(0);
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    fs::write(&file, damaged).unwrap();
    let (code, text) = check(&serve);
    assert!(code == Some(1) && text.contains("its SHA-256 differs"), "{text}");
    fs::remove_file(&file).unwrap();
    let (code, text) = check(&serve);
    assert!(code == Some(1) && text.contains("is not in the archive"), "{text}");
    fs::write(&file, whole).unwrap();
    assert_eq!(check(&serve).0, Some(0));
    // Other keys verify none of the entries.
    fs::write(serve.home().join("keys.json"), jwks(&[&Signer::new("k2")])).unwrap();
    let (code, text) = check(&serve);
    assert!(code == Some(1) && text.contains("not among the keys"), "{text}");
}

#[test]
fn a_segment_is_closed_and_archived_at_its_age_without_another_delivery() {
    let serve = start("", "max_delay = \"1s\"");
    deliver(&serve, 0..3);
    wait_until_archived(&serve, 1);
    let shown = status(&serve);
    assert_eq!((&shown["entries"], &shown["not_archived"]["entries"]), (&3.into(), &0.into()));
}

#[test]
fn an_archive_that_is_not_there_or_is_of_several_stores_is_an_error() {
    let serve = start("segment_entries = 5", "");
    let empty = format!("file://{}/empty", serve.home().display());
    let (code, _, stderr) =
        archive(&serve, &["check", "--jwks", "keys.json", "--archive-url", &empty]);
    assert!(code == Some(3) && stderr.contains("has no archive"), "{stderr}");
    let (code, _, stderr) = archive(&serve, &["status", "--archive-url", "ftp://x/y"]);
    assert!(code == Some(2) && stderr.contains("--archive-url"), "{stderr}");
    let other = start("segment_entries = 5", "");
    deliver(&serve, 0..5);
    deliver(&other, 0..5);
    wait_until_archived(&serve, 1);
    wait_until_archived(&other, 1);
    let stores = |serve: &Serve| serve.home().join("bucket/archive");
    for store in fs::read_dir(stores(&other)).unwrap() {
        let store = store.unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([store.path(), stores(&serve).join(store.file_name())])
            .status()
            .unwrap();
        assert!(copied.success());
    }
    let (code, _, stderr) = archive(&serve, &["check", "--jwks", "keys.json"]);
    assert!(code == Some(3) && stderr.contains("name one with --store"), "{stderr}");
    let id = status(&other)["store"].as_str().unwrap().to_owned();
    let (code, _, stderr) = archive(&serve, &["check", "--jwks", "keys.json", "--store", &id]);
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn retention_waits_until_a_segment_is_archived() {
    let setup = Setup::new();
    let bucket = setup.home().join("bucket");
    let config = format!(
        "[archive]\nurl = \"file://{}\"\n[store]\nsegment_entries = 1\nretention_size = \"1B\"\n",
        bucket.display()
    );
    // Nothing can be written there.
    let in_the_way = bucket.join("archive");
    fs::create_dir(&bucket).unwrap();
    fs::write(&in_the_way, "").unwrap();
    let serve = setup.config(&config).arguments("--no-tls").start();
    let count = |sql: &str| stored::catalog(&serve.data(), sql, |row| row.get::<_, u64>(0))[0];
    let sealed = || count("SELECT count(*) FROM segments WHERE state = 'sealed'");
    let removed = || count("SELECT count(*) FROM removals");
    // Retention looks whenever a segment was sealed.
    for n in 0..4 {
        deliver(&serve, n..n + 1);
        wait_until("sealed segments", || sealed() == n as u64 + 1);
    }
    serve.wait_for_log("cannot archive now");
    assert_eq!(removed(), 0);
    fs::remove_file(&in_the_way).unwrap();
    wait_until_archived(&serve, 4);
    let mut n = 4;
    wait_until("removed segments", || {
        deliver(&serve, n..n + 1);
        n += 1;
        removed() >= 4
    });
}

#[test]
fn retention_keeps_segments_until_they_are_in_another_archive() {
    let mut serve = start("segment_entries = 1", "");
    (0..3).for_each(|n| deliver(&serve, n..n + 1));
    wait_until_archived(&serve, 3);
    let id = status(&serve)["store"].as_str().unwrap().to_owned();
    serve.stop();
    // From now on there are retention and another archive, which can be read and not written.
    let config = fs::read_to_string(serve.home().join("config.toml")).unwrap();
    let config = config
        .replace("/bucket\"", "/other/\"")
        .replace("segment_entries = 1", "segment_entries = 1\nretention_size = \"1B\"");
    fs::write(serve.home().join("config.toml"), config).unwrap();
    let in_the_way = serve.home().join(format!("other/archive/store={id}/deliveries"));
    fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
    fs::write(&in_the_way, "").unwrap();
    serve.restart();
    serve.wait_for_log("cannot archive now");
    deliver(&serve, 3..4);
    serve.wait_for_log("retention keeps a segment that is not in the archive yet");
    let removed = || {
        let sql = "SELECT count(*) FROM removals";
        stored::catalog(&serve.data(), sql, |row| row.get::<_, u64>(0))[0]
    };
    assert_eq!(removed(), 0);
    fs::remove_file(&in_the_way).unwrap();
    let mut n = 4;
    wait_until("removed segments", || {
        deliver(&serve, n..n + 1);
        n += 1;
        removed() >= 3
    });
    wait_until("an archive of all", || status(&serve)["not_archived"]["entries"] == 0);
    serve.stop();
    let (code, text) = check(&serve);
    assert!(code == Some(0) && text.contains(&format!("{n} entries in {n} segments")), "{text}");
}

#[test]
fn an_emptied_archive_is_noticed_at_the_start() {
    let mut serve = start("segment_entries = 2", "");
    deliver(&serve, 0..2);
    deliver(&serve, 2..4);
    wait_until_archived(&serve, 2);
    serve.stop();
    let empty = |serve: &Serve| fs::remove_dir_all(serve.home().join("bucket")).unwrap();
    empty(&serve);
    serve.restart();
    serve.wait_for_log("the archive has lost a segment");
    wait_until("another archive", || status(&serve)["segments"] == 2);
    wait_until_archived(&serve, 2);
    serve.stop();
    let (code, text) = check(&serve);
    assert!(code == Some(0) && text.contains("4 entries in 2 segments"), "{text}");

    // Once the store no longer has them, nothing can be done here.
    let prune = ["store", "prune", "--size", "1B", "--yes", "--data-dir"];
    let (code, _, stderr) = run(prune, &serve.data());
    assert_eq!(code, Some(0), "{stderr}");
    empty(&serve);
    serve.restart();
    serve.wait_for_log(
        "lost segments that the store no longer has: 2, the first with the entries 1 to 2",
    );
    wait_until("not ready", || get(&serve, "/readyz").status == 503);
    let overview = get(&serve, "/overview").text();
    assert!(overview.contains("The archiver has stopped"), "{overview}");
    assert!(overview.contains("set another url of [archive]"), "{overview}");
}
