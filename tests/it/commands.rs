//! docs/commands.md, shell completions and man pages match the commands.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use vidimus::cli::Cli;

use crate::program::run;

const OPENING: &str = "# Commands

The `--help` of each command. To regenerate this page: `VIDIMUS_UPDATE=1 cargo test commands`.

Exit codes: 0 success (also when nothing matches); 1 success, but with a negative result, such as an
entry that is not valid; 2 usage or configuration error; 3 failure.
";

/// Adds a section for a command and for each command below it.
fn describe(page: &mut String, name: &str, command: &mut Command) {
    let help = command.clone().term_width(96).bin_name(name).render_long_help().to_string();
    let lines: Vec<_> = help.lines().map(str::trim_end).collect();
    write!(page, "\n## {name}\n\n```text\n{}\n```\n", lines.join("\n").trim_end()).unwrap();
    let below: Vec<_> = command.get_subcommands().cloned().collect();
    for mut one in below {
        let name = format!("{name} {}", one.get_name());
        describe(page, &name, &mut one);
    }
}

#[test]
fn the_page_of_commands_matches_their_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/commands.md");
    let mut page = OPENING.to_owned();
    describe(&mut page, "vidimus", &mut Cli::command().disable_help_flag(false));
    if std::env::var_os("VIDIMUS_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(page.lines()).find(|(found, expected)| found != expected);
    assert_eq!(differs, None, "docs/commands.md is out of date: run it with VIDIMUS_UPDATE=1");
    assert_eq!(found.len(), page.len(), "docs/commands.md is out of date");
}

/// Calls `look` with each command and its full name, for example `vidimus-konnect-setup`.
fn every_command(command: &Command, name: &str, look: &mut impl FnMut(&str, &Command)) {
    look(name, command);
    for one in command.get_subcommands() {
        every_command(one, &format!("{name}-{}", one.get_name()), look);
    }
}

#[test]
fn every_shell_completes_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(&["completions", shell], b"").expect(0).stdout;
        every_command(&Cli::command(), "vidimus", &mut |name, command| {
            assert!(script.contains(command.get_name()), "{shell}: {name}");
            // The script for fish has no flags of commands on the third level.
            if shell == "fish" && command.get_subcommands().next().is_none() {
                return;
            }
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(script.contains(flag), "{shell}: {name} --{flag}");
            }
        });
    }
    run(&["completions", "tcsh"], b"").expect(2);
    // bash is always there, so it reads its script.
    let script = run(&["completions", "bash"], b"").expect(0).stdout + "complete -p vidimus\n";
    let shell = std::process::Command::new("bash").args(["--norc", "-c", &script]).output();
    let Ok(shell) = shell else { return };
    let stdout = String::from_utf8_lossy(&shell.stdout).into_owned();
    assert!(shell.status.success() && stdout.contains("complete"), "{stdout} {shell:?}");
}

#[test]
fn every_command_has_a_man_page_with_its_flags() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    run(&["man", pages.to_str().unwrap()], b"").expect(0);
    let mut commands = 0;
    every_command(&Cli::command(), "vidimus", &mut |name, command| {
        let page = std::fs::read_to_string(pages.join(format!("{name}.1")));
        let page = page.unwrap_or_else(|error| panic!("{name}: {error}")).replace("\\-", "-");
        assert!(page.contains(".TH "), "{name}");
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(page.contains(&format!("--{flag}")), "{name} --{flag}");
        }
        commands += 1;
    });
    assert!(commands > 40, "{commands}");
    run(&["man", "/dev/null/x"], b"").expect(3);
}
