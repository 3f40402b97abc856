//! The real binary, running `vidimus serve` or `vidimus receive` in its own directory.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, RawConnection};
use super::memory::MemoryLimit;
use super::stored::{self, Entry};
use super::wait_until;

const READY_FILE: &str = "ready.json";

/// The arguments, the environment and the files of a server.
pub(crate) struct Setup {
    home: TempDir,
    /// `serve` or `receive`.
    command: &'static str,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// The limit of open files.
    open_files: Option<u32>,
    /// A listening socket for deliveries, as a service manager passes it.
    socket: Option<TcpListener>,
    memory: Option<MemoryLimit>,
}

impl Setup {
    /// An empty directory. Only free ports and the ready file are set.
    pub(crate) fn new() -> Setup {
        let fixed = ["--listen", "127.0.0.1:0", "--console", "127.0.0.1:0"];
        let arguments =
            fixed.into_iter().chain(["--ready-file", READY_FILE]).map(str::to_owned).collect();
        let home = tempfile::tempdir().unwrap();
        Setup {
            home,
            command: "serve",
            arguments,
            environment: Vec::new(),
            open_files: None,
            socket: None,
            memory: None,
        }
    }

    /// The same for `vidimus receive`.
    pub(crate) fn receive() -> Setup {
        Setup { command: "receive", ..Setup::new() }
    }

    /// A store that receives nothing.
    pub(crate) fn store() -> Setup {
        let mut setup = Setup::new();
        setup.arguments.drain(..2);
        setup.arguments.push("--no-receiver".to_owned());
        setup
    }

    /// The working directory of the server.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Adds arguments, separated by spaces.
    pub(crate) fn arguments(mut self, arguments: &str) -> Setup {
        self.arguments.extend(arguments.split(' ').map(str::to_owned));
        self
    }

    /// Adds an argument with a value, which may contain spaces.
    pub(crate) fn argument(mut self, name: &str, value: &str) -> Setup {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Replaces the value of an argument.
    pub(crate) fn instead(mut self, name: &str, value: &str) -> Setup {
        self.replace(name, value);
        self
    }

    fn replace(&mut self, name: &str, value: &str) {
        let at = self.arguments.iter().position(|argument| argument == name).unwrap();
        self.arguments[at + 1] = value.to_owned();
    }

    /// Sets an environment variable.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Setup {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Limits the number of open files.
    pub(crate) fn open_files(self, most: u32) -> Setup {
        Setup { open_files: Some(most), ..self }
    }

    /// Passes a socket as a service manager does, but as standard input, because the test cannot
    /// choose another descriptor.
    pub(crate) fn hand_over(self, socket: TcpListener) -> Setup {
        let handed_over = self.variable("LISTEN_FDS", "1").variable("LISTEN_FDS_FIRST_FD", "0");
        Setup { socket: Some(socket), ..handed_over }
    }

    /// Limits the memory, in bytes.
    pub(crate) fn memory(self, most: u64) -> Setup {
        Setup { memory: Some(MemoryLimit::new(most)), ..self }
    }

    /// Writes a file that only its owner can read.
    pub(crate) fn file(self, name: &str, contents: impl AsRef<[u8]>) -> Setup {
        write_private(&self.home.path().join(name), contents.as_ref());
        self
    }

    /// Writes `config.toml` and passes it to the server.
    pub(crate) fn config(self, toml: &str) -> Setup {
        self.file("config.toml", toml).arguments("--config config.toml")
    }

    /// Starts the server and waits until it is ready.
    pub(crate) fn start(self) -> Serve {
        let mut serve = Serve {
            setup: self,
            child: None,
            runs: 0,
            receiver: String::new(),
            console: String::new(),
            authorization: String::new(),
        };
        serve.restart();
        serve
    }

    /// Starts a server that must fail to start. Returns its exit status and standard error.
    pub(crate) fn fail(&self) -> (ExitStatus, String) {
        let output = self.command().output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn command(&self) -> Command {
        const PROGRAM: &str = env!("CARGO_BIN_EXE_vidimus");
        let mut command = match (self.open_files, &self.memory) {
            (None, None) => Command::new(PROGRAM),
            (None, Some(limit)) => limit.command(PROGRAM),
            (Some(most), _) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {most}; exec \"$0\" \"$@\""), PROGRAM]);
                shell
            }
        };
        command.arg(self.command).args(&self.arguments).current_dir(self.home.path());
        // A proxy or a `VIDIMUS_` variable of the environment must not change the test.
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(match &self.socket {
            None => Stdio::null(),
            Some(socket) => OwnedFd::from(socket.try_clone().unwrap()).into(),
        });
        command
    }
}

/// A running server. Dropping it kills the process.
pub(crate) struct Serve {
    setup: Setup,
    child: Option<Child>,
    runs: usize,
    /// Scheme, host and port of the receiver.
    pub(crate) receiver: String,
    /// Scheme, host and port of the console.
    pub(crate) console: String,
    /// The `Authorization` that `deliver` sends.
    pub(crate) authorization: String,
}

impl Serve {
    /// A server with the default settings.
    pub(crate) fn start() -> Serve {
        Setup::new().start()
    }

    /// The working directory of the server.
    pub(crate) fn home(&self) -> &Path {
        self.setup.home()
    }

    /// Starts a server that must fail to start. Returns its exit status and standard error.
    pub(crate) fn fail(&self) -> (ExitStatus, String) {
        self.setup.fail()
    }

    pub(crate) fn data(&self) -> PathBuf {
        let is_demo = self.setup.arguments.iter().any(|argument| argument == "--demo");
        self.home().join(if is_demo { "vidimus-demo" } else { "vidimus-data" })
    }

    /// The path of the self-signed certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.data().join("tls.pem")
    }

    pub(crate) fn port(&self) -> u16 {
        self.receiver.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The standard error of all runs.
    pub(crate) fn stderr(&self) -> String {
        self.streams("stderr")
    }

    /// Waits until standard error contains `text`.
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the log"), || self.stderr().contains(text));
    }

    /// Starts the server again after it was stopped or killed.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let ready = self.home().join(READY_FILE);
        let _ = fs::remove_file(&ready);
        self.runs += 1;
        let open = |name: &str| {
            let name = format!("{name}-{}", self.runs);
            File::create(self.home().join(name)).unwrap()
        };
        let (stdout, stderr) = (open("stdout"), open("stderr"));
        let child = self.setup.command().stdout(stdout).stderr(stderr).spawn().unwrap();
        self.child = Some(child);
        wait_until("ready", || {
            assert!(self.status().is_none(), "the process ended before it was ready");
            ready.exists()
        });
        let addresses = self.ready();
        self.receiver = addresses["receiver"].as_str().unwrap_or_default().to_owned();
        self.console = addresses["console"].as_str().unwrap().to_owned();
        if let Ok(value) = fs::read_to_string(self.data().join("authorization")) {
            self.authorization = value.trim_end().to_owned();
        }
    }

    /// Makes a restarted server listen on the same port.
    pub(crate) fn keep_port(&mut self) {
        let address = format!("127.0.0.1:{}", self.port());
        self.setup.replace("--listen", &address);
    }

    /// Restarts a server that had no configuration with this one.
    pub(crate) fn with_config(self, toml: &str) -> Serve {
        write_private(&self.home().join("config.toml"), toml.as_bytes());
        let mut serve = self;
        serve.setup.arguments.extend(["--config", "config.toml"].map(str::to_owned));
        serve.restart();
        serve
    }

    /// The contents of the ready file.
    pub(crate) fn ready(&self) -> Value {
        serde_json::from_slice(&fs::read(self.home().join(READY_FILE)).unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops the server with SIGTERM. It must exit with code 0.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        self.wait_for_end();
    }

    /// Waits until the server exits by itself, with code 0.
    pub(crate) fn wait_for_end(&mut self) {
        wait_until("the end of the process", || self.status().is_some());
        let status = self.status().unwrap();
        assert_eq!(status.code(), Some(0), "{status}");
        self.child = None;
    }

    /// Kills the server if it runs.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Connects to the receiver, with TLS if the receiver uses it.
    pub(crate) fn connect(&self) -> RawConnection {
        match self.receiver.starts_with("https") {
            true => RawConnection::tls(self.port(), &self.certificate()),
            false => RawConnection::plain(self.port()),
        }
    }

    /// Sends a `POST` over a new connection.
    pub(crate) fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.request("POST", path, headers, body);
        connection.answer()
    }

    /// Delivers a body. Returns the counts of the answer.
    pub(crate) fn deliver(&self, body: impl AsRef<[u8]>) -> Value {
        self.deliver_to("/audit-logs", body)
    }

    /// Delivers a body to a path. Returns the counts of the answer.
    pub(crate) fn deliver_to(&self, path: &str, body: impl AsRef<[u8]>) -> Value {
        let headers = [("authorization", self.authorization.as_str())];
        let answer = self.post(path, &headers, body.as_ref());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// All stored entries in order of id, with their late verdicts.
    pub(crate) fn stored(&self) -> Vec<Entry> {
        stored::entries(&self.data())
    }

    /// All stored lines, in order of id.
    pub(crate) fn lines(&self) -> Vec<Vec<u8>> {
        self.stored().into_iter().map(|entry| entry.line).collect()
    }

    /// All stored lines as text, in order of id.
    pub(crate) fn text_lines(&self) -> Vec<String> {
        self.lines().into_iter().map(|line| String::from_utf8(line).unwrap()).collect()
    }

    /// The verdicts of all stored entries, in order of id.
    pub(crate) fn verdicts(&self) -> Vec<String> {
        self.stored().into_iter().map(|entry| entry.verdict).collect()
    }

    /// The peak resident memory in bytes (`VmHWM`, proc(5)).
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().unwrap()
    }

    fn streams(&self, name: &str) -> String {
        let read = |run| fs::read(self.home().join(format!("{name}-{run}"))).unwrap_or_default();
        let all: Vec<u8> = (1..=self.runs).flat_map(read).collect();
        String::from_utf8_lossy(&all).into_owned()
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let status = self.status().map_or("running".to_owned(), |status| status.to_string());
            eprintln!("---- command: {:?}", self.setup.command());
            eprintln!("---- directory: {}", self.home().display());
            eprintln!("---- status: {status}, after {} starts", self.runs);
            eprintln!("---- stdout:\n{}", self.streams("stdout"));
            eprintln!("---- stderr:\n{}", self.streams("stderr"));
        }
        self.kill();
    }
}

/// Writes a file that only its owner can read, atomically.
pub(crate) fn write_private(path: &Path, contents: &[u8]) {
    let temporary = path.with_extension("written");
    fs::write(&temporary, contents).unwrap();
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&temporary, path).unwrap();
}
