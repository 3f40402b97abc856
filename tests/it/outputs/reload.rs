//! Changes of the outputs in the configuration, which SIGHUP applies.

use std::fs::{self, OpenOptions};
use std::process::Command;

use rustix::process::Signal;

use super::*;
use crate::harness::Setup;

const READ: &str = "the outputs now match the configuration";

fn output(name: &str, path: &str, keys: &str) -> String {
    format!("[[output]]\nname = '{name}'\ntype = 'file'\nformat = 'raw'\npath = '{path}'\n{keys}\n")
}

/// Changes the configuration and reloads it. `times` counts the reloads.
fn reload(serve: &Serve, toml: &str, times: &mut usize) {
    fs::write(serve.home().join("config.toml"), toml).unwrap();
    *times += 1;
    serve.signal(Signal::HUP);
    wait_until("the configuration to be read", || serve.stderr().matches(READ).count() == *times);
}

#[test]
fn outputs_are_added_changed_and_removed_and_keep_their_cursors() {
    let (kept, changed) = (output("kept", "kept.log", ""), output("changed", "one.log", ""));
    let serve = Setup::new().config(&format!("{kept}{changed}")).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_for_lines(&serve, "kept.log", &lines(0..10));
    wait_for_lines(&serve, "one.log", &lines(0..10));

    // One output gets another path, and one is new.
    let elsewhere = output("changed", "two.log", "");
    let new = output("new", "new.log", "");
    let mut times = 0;
    reload(&serve, &format!("{kept}{elsewhere}{new}"), &mut times);
    serve.deliver(lines(10..20).join("\n"));
    wait_for_lines(&serve, "kept.log", &lines(0..20));
    wait_for_lines(&serve, "two.log", &lines(10..20));
    wait_for_lines(&serve, "new.log", &lines(10..20));
    assert_eq!(lines_of(&serve.home().join("one.log")), lines(0..10));

    // One output is removed for a while, and comes back under the same name.
    reload(&serve, &kept, &mut times);
    serve.deliver(lines(20..30).join("\n"));
    wait_for_lines(&serve, "kept.log", &lines(0..30));
    assert_eq!(lines_of(&serve.home().join("two.log")), lines(10..20));
    reload(&serve, &format!("{changed}{new}{kept}"), &mut times);
    wait_for_lines(&serve, "one.log", &[lines(0..10), lines(20..30)].concat());
    wait_for_lines(&serve, "new.log", &lines(10..30));
}

#[test]
fn a_restored_output_keeps_the_lines_that_another_wrote_meanwhile() {
    let (a, b) = (|path: &str| output("a", path, ""), |path: &str| output("b", path, ""));
    let serve = Setup::new().config(&a("x.log")).start();
    serve.deliver(lines(0..5).join("\n"));
    wait_for_lines(&serve, "x.log", &lines(0..5));
    let mut times = 0;
    reload(&serve, &b("x.log"), &mut times);
    serve.deliver(lines(5..10).join("\n"));
    wait_for_lines(&serve, "x.log", &lines(0..10));

    // At another path.
    reload(&serve, &(b("x.log") + &a("y.log")), &mut times);
    wait_for_lines(&serve, "y.log", &lines(5..10));
    assert_eq!(lines_of(&serve.home().join("x.log")), lines(0..10));
    // At the first path again.
    reload(&serve, &a("x.log"), &mut times);
    serve.deliver(lines(10..15).join("\n"));
    wait_for_lines(&serve, "x.log", &lines(0..15));
    reload(&serve, &b("x.log"), &mut times);
    wait_for_lines(&serve, "x.log", &[lines(0..15), lines(10..15)].concat());
}

#[test]
fn an_output_can_be_moved_away_from_an_unwritable_path() {
    let serve = Setup::new().config(&output("siem", "out/siem.log", "")).start();
    serve.deliver(lines(0..5).join("\n"));
    wait_for_lines(&serve, "out/siem.log", &lines(0..5));
    wait_until("a saved cursor", || status(&serve)["next_id"] == 6);
    // The output fails, so its saved lengths stay.
    fs::remove_dir_all(serve.home().join("out")).unwrap();
    fs::write(serve.home().join("out"), "no folder").unwrap();
    serve.deliver(lines(5..10).join("\n"));
    serve.wait_for_log("the output waits");
    reload(&serve, &output("siem", "other/siem.log", ""), &mut 0);
    serve.deliver(lines(10..15).join("\n"));
    wait_for_lines(&serve, "other/siem.log", &lines(5..15));
}

#[test]
fn an_invalid_configuration_changes_nothing_but_files_are_reopened() {
    let serve = Setup::new().config(&output("siem", "siem.log", "")).start();
    serve.deliver(lines(0..10).join("\n"));
    wait_for_lines(&serve, "siem.log", &lines(0..10));
    fs::rename(serve.home().join("siem.log"), serve.home().join("moved.log")).unwrap();
    fs::write(serve.home().join("config.toml"), "[[output]]\nname = 'siem'\n").unwrap();
    serve.signal(Signal::HUP);
    serve.wait_for_log("the outputs are not changed");
    serve.wait_for_log("config.toml:1: output.type is missing");
    serve.deliver(lines(10..20).join("\n"));
    wait_for_lines(&serve, "siem.log", &lines(10..20));
    assert_eq!(lines_of(&serve.home().join("moved.log")), lines(0..10));
}

#[test]
fn an_output_that_does_not_stop_delays_no_other() {
    let one = output("siem", "one.log", "");
    let printed = "[[output]]\nname = 'printed'\ntype = 'stdout'\n";
    let setup = Setup::new().config(&format!("{one}{printed}"));
    // Standard output is a pipe that nobody reads.
    let pipe = setup.home().join("stdout-1");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let _reader = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
    let serve = setup.start();
    fs::remove_file(&pipe).unwrap();
    serve.deliver(lines(0..1000).join("\n"));
    wait_for_lines(&serve, "one.log", &lines(0..1000));

    reload(&serve, &output("siem", "two.log", ""), &mut 0);
    serve.deliver(lines(1000..1010).join("\n"));
    wait_for_lines(&serve, "two.log", &lines(1000..1010));
}
