//! `vidimus man`: write the man pages, one per command, in section 1.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::exit::{Exit, Failure};
use super::terminal::tell;

/// Write the man pages of all commands to a directory
///
/// Read a page with `man -l DIR/vidimus-serve.1`. In `/usr/local/share/man/man1`, `man
/// vidimus-serve` finds it.
#[derive(Args)]
pub(crate) struct Man {
    /// The directory; created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let folder = &self.folder;
        std::fs::create_dir_all(folder)
            .and_then(|()| clap_mangen::generate_to(super::Cli::command(), folder))
            .map_err(|error| {
                Failure::failed(format!(
                    "cannot write the man pages to {}: {error}",
                    folder.display()
                ))
            })?;
        tell(format_args!("the man pages are in {}", folder.display()));
        Ok(Exit::Done)
    }
}
