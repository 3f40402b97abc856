//! kongctl reads the webhook and the destinations, receives deliveries, and applies what
//! `setup --print kongctl` prints.
//!
//! kongctl calls the global API at a fixed host, and accepts only names of Kong for the regional API.
//! A [`Tunnel`] leads these names to the simulator, which has a certificate for them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::counterpart;
use super::network::Tunnel;
use crate::harness::{Simulator, wait_until};
use crate::program::Run;

const HOSTS: [&str; 2] = ["global.api.konghq.com", "eu.api.konghq.com"];
const AUTHORIZATION: &str = "Splunk 0123";

/// kongctl with its own home, and the simulator.
struct Kongctl {
    simulator: Simulator,
    tunnel: Tunnel,
    program: PathBuf,
}

impl Kongctl {
    /// Returns `None` if kongctl is missing.
    fn start() -> Option<Kongctl> {
        let program = counterpart("kongctl")?;
        // kongctl does not decode `application/gzip`.
        let names = HOSTS.iter().flat_map(|host| ["--tls-name", host]);
        let flags: Vec<_> = names.chain(["--encoding", "gzip", "--seed", "3"]).collect();
        let simulator = Simulator::start(&flags);
        let tunnel = Tunnel::to(simulator.api.rsplit_once(':').unwrap().1.parse().unwrap());
        Some(Kongctl { simulator, tunnel, program })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        let home = self.simulator.home();
        command.args(arguments).args(["--region", "eu"]).current_dir(home);
        command.env_clear().env("HOME", home).env("XDG_CONFIG_HOME", home);
        command.env("DO_NOT_TRACK", "1").env("KONGCTL_NO_TELEMETRY", "true");
        command.env("KONGCTL_DEFAULT_KONNECT_PAT", &self.simulator.token);
        command.env("HTTPS_PROXY", self.tunnel.url());
        command.env("SSL_CERT_FILE", home.join("vidimus-simulate.pem"));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs a command that prints JSON.
    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["-o", "json"]].concat()).expect(0);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran}"))
    }

    fn get(&self, path: &str) -> Value {
        self.simulator.call("GET", path, Value::Null, 200).json()
    }

    /// Creates a destination. Returns its id.
    fn create(&self, name: &str, endpoint: &str) -> String {
        let body = json!({"name": name, "endpoint": endpoint, "authorization": AUTHORIZATION,
            "log_format": "json", "skip_ssl_verification": true});
        let made = self.simulator.call("POST", "/v3/audit-log-destinations", body, 201).json();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Starts `kongctl listen` or `tail`, and waits until it has enabled the webhook.
    fn listen(&self, verb: &str, format: &str) -> Listening {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let endpoint = format!("http://{address}/audit-logs");
        let output = self.simulator.home().join(format!("{verb}-{format}"));
        let child = self
            .command(&[verb, "--endpoint", &endpoint, "--listen-address", &address])
            .args(["--authorization", AUTHORIZATION, "--log-format", format, "--name", "kongctl"])
            .stdout(File::create(&output).unwrap())
            .stderr(File::create(output.with_extension("stderr")).unwrap())
            .spawn()
            .unwrap();
        let mut listening = Listening { child, output };
        wait_until("the webhook of kongctl", || {
            let ended = listening.child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", listening.text("stderr"));
            self.get("/v2/audit-log-webhook")["enabled"] == true
                && std::net::TcpStream::connect(&address).is_ok()
        });
        listening
    }
}

/// A running `kongctl listen` or `tail`. Dropping it kills the process.
struct Listening {
    child: Child,
    output: PathBuf,
}

impl Listening {
    fn text(&self, extension: &str) -> String {
        fs::read_to_string(self.output.with_extension(extension)).unwrap_or_default()
    }

    /// Interrupts it as Ctrl-C does, and waits for its end.
    fn interrupt(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}{}", self.text(""), self.text("stderr"));
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn kongctl_shows_destinations_the_webhook_and_the_regions() {
    let Some(kongctl) = Kongctl::start() else { return };
    let webhook = kongctl.json(&["get", "audit-logs", "webhook"]);
    assert_eq!(
        (&webhook["enabled"], &webhook["endpoint"]),
        (&json!(false), &json!("unconfigured"))
    );

    let first = kongctl.create("first", "https://siem.example.com/1");
    let second = kongctl.create("second", "https://siem.example.com/2");
    let all = kongctl.json(&["get", "audit-logs", "destinations"]);
    let shown: Vec<_> = all.as_array().unwrap().iter().map(|one| &one["id"]).collect();
    assert_eq!(shown, [&json!(first), &json!(second)]);
    for word in ["second", &second] {
        let one = kongctl.json(&["get", "audit-logs", "destination", word]);
        assert_eq!(one["endpoint"], "https://siem.example.com/2");
        assert_eq!(
            (&one["log_format"], &one["skip_ssl_verification"]),
            (&json!("json"), &json!(true))
        );
    }

    let body = json!({"enabled": true, "audit_log_destination_id": first});
    kongctl.simulator.call("PATCH", "/v3/audit-log-webhook", body, 200);
    let webhook = kongctl.json(&["get", "audit-logs", "webhook"]);
    let shown = (&webhook["enabled"], &webhook["endpoint"]);
    assert_eq!(shown, (&json!(true), &json!("https://siem.example.com/1")));

    let regions = kongctl.json(&["get", "regions"]);
    assert!(regions["regions"]["stable"].as_array().unwrap().contains(&json!("eu")), "{regions}");
    for host in HOSTS {
        assert!(kongctl.tunnel.names().contains(&format!("{host}:443")), "{host}");
    }
}

#[test]
fn kongctl_receives_signed_entries_and_cleans_up() {
    let Some(kongctl) = Kongctl::start() else { return };
    // The second run finds the webhook as it was before the first.
    for (verb, format) in [("tail", "json"), ("tail", "cef"), ("listen", "cps")] {
        let mut listening = kongctl.listen(verb, format);
        let made = kongctl.simulator.simulate("entries", json!({"count": 5}));
        kongctl.simulator.simulate("deliver", Value::Null);
        // `listen` writes the entries to a file, and `tail` also prints them.
        let events = kongctl.simulator.home().join("kongctl/audit-logs/default/events.jsonl");
        let lines = match verb {
            "tail" => listening.text(""),
            _ => fs::read_to_string(events).unwrap(),
        };
        for id in made["trace_ids"].as_array().unwrap() {
            assert!(lines.contains(id.as_str().unwrap()), "{id}: {lines}");
        }
        let received = kongctl.simulator.home().join("received");
        fs::write(&received, &lines).unwrap();
        let keys = kongctl.simulator.home().join("jwks.json");
        let set = kongctl.get("/v2/audit-log-webhook/jwks.json");
        fs::write(&keys, set.to_string()).unwrap();
        let mut verify = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        Run::of(verify.arg("verify").arg("--jwks").args([&keys, &received])).expect(0);

        listening.interrupt();
        let webhook = kongctl.get("/v2/audit-log-webhook");
        assert_eq!(webhook["endpoint"], "unconfigured");
        assert_eq!(kongctl.get("/v3/audit-log-destinations")["data"], json!([]));
    }
}

#[test]
fn kongctl_does_not_touch_a_webhook_in_use() {
    let Some(kongctl) = Kongctl::start() else { return };
    let id = kongctl.create("other", "https://siem.example.com/1");
    let body = json!({"enabled": true, "audit_log_destination_id": id});
    kongctl.simulator.call("PATCH", "/v3/audit-log-webhook", body, 200);
    let listen = ["listen", "--endpoint", "http://127.0.0.1:9/", "--authorization", AUTHORIZATION];
    let refused = kongctl.run(&[&listen[..], &["--listen-address", "127.0.0.1:0"]].concat());
    assert!(refused.stderr.contains("already configured"), "{refused}");
    assert_eq!(kongctl.get("/v3/audit-log-webhook")["audit_log_destination_id"], json!(id));
}

#[test]
fn kongctl_applies_the_printed_configuration_of_a_portal() {
    let Some(kongctl) = Kongctl::start() else { return };
    let portal = kongctl.simulator.portal.clone();
    let home = kongctl.simulator.home();
    let mut vidimus = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    vidimus.args(["konnect", "setup", "--endpoint", "https://siem.example.com/audit-logs"]);
    vidimus.args(["--portal", &portal, "--name", "vidimus-portal", "--print", "kongctl"]);
    vidimus.args(["--base-url", &kongctl.simulator.api]).current_dir(home).env_clear();
    vidimus.env("VIDIMUS_AUTHORIZATION", AUTHORIZATION);
    let printed = Run::of(&mut vidimus).expect(0).stdout;
    fs::write(home.join("portal.yaml"), printed).unwrap();
    // As the printed comment says, kongctl cannot create the destination.
    let id = kongctl.create("vidimus-portal", "https://siem.example.com/audit-logs");

    let plan = || {
        let plan = kongctl.run(&["plan", "-f", "portal.yaml", "--mode", "apply"]).expect(0);
        let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
        plan["summary"]["total_changes"].clone()
    };
    let apply = || {
        kongctl.run(&["apply", "-f", "portal.yaml", "--auto-approve"]).expect(0);
        let webhook = kongctl.get(&format!("/v3/portals/{portal}/audit-log-webhook"));
        assert_eq!(webhook, json!({"enabled": true, "audit_log_destination_id": id}));
    };
    assert_eq!(plan(), 1);
    apply();
    assert_eq!(plan(), 0);

    let path = format!("/v3/portals/{portal}/audit-log-webhook");
    kongctl.simulator.call("PATCH", &path, json!({"enabled": false}), 200);
    assert_eq!(plan(), 1);
    apply();
    kongctl.simulator.call("DELETE", &path, Value::Null, 204);
    assert_eq!(plan(), 1);

    // The same portal by its name, which kongctl looks up.
    let name = kongctl.get("/v3/portals")["data"][0]["name"].clone();
    let text = fs::read_to_string(home.join("portal.yaml")).unwrap();
    let by_name = text.replace(
        &format!("      id: \"{portal}\""),
        &format!("      selector:\n        matchFields:\n          name: {name}"),
    );
    assert_ne!(text, by_name);
    fs::write(home.join("portal.yaml"), by_name).unwrap();
    apply();
    assert_eq!(plan(), 0);
}
