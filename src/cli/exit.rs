//! Exit codes, and the errors that end a command.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The exit code of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Success, also when nothing matches.
    Done = 0,
    /// Success with a negative result, such as an entry that is not valid.
    Negative = 1,
    /// A usage or configuration error.
    Usage = 2,
    /// A failure.
    Failed = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Ignores that the reader of standard output has closed it. For a command whose exit code must not
/// depend on that.
pub(crate) fn ignore_closed(printed: Result<(), Failure>) -> Result<(), Failure> {
    match printed {
        Err(Failure::OutputClosed) => Ok(()),
        other => other,
    }
}

/// An error that ends a command. It does not implement [`Error`], so that `?` converts any error
/// into [`Failure::Failed`]. A usage error must be created explicitly.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A usage or configuration error, which the user can fix.
    Usage(Box<dyn Error + Send + Sync>),
    /// A failure.
    Failed(Box<dyn Error + Send + Sync>),
    /// The reader of standard output has closed it. This is not an error.
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
    /// A usage or configuration error.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Usage(error.into())
    }

    /// A failure.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        Failure::Failed(error.into())
    }

    pub(crate) fn exit(&self) -> Exit {
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
    fn failures_have_their_exit_codes() {
        assert_eq!(Failure::usage("x").exit() as u8, 2);
        assert_eq!(Failure::failed("x").exit() as u8, 3);
        assert_eq!(Failure::OutputClosed.exit() as u8, 0);
        assert_eq!(Exit::Negative as u8, 1);
        assert!(ignore_closed(Err(Failure::OutputClosed)).is_ok());
        assert!(ignore_closed(Err(Failure::failed("x"))).is_err());
    }
}
