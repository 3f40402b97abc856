//! The command line, with one file per command. No other module prints.
//!
//! - `exit`: exit codes, and the errors that end a command.
//! - `terminal`: standard output and standard error. `logging`: log events. `colour`: whether to
//!   use colours.
//! - `args`: arguments that several commands share. `archived`: reading from the archive.
//! - `checking`: what the checks of the store and of the log share.
//! - `print`: stored entries and tables in every output format.
//! - `input`: the files that a command reads.
//!
//! The fields of a command are its arguments. `run` executes it and returns the exit code.

mod archive;
mod archived;
mod args;
mod checking;
mod colour;
mod completions;
mod config;
mod display;
mod exit;
mod export;
mod fault;
mod health;
mod input;
mod journal;
mod keys;
mod konnect;
mod log;
mod logging;
mod man;
mod output;
mod print;
mod prove;
mod query;
mod receive;
mod receiving;
mod send;
mod serve;
mod service_manager;
mod simulate;
mod store;
mod tail;
mod terminal;
mod verify;
mod verify_bundle;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};

/// Receive, verify and store the audit logs of Kong Konnect and its Dev Portals.
///
/// Exit codes: 0 success, 1 success with a negative result, 2 usage error, 3 failure.
#[derive(Parser)]
#[command(name = "vidimus", version)]
pub struct Cli {
    #[command(flatten)]
    verbosity: logging::Verbosity,

    /// Use colours
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: colour::Colour,

    #[command(subcommand)]
    command: Command,
}

// No `Debug`: some hold a secret.
#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Receive(receive::Receive),
    Verify(verify::Verify),
    Query(query::Query),
    Tail(tail::Tail),
    Export(export::Export),
    Prove(prove::Prove),
    VerifyBundle(verify_bundle::VerifyBundle),
    Send(send::Send),
    Simulate(simulate::Simulate),
    Store(store::Store),
    Journal(journal::JournalCommand),
    Archive(archive::Archive),
    Log(log::Log),
    Keys(keys::Keys),
    Konnect(konnect::Konnect),
    Output(output::OutputCommand),
    Fault(fault::FaultCommand),
    Config(config::Config),
    Health(health::Health),
    Completions(completions::Completions),
    Man(man::Man),
}

/// Runs the command line. The first argument is the name of the program.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help is written to standard output, which may be closed.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    match run_command(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !matches!(failure, Failure::OutputClosed) {
                logging::report(&failure);
            }
            failure.exit().into()
        }
    }
}

fn run_command(Cli { verbosity, color, command }: Cli) -> Result<Exit, Failure> {
    colour::choose(color);
    if !matches!(command, Command::Serve(_) | Command::Receive(_) | Command::Simulate(_)) {
        logging::start(verbosity, None, "warn", logging::Style::Text)?;
    }
    match command {
        // These commands start logging themselves.
        Command::Serve(serve) => serve.run(verbosity),
        Command::Receive(receive) => receive.run(verbosity),
        Command::Simulate(simulate) => simulate.run(verbosity),
        Command::Verify(verify) => verify.run(),
        Command::Query(query) => query.run(),
        Command::Tail(tail) => tail.run(),
        Command::Export(export) => export.run(),
        Command::Prove(prove) => prove.run(),
        Command::VerifyBundle(verify) => verify.run(),
        Command::Send(send) => send.run(),
        Command::Store(store) => store.run(),
        Command::Journal(journal) => journal.run(),
        Command::Archive(archive) => archive.run(),
        Command::Log(log) => log.run(),
        Command::Keys(keys) => keys.run(),
        Command::Konnect(konnect) => konnect.run(),
        Command::Output(output) => output.run(),
        Command::Fault(fault) => fault.run(),
        Command::Config(config) => config.run(),
        Command::Health(health) => health.run(),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    fn every_command(command: &clap::Command, check: &mut impl FnMut(&clap::Command)) {
        check(command);
        command.get_subcommands().for_each(|one| every_command(one, check));
    }

    #[test]
    fn every_command_and_flag_is_documented() {
        every_command(&Cli::command(), &mut |command| {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for flag in command.get_arguments() {
                assert!(flag.get_help().is_some(), "{} {}", command.get_name(), flag.get_id());
            }
        });
    }

    #[test]
    fn usage_errors_and_help_have_their_exit_codes() {
        let exit = |arguments: &[&str]| {
            let arguments = arguments.iter().map(OsString::from);
            Cli::try_parse_from(arguments).err().unwrap().exit_code()
        };
        assert_eq!(exit(&["vidimus", "--version"]), 0);
        assert_eq!(exit(&["vidimus", "--help"]), 0);
        assert_eq!(exit(&["vidimus"]), 2);
        assert_eq!(exit(&["vidimus", "nothing"]), 2);
        assert_eq!(exit(&["vidimus", "verify", "--nothing"]), 2);
    }
}
