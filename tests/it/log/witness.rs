//! Witnesses: torchwood's litewitness, and some that lie.
//!
//! The tests read cosignatures with [`vidimus::tlog`], whose formats have tests of their own, and
//! litewitness shows that others agree.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc;

use tempfile::TempDir;
use vidimus::tlog::checkpoint::Checkpoint;
use vidimus::tlog::cosignature::CosigningKey;
use vidimus::tlog::note::{KeyType, Note, VerifierKey};
use vidimus::tlog::tree::{Hash, verify_consistency};
use vidimus::tlog::witness::AddCheckpoint;

use super::{checkpoint, go, lines, log, served, sha256, vkey, wait_for_size};
use crate::console::get;
use crate::console::metrics::value;
use crate::harness::{
    Endpoint, Received, Reply, Serve, Setup, output_of, wait_until, write_private,
};

const ORIGIN: &str = "example.com/log";
const FAST: &str = "[log]\norigin = 'example.com/log'\ncheckpoint_interval = '100ms'\n";

/// The configuration of a log with witnesses.
fn config<'a>(witnesses: impl IntoIterator<Item = (String, &'a CosigningKey)>) -> String {
    let witness = |(url, key): (String, &CosigningKey)| {
        format!("[[log.witness]]\nurl = '{url}'\nkey = '{}'\n", key.verifier())
    };
    FAST.to_owned() + &witnesses.into_iter().map(witness).collect::<String>()
}

/// The key of the witness with this name. Its seed is a hash of the name.
fn key(name: &str) -> CosigningKey {
    CosigningKey::from_seed(name, &sha256(&[name.as_bytes()])).unwrap()
}

/// The size of the newest checkpoint, if this witness has cosigned it.
fn cosigned(serve: &Serve, key: &VerifierKey) -> Option<u64> {
    let note = Note::parse(served(serve)?.as_bytes()).unwrap();
    let is_there = note.signatures().iter().any(|signature| signature.names(key));
    is_there.then(|| {
        // A bad one is an error.
        assert_eq!(note.verify([key]).unwrap().len(), 1);
        Checkpoint::parse(note.text()).unwrap().size()
    })
}

#[track_caller]
fn wait_until_cosigned(serve: &Serve, key: &VerifierKey, size: usize) {
    let series = format!("vidimus_log_cosigned_leaves{{witness=\"{}\"}}", key.name());
    wait_until(&format!("{} cosigned {size} leaves", key.name()), || {
        cosigned(serve, key) == Some(size as u64)
            && value(&get(serve, "/metrics").text(), &series) == Some(size as f64)
    });
}

fn failures(serve: &Serve, name: &str) -> f64 {
    let series = format!("vidimus_log_witness_failures_total{{witness=\"{name}\"}}");
    value(&get(serve, "/metrics").text(), &series).unwrap()
}

/// Waits until nothing is signed any more, and checks the reason.
#[track_caller]
fn wait_until_stopped(serve: &Serve, why: &str) {
    wait_until("the end of signing", || {
        value(&get(serve, "/metrics").text(), "vidimus_log_stopped") == Some(1.0)
    });
    let ready = get(serve, "/readyz");
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(serve.stderr().contains(why), "{}", serve.stderr());
}

/// torchwood's witness. Dropping it kills the processes.
struct Litewitness {
    programs: PathBuf,
    home: TempDir,
    port: u16,
    fingerprint: String,
    agent: Child,
    witness: Option<Child>,
}

impl Litewitness {
    const NAME: &'static str = "w.example";

    /// Starts it. It knows no log. `None` if it cannot be built here.
    fn start() -> Option<Litewitness> {
        static PROGRAMS: OnceLock<Option<PathBuf>> = OnceLock::new();
        let tools = ["litewitness", "witnessctl"];
        let packages = tools.map(|tool| format!("filippo.io/torchwood/cmd/{tool}"));
        let build = || go::build("torchwood", &packages.each_ref().map(String::as_str));
        let programs = PROGRAMS.get_or_init(build).clone()?;
        let home = tempfile::tempdir().unwrap();
        let mut agent = Command::new(programs.join("torchwood"))
            .arg(home.path().join("agent"))
            .arg(data_encoding::HEXLOWER.encode(&sha256(&[Self::NAME.as_bytes()])))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut fingerprint = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut fingerprint).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        let fingerprint = fingerprint.trim_end().to_owned();
        let mut litewitness =
            Litewitness { programs, home, port, fingerprint, agent, witness: None };
        drop(free);
        litewitness.restart();
        Some(litewitness)
    }

    fn restart(&mut self) {
        let witness = Command::new(self.programs.join("litewitness"))
            .args(["-name", Self::NAME, "-key", &self.fingerprint, "-ssh-agent", "agent"])
            .args(["-listen", &format!("127.0.0.1:{}", self.port)])
            .current_dir(self.home.path())
            .stderr(Stdio::null())
            .spawn();
        self.witness = Some(witness.unwrap());
        wait_until("litewitness", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    fn kill(&mut self) {
        if let Some(mut witness) = self.witness.take() {
            witness.kill().unwrap();
            witness.wait().unwrap();
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Makes a log known to it.
    fn add_log(&self, vkey: &str) {
        for arguments in
            [&["add-log", "-origin", ORIGIN][..], &["add-key", "-origin", ORIGIN, "-key", vkey]]
        {
            let mut command = Command::new(self.programs.join("witnessctl"));
            command.args(arguments).current_dir(self.home.path());
            let (code, _, stderr) = output_of(&mut command);
            assert_eq!(code, Some(0), "{stderr}");
        }
    }
}

impl Drop for Litewitness {
    fn drop(&mut self) {
        self.kill();
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

#[test]
fn litewitness_cosigns_a_log_that_grows() {
    let Some(mut litewitness) = Litewitness::start() else { return };
    let secret = key(Litewitness::NAME);
    let (key, config) = (secret.verifier(), config([(litewitness.url(), &secret)]));
    let mut serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    // It does not know the log yet.
    serve.wait_for_log("403: it knows no key");
    litewitness.add_log(&vkey(&serve.data()));
    let mut size = 1;
    for until in [1, 2, 255, 256, 257, 511, 513, 1000] {
        if until > size {
            serve.deliver(lines(size - 1..until - 1));
        }
        size = wait_for_size(&serve, until).size;
        wait_until_cosigned(&serve, key, until);
    }

    // A proof has the cosignature, and a policy accepts it.
    let bundle = serve.home().join("bundle");
    let policy = serve.home().join("policy");
    fs::write(&policy, format!("witness w {key}\nquorum w\n")).unwrap();
    let vidimus = || Command::new(env!("CARGO_BIN_EXE_vidimus"));
    let mut prove = vidimus();
    prove.args(["prove", "--id", "7", "--out"]).arg(&bundle).arg("--data-dir").arg(serve.data());
    let (code, _, stderr) = output_of(&mut prove);
    assert_eq!(code, Some(0), "{stderr}");
    let mut verify = vidimus();
    verify.arg("verify-bundle").arg(&bundle).args(["--log-key", &vkey(&serve.data())]);
    let (_, stdout, stderr) = output_of(verify.arg("--policy").arg(&policy));
    assert!(stdout.contains("; witnessed"), "{stdout}{stderr}");

    // While it is gone, checkpoints are signed as before.
    litewitness.kill();
    serve.deliver(lines(size - 1..1299));
    wait_for_size(&serve, 1300);
    serve.wait_for_log("cannot connect to");
    assert_eq!(cosigned(&serve, key), None);
    litewitness.restart();
    wait_until_cosigned(&serve, key, 1300);
    serve.wait_for_log("vouches for checkpoints of the log again");

    // Nothing is remembered: the first request after a start gets a 409 with the size.
    litewitness.kill();
    serve.deliver(lines(1299..1499));
    wait_for_size(&serve, 1500);
    serve.stop();
    litewitness.restart();
    serve.restart();
    wait_until_cosigned(&serve, key, 1500);
    assert_eq!(failures(&serve, Litewitness::NAME), 0.0);
    serve.stop();
    let (code, stdout, stderr) = log(&["check"], &serve.data());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

fn copy(from: &Path, to: &Path) {
    let (code, _, stderr) = output_of(Command::new("cp").arg("-a").args([from, to]));
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_copy_that_was_rolled_back_is_not_signed() {
    let Some(litewitness) = Litewitness::start() else { return };
    let key = key(Litewitness::NAME);
    let config = config([(litewitness.url(), &key)]);
    let mut serve = Setup::new().config(&config).start();
    litewitness.add_log(&vkey(&serve.data()));
    serve.deliver(lines(0..99));
    wait_for_size(&serve, 100);
    wait_until_cosigned(&serve, key.verifier(), 100);
    serve.stop();
    let old = serve.home().join("old");
    copy(&serve.data(), &old);
    serve.restart();
    serve.deliver(lines(99..299));
    wait_for_size(&serve, 300);
    wait_until_cosigned(&serve, key.verifier(), 300);
    serve.stop();

    // The witness has more leaves than the copy.
    fs::remove_dir_all(serve.data()).unwrap();
    copy(&old, &serve.data());
    serve.restart();
    wait_until_stopped(&serve, "has cosigned 300 leaves of this log, and the newest");
    check_not_signed(&mut serve, 100);

    // The copy grows by others, without the witness.
    fs::remove_dir_all(serve.data()).unwrap();
    copy(&old, &serve.data());
    write_private(&serve.home().join("config.toml"), FAST.as_bytes());
    serve.restart();
    serve.deliver(lines(2000..2300));
    wait_for_size(&serve, 400);
    serve.stop();
    write_private(&serve.home().join("config.toml"), config.as_bytes());
    serve.restart();
    wait_until_stopped(&serve, "has cosigned 300 other leaves under the name of this log");
    check_not_signed(&mut serve, 400);
}

/// Checks that entries are stored as before, and that the newest checkpoint stays, also at the end.
#[track_caller]
fn check_not_signed(serve: &mut Serve, size: usize) {
    let before = serve.lines().len();
    serve.deliver(lines(9000..9010));
    serve.stop();
    assert_eq!(serve.lines().len(), before + 10);
    let newest = fs::read_to_string(serve.data().join("log/checkpoint")).unwrap();
    assert_eq!(checkpoint(&newest, &vkey(&serve.data())).size, size);
}

/// A witness that cosigns what is consistent with what it has, and keeps the requests.
struct Honest {
    key: CosigningKey,
    /// The size and the root that it has cosigned last.
    state: (u64, Hash),
}

impl Honest {
    fn new(name: &str) -> Honest {
        Honest { key: key(name), state: (0, Hash::EMPTY) }
    }

    fn answer(&mut self, received: &Received) -> Reply {
        assert_eq!(received.target, "/prefix/add-checkpoint");
        let request = AddCheckpoint::parse(&received.body).unwrap();
        let checkpoint = Checkpoint::parse(request.checkpoint.text()).unwrap();
        let (size, root) = self.state;
        if request.old_size != size {
            let header = "content-type: text/x.tlog.size\r\n";
            return Reply::Answer(409, header, format!("{size}\n"));
        }
        let new = (checkpoint.size(), checkpoint.root());
        if verify_consistency(&request.proof, (size, &root), new).is_err() {
            return Reply::status(422);
        }
        self.state = (checkpoint.size(), *checkpoint.root());
        let cosignature = self.key.cosign(&request.checkpoint, 1_760_000_000).unwrap();
        Reply::Answer(200, "", format!("{cosignature}\n"))
    }
}

/// The old size and the size of each request.
fn sizes(endpoint: &Endpoint) -> Vec<(u64, u64)> {
    let sizes = |received: &Received| {
        let request = AddCheckpoint::parse(&received.body).unwrap();
        (request.old_size, Checkpoint::parse(request.checkpoint.text()).unwrap().size())
    };
    endpoint.received().iter().map(|(received, _)| sizes(received)).collect()
}

#[test]
fn a_slow_witness_gets_the_newest_checkpoint() {
    let (go_on, wait) = mpsc::channel::<()>();
    let mut honest = Honest::new("slow.example");
    let verifier = honest.key.verifier().clone();
    // Each answer waits for the test, until the test lets go.
    let endpoint = Endpoint::start(move |received| {
        let _ = wait.recv();
        honest.answer(received)
    });
    let config = config([(endpoint.url("/prefix/"), &key("slow.example"))]);
    let serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    serve.deliver(lines(0..10));
    wait_for_size(&serve, 11);
    serve.deliver(lines(10..20));
    wait_for_size(&serve, 21);
    // Asked, and then cosigned from nothing.
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    endpoint.wait_for_requests(2);
    serve.deliver(lines(20..600));
    wait_for_size(&serve, 601);
    drop(go_on);
    wait_until_cosigned(&serve, &verifier, 601);
    let sizes = sizes(&endpoint);
    assert_eq!(sizes[..2], [(1, 1), (0, 1)]);
    assert!(sizes.len() < 5, "{sizes:?}");
    assert!(sizes.windows(2).all(|two| two[0].1 <= two[1].1), "{sizes:?}");
    assert_eq!(failures(&serve, "slow.example"), 0.0);
}

#[test]
fn somebody_else_may_submit_a_newer_checkpoint() {
    let (go_on, wait) = mpsc::channel::<()>();
    let mut honest = Honest::new("w.example");
    let verifier = honest.key.verifier().clone();
    let mut asked = 0;
    let endpoint = Endpoint::start(move |received| {
        asked += 1;
        let request = AddCheckpoint::parse(&received.body).unwrap();
        let checkpoint = Checkpoint::parse(request.checkpoint.text()).unwrap();
        if asked == 1 {
            wait.recv().unwrap();
            honest.state = (11, Hash::EMPTY);
        } else if checkpoint.size() == 11 {
            honest.state = (11, *checkpoint.root());
        }
        honest.answer(received)
    });
    let config = config([(endpoint.url("/prefix"), &key("w.example"))]);
    let serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    serve.deliver(lines(0..10));
    wait_for_size(&serve, 11);
    go_on.send(()).unwrap();
    wait_until_cosigned(&serve, &verifier, 11);
    assert_eq!(sizes(&endpoint), [(1, 1), (11, 11)]);
    serve.deliver(lines(10..300));
    wait_until_cosigned(&serve, &verifier, 301);
    assert_eq!(failures(&serve, "w.example"), 0.0);
}

#[test]
fn witnesses_that_lie_harm_nobody_else() {
    let cosign = |key: CosigningKey, other: bool| {
        move |received: &Received| {
            let request = AddCheckpoint::parse(&received.body).unwrap();
            let text = request.checkpoint.to_string();
            let text = if other { text.replacen("example.com", "example.org", 1) } else { text };
            let note = Note::parse(text.as_bytes()).unwrap();
            let cosignature = key.cosign(&note, 1_760_000_000).unwrap();
            Reply::Answer(200, "", format!("{cosignature}\n"))
        }
    };
    let reply = |reply: Reply| move |_: &Received| reply.clone();
    let size = |text: &str| Reply::Answer(409, "content-type: text/x.tlog.size\r\n", text.into());
    let mut honest = Honest::new("honest.example");
    let wrong = CosigningKey::from_seed("wrong.example", &[8; 32]).unwrap();
    let mut asked = 0_u64;
    let liars = [
        ("wrong.example", Endpoint::start(cosign(wrong, false)), "expected one of a known key"),
        ("other.example", Endpoint::start(cosign(key("other.example"), true)), "does not verify"),
        ("endless.example", Endpoint::start(reply(Reply::Endless)), "with more than 65536 bytes"),
        ("silent.example", Endpoint::start(reply(Reply::Hang)), "no complete answer from"),
        (
            "nonsense.example",
            Endpoint::start(reply(size("-1\n"))),
            "expected the size of the checkpoint that it cosigned last",
        ),
        (
            "html.example",
            Endpoint::start(reply(Reply::Answer(409, "", "<html>".into()))),
            "expected text/x.tlog.size, and said: <html>",
        ),
        (
            "unsteady.example",
            Endpoint::start(move |received| {
                let request = AddCheckpoint::parse(&received.body).unwrap();
                let checkpoint = Checkpoint::parse(request.checkpoint.text()).unwrap();
                asked += 1;
                // Neither the old size nor more than there is.
                let sizes = (0..checkpoint.size()).filter(|size| *size != request.old_size);
                let sizes: Vec<_> = sizes.collect();
                let at = usize::try_from(asked).unwrap() % sizes.len().max(1);
                size(&format!("{}\n", sizes.get(at).copied().unwrap_or(0)))
            }),
            "each time with another size",
        ),
        ("broken.example", Endpoint::start(reply(Reply::status(500))), "answered 500"),
        (
            "rude.example",
            Endpoint::start(reply(Reply::Answer(400, "", "\u{1b}[2J".into()))),
            "400: the request is malformed",
        ),
    ];
    let good = Endpoint::start(move |received| honest.answer(received));
    let keys: Vec<_> = liars.iter().map(|(name, ..)| key(name)).collect();
    let honest = key("honest.example");
    let all = liars.iter().zip(&keys).map(|((_, endpoint, _), key)| (endpoint.url("/"), key));
    let config = config(all.chain([(good.url("/prefix"), &honest)]));
    let mut serve = Setup::new().config(&config).start();
    wait_for_size(&serve, 1);
    let mut size = 1;
    for until in [257, 600] {
        serve.deliver(lines(size - 1..until - 1));
        size = wait_for_size(&serve, until).size;
        wait_until_cosigned(&serve, honest.verifier(), until);
    }
    for (name, _, why) in &liars {
        wait_until(&format!("{name}: {why:?}"), || {
            let stderr = serve.stderr();
            stderr.lines().any(|line| line.contains(name) && line.contains(why))
        });
        assert!(failures(&serve, name) > 0.0, "{name}");
    }
    assert_eq!(failures(&serve, "honest.example"), 0.0);
    assert!(!serve.stderr().contains("\u{1b}[2J"));
    let note = Note::parse(served(&serve).unwrap().as_bytes()).unwrap();
    assert_eq!(note.signatures().len(), 2, "{note}");
    // None of them holds the end up.
    serve.stop();
}

#[test]
fn a_log_is_not_its_own_witness() {
    let mut serve = Setup::new().config(FAST).start();
    let log: VerifierKey = vkey(&serve.data()).parse().unwrap();
    serve.stop();
    let witness = VerifierKey::new("w.example", KeyType::Cosignature, log.public()).unwrap();
    let toml = format!("{FAST}[[log.witness]]\nurl = 'https://w.example'\nkey = '{witness}'\n");
    write_private(&serve.home().join("config.toml"), toml.as_bytes());
    let (status, stderr) = serve.fail();
    assert_eq!(status.code(), Some(3), "{stderr}");
    for named in [witness.to_string(), log.to_string(), "must not be its own witness".to_owned()] {
        assert!(stderr.contains(&named), "{stderr}");
    }

    // Nor do those who check a proof take it for one.
    let policy = serve.home().join("policy");
    fs::write(&policy, format!("witness w {witness}\nquorum w\n")).unwrap();
    let mut verify = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    verify.args(["verify-bundle", "bundle", "--log-key", &log.to_string(), "--policy"]);
    let (code, _, stderr) = output_of(verify.arg(&policy));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("has the key of the log"), "{stderr}");
}
