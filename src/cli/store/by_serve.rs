//! A task that the `serve` does that runs on the data directory, or the command itself if none runs.

use crate::cli::exit::{Exit, Failure};
use crate::cli::terminal::tell;
use crate::control::{Done, Task, ask};
use crate::store::Directory;

/// Has it done, and says what was done.
pub(super) fn have_done(
    directory: &Directory,
    task: &Task,
    directly: impl FnOnce() -> Result<Done, Failure>,
) -> Result<Exit, Failure> {
    let cannot = |error| Failure::failed(format!("cannot ask the running serve: {error}"));
    let done = match ask(directory, task).map_err(cannot)? {
        Some(done) => done.map_err(Failure::failed)?,
        None => directly()?,
    };
    done.told.iter().for_each(tell);
    Ok(if done.bad_news { Exit::BadNews } else { Exit::Done })
}
