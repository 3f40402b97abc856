//! How a command ends: its exit code, and the error that it ends with.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Done, no match included.
    Done = 0,
    /// Done, and the answer is bad news.
    BadNews = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// It could not be done.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What printing came to, for a command whose answer does not end with what it prints: that
/// whoever read standard output has seen enough changes neither the answer nor the exit code.
pub fn unless_closed(printed: Result<(), Failure>) -> Result<(), Failure> {
    match printed {
        Err(Failure::OutputClosed) => Ok(()),
        other => other,
    }
}

/// What stops a command. It is no [`Error`] itself, so that `?` makes one of any error: that it could
/// not be done. Wrong usage has to be said.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: the operator's to mend.
    Usage(Box<dyn Error + Send + Sync>),
    /// It could not be done.
    Failed(Box<dyn Error + Send + Sync>),
    /// Whoever read standard output has seen enough. That is no error.
    OutputClosed,
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::failed(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(error) | Failure::Failed(error) => error.fmt(f),
            Failure::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

impl Failure {
    /// Wrong usage or configuration.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Usage(error.into())
    }

    /// It could not be done.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Failed(error.into())
    }

    /// The exit code it ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Failed(_) => Exit::Failed,
            Failure::OutputClosed => Exit::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_exit_codes_of_the_contract() {
        assert_eq!(Failure::usage("x").exit() as u8, 2);
        assert_eq!(Failure::failed("x").exit() as u8, 3);
        assert_eq!(Failure::OutputClosed.exit() as u8, 0);
        assert_eq!(Exit::BadNews as u8, 1);
        assert!(unless_closed(Err(Failure::OutputClosed)).is_ok());
        assert!(unless_closed(Err(Failure::failed("x"))).is_err());
    }
}
