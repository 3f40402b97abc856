//! Outputs of the running program: every entry goes out, in order and once, whatever happens.
//!
//! - `files`: what is written where, and what goes on after a restart. `crash`: the process is killed
//!   under load. `rotation`: with somebody who follows the file. `command`: `vidimus output`.
//! - `reload`: the configuration is changed while they run. `full_disk`: there is no more room.
//!   `hostile`: entries that mean harm to who reads or keeps the files.
//! - `syslog`: to rsyslog, and to receivers that are not well. `http`: to endpoints.

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

/// An output of the type file with these keys besides.
fn file_output(path: &str, keys: &str) -> String {
    format!("[[output]]\nname = 'siem'\ntype = 'file'\npath = '{path}'\n{keys}\n")
}

/// The unsigned entries of these numbers, a line each.
fn lines(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(cef).collect()
}

/// The whole lines of a file, in order; that there is nothing else in it.
fn lines_of(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    assert!(text.is_empty() || text.ends_with('\n'), "{}: torn: {text:.200}", path.display());
    text.lines().map(str::to_owned).collect()
}

/// All files below a folder, by path.
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

/// The same of the files in a folder, oldest first: rotated ones have their time in their names, and
/// sort before the file itself.
fn lines_below(folder: &Path) -> Vec<String> {
    files_below(folder).iter().flat_map(|path| lines_of(path)).collect()
}

/// Waits until a file below the server's home has these lines.
fn wait_for_lines(serve: &Serve, path: &str, expected: &[String]) {
    let path = serve.home().join(path);
    wait_until("lines in a file", || {
        // While it is written to, its end may be anything.
        fs::read_to_string(&path).unwrap_or_default().lines().count() >= expected.len()
    });
    assert_eq!(lines_of(&path), expected);
}

/// `tail -F` of a file.
struct Follower {
    tail: Child,
    lines: Receiver<Vec<u8>>,
}

impl Follower {
    /// Begins with the first line of the file `path` below the server's home.
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

    /// The next line.
    fn next(&self) -> Vec<u8> {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    /// Ends it; that there was no other line.
    fn ends(mut self) {
        self.tail.kill().unwrap();
        self.tail.wait().unwrap();
        assert_eq!(self.lines.try_iter().count(), 0);
    }
}
