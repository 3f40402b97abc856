//! What commands ask of the `serve` that runs on a data directory: only one process writes to a store.
//!
//! They ask over `control.sock` in the data directory, which nobody else may enter: a [`Task`] as a
//! line of JSON there, and as a line of JSON back what was done. Where nobody answers, a command opens
//! the store and does the same itself. Nothing here prints.

mod listen;
mod work;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

pub use listen::{Control, Work};
pub use work::{by, drop_bodies, retry, seal};

use crate::store::Directory;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// Close the live segment, and seal all that is closed.
    Seal {},
    /// Decode and store bodies in quarantine once more.
    Retry {
        /// Their numbers; none: all.
        ids: Vec<u64>,
    },
    /// Remove bodies from quarantine for good.
    Drop {
        /// Their numbers.
        ids: Vec<u64>,
    },
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What there is to tell, a line each.
    pub told: Vec<String>,
    /// Whether some of it could not be done.
    pub bad_news: bool,
}

/// The longest task, in bytes.
const TASK: usize = 64 << 10;

/// The longest answer, in bytes.
const ANSWER: u64 = 16 << 20;

/// Has the `serve` that runs on this directory do a task: what it did, or why it could not. `None` if
/// none runs there, or none that can be asked.
///
/// # Errors
/// It went away before it answered, or it is another user's.
pub fn ask(directory: &Directory, task: &Task) -> io::Result<Option<Result<Done, String>>> {
    let mut stream = match UnixStream::connect(directory.control()) {
        Ok(stream) => stream,
        // Nobody has the socket, or its path is longer than that of a socket can be.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::InvalidInput
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let mut line = serde_json::to_string(task)?;
    if line.len() >= TASK {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too much is asked for at once"));
    }
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(io::Error::new(ErrorKind::UnexpectedEof, "serve ended before it answered")),
        false => Ok(Some(serde_json::from_str(&answer)?)),
    }
}
