//! A receiver, the simulator, and `vidimus konnect`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Serve, Setup, Simulator};
use crate::program::Run;

/// The simulator, and a receiver with the keys of the simulator.
pub(super) struct World {
    pub(super) simulator: Simulator,
    pub(super) portal: String,
    pub(super) serve: Serve,
}

impl World {
    pub(super) fn new() -> World {
        World::with(&[])
    }

    /// Starts the simulator with additional flags.
    pub(super) fn with(flags: &[&str]) -> World {
        let simulator = Simulator::start(&[&["--seed", "1"], flags].concat());
        let serve = Setup::new().argument("--jwks", &simulator.key_set()).start();
        fs::write(simulator.home().join("token"), &simulator.token).unwrap();
        World { portal: simulator.portal.clone(), simulator, serve }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("{}/audit-logs", self.serve.receiver)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.serve.data()
    }

    /// Runs `vidimus konnect`.
    pub(super) fn konnect(&self, arguments: &[&str]) -> Run {
        self.command(arguments).token(&self.simulator.token).run()
    }

    /// Runs `vidimus konnect` with `-o jsonl`.
    pub(super) fn jsonl(&self, arguments: &[&str]) -> Run {
        self.konnect(&[arguments, &["-o", "jsonl"]].concat())
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Konnect {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.arg("konnect").args(arguments).args(["--base-url", &self.simulator.api]);
        command.arg("--data-dir").arg(self.data()).current_dir(self.simulator.home());
        command.env_clear().stdin(Stdio::null());
        Konnect(command)
    }

    /// Runs `vidimus query` for all entries.
    pub(super) fn query(&self) -> Run {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.args(["query", "--limit", "0", "-o", "jsonl", "--data-dir"]).arg(self.data());
        Konnect(command).run()
    }

    /// Runs `vidimus konnect setup` for the receiver, with additional flags.
    #[track_caller]
    pub(super) fn set_up(&self, flags: &[&str]) -> Run {
        let endpoint = self.endpoint();
        let fixed = ["setup", "--endpoint", &endpoint, "--skip-ssl-verification"];
        self.konnect(&[&fixed, flags].concat())
    }

    /// Triggers an action of the simulator. Returns the answer.
    #[track_caller]
    pub(super) fn simulate(&self, what: &str, body: &Value) -> Value {
        self.simulator.simulate(what, body.clone())
    }

    /// Creates entries. Returns their trace ids.
    pub(super) fn create_entries(&self, count: usize) -> Vec<String> {
        let made = self.simulate("entries", &json!({"count": count}));
        let ids = made["trace_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    }

    /// Makes all due deliveries.
    pub(super) fn deliver(&self) {
        self.simulate("deliver", &json!({}));
    }

    pub(super) fn webhook(&self, flags: &[&str]) {
        self.konnect(&[&["webhook", "set"], flags].concat()).expect(0);
    }

    /// The stored lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.serve.text_lines()
    }
}

pub(super) struct Konnect(pub(super) Command);

impl Konnect {
    pub(super) fn token(mut self, token: &str) -> Konnect {
        self.0.env("KONNECT_TOKEN", token);
        self
    }

    pub(super) fn run(mut self) -> Run {
        Run::of(&mut self.0)
    }
}
