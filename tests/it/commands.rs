//! The page docs/commands.md is what the commands say of themselves.

use std::fmt::Write;
use std::path::Path;

use clap::{Command, CommandFactory};
use vidimus::cli::Cli;

const OPENING: &str = "# Commands

What each command says with `--help`. To make this page anew: `VIDIMUS_UPDATE=1 cargo test commands`.

Exit codes: 0 done, no match included; 1 done, and the answer is bad news; 2 wrong usage or
configuration; 3 it could not be done.
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
fn the_page_of_commands_is_what_they_say() {
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
