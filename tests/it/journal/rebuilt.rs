//! The whole way: a receiver puts deliveries into the journal, a store reads and archives them, the
//! journal is pruned, the store is lost, and it is rebuilt from the archive alone. Then it reads
//! on: everything that was acknowledged is there once.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;

use super::object;
use crate::harness::object_store::BUCKET;
use crate::harness::stored::{self, Quarantined};
use crate::harness::{ObjectStore, Serve, Setup, Signer, assert_sound, jwks, wait_until};
use crate::program::Run;

/// A body that cannot be decoded.
const BROKEN: &[u8] = b"\x1f\x8b no more";

/// A receiver, and a store with an archive. The journal and the archive are in one bucket.
struct Shape {
    objects: ObjectStore,
    receive: Serve,
    store: Serve,
    signer: Signer,
}

/// What a store has: each line with its verdict and how often it was delivered, in order of id, the
/// quarantine, and the number of deliveries.
type Contents = (Vec<(String, String, u64)>, Vec<Quarantined>, usize);

impl Shape {
    /// `more` goes into `[journal]` of both.
    fn start(more: &str) -> Shape {
        let (objects, signer) = (ObjectStore::start(), Signer::new("k1"));
        let journal = format!(
            "[journal]\nurl = \"s3://{BUCKET}/j\"\nmax_wait = \"5ms\"\npoll_interval = \"20ms\"\n\
             {more}\n"
        );
        let archive = format!(
            "{journal}[archive]\nurl = \"s3://{BUCKET}/a\"\n[keys]\njwks = [\"jwks.json\"]\n\
             [[source]]\nname = \"main\"\ntype = \"journal\"\n"
        );
        let with = |setup: Setup, config: &str| {
            let setup = setup.config(config).file("key", [7; 32]);
            let environment = objects.environment();
            environment.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))
        };
        let receive = with(Setup::receive(), &journal).arguments("--no-tls").start();
        let store = with(Setup::store(), &archive).file("jwks.json", jwks(&[&signer])).start();
        Shape { objects, receive, store, signer }
    }

    /// Delivers an entry.
    fn deliver(&self, number: usize) {
        self.receive.deliver(self.signer.cef(number));
    }

    /// Delivers a body that cannot be decoded. The answer says so when the journal has it.
    fn deliver_broken(&self) {
        let authorization = ("authorization", self.receive.authorization.as_str());
        let headers = [authorization, ("content-encoding", "gzip")];
        assert_eq!(self.receive.post("/audit-logs", &headers, BROKEN).status, 400);
    }

    fn contents(&self) -> Contents {
        let data = self.store.data();
        let text = |line| String::from_utf8(line).unwrap();
        let entries = self.store.stored().into_iter();
        let entries = entries.map(|one| (text(one.line), one.verdict, one.delivery_count));
        (entries.collect(), stored::quarantined(&data), stored::deliveries(&data).len())
    }

    /// Waits until the store has so many deliveries and so many bodies in quarantine.
    #[track_caller]
    fn wait_for(&self, deliveries: usize, quarantined: usize) {
        wait_until("what was delivered", || {
            let (_, bodies, count) = self.contents();
            count >= deliveries && bodies.len() >= quarantined
        });
    }

    /// Closes and seals what the store has.
    fn seal(&self) {
        let data = self.store.data().display().to_string();
        self.command(&["store", "seal", "--data-dir", &data]);
    }

    /// Runs the program with the files of the store.
    #[track_caller]
    fn command(&self, arguments: &[&str]) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.args(arguments).current_dir(self.store.home());
        Run::of(command.env_clear().envs(self.objects.environment())).expect(0)
    }

    /// The objects of the bucket whose keys begin with `prefix`, without it.
    fn under(&self, prefix: &str) -> BTreeMap<String, Vec<u8>> {
        let all = self.objects.memory().objects().into_iter();
        let here =
            all.filter_map(|(key, body)| Some((key.strip_prefix(prefix)?.into(), body.into())));
        here.collect()
    }

    /// The number of the last epoch, and that of its last object of deliveries.
    fn last(&self) -> (u64, u64) {
        let epoch = self.under("j/epochs/").len() as u64 - 1;
        let all = self.under(&format!("j/journal/{epoch}/"));
        let deliveries = all.iter().filter(|(_, object)| object::is_of_deliveries(object));
        (epoch, deliveries.map(|(number, _)| number.parse().unwrap()).max().unwrap())
    }

    /// How many objects of deliveries are in the journal.
    fn journaled(&self) -> usize {
        let all = self.under("j/journal/");
        all.values().filter(|object| object::is_of_deliveries(object)).count()
    }

    /// The deltas of the archive.
    fn deltas(&self) -> Vec<Value> {
        let of_manifest = |(key, body): (String, Vec<u8>)| {
            key.contains("/manifest/delta-").then(|| serde_json::from_slice(&body).unwrap())
        };
        self.under("a/archive/").into_iter().filter_map(of_manifest).collect()
    }

    /// Waits until the archive has the journal up to here.
    #[track_caller]
    fn wait_until_archived(&self, (epoch, number): (u64, u64)) {
        wait_until("the archive", || {
            let deltas = self.deltas();
            let ends: usize =
                deltas.iter().map(|delta| delta["ends"].as_array().unwrap().len()).sum();
            let reached = deltas.last().map(|delta| &delta["progress"]["journal"]);
            ends as u64 == epoch
                && reached.is_some_and(|reached| reached[epoch.to_string()] == number)
        });
    }

    /// Waits until the store has published that prune may delete everything below this object.
    #[track_caller]
    fn wait_until_published(&self, (epoch, number): (u64, u64)) {
        wait_until("a cursor", || {
            let number_of = |key: &str| key.rsplit_once("/cursors/")?.1.parse::<u64>().ok();
            let cursors = self.under("j/stores/").into_iter();
            let cursors = cursors.filter_map(|(key, body)| Some((number_of(&key)?, body)));
            cursors.max().is_some_and(|(_, body)| {
                let cursor: Value = serde_json::from_slice(&body[24..]).unwrap();
                cursor["finished_below"] == epoch
                    && cursor["epochs"][epoch.to_string()]["next"] == number
            })
        });
    }

    fn prune(&self) {
        self.command(&["journal", "prune", "--older-than", "1ms", "--config", "config.toml"]);
    }

    /// Loses the store with all its files, rebuilds it from the archive, and starts it.
    fn lose_and_rebuild(&mut self) {
        self.store.kill();
        fs::remove_dir_all(self.store.data()).unwrap();
        let to = self.store.data().display().to_string();
        self.command(&["archive", "restore", "--config", "config.toml", &to]);
        self.store.restart();
    }

    /// Stops the store, and checks that all is sound and that the source read to the end.
    fn stop(mut self) {
        wait_until("readiness", || crate::console::get(&self.store, "/readyz").status == 200);
        self.store.stop();
        assert_sound(&self.store.data());
    }
}

#[test]
fn a_store_that_is_rebuilt_reads_nothing_again_and_goes_on() {
    let mut shape = Shape::start("seal_after = \"200ms\"");
    let signer = Signer::new("k1");
    let forged = signer.cef(1).replace("act=POST", "act=PUT");
    let body = [signer.cef(0), forged, "nothing".into(), signer.json(2), signer.cef(0)].join("\n");
    shape.receive.deliver(body);
    shape.deliver_broken();
    shape.deliver(3);
    shape.wait_for(2, 1);
    shape.store.wait_for_log("a silent epoch was sealed");
    // From here on no epoch ends.
    shape.store.stop();
    let config = shape.store.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("200ms", "1h")).unwrap();
    shape.store.restart();
    // Duplicates in another epoch.
    shape.deliver(0);
    shape.deliver(4);
    shape.deliver_broken();
    shape.deliver(5);
    shape.wait_for(5, 2);
    let last = shape.last();
    assert!(last.0 > 0, "{last:?}");
    shape.seal();
    shape.wait_until_archived(last);
    // A store that starts publishes at once what its archive has.
    shape.store.restart();
    shape.wait_until_published(last);
    let before = shape.contents();
    let counts: Vec<_> = before.0.iter().map(|(_, _, count)| *count).collect();
    assert_eq!(counts, [3, 1, 1, 1, 1, 1, 1], "{before:?}");
    shape.command(&["archive", "check", "--jwks", "jwks.json", "--config", "config.toml"]);
    shape.prune();
    // Of each epoch that has ended nothing is left, and of the other one the last object.
    assert_eq!(shape.journaled(), 1);

    shape.lose_and_rebuild();
    shape.deliver(6);
    shape.deliver(4);
    shape.deliver_broken();
    shape.wait_for(before.2 + 2, before.1.len() + 1);
    let (mut entries, mut quarantined, deliveries) = before;
    // The one that came again.
    let again = entries.iter_mut().find(|(line, ..)| *line == signer.cef(4)).unwrap();
    again.2 += 1;
    entries.push((signer.cef(6), "valid".into(), 1));
    quarantined.extend(quarantined.first().cloned());
    assert_eq!(shape.contents(), (entries, quarantined, deliveries + 2));
    shape.stop();
}

#[test]
fn what_was_committed_and_not_archived_is_read_again() {
    let mut shape = Shape::start("key_file = \"key\"");
    (0..5).for_each(|number| shape.deliver(number));
    shape.wait_for(5, 0);
    shape.seal();
    shape.wait_until_archived((0, 4));
    // The newest segment will be lost.
    (5..9).for_each(|number| shape.deliver(number));
    shape.deliver_broken();
    shape.wait_for(9, 1);
    let before = shape.contents();
    // At its end the store publishes how far it is. It is further than its archive.
    shape.store.stop();
    shape.wait_until_published((0, 4));
    shape.prune();
    assert_eq!(shape.journaled(), 6);

    shape.lose_and_rebuild();
    shape.wait_for(9, 1);
    assert_eq!(shape.contents(), before);
    shape.deliver(9);
    shape.wait_for(10, 1);
    let (mut entries, quarantined, deliveries) = before;
    entries.push((shape.signer.cef(9), "valid".into(), 1));
    assert_eq!(shape.contents(), (entries, quarantined, deliveries + 1));
    // What was read again is archived, and then prune may delete it.
    shape.seal();
    shape.wait_until_archived((0, 10));
    shape.store.restart();
    shape.wait_until_published((0, 10));
    shape.prune();
    assert_eq!(shape.journaled(), 1);
    shape.stop();
}

#[test]
fn a_body_that_is_archived_before_what_came_before_it_is_there_once() {
    let mut shape = Shape::start("");
    (0..3).for_each(|number| shape.deliver(number));
    shape.deliver_broken();
    shape.deliver(3);
    shape.wait_for(4, 1);
    let bodies =
        |shape: &Shape| shape.deltas().last().map(|one| one["progress"]["quarantine"].clone());
    wait_until("the body in the archive", || bodies(&shape) == Some(1.into()));
    let before = shape.contents();
    shape.store.stop();
    shape.prune();
    assert_eq!(shape.journaled(), 5);

    shape.lose_and_rebuild();
    shape.wait_for(4, 1);
    assert_eq!(shape.contents(), before);
    // Now the archive has the body twice, and the second loss finds both.
    shape.seal();
    shape.wait_until_archived((0, 4));
    assert_eq!(bodies(&shape), Some(2.into()));
    shape.lose_and_rebuild();
    shape.deliver(4);
    shape.wait_for(5, 1);
    let (mut entries, quarantined, deliveries) = before;
    entries.push((shape.signer.cef(4), "valid".into(), 1));
    assert_eq!(shape.contents(), (entries, quarantined, deliveries + 1));
    shape.stop();
}
