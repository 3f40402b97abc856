//! `vidimus konnect`, as its users run it, between a receiver and the stand-in.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Serve, Setup, wait_until};

/// How a command ended.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Ran {
        let Ran { stdout, stderr, .. } = &self;
        assert_eq!(self.code, Some(code), "--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    fn records(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The one record.
    #[track_caller]
    fn record(&self) -> Value {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{}\n{}", self.stdout, self.stderr);
        records.remove(0)
    }
}

/// The stand-in, running, and a receiver with its keys.
struct World {
    home: TempDir,
    stand_in: Child,
    api: String,
    token: String,
    portal: String,
    serve: Serve,
}

impl World {
    fn new() -> World {
        World::with("")
    }

    /// A world whose stand-in has these flags too.
    fn with(flags: &str) -> World {
        let home = tempfile::tempdir().unwrap();
        let ready = home.path().join("ready.json");
        let stderr = fs::File::create(home.path().join("stderr")).unwrap();
        let stand_in = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["simulate", "--listen", "127.0.0.1:0", "--seed", "1", "--ready-file"])
            .arg(&ready)
            .args(flags.split_whitespace())
            .current_dir(home.path())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        wait_until("the stand-in is ready", || ready.exists());
        let ready: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let api = text(&ready["api"]);
        let jwks = format!("{api}/v2/audit-log-webhook/jwks.json");
        let serve = Setup::new().argument("--jwks", &jwks).start();
        let world = World {
            stand_in,
            token: text(&ready["token"]),
            portal: text(&ready["portals"][0]),
            api,
            serve,
            home,
        };
        fs::write(world.home.path().join("token"), &world.token).unwrap();
        world
    }

    fn endpoint(&self) -> String {
        format!("{}/audit-logs", self.serve.receiver)
    }

    fn data(&self) -> PathBuf {
        self.serve.data()
    }

    /// Runs `vidimus konnect` with these arguments.
    fn konnect(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).token(&self.token).run()
    }

    /// The same with `-o jsonl`.
    fn jsonl(&self, arguments: &[&str]) -> Ran {
        self.konnect(&[arguments, &["-o", "jsonl"]].concat())
    }

    fn command(&self, arguments: &[&str]) -> Konnect {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.arg("konnect").args(arguments).args(["--base-url", &self.api]);
        command.arg("--data-dir").arg(self.data()).current_dir(self.home.path());
        command.env_clear().stdin(Stdio::null());
        Konnect(command)
    }

    /// Sets the webhook up, with flags.
    #[track_caller]
    fn set_up(&self, flags: &[&str]) -> Ran {
        let endpoint = self.endpoint();
        let fixed = ["setup", "--endpoint", &endpoint, "--skip-ssl-verification"];
        self.konnect(&[&fixed, flags].concat())
    }

    /// Has the stand-in do something: its answer.
    fn simulate(&self, path: &str, body: &Value) -> Value {
        let (host, body) = (self.api.strip_prefix("http://").unwrap(), body.to_string());
        let mut tcp = TcpStream::connect(host).unwrap();
        write!(
            tcp,
            "POST /simulate/{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.token,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap()
    }

    /// Lets entries happen: their trace ids.
    fn happen(&self, count: usize) -> Vec<String> {
        let made = self.simulate("entries", &json!({"count": count}));
        let ids = made["trace_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// Delivers all that is due.
    fn deliver(&self) {
        self.simulate("deliver", &json!({}));
    }

    fn webhook(&self, flags: &[&str]) {
        self.konnect(&[&["webhook", "set"], flags].concat()).expect(0);
    }

    /// The stored lines.
    fn lines(&self) -> Vec<String> {
        self.serve.lines().into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.stand_in.kill();
        let _ = self.stand_in.wait();
        if std::thread::panicking() {
            let stderr = fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default();
            eprintln!("---- the stand-in's stderr:\n{stderr}");
        }
    }
}

struct Konnect(Command);

impl Konnect {
    fn token(mut self, token: &str) -> Konnect {
        self.0.env("KONNECT_TOKEN", token);
        self
    }

    fn run(mut self) -> Ran {
        let output = self.0.output().unwrap();
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

#[test]
fn set_up_reconcile_and_tear_down() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).expect(0).record();
    assert_eq!(webhook["enabled"], true);
    let destination = world.jsonl(&["destinations", "list"]).expect(0).record();
    assert_eq!(destination["id"], webhook["audit_log_destination_id"]);
    assert_eq!(destination["endpoint"], world.endpoint());

    // Again it changes nothing.
    world.set_up(&[]).expect(0);
    assert_eq!(world.jsonl(&["destinations", "list"]).record()["id"], destination["id"]);

    let delivered = world.happen(20);
    world.deliver();
    let status = world.jsonl(&["status"]).expect(0).record();
    assert_eq!(
        (&status["webhook_status"], &status["last_response_code"]),
        (&json!("active"), &json!(200))
    );
    assert!(delivered.iter().all(|id| world.lines().iter().any(|line| line.contains(id))));

    // What happens while it is off is withheld.
    world.webhook(&["--enabled", "false"]);
    let withheld = world.happen(30);
    world.webhook(&["--enabled", "true"]);
    world.deliver();
    let ran = world.jsonl(&["reconcile", "--since", "1h"]).expect(1);
    let missing: Vec<_> = ran.records();
    let id = |record: &Value| record["trace_id"].as_str().unwrap().to_owned();
    assert!(withheld.iter().all(|one| missing.iter().any(|record| id(record) == *one)));
    assert!(!missing.iter().any(|record| delivered.contains(&id(record))));
    assert!(missing.iter().all(|record| record["lost"] == false));
    let stored = world.lines();
    for record in &missing {
        let id = id(record);
        let kind = record["kind"].as_str().unwrap();
        let name = match kind {
            "authentication" => "|AUTHENTICATION_OUTCOME_",
            "authorization" => "|Authz.",
            _ => "|Ingress|",
        };
        let is_there = stored.iter().any(|line| line.contains(&id) && line.contains(name));
        assert!(!is_there, "{record}");
    }

    // The command that is printed fetches it.
    let command = ran.stderr.lines().find_map(|line| line.split_once("vidimus konnect "));
    let command = command.unwrap().1;
    let (words, _) = command.split_once(" --base-url").unwrap();
    let words: Vec<_> = words.split(' ').chain(["--wait"]).collect();
    world.konnect(&words).expect(0);
    wait_until("nothing is missing", || {
        world.jsonl(&["reconcile", "--since", "1h"]).code == Some(0)
    });
    let job = world.jsonl(&["replay", "show"]).expect(0).record();
    assert_eq!(job["status"], "completed");

    world.konnect(&["teardown"]).expect(0);
    assert_eq!(world.jsonl(&["destinations", "list"]).expect(0).stdout, "");
    assert_eq!(world.jsonl(&["webhook", "show"]).record()["enabled"], false);
    let again = world.konnect(&["teardown"]).expect(0);
    assert!(again.stderr.contains("nothing to undo"), "{}", again.stderr);
}

#[test]
fn reconcile_replays_at_once() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    world.webhook(&["--enabled", "false"]);
    let withheld = world.happen(10);
    world.webhook(&["--enabled", "true"]);
    world.deliver();
    let ran = world.konnect(&["reconcile", "--since", "1h", "--replay"]).expect(0);
    assert!(ran.stderr.contains("replay completed"), "{}", ran.stderr);
    assert!(withheld.iter().all(|id| world.lines().iter().any(|line| line.contains(id))));
}

#[test]
fn a_webhook_in_use_is_left_alone() {
    let world = World::new();
    let other = world.jsonl(&[
        "destinations",
        "create",
        "--name",
        "other",
        "--endpoint",
        "https://192.0.2.1/x",
        "--authorization",
        "Splunk 1",
    ]);
    let other = other.expect(0).record()["id"].as_str().unwrap().to_owned();
    world.webhook(&["--destination", &other, "--enabled"]);

    let refused = world.set_up(&[]).expect(3);
    assert!(refused.stderr.contains("is in use") && refused.stderr.contains("--replace"));
    assert!(refused.stderr.contains("https://192.0.2.1/x"), "{}", refused.stderr);
    assert_eq!(world.jsonl(&["destinations", "list"]).records().len(), 1);

    world.set_up(&["--replace"]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).record();
    assert_ne!(webhook["audit_log_destination_id"], json!(other));
    world.konnect(&["teardown"]).expect(0);
    let webhook = world.jsonl(&["webhook", "show"]).record();
    assert_eq!(webhook["audit_log_destination_id"], json!(other));
    assert_eq!(webhook["enabled"], true);

    // It cannot be deleted while it is in use.
    let conflict = world.konnect(&["destinations", "delete", &other]).expect(3);
    assert!(conflict.stderr.contains("409"), "{}", conflict.stderr);
}

#[test]
fn a_portal_is_reconciled_by_a_replay() {
    let world = World::new();
    let portal = world.portal.clone();
    world.set_up(&["--portal", &portal]).expect(0);
    let login = || {
        let path = format!("portals/{portal}/login");
        world.simulate(&path, &json!({}))["trace_id"].as_str().unwrap().to_owned()
    };
    let first = login();
    world.deliver();
    let off = ["--portal", &portal, "--enabled", "false"];
    world.webhook(&off);
    let second = login();
    world.webhook(&["--portal", &portal, "--enabled"]);
    world.deliver();
    let reconcile = ["reconcile", "--since", "1h", "--portal", &portal];
    let found = world.jsonl(&reconcile).expect(0).record();
    assert_eq!((&found["new"], &found["delivered_again"]), (&json!(1), &json!(1)), "{found}");
    let found = world.jsonl(&reconcile).expect(0).record();
    assert_eq!((&found["new"], &found["delivered_again"]), (&json!(0), &json!(2)), "{found}");
    for id in [first, second] {
        assert_eq!(world.lines().iter().filter(|line| line.contains(&id)).count(), 1);
    }
    world.konnect(&["teardown", "--portal", &portal]).expect(0);
    let status = world.jsonl(&["status", "--portal", &portal]).record();
    assert_eq!(status["webhook_enabled"], false);
}

#[test]
fn a_pull_goes_on_where_it_stopped() {
    let world = World::new();
    let cursor = ["pull", "--since", "1h", "--cursor-file", "cursor.json"];
    let mut pulled: Vec<Value> = Vec::new();
    let mut happened = Vec::new();
    for count in [3, 0, 1500, 7] {
        happened.extend(world.happen(count));
        pulled.extend(world.konnect(&cursor).expect(0).records());
    }
    let all = world.konnect(&["pull", "--since", "1h"]).expect(0).records();
    let sorted = |entries: &[Value]| {
        let mut lines: Vec<_> = entries.iter().map(Value::to_string).collect();
        lines.sort();
        lines
    };
    // The calls of the pulls themselves may be entries that come later.
    let (all, pulled) = (sorted(&all), sorted(&pulled));
    assert!(pulled.iter().all(|line| all.contains(line)));
    let mut once = pulled.clone();
    once.dedup();
    assert_eq!(once.len(), pulled.len(), "an entry came twice");
    for id in &happened {
        assert!(pulled.iter().any(|line| line.contains(id)), "{id} was missed");
    }
    let kind = ["pull", "--since", "1h", "--type", "authentication"];
    let some = world.konnect(&kind).expect(0).records();
    assert!(!some.is_empty() && some.iter().all(|one| one["type"] == "authentication"));
    let other = world.konnect(&[&kind[..], &["--cursor-file", "cursor.json"]].concat());
    assert!(other.expect(2).stderr.contains("a file of its own"));
}

#[test]
fn a_doctor_finds_a_wrong_authorization() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let finding = |ran: &Ran, check: &str| {
        let found = ran.records().into_iter().find(|one| one["check"] == check);
        found.unwrap_or_else(|| panic!("no {check}\n{}\n{}", ran.stdout, ran.stderr))
    };
    let well = world.jsonl(&["doctor", "--timeout", "30s"]).expect(0);
    assert_eq!(finding(&well, "arrival")["state"], "ok", "{}", well.stdout);
    assert_eq!(finding(&well, "endpoint")["state"], "ok", "{}", well.stdout);

    let id = world.jsonl(&["destinations", "list"]).record()["id"].as_str().unwrap().to_owned();
    let update = ["destinations", "update", &id, "--authorization", "Splunk hidden-value"];
    world.konnect(&update).expect(0);
    world.happen(1);
    world.deliver();
    wait_until("the refusal is known", || {
        let ill = world.jsonl(&["doctor", "--timeout", "0s"]);
        finding(&ill, "refused")["state"] == "problem"
    });
    let ill = world.jsonl(&["doctor", "--timeout", "0s"]).expect(1);
    let refused = finding(&ill, "refused");
    assert!(refused["what"].as_str().unwrap().contains("scheme Splunk"), "{refused}");
    assert!(refused["try"].as_str().unwrap().contains("setup"), "{refused}");
    assert!(!ill.stdout.contains("hidden-value"), "{}", ill.stdout);
    assert_eq!(finding(&ill, "webhook")["state"], "problem", "{}", ill.stdout);
}

#[test]
fn a_token_is_looked_for_and_a_role_is_named() {
    let world = World::new();
    let none = world.command(&["status"]).run().expect(2);
    assert!(none.stderr.contains("--token-file") && none.stderr.contains("KONNECT_TOKEN"));
    world.command(&["status", "--token-file", "token"]).run().expect(0);
    let loud = world.command(&["status", "--token", &world.token]).run().expect(0);
    assert!(loud.stderr.contains("shell's history"), "{}", loud.stderr);
    let config = "[konnect]\ntoken_file = 'token'\n";
    fs::write(world.home.path().join("config.toml"), config).unwrap();
    world.command(&["status", "--config", "config.toml"]).run().expect(0);

    let wrong = world.command(&["status"]).token("kpat_wrong").run().expect(3);
    assert!(wrong.stderr.contains("401") && !wrong.stderr.contains("kpat_wrong"));
    assert!(wrong.stderr.contains("instance "), "{}", wrong.stderr);
    let weak = world.simulate("tokens", &json!({}))["token"].as_str().unwrap().to_owned();
    let weak = world.command(&["status"]).token(&weak).run().expect(3);
    assert!(weak.stderr.contains("403") && weak.stderr.contains("Admin"), "{}", weak.stderr);
}

#[test]
fn a_plain_api_is_on_this_machine_and_a_region_is_one() {
    let run = |arguments: &[&str]| {
        let arguments = [&["konnect", "status"], arguments].concat();
        crate::program::run(&arguments, b"")
    };
    let remote = run(&["--base-url", "http://192.0.2.1"]).expect(2);
    assert!(remote.stderr.contains("loopback"), "{remote}");
    run(&["--region", "auto"]).expect(2);
    let which = run(&[]).expect(2);
    assert!(which.stderr.contains("which region"), "{which}");
}

#[test]
fn a_watch_ends_when_the_webhook_goes_inactive() {
    let world = World::new();
    let update = |endpoint: &str| {
        let id = world.jsonl(&["destinations", "list"]).record()["id"].as_str().unwrap().to_owned();
        world.konnect(&["destinations", "update", &id, "--endpoint", endpoint]).expect(0);
    };
    world.set_up(&[]).expect(0);
    let mut watch = world.command(&["status", "--watch", "--interval", "100ms", "-o", "jsonl"]);
    watch.0.env("KONNECT_TOKEN", &world.token).stdout(Stdio::piped()).stderr(Stdio::null());
    let watch = watch.0.spawn().unwrap();
    update(&format!("{}/nowhere", world.serve.receiver));
    world.happen(1);
    world.deliver();
    let output = watch.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["webhook_status"], &last["last_response_code"]),
        (&json!("inactive"), &json!(404))
    );
}

#[test]
fn the_remembered_set_up_holds_no_secret() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let file = world.data().join("konnect-setup.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&world.serve.authorization) && !text.contains(&world.token));
    assert!(Path::new(&file).exists());
    world.konnect(&["teardown"]).expect(0);
    assert!(!file.exists());
}
