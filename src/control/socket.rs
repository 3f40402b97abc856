//! The socket on which `serve` accepts tasks.
//!
//! Only the owner can enter the data directory, and the socket has mode 0600. The length of a task, the
//! time for it to arrive, and the number of clients are limited all the same.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{MAX_TASK, Task, TaskReport};
use crate::net::Shutdown;
use crate::store::Directory;

/// The most clients at a time. Others wait.
const MAX_CLIENTS: usize = 8;

/// The time-out for reading a task, and for writing the answer.
const IO_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Performs a task. It may block.
pub(crate) type TaskHandler = dyn Fn(Task) -> Result<TaskReport, String> + Send + Sync;

/// A socket that accepts tasks. Its file is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Listens. Must be called in a runtime of tokio. The caller must have the lock of the store: then an
    /// existing socket was left by a killed process.
    pub(crate) fn bind(directory: &Directory) -> io::Result<ControlSocket> {
        let path = directory.control();
        match fs::symlink_metadata(&path) {
            Ok(found) if found.file_type().is_socket() => fs::remove_file(&path)?,
            Ok(_) => return Err(io::Error::other("the file exists and is not a socket")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&path)?;
        let control = ControlSocket { listener, path };
        fs::set_permissions(&control.path, fs::Permissions::from_mode(0o600))?;
        Ok(control)
    }

    /// Accepts tasks until the shutdown begins. A task that has begun is finished.
    pub(crate) async fn serve(self, handler: Arc<TaskHandler>, mut shutdown: Shutdown) {
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let next = async {
                let permit = Arc::clone(&clients).acquire_owned().await.ok();
                (self.listener.accept().await, permit)
            };
            let (accepted, permit) = tokio::select! {
                next = next => next,
                _ = shutdown.begun() => return,
            };
            match accepted {
                Ok((stream, _)) => {
                    let handler = Arc::clone(&handler);
                    tokio::spawn(async move {
                        // The client may have left.
                        let _ = answer(stream, handler).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a task of a command");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

async fn answer(mut stream: UnixStream, handler: Arc<TaskHandler>) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(MAX_TASK as u64));
    timeout(IO_TIMEOUT, read.read_until(b'\n', &mut line)).await??;
    let done = match serde_json::from_slice(&line) {
        Ok(task) => tokio::task::spawn_blocking(move || handler(task))
            .await
            .unwrap_or_else(|error| Err(error.to_string())),
        Err(error) => Err(format!("not a valid task: {error}")),
    };
    let mut answer = serde_json::to_string(&done)?;
    answer.push('\n');
    timeout(IO_TIMEOUT, write.write_all(answer.as_bytes())).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::shutdown;

    fn directory(home: &tempfile::TempDir) -> Directory {
        Directory::create(&home.path().join("data")).unwrap()
    }

    /// Starts a socket whose handler reports the task.
    fn start(directory: &Directory) -> (crate::net::Trigger, tokio::task::JoinHandle<()>) {
        let (trigger, shutdown) = shutdown();
        let control = ControlSocket::bind(directory).unwrap();
        let handler = |task| match task {
            Task::Seal {} => Err("full".into()),
            task => Ok(TaskReport {
                lines: vec![format!("{task:?}")],
                has_failures: true,
                ..TaskReport::default()
            }),
        };
        (trigger, tokio::spawn(control.serve(Arc::new(handler), shutdown)))
    }

    async fn ask(directory: &Directory, task: Task) -> Option<Result<TaskReport, String>> {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || super::super::ask(&directory, &task).unwrap())
            .await
            .unwrap()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_task_is_performed_and_answered() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        assert_eq!(ask(&directory, Task::Seal {}).await, None);
        let (trigger, serving) = start(&directory);
        let mode = fs::metadata(directory.control()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(ask(&directory, Task::Seal {}).await, Some(Err("full".into())));
        let lines = vec!["Drop { ids: [1, 2] }".to_owned()];
        let done = ask(&directory, Task::Drop { ids: vec![1, 2] }).await;
        let report = TaskReport { lines, has_failures: true, ..TaskReport::default() };
        assert_eq!(done, Some(Ok(report)));
        trigger.begin(Duration::ZERO);
        serving.await.unwrap();
        assert!(!directory.control().exists());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn invalid_and_oversized_tasks_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        let (_trigger, _serving) = start(&directory);
        for sent in [
            b"hello\n".to_vec(),
            b"{\"seal\":{\"x\":1}}\n".to_vec(),
            b"{\"fault\":{\"next\":0,\"fault\":\"500\"}}\n".to_vec(),
            vec![b' '; MAX_TASK],
        ] {
            let mut stream = UnixStream::connect(directory.control()).await.unwrap();
            stream.write_all(&sent).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("{\"Err\":\"not a valid task: "), "{answer}");
        }
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let home = tempfile::tempdir().unwrap();
        let directory = directory(&home);
        let killed = std::os::unix::net::UnixListener::bind(directory.control()).unwrap();
        drop(killed);
        assert!(directory.control().exists());
        assert_eq!(super::super::ask(&directory, &Task::Seal {}).unwrap(), None);
        drop(ControlSocket::bind(&directory).unwrap());
        fs::write(directory.control(), "x").unwrap();
        assert!(ControlSocket::bind(&directory).unwrap_err().to_string().contains("not a socket"));
        assert!(directory.control().exists());
    }
}
