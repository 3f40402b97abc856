//! Outputs: stored entries, out to where they are wanted.
//!
//! ```text
//! store -> filter -> format -> file, stdout, syslog, HTTP
//!   ^ behind a cursor in the catalog
//! ```
//!
//! - `engine`: one output at work, on a thread of its own. `sink`: what it writes to; `file`: files;
//!   `syslog`: a syslog receiver; `http`: an endpoint.
//! - `rate`: how fast it is. `format`: an entry to a line. `template`: an entry to a path.
//!
//! Every entry that matches goes out at least once, in the order of the ids; an entry that comes to
//! match by a late verdict follows then. Nobody waits for an output.

mod engine;
mod error;
mod file;
mod format;
mod http;
mod rate;
mod sink;
mod syslog;
mod template;
#[cfg(test)]
mod testing;

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::engine::{Control, Engine};
use self::error::IoContext;
pub use self::error::OutputError;
use self::file::{Files, Tender};
pub use self::format::Format;
use self::http::Http;
pub use self::http::Tried;
use self::sink::{Sink, Stream};
use self::syslog::Syslog;
pub use self::template::{Template, TemplateError};
use crate::config::{Destination, Output, OutputFile, OutputHttp, OutputSyslog};
use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value};
use crate::net::{Shutdown, Trigger, shutdown};
use crate::signature::VerdictName;
use crate::store::{Directory, OutputCursors, Reader};

/// The outputs at work. They can be changed while they run.
pub struct Outputs {
    directory: Directory,
    make_stdout: MakeStdout,
    /// None once they are stopped for good.
    running: Mutex<Option<Vec<Running>>>,
}

/// Makes the writer that an output to standard output writes to.
pub type MakeStdout = Box<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

/// An output at work.
struct Running {
    output: Output,
    control: Sender<Control>,
    /// For what waits on the network.
    trigger: Trigger,
    thread: JoinHandle<()>,
}

/// How long a request in flight has when its output is stopped.
const GRACE: Duration = Duration::from_secs(2);

impl Running {
    fn reopen(&self) {
        // It may have panicked.
        let _ = self.control.send(Control::Reopen);
    }
}

impl Outputs {
    /// No outputs yet, of the store in `directory`.
    pub fn new(directory: &Directory, make_stdout: MakeStdout) -> Outputs {
        Outputs { directory: directory.clone(), make_stdout, running: Mutex::new(Some(Vec::new())) }
    }

    /// Has these outputs at work and no others. Those that are at work already and the same open their
    /// files again; those that are not the same, or not wanted any more, are stopped with their cursors
    /// saved. Outputs with a new name have their place when it returns: what is stored later goes out.
    ///
    /// It blocks until those are stopped that have to be.
    ///
    /// # Errors
    /// Why outputs cannot be started, with their names. The others are at work.
    pub fn set(&self, outputs: &[Output]) -> Result<(), Vec<(String, OutputError)>> {
        let mut guard = self.lock();
        let Some(running) = guard.as_mut() else { return Ok(()) };
        let (same, others): (Vec<_>, Vec<_>) =
            running.drain(..).partition(|one| outputs.contains(&one.output));
        stop(others);
        same.iter().for_each(Running::reopen);
        *running = same;
        let mut failed = Vec::new();
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        if let Err(error) =
            OutputCursors::open(&self.directory).and_then(|all| all.configure(&names))
        {
            tracing::warn!(%error, "outputs that are past are not marked as such");
        }
        for output in outputs {
            if running.iter().any(|one| one.output.name == output.name) {
                continue;
            }
            match self.start(output) {
                Ok(started) => running.push(started),
                Err(error) => failed.push((output.name.clone(), error)),
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Has those at work open their files again: something else may have moved them away.
    pub fn reopen(&self) {
        self.lock().iter().flatten().for_each(Running::reopen);
    }

    /// The names of those at work.
    pub fn names(&self) -> Vec<String> {
        self.lock().iter().flatten().map(|one| one.output.name.clone()).collect()
    }

    /// Stops them all for good, with their cursors saved. It blocks until they have stopped.
    pub fn stop(&self) {
        let running = self.lock().take();
        stop(running.unwrap_or_default());
    }

    fn start(&self, output: &Output) -> Result<Running, OutputError> {
        let reader = Reader::open(&self.directory)?;
        let cursors = OutputCursors::open(&self.directory)?;
        engine::begin(output, &reader, &cursors)?;
        let (trigger, shutdown) = shutdown();
        let sink = self.sink(output, shutdown)?;
        let (sender, control) = channel();
        let output = output.clone();
        let engine =
            Engine { output: output.clone(), reader, cursors, sink, control, is_stopping: false };
        let name = format!("output-{}", output.name);
        let thread = std::thread::Builder::new().name(name).spawn(move || engine.run());
        let thread = thread.doing("start a thread", Path::new(&output.name))?;
        Ok(Running { output, control: sender, trigger, thread })
    }

    fn sink(&self, output: &Output, shutdown: Shutdown) -> Result<Box<dyn Sink>, OutputError> {
        let name = output.name.as_str();
        Ok(match &output.to {
            Destination::Stdout => {
                Box::new(Stream { writer: (self.make_stdout)(), buffer: Vec::new() })
            }
            Destination::File(file) => {
                let tender = Tender::start((**file).clone());
                let tender = tender.doing("start a thread", Path::new(name))?;
                Box::new(Files::new((**file).clone(), tender))
            }
            Destination::Syslog(settings) => Box::new(Syslog::new(name, settings)),
            Destination::Http(http) => {
                let dead_letters = http.dead_letters.clone().unwrap_or_else(|| {
                    self.directory.path().join("dead-letters").join(format!("{name}.jsonl"))
                });
                Box::new(Http::new(name, http, output.format, dead_letters, shutdown)?)
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Running>>> {
        // Whoever panicked left a list that can be worked with.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stop(running: Vec<Running>) {
    for one in &running {
        // It may have panicked.
        let _ = one.control.send(Control::Stop);
        one.trigger.begin(GRACE);
    }
    for one in running {
        if one.thread.join().is_err() {
            tracing::error!(output = one.output.name, "the thread of an output has panicked");
        }
    }
}

/// A made-up entry to try an output out with, which tells that it is one.
pub fn synthetic(time: Millis) -> Record {
    let mut fields = Fields::default();
    for (name, value) in [("event_product", "Konnect"), ("org_id", "test"), ("name", "test")] {
        fields.restore(name, Value::Text(value.to_owned()));
    }
    Record {
        origin: Origin::Stored {
            id: 0,
            input: "test".to_owned(),
            received_at: time,
            delivery_count: 1,
        },
        time: Some(time),
        format: crate::entry::Format::Cef,
        kind: None,
        verdict: VerdictName::Unsigned.as_str().to_owned(),
        reason: None,
        kid: None,
        warnings: Vec::new(),
        fields,
        raw: b"CEF:0|Vidimus|Vidimus|1.0|test|test|0|msg=a made-up entry to try an output".to_vec(),
    }
}

/// Tries whether a file can be written where `path` is, without touching that one.
pub fn try_path(path: &Path, settings: &OutputFile) -> Result<(), OutputError> {
    file::try_path(path, settings)
}

/// Sends an entry to a syslog receiver, with its line: what the receiver is, and did.
///
/// # Errors
/// When it cannot be reached, or did not read it.
pub fn try_syslog(
    settings: &OutputSyslog,
    record: &Record,
    line: &[u8],
) -> Result<String, OutputError> {
    Syslog::new("test", settings).try_out(record, line)
}

/// Sends an entry to the endpoint of `settings`, with its line in the format that its output has.
///
/// # Errors
/// When there is no answer.
pub fn try_http(
    settings: &OutputHttp,
    format: Format,
    record: &Record,
    line: &[u8],
) -> Result<Tried, OutputError> {
    http::try_out(settings, format, record, line)
}
