//! Three receivers, two stores and an object store under load, while each of them fails: every
//! acknowledged entry is in both stores once, and nothing that was not sent.
//!
//! A round kills a receiver or a store, stops the object store, takes its credentials away, or restarts
//! everything in turn. Calls to the object store fail in every round. `VIDIMUS_CHAOS_ROUNDS` is the
//! number of rounds, `VIDIMUS_CHAOS_SEED` the seed of the first one. With a number, the object store
//! also stops for 20 seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use super::object;
use crate::harness::http::head;
use crate::harness::moto::Moto;
use crate::harness::object_store::{BUCKET, random};
use crate::harness::{
    ObjectStore, Serve, SessionTokens, Setup, Signer, assert_sound, jwks, wait_until,
};
use crate::program::Run;

const RECEIVERS: usize = 3;
const STORES: usize = 2;
const SENDERS: usize = 4;

/// The place of the journal in the bucket.
const PREFIX: &str = "chaos";

/// Konnect waits as long for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

const AUTHORIZATION: &str = "Bearer of the chaos test";

/// The lines of the journal in each configuration. The first receiver waits longer than the object store
/// stops for, the others give up before. The second store seals epochs that are in use.
fn journal(put_timeout: &str, seal_after: &str) -> String {
    format!(
        "[journal]\nurl = \"s3://{BUCKET}/{PREFIX}\"\nmax_wait = \"20ms\"\npoll_interval = \"50ms\"\n\
         seal_after = \"{seal_after}\"\nput_timeout = \"{put_timeout}\"\n"
    )
}

/// The programs.
struct Programs {
    receivers: Vec<Serve>,
    stores: Vec<Serve>,
}

impl Programs {
    fn start(environment: &[(String, String)]) -> Programs {
        let signer = Signer::new("k1");
        let with = |setup: Setup| {
            environment.iter().fold(setup, |setup, (name, value)| setup.variable(name, value))
        };
        let receiver = |n: usize| {
            let journal = journal(if n == 0 { "8s" } else { "2s" }, "1s");
            let setup = Setup::receive().config(&journal);
            let setup = setup.arguments("--no-tls").argument("--authorization", AUTHORIZATION);
            let mut receiver = with(setup).start();
            receiver.keep_port();
            receiver
        };
        let store = |n: usize| {
            let config = format!(
                "{}[[source]]\nname = \"main\"\ntype = \"journal\"\n\
                 [store]\nsegment_entries = {}\n",
                journal("8s", if n == 0 { "1s" } else { "60ms" }),
                300 + 100 * n
            );
            let setup = Setup::store().file("jwks.json", jwks(&[&signer]));
            with(setup.config(&config).arguments("--jwks jwks.json")).start()
        };
        Programs {
            receivers: (0..RECEIVERS).map(receiver).collect(),
            stores: (0..STORES).map(store).collect(),
        }
    }

    fn ports(&self) -> Vec<u16> {
        self.receivers.iter().map(Serve::port).collect()
    }
}

/// The load of all senders together.
struct Load {
    ports: Vec<u16>,
    signer: Signer,
    /// The number of the next line.
    next: AtomicUsize,
    is_over: AtomicBool,
    /// The numbers of the lines that were acknowledged, and of those that a sender gave up.
    lines: Mutex<(Vec<usize>, Vec<usize>)>,
}

impl Load {
    fn new(ports: Vec<u16>) -> Load {
        let (next, is_over) = Default::default();
        Load { ports, signer: Signer::new("k1"), next, is_over, lines: Mutex::default() }
    }

    fn acknowledged(&self) -> usize {
        self.lines.lock().unwrap().0.len()
    }

    /// Waits for so many more acknowledged lines.
    fn wait_for(&self, more: usize) {
        let goal = self.acknowledged() + more;
        wait_until("acknowledged lines", || self.acknowledged() >= goal);
    }

    /// Sends deliveries as a load balancer spreads them: each try goes to any of the receivers. A
    /// delivery is tried until it is acknowledged or the load is over; one of 16 is given up before, as
    /// Konnect does.
    fn send(&self, seed: u64) {
        let mut random = Rng::with_seed(seed);
        while !self.is_over.load(Ordering::SeqCst) {
            let count = random.usize(1..8);
            let first = self.next.fetch_add(count, Ordering::SeqCst);
            let numbers = first..first + count;
            let lines: Vec<_> = numbers.clone().map(|n| self.signer.cef(n)).collect();
            let body = lines.join("\n");
            let most = if random.u32(..16) == 0 { 1 } else { usize::MAX };
            let mut tries = (0..most).take_while(|_| !self.is_over.load(Ordering::SeqCst));
            let is_acknowledged = tries.any(|_| {
                let port = random.choice(&self.ports).unwrap();
                post(*port, &body) == Some(200)
            });
            let (acknowledged, given_up) = &mut *self.lines.lock().unwrap();
            if is_acknowledged { acknowledged } else { given_up }.extend(numbers);
        }
    }
}

/// Delivers a body. Returns the status; `None` if there was no whole answer.
fn post(port: u16, body: &str) -> Option<u16> {
    let mut tcp = TcpStream::connect(("127.0.0.1", port)).ok()?;
    tcp.set_read_timeout(Some(PATIENCE)).ok()?;
    let headers = [("authorization", AUTHORIZATION)];
    let request = head("POST", "/audit-logs", &headers, body.len()) + body;
    tcp.write_all(request.as_bytes()).ok()?;
    let mut answer = BufReader::new(tcp);
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(rest) = line.strip_prefix("http/1.1 ") {
            status = rest.get(..3)?.parse().ok();
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        if line.is_empty() {
            break;
        }
    }
    answer.read_exact(&mut vec![0; length]).ok()?;
    assert!(
        matches!(status, Some(200 | 429 | 500)),
        "a receiver answered {status:?}, which Konnect takes for the end of a delivery"
    );
    status
}

/// What is done to the system in a round.
#[derive(Clone, Copy, Debug)]
enum Blow {
    KillReceiver(usize),
    KillStore(usize),
    /// The object store stops for so many seconds.
    Stop(u64),
    /// The credentials end, and no others can be had for so many seconds.
    NoCredentials(u64),
    /// Everything is restarted, one after the other.
    RollingRestart,
}

impl Blow {
    fn choose(random: &mut Rng, longest: u64) -> Blow {
        match random.u32(..8) {
            0..=2 => Blow::KillReceiver(random.usize(..RECEIVERS)),
            3..=4 => Blow::KillStore(random.usize(..STORES)),
            5 => Blow::Stop(if random.bool() { 3 } else { longest }),
            6 => Blow::NoCredentials(3),
            _ => Blow::RollingRestart,
        }
    }

    fn strike(
        self,
        programs: &mut Programs,
        store: &ObjectStore,
        tokens: &SessionTokens,
        load: &Load,
    ) {
        // A restart waits for the object store, which must not be stopped then.
        match self {
            Blow::KillReceiver(n) => {
                programs.receivers[n].signal(Signal::KILL);
                load.wait_for(20);
                programs.receivers[n].restart();
            }
            Blow::KillStore(n) => {
                programs.stores[n].signal(Signal::KILL);
                load.wait_for(20);
                programs.stores[n].restart();
            }
            Blow::Stop(seconds) => {
                store.pause();
                pass(seconds);
                store.resume();
            }
            Blow::NoCredentials(seconds) => {
                tokens.set_down(true);
                pass(seconds);
                tokens.set_down(false);
            }
            Blow::RollingRestart => {
                for serve in programs.receivers.iter_mut().chain(&mut programs.stores) {
                    serve.stop();
                    load.wait_for(5);
                    serve.restart();
                }
            }
        }
    }
}

/// Lets the time pass that something is broken.
fn pass(seconds: u64) {
    let started = Instant::now();
    wait_until("some seconds", || started.elapsed() >= Duration::from_secs(seconds));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

#[test]
fn every_acknowledged_entry_is_in_both_stores_once() {
    let by_hand = number("VIDIMUS_CHAOS_ROUNDS");
    let seed = number("VIDIMUS_CHAOS_SEED").unwrap_or_else(|| Rng::new().u64(..));
    let (rounds, longest) = (by_hand.unwrap_or(10), if by_hand.is_some() { 20 } else { 3 });
    println!("VIDIMUS_CHAOS_SEED={seed} VIDIMUS_CHAOS_ROUNDS={rounds}");
    let folder = tempfile::tempdir().unwrap();
    let store = ObjectStore::with_tokens();
    let tokens = SessionTokens::start(Duration::from_secs(2));
    let environment = tokens.environment(folder.path(), &store.endpoint());
    let mut programs = Programs::start(&environment);
    let load = Load::new(programs.ports());
    std::thread::scope(|scope| {
        // The senders end even if a round fails.
        let over = Over(&load.is_over);
        for sender in 0..SENDERS {
            let load = &load;
            scope.spawn(move || load.send(seed.wrapping_add(sender as u64)));
        }
        for round in 0..rounds {
            let seed = seed.wrapping_add(round);
            let mut random_blow = Rng::with_seed(seed);
            store.inject(random(seed, random_blow.u32(..150), Duration::from_millis(1500)));
            store.set_latency(Duration::from_millis(random_blow.u64(..40)));
            let blow = Blow::choose(&mut random_blow, longest);
            println!("round {round}, seed {seed}: {blow:?}");
            load.wait_for(random_blow.usize(20..100));
            blow.strike(&mut programs, &store, &tokens, &load);
            load.wait_for(20);
        }
        drop(over);
    });
    println!("{:?}; credentials were asked for {} times", store.injected(), tokens.asked());
    store.heal();
    assert_agree(&mut programs, &load);
    assert_journaled(&store, &load);
    prune(&mut programs, &store, &environment, &load);
}

/// Tells the senders that the load is over when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_server_that_is_stopped_goes_on() {
    let Some(moto) = Moto::start() else { return };
    let store = ObjectStore::before(moto.port);
    let mut programs = Programs::start(&store.environment());
    let load = Load::new(programs.ports());
    std::thread::scope(|scope| {
        let over = Over(&load.is_over);
        for sender in 0..SENDERS {
            let load = &load;
            scope.spawn(move || load.send(sender as u64));
        }
        load.wait_for(50);
        moto.signal(Signal::STOP);
        pass(3);
        moto.signal(Signal::CONT);
        load.wait_for(50);
        drop(over);
    });
    assert_agree(&mut programs, &load);
}

/// Checks that every acknowledged line is where a reader of the journal finds it: in an object below the
/// first number of its epoch that is missing or sealed.
fn assert_journaled(store: &ObjectStore, load: &Load) {
    let objects: BTreeMap<_, _> = store.memory().objects().into_iter().collect();
    let get = |key: &str| objects.get(&format!("{PREFIX}/{key}"));
    let epochs = (0..).take_while(|epoch| get(&format!("epochs/{epoch}")).is_some());
    let mut lines = BTreeSet::new();
    for epoch in epochs {
        let keys = (0..).map(|number| object::key(epoch, number));
        let found = keys.map_while(|key| Some((get(&key)?, key)));
        for (bytes, key) in found.take_while(|(bytes, _)| object::is_of_deliveries(bytes)) {
            for delivery in object::deliveries(&key, bytes) {
                let body = String::from_utf8(delivery.body).unwrap();
                lines.extend(body.lines().map(str::to_owned));
            }
        }
    }
    for n in &load.lines.lock().unwrap().0 {
        let line = load.signer.cef(*n);
        assert!(lines.contains(&line), "acknowledged, and not in the journal: {line}");
    }
}

/// Checks that every store has each acknowledged line once, and no line that was not sent, when it has
/// read everything.
fn assert_agree(programs: &mut Programs, load: &Load) {
    let (acknowledged, given_up) = &*load.lines.lock().unwrap();
    println!("{} lines acknowledged, {} given up", acknowledged.len(), given_up.len());
    let lines = |numbers: &[usize]| -> BTreeSet<Vec<u8>> {
        numbers.iter().map(|n| load.signer.cef(*n).into_bytes()).collect()
    };
    let (acknowledged, given_up) = (lines(acknowledged), lines(given_up));
    for (n, store) in programs.stores.iter_mut().enumerate() {
        let stored = || store.stored().into_iter().map(|entry| entry.line).collect::<Vec<_>>();
        wait_until(&format!("all acknowledged lines in store {n}"), || {
            let stored: BTreeSet<_> = stored().into_iter().collect();
            acknowledged.is_subset(&stored)
        });
        let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        for line in stored() {
            *counts.entry(line).or_default() += 1;
        }
        for (line, count) in &counts {
            let line_text = line.escape_ascii();
            assert_eq!(*count, 1, "store {n} has this line more than once: {line_text}");
            assert!(
                acknowledged.contains(line) || given_up.contains(line),
                "store {n} has this line, which nobody sent: {line_text}"
            );
        }
        let verdicts = store.verdicts();
        assert!(verdicts.iter().all(|verdict| verdict == "valid"), "store {n}");
    }
    programs.receivers.iter_mut().for_each(Serve::stop);
    // Whoever reads the journal reads the same, the lines of deliveries that were given up too.
    wait_until("the same lines in both stores", || {
        let lines = |store: &Serve| store.lines().into_iter().collect::<BTreeSet<_>>();
        let mut all = programs.stores.iter().map(lines);
        let first = all.next();
        all.all(|other| Some(&other) == first.as_ref())
    });
    for store in &mut programs.stores {
        store.stop();
        assert_sound(&store.data());
    }
}

/// Deletes what both stores have read from the journal, and checks that everything goes on after it.
fn prune(
    programs: &mut Programs,
    store: &ObjectStore,
    environment: &[(String, String)],
    load: &Load,
) {
    let deliveries = || {
        let objects = store.memory().objects();
        let under = format!("{PREFIX}/journal/");
        objects
            .iter()
            .filter(|(key, body)| key.starts_with(&under) && object::is_of_deliveries(body))
            .count()
    };
    let before = deliveries();
    let home = programs.stores[0].home();
    let prune = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.args(["journal", "prune", "--config", "config.toml"]).current_dir(home);
        Run::of(command.env_clear().envs(environment.iter().cloned())).expect(0)
    };
    // Nothing is older than seven days.
    prune();
    assert_eq!(deliveries(), before);
    store.memory().age(Duration::from_secs(8 * 24 * 60 * 60));
    let run = prune();
    println!("{before} objects of deliveries, {} left after a prune", deliveries());
    assert!(deliveries() < before / 2, "{run}");

    let receiver = &mut programs.receivers[0];
    receiver.restart();
    let line = load.signer.cef(load.next.fetch_add(1, Ordering::SeqCst));
    wait_until("an answer", || post(receiver.port(), &line) == Some(200));
    for store in &mut programs.stores {
        store.restart();
        wait_until("the line after the prune", || store.lines().contains(&line.clone().into()));
        store.stop();
        assert_sound(&store.data());
    }
}
