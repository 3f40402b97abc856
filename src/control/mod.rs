//! Tasks that a command sends to the running `serve`, because only one process may write to a store.
//!
//! A command connects to `control.sock` in the data directory, which only the owner can enter. It sends a
//! [`Task`] as a line of JSON, and gets the result as a line of JSON. If no `serve` runs, the command
//! opens the store and does the task itself. Faults are the exception: they exist in a running `serve`
//! only.

mod actions;
mod socket;
mod tasks;

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use serde::{Deserialize, Serialize};

pub(crate) use actions::{ActionLog, RecordedAction};
pub(crate) use socket::{ControlSocket, TaskHandler};
pub(crate) use tasks::{TaskError, drop_bodies, perform, retry, seal};

use crate::receiver::fault::{Fault, FaultCount, PlannedFault};
use crate::store::{Directory, Reconciled, Resealed};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Task {
    /// Close the live segment, and seal all closed segments.
    Seal {},
    /// Rewrite the next sealed segment of an earlier version.
    Reseal {
        /// The first id of the segment that was last looked at.
        after: u64,
    },
    /// Decode and store bodies in quarantine.
    Retry {
        /// The ids of the bodies. If it is empty: all bodies.
        ids: Vec<u64>,
    },
    /// Delete bodies from quarantine.
    Drop {
        /// The ids of the bodies.
        ids: Vec<u64>,
    },
    /// Give the next deliveries to an input a fault.
    Fault {
        /// The name of the input. It can be left out if there is one only.
        input: Option<String>,
        next: FaultCount,
        fault: Fault,
    },
    /// List the faults.
    Faults {},
    /// Clear the fault of an input, or all faults.
    ClearFaults { input: Option<String> },
    /// Give up the object of the journal at which an epoch is stopped.
    SkipObject { epoch: u64, number: u64 },
    /// Record the result of a comparison with Konnect.
    RecordReconciled { reconciled: Reconciled },
}

/// The result of a task. The names in JSON are older than those here; an older program may be at the
/// other end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TaskReport {
    /// The lines to print.
    #[serde(rename = "told")]
    pub(crate) lines: Vec<String>,
    /// Whether a part of the task failed.
    #[serde(rename = "bad_news")]
    pub(crate) has_failures: bool,
    /// The segment that [`Task::Reseal`] looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resealed: Option<Resealed>,
    /// What [`Task::Faults`] lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) faults: Vec<PlannedFault>,
}

/// The length of the longest task, in bytes.
const MAX_TASK: usize = 64 << 10;

/// The length of the longest answer, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// Sends a task to the `serve` that runs on this directory. Returns its report, or its error. `None` if
/// no `serve` runs there, or if the path is too long for a socket.
///
/// # Errors
/// When `serve` ends before it answers, or when the socket belongs to another user.
pub(crate) fn ask(
    directory: &Directory,
    task: &Task,
) -> io::Result<Option<Result<TaskReport, String>>> {
    let mut stream = match UnixStream::connect(directory.control()) {
        Ok(stream) => stream,
        // Nothing listens there, or the path is too long for a socket.
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
    if line.len() >= MAX_TASK {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too many ids at once"));
    }
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut answer)?;
    match answer.is_empty() {
        true => Err(io::Error::new(ErrorKind::UnexpectedEof, "serve ended before it answered")),
        false => Ok(Some(serde_json::from_str(&answer)?)),
    }
}
