//! The socket of a `serve` that runs.
//!
//! The data directory keeps others out, and the socket is 0600 besides. What comes is bounded all the
//! same: how much is asked, how long it may take to ask it, and how many ask at a time.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use super::{Done, TASK, Task};
use crate::net::Shutdown;
use crate::store::Directory;

/// So many ask at a time; the others wait.
const ASKING: usize = 8;

/// How long a task may take to arrive, and its answer to leave.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wait after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// What does a task: it may block.
pub type Work = dyn Fn(Task) -> Result<Done, String> + Send + Sync;

/// A socket that tasks are taken from. It is removed when this is dropped.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens, in a runtime of tokio. The caller has the lock of the store, so a socket that is there
    /// is one that a process left that was killed.
    pub fn bind(directory: &Directory) -> io::Result<Control> {
        let path = directory.control();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other("a file is there that is no socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&path)?;
        let control = Control { listener, path };
        fs::set_permissions(&control.path, fs::Permissions::from_mode(0o600))?;
        Ok(control)
    }

    /// Takes tasks until the shutdown begins. They are done one after another; one that has begun is
    /// finished.
    pub async fn serve(self, work: Arc<Work>, mut shutdown: Shutdown) {
        let (asking, turn) = (Arc::new(Semaphore::new(ASKING)), Arc::new(Mutex::new(())));
        loop {
            let next = async {
                let permit = Arc::clone(&asking).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                _ = shutdown.begun() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (work, turn) = (Arc::clone(&work), Arc::clone(&turn));
                    tokio::spawn(async move {
                        // Who asked may have left.
                        let _ = answer(stream, work, &turn).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a task of a command");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, work: Arc<Work>, turn: &Mutex<()>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(TASK as u64));
    timeout(PATIENCE, read.read_until(b'\n', &mut line)).await??;
    let done = match serde_json::from_slice(&line) {
        Ok(task) => {
            let _turn = turn.lock().await;
            tokio::task::spawn_blocking(move || work(task))
                .await
                .unwrap_or_else(|error| Err(error.to_string()))
        }
        Err(error) => Err(format!("this is no task: {error}")),
    };
    let mut answer = serde_json::to_string(&done)?;
    answer.push('\n');
    timeout(PATIENCE, write.write_all(answer.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::shutdown;

    fn directory(home: &tempfile::TempDir) -> Directory {
        Directory::create(&home.path().join("data")).unwrap()
    }

    /// Starts it with work that tells what it was asked.
    fn start(directory: &Directory) -> (crate::net::Trigger, tokio::task::JoinHandle<()>) {
        let (trigger, shutdown) = shutdown();
        let control = Control::bind(directory).unwrap();
        let work = |task| match task {
            Task::Seal {} => Err("full".into()),
            task => Ok(Done { told: vec![format!("{task:?}")], bad_news: true }),
        };
        (trigger, tokio::spawn(control.serve(Arc::new(work), shutdown)))
    }

    async fn ask(directory: &Directory, task: Task) -> Option<Result<Done, String>> {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || super::super::ask(&directory, &task).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_task_is_done_and_answered() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        assert_eq!(ask(&directory, Task::Seal {}).await, None);
        let (trigger, serving) = start(&directory);
        let mode = fs::metadata(directory.control()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask(&directory, Task::Seal {}).await, Some(Err("full".into())));
        let told = vec!["Drop { ids: [1, 2] }".to_owned()];
        let done = ask(&directory, Task::Drop { ids: vec![1, 2] }).await;
        assert_eq!(done, Some(Ok(Done { told, bad_news: true })));
        trigger.begin(Duration::ZERO);
        serving.await.unwrap();
        assert!(!directory.control().exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_is_no_task_is_refused_and_too_much_is_not_read() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        let (_trigger, _serving) = start(&directory);
        for sent in [b"hello\n".to_vec(), b"{\"seal\":{\"x\":1}}\n".to_vec(), vec![b' '; TASK]] {
            let mut stream = UnixStream::connect(directory.control()).await.unwrap();
            stream.write_all(&sent).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("{\"Err\":\"this is no task: "), "{answer}");
        }
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_replaced_and_a_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        let killed = std::os::unix::net::UnixListener::bind(directory.control()).unwrap();
        drop(killed);
        assert!(directory.control().exists());
        assert_eq!(super::super::ask(&directory, &Task::Seal {}).unwrap(), None);
        drop(Control::bind(&directory).unwrap());
        fs::write(directory.control(), "x").unwrap();
        assert!(Control::bind(&directory).unwrap_err().to_string().contains("no socket"));
        assert!(directory.control().exists());
    }
}
