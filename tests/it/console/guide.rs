//! Every example in `docs/api.md` runs, and the page has every call of the description.

use std::process::Command;

use super::description;
use crate::harness::{Setup, tool};
use crate::vectors::{fixture, vector};

const GUIDE: &str = include_str!("../../../docs/api.md");

/// The commands in the shell blocks.
fn commands() -> Vec<&'static str> {
    let blocks = GUIDE.split("```sh\n").skip(1);
    let commands: Vec<_> = blocks.map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(commands.len() >= 6, "{commands:?}");
    commands
}

#[test]
fn every_example_runs() {
    if tool("curl").is_none() {
        return;
    }
    let jwks = fixture("jwks.json");
    let serve = Setup::new()
        .file("token", "a secret of the tests")
        .file("entries.log", vector("cef-access.vec"))
        .config("[console]\ntoken_file = 'token'\n")
        .argument("--jwks", jwks.to_str().unwrap())
        .start();
    serve.deliver(vector("cef-access.vec") + &vector("cef-flipped-byte.vec"));
    for command in commands() {
        let script = command.replace("http://127.0.0.1:8480", &serve.console);
        let ran = Command::new("sh")
            .args(["-e", "-c", &script])
            .current_dir(serve.home())
            .env("TOKEN", "a secret of the tests")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&ran.stdout);
        let failed = String::from_utf8_lossy(&ran.stderr);
        // The stream never ends, so curl times out and exits with 28.
        let left = command.contains("--max-time") && ran.status.code() == Some(28);
        assert!(ran.status.success() || left, "{script}\n{stdout}\n{failed}");
        assert!(left || !stdout.is_empty(), "{script} says nothing\n{failed}");
    }
}

#[test]
fn every_call_is_in_the_guide() {
    let description = description();
    for (path, operations) in description["paths"].as_object().unwrap() {
        assert!(GUIDE.contains(&format!("`{path}`")), "{path} is not in docs/api.md");
        for operation in operations.as_object().unwrap().values() {
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                let named = match parameter["$ref"].as_str() {
                    Some(name) => description.pointer(name.strip_prefix('#').unwrap()).unwrap(),
                    None => parameter,
                };
                let name = named["name"].as_str().unwrap();
                assert!(GUIDE.contains(&format!("`{name}`")), "{name} of {path} is not in it");
            }
        }
    }
}
