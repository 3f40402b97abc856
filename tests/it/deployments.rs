//! The deployments under packaging/: what they run exists, what they mount exists, and their
//! configurations are valid. They are YAML, which Python reads, and units of systemd.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::tool;
use crate::packaging::{check, read, suggested};
use crate::program::run;

const COMPOSE: [&str; 3] =
    ["container/compose.yaml", "deploy/journal/compose.yaml", "deploy/many/compose.yaml"];

const KUBERNETES: [&str; 3] =
    ["kubernetes.yaml", "deploy/journal/kubernetes.yaml", "deploy/many/kubernetes.yaml"];

const UNITS: [&str; 4] = [
    "systemd/vidimus.service",
    "deploy/journal/vidimus-receive.service",
    "deploy/journal/vidimus-store.conf",
    "deploy/journal/vidimus-journal-prune.service",
];

const CONFIGURATIONS: [&str; 3] =
    ["deploy/journal/receiver.toml", "deploy/journal/store.toml", "deploy/many/store.toml"];

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging")
}

/// The documents of a YAML file. `None` if no Python here reads YAML.
fn yaml(path: &str) -> Option<Vec<Value>> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin/python");
    let mut python = match ours.exists() {
        true => Command::new(ours),
        false => tool("python3")?,
    };
    let is_there = python.args(["-c", "import yaml"]).output().unwrap().status.success();
    let strict = std::env::var_os("VIDIMUS_TESTS_STRICT").is_some();
    assert!(is_there || !strict, "PyYAML is missing, and VIDIMUS_TESTS_STRICT is set");
    if !is_there {
        eprintln!("SKIPPED: PyYAML is missing on this machine");
        return None;
    }
    let program = "import json, sys, yaml\n\
                   print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let mut python = Command::new(python.get_program());
    let output = python.args(["-c", program]).arg(packaging().join(path)).output().unwrap();
    assert!(output.status.success(), "{path}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// Checks that a command exists, and that it has the flags. Arguments are those after `vidimus`.
#[track_caller]
fn check_command(from: &str, arguments: &[&str]) {
    let words: Vec<_> = arguments.iter().take_while(|word| !word.starts_with('-')).collect();
    assert!(!words.is_empty(), "{from}: {arguments:?} has no command");
    let help = [&arguments[..words.len()], &["--help"]].concat();
    let help = run(&help, b"");
    assert_eq!(help.code, Some(0), "{from}: {arguments:?}: {help}");
    let flags: BTreeSet<_> = help.stdout.split([' ', ',', '\n', '[', ']', '=']).collect();
    for flag in arguments.iter().filter(|word| word.starts_with("--")) {
        let flag = flag.split('=').next().unwrap();
        assert!(flags.contains(flag), "{from}: {arguments:?} has no {flag}: {help}");
    }
}

/// The texts of a list.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[test]
fn compose_files_run_what_exists() {
    let mut commands = 0;
    for path in COMPOSE {
        let Some(documents) = yaml(path) else { return };
        let folder = match path.starts_with("deploy/") {
            // Paths are relative to the first of several files.
            true => packaging().join("deploy/journal"),
            false => packaging().join(path).parent().unwrap().to_owned(),
        };
        for (name, service) in documents[0]["services"].as_object().unwrap() {
            let from = format!("{path}, {name}");
            if service["image"] == "vidimus" && service.get("command").is_some() {
                check_command(&from, &texts(&service["command"]));
                commands += 1;
            }
            for volume in texts(&service["volumes"]) {
                let source = volume.split(':').next().unwrap();
                let is_there = !source.starts_with('.') || folder.join(source).exists();
                assert!(is_there, "{from}: {source} is missing");
            }
        }
    }
    assert_eq!(commands, 7);
}

#[test]
fn manifests_run_what_exists_with_valid_configurations() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("secret"), "Bearer 0123456789abcdef\n").unwrap();
    let mut commands = 0;
    for path in KUBERNETES {
        let Some(documents) = yaml(path) else { return };
        for document in documents {
            let from = format!("{path}, {} {}", document["kind"], document["metadata"]["name"]);
            if document["kind"] == "ConfigMap" {
                let toml = document["data"]["config.toml"].as_str().unwrap();
                check(home.path(), &from, toml);
                check(home.path(), &from, &suggested(toml));
            }
            let spec = &document["spec"];
            for template in [&spec["template"], &spec["jobTemplate"]["spec"]["template"]] {
                let containers = template["spec"]["containers"].as_array();
                for container in containers.into_iter().flatten() {
                    check_command(&from, &texts(&container["args"]));
                    commands += 1;
                    check_volumes(&from, &template["spec"], document["spec"].clone(), container);
                }
            }
        }
    }
    assert_eq!(commands, 5);
}

/// Checks that each volume that a container mounts is declared.
fn check_volumes(from: &str, pod: &Value, spec: Value, container: &Value) {
    let claims = spec["volumeClaimTemplates"].as_array().cloned().unwrap_or_default();
    let claims = claims.iter().map(|claim| claim["metadata"]["name"].clone());
    let volumes = pod["volumes"].as_array().into_iter().flatten();
    let names: Vec<_> = volumes.map(|volume| volume["name"].clone()).chain(claims).collect();
    for mount in container["volumeMounts"].as_array().into_iter().flatten() {
        assert!(names.contains(&mount["name"]), "{from}: no volume {}", mount["name"]);
    }
}

#[test]
fn units_run_what_exists() {
    for path in UNITS {
        let unit = read(path);
        let commands: Vec<_> = unit
            .lines()
            .filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/vidimus "))
            .collect();
        assert_eq!(commands.len(), 1, "{path}");
        check_command(path, &commands[0].split(' ').collect::<Vec<_>>());
        let pages = unit.lines().filter_map(|line| line.strip_prefix("Documentation=man:"));
        for page in pages {
            let words: Vec<_> = page.strip_suffix("(1)").unwrap().split('-').skip(1).collect();
            check_command(path, &words);
        }
    }
}

#[test]
fn the_configurations_of_deployments_are_valid() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("secret"), "Bearer 0123456789abcdef\n").unwrap();
    for path in CONFIGURATIONS {
        let toml = read(path);
        check(home.path(), path, &toml);
        check(home.path(), path, &suggested(&toml));
    }
}

#[test]
#[should_panic(expected = "has no --no-such-flag")]
fn a_flag_that_does_not_exist_is_found() {
    check_command("here", &["serve", "--config", "x", "--no-such-flag"]);
}

#[test]
#[should_panic(expected = "no-such-command")]
fn a_command_that_does_not_exist_is_found() {
    check_command("here", &["store", "no-such-command"]);
}
