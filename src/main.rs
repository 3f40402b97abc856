//! The `vidimus` command: its arguments in, an exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    vidimus::cli::run(std::env::args_os())
}
