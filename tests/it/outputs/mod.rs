//! Outputs of the running program: every entry is written in order and once, whatever happens.
//!
//! - `files`: contents, paths and restarts.
//! - `crash`: kills under load.
//! - `rotation`: a program that follows a rotated file.
//! - `command`: `vidimus output`.
//! - `reload`: changes of the configuration.
//! - `full_disk`: a full disk under one output.
//! - `hostile`: entries that attack the files or their readers.
//! - `syslog`: rsyslog, and receivers that fail.
//! - `http`: HTTP endpoints.

mod command;
mod crash;
mod files;
mod full_disk;
mod hostile;
mod http;
mod reload;
mod rotation;
mod syslog;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use self::command::status;
use crate::harness::{DEADLINE, Serve, cef, wait_until};

/// The configuration of a file output with additional keys.
fn file_output(path: &str, keys: &str) -> String {
    format!("[[output]]\nname = 'siem'\ntype = 'file'\npath = '{path}'\n{keys}\n")
}

/// The unsigned CEF entries with these numbers.
fn lines(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(cef).collect()
}

/// The lines of a file. Checks that the last line is complete.
fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: torn: {text:.200}", path.display());
    text.lines().map(str::to_owned).collect()
}

/// All files below a directory, in order of path.
fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// The lines of all files below a directory, oldest first: rotated files have their time in their
/// names and sort before the current file.
fn lines_below(folder: &Path) -> Vec<String> {
    files_below(folder).iter().flat_map(|path| lines_of(path)).collect()
}

/// Waits until a file below the working directory of the server has exactly these lines.
fn wait_for_lines(serve: &Serve, path: &str, expected: &[String]) {
    let path = serve.home().join(path);
    wait_until("lines in a file", || {
        // The last line may be incomplete during a write.
        fs::read_to_string(&path).unwrap_or_default().lines().count() >= expected.len()
    });
    assert_eq!(lines_of(&path), expected);
}

/// A running `tail -F`.
struct Follower {
    tail: Child,
    lines: Receiver<Vec<u8>>,
}

impl Follower {
    /// Follows the file `path` below the working directory of the server, from its first line.
    fn start(serve: &Serve, path: &str) -> Follower {
        let mut tail = Command::new("tail")
            .args(["-n", "+1", "-F", path])
            .current_dir(serve.home())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(tail.stdout.take().unwrap());
        std::thread::spawn(move || {
            output.split(b'\n').map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Follower { tail, lines }
    }

    fn next(&self) -> Vec<u8> {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// Stops `tail` and checks that there were no more lines.
    fn stop(mut self) {
        self.tail.kill().unwrap();
        self.tail.wait().unwrap();
        assert_eq!(self.lines.try_iter().count(), 0);
    }
}
