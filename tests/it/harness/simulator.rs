//! The real binary, running `vidimus simulate`, the simulator of Konnect.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, RawConnection, wait_until};

/// A running simulator. Dropping it kills the process.
pub(crate) struct Simulator {
    home: TempDir,
    pub(crate) child: Child,
    /// Scheme, host and port of the API.
    pub(crate) api: String,
    pub(crate) token: String,
    /// The id of the first Dev Portal.
    pub(crate) portal: String,
}

impl Simulator {
    /// Starts the simulator with these flags and waits until it is ready.
    pub(crate) fn start(flags: &[&str]) -> Simulator {
        let home = tempfile::tempdir().unwrap();
        let ready = home.path().join("ready.json");
        let child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .args(["simulate", "--listen", "127.0.0.1:0", "--ready-file", "ready.json"])
            .args(flags)
            .current_dir(home.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(File::create(home.path().join("stdout")).unwrap())
            .stderr(File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut simulator = Simulator {
            home,
            child,
            api: String::new(),
            token: String::new(),
            portal: String::new(),
        };
        wait_until("the simulator is ready", || {
            assert!(
                simulator.child.try_wait().unwrap().is_none(),
                "the process ended before it was ready"
            );
            ready.exists()
        });
        let ready_file: Value = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        simulator.api = text(&ready_file["api"]);
        simulator.token = text(&ready_file["token"]);
        simulator.portal = text(&ready_file["portals"][0]);
        simulator
    }

    /// The working directory of the simulator.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The URL of the key set.
    pub(crate) fn key_set(&self) -> String {
        format!("{}/v2/audit-log-webhook/jwks.json", self.api)
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.home.path().join("stderr")).unwrap_or_default()
    }

    /// Calls the API. A body of `null` is not sent.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.ask_as(&format!("Bearer {}", self.token), method, path, body)
    }

    /// Calls the API with another `Authorization`.
    pub(crate) fn ask_as(&self, bearer: &str, method: &str, path: &str, body: &Value) -> Answer {
        let port = self.api.rsplit_once(':').unwrap().1.parse().unwrap();
        let mut connection = if self.api.starts_with("https:") {
            RawConnection::tls(port, &self.home().join("vidimus-simulate.pem"))
        } else {
            RawConnection::plain(port)
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let headers = [("authorization", bearer), ("content-type", "application/json")];
        connection.request(method, path, &headers, body.as_bytes());
        connection.answer()
    }

    /// Calls the API and checks the status of the answer.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, path: &str, body: Value, status: u16) -> Answer {
        let answer = self.ask(method, path, &body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        answer
    }

    /// Triggers something that Konnect does by itself. Returns the answer.
    #[track_caller]
    pub(crate) fn simulate(&self, what: &str, body: Value) -> Value {
        self.call("POST", &format!("/simulate/{what}"), body, 200).json()
    }

    /// Simulates a login of a developer to the portal. Returns the trace id of the entry.
    #[track_caller]
    pub(crate) fn login(&self, outcome: &str) -> String {
        let path = format!("portals/{}/login", self.portal);
        let answer = self.simulate(&path, serde_json::json!({"outcome": outcome}));
        answer["trace_id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- vidimus simulate, stderr:\n{}", self.stderr());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
