//! `vidimus output` with and without a running server.

use std::process::Command;

use serde_json::Value;

use super::*;
use crate::harness::{Setup, output_of};

/// Runs `vidimus output`. Returns the exit code, standard output and standard error.
pub(super) fn run(serve: &Serve, arguments: &str) -> (Option<i32>, String, String) {
    output_of(
        Command::new(env!("CARGO_BIN_EXE_vidimus"))
            .arg("output")
            .args(arguments.split(' '))
            .current_dir(serve.home()),
    )
}

pub(super) fn status(serve: &Serve) -> Value {
    let (code, text, stderr) = run(serve, "status -o jsonl");
    assert!(matches!(code, Some(0 | 1)), "{stderr}");
    serde_json::from_str(&text).unwrap()
}

#[test]
fn an_output_can_be_reset_while_the_server_runs() {
    let mut serve = Setup::new().config(&file_output("siem.log", "format = 'raw'")).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_for_lines(&serve, "siem.log", &lines(0..10));
    wait_until("a saved cursor", || status(&serve)["next_id"] == 11);
    assert_eq!((&status(&serve)["behind"], &status(&serve)["written"]), (&0.into(), &10.into()));

    let (code, _, stderr) = run(&serve, "reset siem --since 1d");
    assert_eq!(code, Some(0), "{stderr}");
    let twice = [lines(0..10), lines(0..10)].concat();
    wait_for_lines(&serve, "siem.log", &twice);
    serve.stop();

    // A reset to a future time writes nothing again.
    let (code, _, stderr) = run(&serve, "reset siem --since 2999-01-01");
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(status(&serve)["next_id"], 11);
    let (code, _, stderr) = run(&serve, "reset other --since 1d");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("there is no output \"other\""), "{stderr}");
}

#[test]
fn a_removed_output_can_be_forgotten() {
    let mut serve = Setup::new().config(&file_output("siem.log", "")).start();
    let (code, _, stderr) = run(&serve, "forget siem");
    assert_eq!(code, Some(2));
    assert!(stderr.contains("remove it first"), "{stderr}");
    serve.stop();
    std::fs::write(serve.home().join("config.toml"), "").unwrap();
    serve.restart();
    assert!(run(&serve, "status").1.contains("no longer in the configuration"));
    assert_eq!(run(&serve, "forget siem").0, Some(0));
    assert_eq!(run(&serve, "status").1, "");
    assert_eq!(run(&serve, "forget siem").0, Some(2));
}

#[test]
fn status_says_why_an_output_waits() {
    let config = file_output("out/siem.log", "format = 'raw'");
    let serve = Setup::new().config(&config).file("out", "no folder").start();
    serve.deliver(lines(0..10).join("\n"));
    serve.wait_for_log("the output waits");
    wait_until("the error in the catalog", || run(&serve, "status").0 == Some(1));
    let (_, text, _) = run(&serve, "status");
    let words: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(words[..8], ["siem", "failed", "1", "10", "0", "0.0/s", "0", "0"], "{text}");
    assert!(text.contains("\nsiem: behind since "), "{text}");
    assert!(text.contains("cannot make its folder"), "{text}");
    let (code, _, stderr) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(3));
    assert!(stderr.contains("out/siem.log"), "{stderr}");
}

#[test]
fn entries_deleted_by_retention_count_as_lost() {
    let config = file_output("out/siem.log", "format = 'raw'") + "[store]\nsegment_entries = 10\n";
    let mut serve = Setup::new().config(&config).file("out", "no folder").start();
    (0..5).for_each(|n| drop(serve.deliver(lines(n * 10..n * 10 + 10).join("\n"))));
    serve.wait_for_log("the output waits");
    serve.stop();
    let pruned = Command::new(env!("CARGO_BIN_EXE_vidimus"))
        .args(["store", "prune", "--yes", "--size", "1"])
        .current_dir(serve.home())
        .status()
        .unwrap();
    assert_eq!(pruned.code(), Some(0));
    let left = serve.text_lines();
    assert!(left.len() < 50, "nothing was deleted");
    std::fs::remove_file(serve.home().join("out")).unwrap();
    serve.restart();
    serve.deliver(cef(50));
    wait_for_lines(&serve, "out/siem.log", &[left.clone(), vec![cef(50)]].concat());
    serve.wait_for_log("retention was faster");
    serve.stop();
    assert_eq!(status(&serve)["lost"], 50 - left.len());
}

#[test]
fn a_test_of_an_output_leaves_its_files_alone() {
    let config = file_output("out/{org_id}.log", "format = 'json'");
    let serve = Setup::new().config(&config).start();
    let (code, text, stderr) = run(&serve, "test siem --config config.toml");
    assert_eq!(code, Some(0), "{stderr}");
    let entry: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&entry["id"], &entry["verdict"]), (&0.into(), &"unsigned".into()));
    assert!(stderr.contains("out/test.log"), "{stderr}");
    assert!(files_below(&serve.home().join("out")).is_empty());
    assert_eq!(run(&serve, "test none --config config.toml").0, Some(2));
}
