//! `vidimus config`: print the example configuration, or check a configuration file.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::serve::source_client;
use super::terminal::{Output, tell};
use crate::config::{self, Flags};

/// Print the example configuration, or check a configuration file.
#[derive(Args)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print an example configuration with every key and its default
    Example,
    /// Check a configuration file and the secret files it names
    Check {
        /// The configuration file
        file: PathBuf,
        /// Check it as `vidimus serve --no-receiver` reads it: it must have a source, and no
        /// authorization value is read
        #[arg(long)]
        no_receiver: bool,
    },
}

impl Config {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self.command {
            Command::Example => {
                let mut output = Output::new();
                output.bytes(config::example().as_bytes())?;
                output.flush()?;
            }
            Command::Check { file, no_receiver } => {
                let shown = file.display().to_string();
                let flags = Flags { config: Some(file), no_receiver, ..Flags::default() };
                let env = |name: &str| std::env::var(name).ok();
                let valid = config::Config::load(&flags, &env).map_err(Failure::usage)?;
                let mut warnings = valid.warnings.clone();
                source_client(&valid, &env, &mut warnings)?;
                for warning in &warnings {
                    tell(format_args!("warning: {warning}"));
                }
                tell(format_args!("{shown} is valid"));
            }
        }
        Ok(Exit::Done)
    }
}
