//! `vidimus konnect listen`: from the set-up to Ctrl-C, and after a SIGKILL.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::world::World;
use crate::harness::{assert_sound, exported, wait_until};

/// A running `konnect listen` with the simulator of a [`World`].
struct Listener<'a> {
    world: &'a World,
    child: Child,
}

impl Listener<'_> {
    fn start<'a>(world: &'a World, flags: &[&str]) -> Listener<'a> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let url = format!("https://{free}");
        let fixed = ["listen", "--public-url", &url, "--listen", &free, "-o", "jsonl"];
        let at = world.simulator.home();
        let stderr = File::options().create(true).append(true).open(at.join("listen.err")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .arg("konnect")
            .args(fixed)
            .args(flags)
            .args(["--base-url", &world.simulator.api, "--data-dir", "listen-data"])
            .current_dir(at)
            .env_clear()
            .env("KONNECT_TOKEN", &world.simulator.token)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let listener = Listener { world, child };
        wait_until("it listens", || listener.stderr().contains("ready: deliveries at https://"));
        listener
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.world.simulator.home().join("listen.err")).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The next entry that it prints.
    fn entry(&mut self) -> Value {
        let mut line = String::new();
        BufReader::with_capacity(1, self.child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}\n{}", self.stderr()))
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn destinations(world: &World) -> Vec<Value> {
    world.jsonl(&["destinations", "list"]).expect(0).records()
}

fn shown(world: &World, flags: &[&str]) -> Value {
    world.jsonl(&[&["webhook", "show"], flags].concat()).expect(0).record()
}

#[test]
fn listen_shows_verified_entries_until_it_is_interrupted() {
    let world = World::new();
    // A webhook that points elsewhere is restored.
    world.set_up(&[]).expect(0);
    let before = shown(&world, &[]);
    let mut listener = Listener::start(&world, &["--skip-ssl-verification", "--replace"]);
    assert_ne!(shown(&world, &[])["audit_log_destination_id"], before["audit_log_destination_id"]);
    let made = world.create_entries(3);
    world.deliver();
    let mut seen = Vec::new();
    while !made.iter().all(|id| seen.contains(id)) {
        let entry = listener.entry();
        assert_eq!(entry["verdict"], "valid", "{entry}");
        seen.push(entry["fields"]["trace_id"].as_str().unwrap().to_owned());
    }
    listener.signal(Signal::INT);
    wait_until("it ends", || listener.child.try_wait().unwrap().is_some());
    let code = listener.child.wait().unwrap().code();
    assert_eq!(code, Some(0), "{}", listener.stderr());
    assert_eq!(shown(&world, &[]), before);
    assert_eq!(destinations(&world).len(), 1);
    let data = world.simulator.home().join("listen-data");
    assert!(!data.join("konnect-setup.json").exists());
    // The store stays.
    assert!(exported(&data).len() >= seen.len());
    assert_sound(&data);
}

#[test]
fn the_next_start_undoes_what_a_killed_one_left() {
    let world = World::new();
    let portal = ["--portal", &world.portal];
    let tls = "--skip-ssl-verification";
    for signal in [Signal::KILL, Signal::TERM] {
        let mut listener = Listener::start(&world, &[&portal[..], &[tls]].concat());
        assert_eq!(shown(&world, &portal)["enabled"], true);
        assert_eq!(destinations(&world).len(), 1, "{}", listener.stderr());
        world.simulate(&format!("portals/{}/login", world.portal), &json!({}));
        world.deliver();
        assert_eq!(listener.entry()["fields"]["portal_id"], world.portal.as_str());
        listener.signal(signal);
        wait_until("it ends", || listener.child.try_wait().unwrap().is_some());
        let is_left = signal == Signal::KILL;
        assert_eq!(shown(&world, &portal)["enabled"], is_left);
        assert_eq!(destinations(&world).len(), usize::from(is_left));
        fs::remove_file(world.simulator.home().join("listen.err")).unwrap();
    }
    // Killed before the id of its destination was known, too.
    let data = world.simulator.home().join("listen-data");
    let name = "vidimus-listen-of-a-test";
    let create = ["destinations", "create", "--name", name, "--authorization", "Bearer x"];
    let endpoint = ["--endpoint", "https://192.0.2.1/"];
    world.konnect(&[&create[..], &endpoint].concat()).expect(0);
    let record = json!([{
        "api": world.simulator.api, "portal_id": null, "destination_id": "",
        "destination_name": name, "endpoint": "https://192.0.2.1/",
        "previous": {"enabled": false}, "temporary": true,
    }]);
    fs::write(data.join("konnect-setup.json"), record.to_string()).unwrap();
    let listener = Listener::start(&world, &[tls]);
    assert!(listener.stderr().contains("undoing what an earlier"), "{}", listener.stderr());
    let names: Vec<_> = destinations(&world).iter().map(|one| one["name"].clone()).collect();
    assert!(names.len() == 1 && names[0] != name, "{names:?}");
}
