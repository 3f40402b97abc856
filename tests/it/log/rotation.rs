//! `vidimus log rotate-key`: a leaf, and both keys sign.

use std::fs;
use std::process::Command;

use super::{
    checkpoint, differences, kept, lines, log, records, vkey, wait_for_note, wait_for_size,
};
use crate::harness::{Setup, output_of, tool};

const FAST: &str = "[log]\ncheckpoint_interval = '100ms'\n";

#[test]
fn both_keys_sign_after_a_rotation() {
    let mut serve = Setup::new().config(FAST).start();
    serve.deliver(lines(0..5));
    wait_for_size(&serve, 6);
    let (data, old) = (serve.data(), vkey(&serve.data()));
    let (code, _, stderr) = log(&["rotate-key"], &data);
    assert_eq!(code, Some(3), "{stderr}");
    serve.stop();
    let (code, stdout, stderr) = log(&["rotate-key"], &data);
    assert_eq!(code, Some(0), "{stderr}");
    let new = vkey(&data);
    assert_eq!(stdout, format!("{new}\n"));
    assert_eq!((new == old, new.split('+').next()), (false, old.split('+').next()));
    serve.restart();
    serve.deliver(lines(5..9));
    let newest = wait_for_size(&serve, 11);
    // Whoever has either key verifies it.
    let note = wait_for_note(&serve, 11);
    assert_eq!((checkpoint(&note, &old), checkpoint(&note, &new)), (newest.clone(), newest));
    assert_eq!(note.lines().filter(|line| line.starts_with('—')).count(), 2, "{note}");
    let records = records(&serve, 11);
    let keys: Vec<_> = records.iter().filter(|record| record[1] == 8).collect();
    assert_eq!(keys.len(), 1);
    assert_eq!(&keys[0][10..], new.as_bytes());
    serve.stop();
    assert_eq!(differences(&[], &data), [""; 0]);

    // Thirty days later the new one signs alone, and what the old one signed is still verified.
    let vkeys = fs::read_to_string(data.join("log/vkeys")).unwrap();
    let month = 30 * 86_400_000;
    let earlier = |line: &str| {
        let (at, key) = line.split_once(' ').unwrap();
        format!("{} {key}\n", at.parse::<i64>().unwrap() - month)
    };
    fs::write(data.join("log/vkeys"), vkeys.lines().map(earlier).collect::<String>()).unwrap();
    serve.restart();
    serve.deliver(lines(9..10));
    let note = wait_for_note(&serve, 12);
    assert_eq!(checkpoint(&note, &new).size, 12);
    assert_eq!(note.lines().filter(|line| line.starts_with('—')).count(), 1, "{note}");
    serve.stop();
    assert!(kept(&data).len() >= 3);
    assert_eq!(differences(&[], &data), [""; 0]);
    // Auditors name the keys that they have.
    assert_eq!(differences(&["--log-key", &old, "--log-key", &new], &data), [""; 0]);
    let only_new = differences(&["--log-key", &new], &data);
    assert!(only_new.iter().all(|one| one["kind"] == "checkpoint"), "{only_new:?}");
    assert!(!only_new.is_empty());
}

#[test]
fn a_key_that_the_operator_keeps_is_rotated_by_the_operator() {
    if tool("openssl").is_none() {
        return;
    }
    let config = |key: &str| format!("{FAST}key_file = '{key}'\n");
    let setup = Setup::new().config(&config("one.pem"));
    for name in ["one.pem", "two.pem"] {
        let mut openssl = Command::new("openssl");
        let made = ["genpkey", "-algorithm", "ed25519", "-out", name];
        let made = output_of(openssl.args(made).current_dir(setup.home()));
        assert_eq!(made.0, Some(0), "{}", made.2);
    }
    let mut serve = setup.start();
    wait_for_note(&serve, 1);
    serve.stop();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
        command.arg("log").args(arguments).args(["--config", "config.toml"]);
        output_of(command.current_dir(serve.home()))
    };
    let old = run(&["key"]).1;
    let (code, _, stderr) = run(&["rotate-key"]);
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("--new-key FILE"), "{stderr}");
    let (code, new, stderr) = run(&["rotate-key", "--new-key", "two.pem"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("set log.key_file to two.pem"), "{stderr}");
    fs::write(serve.home().join("config.toml"), config("two.pem")).unwrap();
    assert_eq!(run(&["key"]).1, new);
    serve.restart();
    let note = wait_for_note(&serve, 2);
    for key in [&old, &new] {
        assert_eq!(checkpoint(&note, key.trim_end()).size, 2);
    }
    serve.stop();
}
