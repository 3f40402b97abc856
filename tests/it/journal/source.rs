//! `vidimus serve` reads a journal in a folder that `vidimus receive` writes.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::object::key;
use crate::console::get;
use crate::harness::stored::{deliveries, quarantined};
use crate::harness::{
    Serve, Setup, Signer, assert_sound, cef, json_lines, jwks, output_of, wait_until,
};

/// A journal in a folder.
struct Journal(TempDir);

impl Journal {
    fn new() -> Journal {
        Journal(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn section(&self) -> String {
        let url = self.path().display();
        format!("[journal]\nurl = \"file://{url}\"\nmax_wait = \"5ms\"\npoll_interval = \"10ms\"\n")
    }

    /// A running receiver.
    fn receive(&self) -> Serve {
        Setup::receive().config(&self.section()).arguments("--no-tls").start()
    }

    /// A store without a receiver. `more` goes into `[journal]` and after it.
    fn store(&self, more: &str) -> Setup {
        let config = format!(
            "{}{more}\n[keys]\njwks = [\"jwks.json\"]\n[[source]]\nname = \"main\"\ntype = \
             \"journal\"\n",
            self.section()
        );
        let keys = jwks(&[&Signer::new("k1")]);
        Setup::store().file("jwks.json", keys).config(&config)
    }

    /// Runs `vidimus journal` with the configuration of a store.
    fn command(&self, store: &Serve, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.arg("journal").args(arguments).arg("--config").arg("config.toml");
        output_of(command.current_dir(store.home()))
    }
}

#[track_caller]
fn wait_for_metric(serve: &Serve, line: &str) {
    wait_until(line, || get(serve, "/metrics").text().lines().any(|found| found == line));
}

#[track_caller]
fn wait_for_lines(serve: &Serve, expected: &[String]) {
    wait_until("entries", || serve.lines().len() >= expected.len());
    assert_eq!(serve.text_lines(), expected);
}

fn entries(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(cef).collect()
}

#[test]
fn entries_arrive_once_with_verdicts_also_after_a_kill() {
    let (journal, signer) = (Journal::new(), Signer::new("k1"));
    let receive = journal.receive();
    let mut store = journal.store("").start();
    let forged = signer.cef(2).replace("act=POST", "act=PUT");
    let body = [signer.cef(1), forged, cef(3), "nothing".to_owned()].join("\n");
    receive.deliver(&body);
    wait_until("entries", || store.lines().len() == 4);
    assert_eq!(store.verdicts(), ["valid", "invalid", "unsigned", "malformed"]);
    assert!(deliveries(&store.data())[0].peer.starts_with("127.0.0.1:"));
    for n in 4..24 {
        receive.deliver(cef(n));
        if n % 7 == 0 {
            store.restart();
        }
    }
    wait_until("all entries", || store.lines().len() >= 24);
    // An entry that is sent twice is stored once and counted twice, as without a journal.
    receive.deliver(cef(4));
    wait_until("all deliveries", || deliveries(&store.data()).len() >= 22);
    store.stop();
    let counts: Vec<_> = store.stored().iter().map(|entry| entry.delivery_count).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (24, 25), "{counts:?}");
    assert_eq!(deliveries(&store.data()).len(), 22);
    assert_sound(&store.data());
}

#[test]
fn a_store_without_a_receiver_makes_nothing_for_one() {
    let journal = Journal::new();
    let mut store = journal.store("").start();
    assert!(store.ready()["receiver"].is_null(), "{}", store.ready());
    assert!(!store.data().join("authorization").exists());
    assert!(!store.certificate().exists());
    store.wait_for_log("There is no receiver");
    store.wait_for_log("ready: no receiver, console at");
    let setup = get(&store, "/setup").text();
    assert!(setup.contains("This server has no receiver"), "{setup}");
    assert!(!setup.contains("Settings for Konnect"), "{setup}");
    wait_until("readiness", || get(&store, "/readyz").status == 200);
    assert_eq!(get(&store, "/readyz").json()["journal"], "ok");
    let overview = get(&store, "/overview").text();
    assert!(overview.contains("Journal (main): 0 open epochs, up to date"), "{overview}");
    store.stop();

    let check = |setup: Setup, expected: &str| {
        let (status, stderr) = setup.fail();
        assert_eq!(status.code(), Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    check(Setup::store().config("[keys]\n"), "source is missing: with --no-receiver");
    check(Setup::store(), "--config");
    check(journal.store("").argument("--listen", "127.0.0.1:0"), "cannot be used with");
}

#[test]
fn two_stores_read_everything_and_a_store_may_receive_too() {
    let journal = Journal::new();
    let receivers = [journal.receive(), journal.receive()];
    let config = format!(
        "{}[[source]]\nname = \"main\"\ntype = \"journal\"\n[[input]]\nname = \"own\"\npath = \
         \"/own\"\nauthorization = \"Bearer 0123456789abcdef\"\n",
        journal.section()
    );
    let mut both = Setup::new().config(&config).arguments("--no-tls").start();
    both.authorization = "Bearer 0123456789abcdef".to_owned();
    let store = journal.store("").start();
    for (n, receive) in receivers.iter().cycle().take(6).enumerate() {
        receive.deliver(cef(n));
    }
    both.deliver_to("/own", cef(100));
    wait_until("entries", || store.lines().len() == 6 && both.lines().len() == 7);
    let sorted = |serve: &Serve| {
        let mut lines = serve.text_lines();
        lines.sort_unstable();
        lines
    };
    let mut expected = entries(0..6);
    expected.sort_unstable();
    assert_eq!(sorted(&store), expected);
    assert!(sorted(&both).iter().filter(|line| **line != cef(100)).eq(expected.iter()));
}

#[test]
fn what_this_store_cannot_take_is_in_quarantine_once() {
    let journal = Journal::new();
    let receive = journal.receive();
    let authorization = ("authorization", receive.authorization.as_str());
    let broken = b"\x1f\x8b no more".as_slice();
    let gzip = [authorization, ("content-encoding", "gzip")];
    assert_eq!(receive.post("/audit-logs", &gzip, broken).status, 400);
    let three = entries(0..3).join("\n");
    receive.deliver(&three);
    receive.deliver(cef(7));
    let mut store = journal.store("[receiver]\nmax_lines = 2").start();
    wait_for_lines(&store, &[cef(7)]);
    let found = || -> Vec<_> {
        let all = quarantined(&store.data()).into_iter();
        all.map(|one| (one.status, one.content_encoding, one.body)).collect()
    };
    let expected =
        [(400, Some("gzip".to_owned()), broken.to_vec()), (413, None, three.clone().into_bytes())];
    assert_eq!(found(), expected);
    // What left the quarantine does not come back.
    let data = store.data();
    let (code, _, stderr) =
        crate::harness::run(["store", "quarantine", "drop", "1", "--yes", "--data-dir"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    store.restart();
    receive.deliver(cef(8));
    wait_for_lines(&store, &[cef(7), cef(8)]);
    let left: Vec<_> = quarantined(&data).into_iter().map(|one| one.status).collect();
    assert_eq!(left, [413]);
}

#[test]
fn a_damaged_object_stops_its_epoch_until_it_is_skipped() {
    let journal = Journal::new();
    let mut first = journal.receive();
    (0..4).for_each(|n| drop(first.deliver(cef(n))));
    first.stop();
    let damage = |number: u64| {
        let path = journal.path().join(key(0, number));
        let mut object = fs::read(&path).unwrap();
        *object.last_mut().unwrap() ^= 1;
        fs::write(&path, &object).unwrap();
        object
    };
    let (one, two) = (damage(1), damage(2));
    let second = journal.receive();
    second.deliver(cef(10));
    let mut store = journal.store("").start();
    wait_until("the other epoch", || store.lines().len() == 2);
    wait_for_metric(&store, "vidimus_journal_stopped_epochs 1");
    store.wait_for_log("vidimus journal skip 0 1");
    assert_eq!(get(&store, "/readyz").status, 503);
    let overview = get(&store, "/overview").text();
    assert!(overview.contains("Epoch 0 is stopped at object 1"), "{overview}");
    // The other epoch goes on.
    second.deliver(cef(11));
    wait_until("the other epoch", || store.lines().len() == 3);

    let (code, _, stderr) = journal.command(&store, &["skip", "0", "2"]);
    assert!(code == Some(3) && stderr.contains("not stopped at object 2"), "{stderr}");
    let (code, _, stderr) = journal.command(&store, &["skip", "0", "1"]);
    assert!(code == Some(0) && stderr.contains("skipped object 1 of epoch 0"), "{stderr}");
    store.wait_for_log("vidimus journal skip 0 2");
    // Without a running serve the command does it itself.
    store.stop();
    let (code, _, stderr) = journal.command(&store, &["skip", "0", "3"]);
    assert!(code == Some(3) && stderr.contains("up to object 2"), "{stderr}");
    let (code, _, stderr) = journal.command(&store, &["skip", "0", "2"]);
    assert!(code == Some(0) && stderr.contains("skipped object 2 of epoch 0"), "{stderr}");
    store.restart();
    wait_until("the rest of the epoch", || store.lines().len() == 4);
    wait_until("readiness", || get(&store, "/readyz").status == 200);
    let (code, _, stderr) = journal.command(&store, &["skip", "0", "3"]);
    assert!(code == Some(3) && stderr.contains("not stopped at object 3"), "{stderr}");
    for (number, object) in [(1, one), (2, two)] {
        let copy = store.data().join(format!("damaged/journal-0-{number:020}"));
        assert_eq!(fs::read(copy).unwrap(), object);
    }
    let mut lines = store.text_lines();
    lines.sort_unstable();
    let mut expected = vec![cef(0), cef(3), cef(10), cef(11)];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_restored_object_lets_its_epoch_go_on() {
    let journal = Journal::new();
    let receive = journal.receive();
    (0..2).for_each(|n| drop(receive.deliver(cef(n))));
    let path = journal.path().join(key(0, 0));
    let object = fs::read(&path).unwrap();
    fs::write(&path, b"no object").unwrap();
    let store = journal.store("").start();
    wait_for_metric(&store, "vidimus_journal_stopped_epochs 1");
    wait_for_metric(&store, "vidimus_journal_stopped 0");
    let answer = get(&store, "/readyz");
    assert!(answer.status == 503 && answer.text().contains("epoch 0"), "{}", answer.text());
    fs::write(&path, object).unwrap();
    let (code, _, stderr) = journal.command(&store, &["skip", "0", "0"]);
    assert!(code == Some(3) && stderr.contains("can be read"), "{stderr}");
    wait_for_lines(&store, &entries(0..2));
    wait_until("readiness", || get(&store, "/readyz").status == 200);
}

#[test]
fn a_thousand_stopped_epochs_do_not_keep_another_from_being_read() {
    let journal = Journal::new();
    fs::create_dir_all(journal.path().join("epochs")).unwrap();
    for epoch in 0..1000 {
        fs::write(journal.path().join(format!("epochs/{epoch}")), b"").unwrap();
        let object = journal.path().join(key(epoch, 0));
        fs::create_dir_all(object.parent().unwrap()).unwrap();
        fs::write(object, b"no object").unwrap();
    }
    let receive = journal.receive();
    receive.deliver(cef(0));
    assert!(journal.path().join(key(1000, 0)).exists());
    let store = journal.store("").start();
    wait_for_lines(&store, &entries(0..1));
}

#[test]
fn a_full_quarantine_is_told_until_there_is_room() {
    let journal = Journal::new();
    let receive = journal.receive();
    let gzip = [("authorization", receive.authorization.as_str()), ("content-encoding", "gzip")];
    assert_eq!(receive.post("/audit-logs", &gzip, b"\x1f\x8b no more").status, 400);
    let mut store = journal.store("[store]\nquarantine_size = 5").start();
    wait_for_metric(&store, "vidimus_journal_waiting_epochs 1");
    let answer = get(&store, "/readyz");
    assert!(answer.status == 503 && answer.text().contains("quarantine"), "{}", answer.text());
    store.stop();
    let config = store.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("quarantine_size = 5", "quarantine_size = \"1MiB\"")).unwrap();
    store.restart();
    wait_until("readiness", || get(&store, "/readyz").status == 200);
    wait_until("the body", || quarantined(&store.data()).len() == 1);
}

#[test]
fn a_silent_epoch_is_sealed_and_its_receiver_begins_a_new_one() {
    let journal = Journal::new();
    let receive = journal.receive();
    receive.deliver(cef(0));
    let mut store = journal.store("seal_after = \"50ms\"").start();
    store.wait_for_log("a silent epoch was sealed");
    receive.deliver(cef(1));
    wait_for_lines(&store, &entries(0..2));
    store.stop();
    assert!(journal.path().join(key(1, 0)).exists());
    // What was sealed is not read again.
    store.restart();
    receive.deliver(cef(2));
    wait_for_lines(&store, &entries(0..3));
}

#[test]
fn prune_waits_for_every_store_that_is_not_retired() {
    let journal = Journal::new();
    let receive = journal.receive();
    let mut stores = [journal.store("").start(), journal.store("").start()];
    (0..3).for_each(|n| drop(receive.deliver(cef(n))));
    for store in &mut stores {
        wait_for_lines(store, &entries(0..3));
        // At the end it publishes how far it is.
        store.stop();
    }
    let [one, other] = &mut stores;
    let prune = |store: &Serve, more: &[&str]| {
        journal.command(store, &[&["prune", "--older-than", "1ms"], more].concat())
    };
    let (code, _, stderr) = journal.command(one, &["prune", "--dry-run"]);
    assert!(code == Some(0) && stderr.contains("0 objects to delete"), "{stderr}");
    let (code, _, stderr) = prune(one, &["--dry-run"]);
    assert!(code == Some(0) && stderr.contains("2 objects to delete"), "{stderr}");
    let (code, _, stderr) = prune(one, &[]);
    assert!(code == Some(0) && stderr.contains("2 objects deleted"), "{stderr}");
    let is_there = |number| journal.path().join(key(0, number)).exists();
    assert_eq!([0, 1, 2].map(is_there), [false, false, true]);

    // Both go on after that. Then one is gone.
    receive.deliver(cef(3));
    for store in [&mut *one, &mut *other] {
        store.restart();
        wait_for_lines(store, &entries(0..4));
        store.stop();
    }
    (4..6).for_each(|n| drop(receive.deliver(cef(n))));
    one.restart();
    wait_for_lines(one, &entries(0..6));
    one.stop();
    let (code, stdout, stderr) = journal.command(one, &["status", "-o", "jsonl"]);
    assert_eq!(code, Some(0), "{stderr}");
    let status = &json_lines(&stdout)[0];
    assert_eq!((&status["puts"], &status["objects"]), (&6.into(), &4.into()), "{status}");
    let stores: Vec<_> = status["stores"].as_array().unwrap().iter().collect();
    let behind = stores.iter().find(|store| store["behind"] == 3).unwrap();
    let id = behind["store"].as_str().unwrap();
    assert!(stores.iter().any(|store| store["behind"] == 1), "{status}");
    let (_, _, stderr) = prune(one, &[]);
    assert!(stderr.contains(&format!("vidimus journal retire {id}")), "{stderr}");
    assert_eq!([2, 3, 4].map(is_there), [false, true, true]);
    let (code, _, stderr) = journal.command(one, &["retire", "0123"]);
    assert!(code == Some(2) && stderr.contains("no store 0123"), "{stderr}");
    let (code, _, stderr) = journal.command(one, &["retire", id]);
    assert_eq!(code, Some(0), "{stderr}");
    let (_, _, stderr) = prune(one, &[]);
    assert!(stderr.contains("2 objects deleted"), "{stderr}");
    assert_eq!([3, 4, 5].map(is_there), [false, false, true]);

    other.restart();
    other.wait_for_log("was retired from the journal");
    wait_until("not ready", || get(other, "/readyz").status == 503);
    wait_for_metric(other, "vidimus_journal_stopped 1");
    let fresh = journal.store("").start();
    fresh.wait_for_log("rebuild the store from the archive");
    one.restart();
    receive.deliver(cef(6));
    wait_for_lines(one, &entries(0..7));
    let (code, stdout, stderr) = journal.command(one, &["status"]);
    assert!(code == Some(0) && stdout.contains("retired"), "{stdout}{stderr}");
}

#[test]
fn a_second_process_with_the_id_of_a_store_is_noticed() {
    let journal = Journal::new();
    let receive = journal.receive();
    receive.deliver(cef(0));
    let mut store = journal.store("").start();
    wait_for_lines(&store, &entries(0..1));
    store.stop();
    let copy = journal.store("");
    let (from, to) = (store.data(), copy.home().join("vidimus-data"));
    let (code, _, stderr) = output_of(Command::new("cp").arg("-r").arg(from).arg(to));
    assert_eq!(code, Some(0), "{stderr}");
    store.restart();
    store.wait_for_log("reading the journal");
    wait_until("the cursor", || get(&store, "/readyz").status == 200);
    receive.deliver(cef(1));
    wait_for_lines(&store, &entries(0..2));
    let copy = copy.start();
    wait_for_lines(&copy, &entries(0..2));
    receive.deliver(cef(2));
    wait_for_lines(&store, &entries(0..3));
    store.stop();
    store.wait_for_log("another process uses the store id");
}

#[test]
fn a_folder_passes_the_check() {
    let journal = Journal::new();
    let store = journal.store("").start();
    let (code, stdout, stderr) = journal.command(&store, &["check"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.contains("ok      32 writers try to create one object, 100 times: one succeeds"),
        "{stdout}"
    );
    assert!(stdout.contains("life-cycle rule"), "{stdout}");
    let left: Vec<_> = fs::read_dir(journal.path().join("check")).into_iter().flatten().collect();
    assert!(left.iter().flatten().all(|one| fs::read_dir(one.path()).unwrap().count() == 0));
    let (code, _, stderr) = journal.command(&store, &["check", "--endpoint", "http://x"]);
    assert!(code == Some(2) && stderr.contains("only a bucket of S3 has endpoints"), "{stderr}");
}
