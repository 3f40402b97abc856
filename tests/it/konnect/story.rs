//! The documented walkthrough with the real programs.

use serde_json::{Value, json};

use super::world::World;
use crate::harness::wait_until;

/// The verdicts of all stored entries, from `vidimus query`.
fn verdicts(world: &World) -> Vec<String> {
    let records = world.query().expect(0).records();
    records.iter().map(|record| record["verdict"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_login_arrives_and_a_replay_delivers_missed_entries_once() {
    let mut world = World::new();
    let portal = world.portal.clone();
    let portal = ["--portal", portal.as_str()];
    let endpoint = world.endpoint();
    let create = ["destinations", "create", "--name", "vidimus", "--endpoint", &endpoint];
    let authorization = world.serve.authorization.clone();
    let create = [&create[..], &["--authorization", &authorization, "--skip-ssl-verification"]];
    let made = world.jsonl(&create.concat()).expect(0).record();
    let id = made["id"].as_str().unwrap().to_owned();
    world.webhook(&[&portal[..], &["--destination", &id, "--enabled"]].concat());

    let mut logins = vec![world.simulator.login("success")];
    wait_until("the login", || verdicts(&world) == ["valid"]);
    let status = |world: &World| world.jsonl(&[&["status"], &portal[..]].concat());
    wait_until("the status", || status(&world).record()["last_response_code"] == 200);

    // The receiver is down, and the key rotates meanwhile.
    world.serve.kill();
    world.simulator.simulate("rotate-key", Value::Null);
    logins.extend(["locked", "success", "invalid_password"].map(|how| world.simulator.login(how)));
    // Makes all retries without waiting. The program may have made some of them already.
    world.deliver();
    wait_until("inactive", || status(&world).code == Some(1));
    assert_eq!(status(&world).record()["webhook_status"], "inactive");

    // The receiver comes back on another port.
    world.serve.restart();
    let endpoint = world.endpoint();
    world.konnect(&["destinations", "update", &id, "--endpoint", &endpoint]).expect(0);
    let replay = ["replay", "start", "--since", "1h", "--wait"];
    world.konnect(&[&replay[..], &portal].concat()).expect(0);
    wait_until("all four, verified", || verdicts(&world) == ["valid"; 4]);
    assert_eq!(status(&world).expect(0).record()["webhook_status"], "active");
    for id in logins {
        assert_eq!(world.lines().iter().filter(|line| line.contains(&id)).count(), 1, "{id}");
    }
}

#[test]
fn a_key_rotation_makes_no_entry_invalid() {
    let world = World::new();
    world.set_up(&[]).expect(0);
    let mut happened = 0;
    for at in 0..6 {
        if at == 3 {
            world.simulate("rotate-key", &json!({}));
        }
        happened += world.create_entries(50).len();
        world.deliver();
    }
    // The calls of the setup created entries too. Entries that came before their key are verified
    // late.
    wait_until("all valid", || {
        let verdicts = verdicts(&world);
        verdicts.len() >= happened && verdicts.iter().all(|verdict| verdict == "valid")
    });
}
