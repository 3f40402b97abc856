//! `vidimus simulate` and `vidimus serve`, as two programs that know each other by HTTP alone.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Answer, Raw, Setup, wait_until};

/// The stand-in, running. It is killed when it is dropped.
struct Simulate {
    home: TempDir,
    child: Child,
    api: String,
    token: String,
    portal: String,
}

impl Simulate {
    fn start(arguments: &[&str]) -> Simulate {
        let home = tempfile::tempdir().unwrap();
        let ready = home.path().join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["simulate", "--listen", "127.0.0.1:0", "--ready-file", "ready.json"])
            .args(arguments)
            .current_dir(home.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(File::create(home.path().join("stdout")).unwrap())
            .stderr(File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut simulate = Simulate {
            home,
            child,
            api: String::new(),
            token: String::new(),
            portal: String::new(),
        };
        wait_until("ready", || {
            assert!(simulate.child.try_wait().unwrap().is_none(), "it ended before it was ready");
            ready.exists()
        });
        let told: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        simulate.api = told["api"].as_str().unwrap().to_owned();
        simulate.token = told["token"].as_str().unwrap().to_owned();
        simulate.portal = told["portals"][0].as_str().unwrap().to_owned();
        simulate
    }

    fn key_set(&self) -> String {
        format!("{}/v2/audit-log-webhook/jwks.json", self.api)
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap()
    }

    /// Calls the API: an answer with this status.
    #[track_caller]
    fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Answer {
        let port = self.api.rsplit_once(':').unwrap().1.parse().unwrap();
        let mut connection = Raw::plain(port);
        let bearer = format!("Bearer {}", self.token);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        connection.request(method, path, &[("authorization", bearer.as_str())], body.as_bytes());
        let answer = connection.answer();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        answer
    }

    /// The portal's webhook and its calls.
    fn portal(&self, rest: &str) -> String {
        format!("/v3/portals/{}/{rest}", self.portal)
    }
}

impl Drop for Simulate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- vidimus simulate, stderr:\n{}", self.stderr());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_developers_login_arrives_and_a_replay_stores_nothing_twice() {
    let simulate = Simulate::start(&["--seed", "1"]);
    let mut serve = Setup::new().argument("--jwks", &simulate.key_set()).start();
    let destination = json!({
        "name": "vidimus", "endpoint": format!("{}/audit-logs", serve.receiver),
        "authorization": serve.authorization, "log_format": "cef", "skip_ssl_verification": true,
    });
    let made = simulate.call("POST", "/v3/audit-log-destinations", destination, 201).json();
    let webhook = json!({"audit_log_destination_id": made["id"], "enabled": true});
    simulate.call("PATCH", &simulate.portal("audit-log-webhook"), webhook, 200);
    let login = format!("/simulate/portals/{}/login", simulate.portal);
    simulate.call("POST", &login, json!({"developer": "ada@example.com"}), 200);
    wait_until("the login", || !serve.stored().is_empty());
    let status = simulate.portal("audit-log-webhook/status");
    wait_until("the status", || {
        simulate.call("GET", &status, Value::Null, 200).json()["last_response_code"] == 200
    });

    // The receiver is away, and comes back at the same address.
    serve.kill();
    simulate.call("POST", "/simulate/rotate-key", Value::Null, 200);
    for outcome in ["locked", "success", "invalid_password"] {
        simulate.call("POST", &login, json!({"outcome": outcome}), 200);
    }
    // All the retries, without their waits; the program itself may have made some of them.
    simulate.call("POST", "/simulate/deliver", Value::Null, 200);
    wait_until("inactive", || {
        simulate.call("GET", &status, Value::Null, 200).json()["webhook_status"] == "inactive"
    });
    serve.restart();
    let endpoint = json!({"endpoint": format!("{}/audit-logs", serve.receiver)});
    let path = format!("/v2/audit-log-destinations/{}", made["id"].as_str().unwrap());
    simulate.call("PATCH", &path, endpoint, 200);
    let now = simulate.call("GET", "/simulate/clock", Value::Null, 200).json()["now"].clone();
    let range = json!({"start_at": "1970-01-01T00:00:00Z", "end_at": now});
    let replay = simulate.portal("audit-log-replay-job");
    simulate.call("PUT", &replay, range, 400);
    let hour_ago = now.as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
        - jiff::SignedDuration::from_hours(1);
    let range = json!({"start_at": hour_ago.to_string(), "end_at": now});
    simulate.call("PUT", &replay, range, 202);
    wait_until("the replay", || {
        simulate.call("GET", &replay, Value::Null, 200).json()["status"] == "completed"
    });
    wait_until("all four, verified", || serve.verdicts() == ["valid"; 4]);
}

#[test]
fn it_ends_cleanly_and_says_where_everything_is() {
    let mut simulate = Simulate::start(&["--token", "spat_0123456789", "--portal", "a-portal"]);
    assert_eq!(simulate.token, "spat_0123456789");
    assert_eq!(simulate.portal, "a-portal");
    simulate.call("GET", "/v2/portals/another/audit-log-webhook", Value::Null, 404);
    let pid = i32::try_from(simulate.child.id()).ok().and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    wait_until("the end", || simulate.child.try_wait().unwrap().is_some());
    assert_eq!(simulate.child.wait().unwrap().code(), Some(0));
    let stderr = simulate.stderr();
    assert!(stderr.contains(&format!("vidimus serve --jwks {}", simulate.key_set())), "{stderr}");
    assert!(stderr.lines().any(|line| line.starts_with("ready")), "{stderr}");
    assert!(!stderr.contains("spat_0123456789"), "{stderr}");
}
