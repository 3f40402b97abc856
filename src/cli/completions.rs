//! `vidimus completions`: print shell completions.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::{Exit, Failure};
use super::terminal::Output;

/// Print shell completions
///
/// For bash: `vidimus completions bash > ~/.local/share/bash-completion/completions/vidimus`. For
/// zsh, write the file `_vidimus` in a directory of `$fpath`. For fish, write
/// `~/.config/fish/completions/vidimus.fish`.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "vidimus", &mut script);
        let mut output = Output::new();
        output.bytes(&script)?;
        output.flush()?;
        Ok(Exit::Done)
    }
}
