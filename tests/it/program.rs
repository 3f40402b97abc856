//! Runs of the program from its command line.

use std::fmt;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A finished run of the program.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    arguments: Vec<String>,
}

/// Runs `vidimus` in the directory of the crate.
pub(crate) fn run(arguments: &[&str], stdin: &[u8]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vidimus"));
    command
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("VIDIMUS_AUTHORIZATION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that does not read its input closes the pipe.
    let feeder = std::thread::spawn(move || pipe.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    let _ = feeder.join().unwrap();
    Run::new(&command, output)
}

impl Run {
    /// Runs a command.
    pub(crate) fn of(command: &mut Command) -> Run {
        let output = command.output().unwrap();
        Run::new(command, output)
    }

    fn new(command: &Command, output: Output) -> Run {
        let arguments = command.get_args();
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            arguments: arguments.map(|argument| argument.to_string_lossy().into_owned()).collect(),
        }
    }

    /// Checks the exit code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Run {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Parses standard output as JSON lines.
    #[track_caller]
    pub(crate) fn records(&self) -> Vec<Value> {
        let record = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{self}"));
        self.stdout.lines().map(record).collect()
    }

    /// The only record.
    #[track_caller]
    pub(crate) fn record(&self) -> Value {
        let mut records = self.records();
        assert_eq!(records.len(), 1, "{self}");
        records.remove(0)
    }
}

/// The command, its exit code and its streams.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { code, stdout, stderr, arguments } = self;
        writeln!(f, "vidimus {}\nexit code {code:?}", arguments.join(" "))?;
        write!(f, "--- standard output\n{stdout}\n--- standard error\n{stderr}")
    }
}
