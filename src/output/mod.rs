//! Outputs: stored entries, out to where they are wanted.
//!
//! ```text
//! store -> filter -> format -> file, stdout
//!   ^ behind a cursor in the catalog
//! ```
//!
//! - `engine`: one output at work, on a thread of its own. `sink`: what it writes to; `file`: files.
//! - `format`: an entry to a line. `template`: an entry to a path.
//!
//! Every entry that matches goes out at least once, in the order of the ids; an entry that comes to
//! match by a late verdict follows then. Nobody waits for an output.

mod engine;
mod error;
mod file;
mod format;
mod sink;
mod template;
#[cfg(test)]
mod testing;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use self::engine::{Control, Engine};
use self::error::IoContext;
pub use self::error::OutputError;
use self::file::{Files, Tender};
pub use self::format::Format;
use self::sink::{Sink, Stream};
pub use self::template::{Template, TemplateError};
use crate::config::{Destination, Output, OutputFile};
use crate::entry::record::Origin;
use crate::entry::{Fields, Millis, Record, Value};
use crate::signature::VerdictName;
use crate::store::{Directory, OutputCursors, Reader};

/// The outputs at work.
#[derive(Debug, Default)]
pub struct Outputs {
    running: Vec<(Sender<Control>, JoinHandle<()>)>,
}

/// Makes the writer that an output to standard output writes to.
pub type MakeStdout<'a> = &'a dyn Fn() -> Box<dyn Write + Send>;

impl Outputs {
    /// Starts a thread for each output of the store in `directory`. Outputs with a new name have
    /// their place when it returns: what is stored later goes out.
    pub fn start(
        directory: &Directory,
        outputs: &[Output],
        make_stdout: MakeStdout<'_>,
    ) -> Result<Outputs, OutputError> {
        let mut running = Vec::new();
        for output in outputs {
            let reader = Reader::open(directory)?;
            let cursors = OutputCursors::open(directory)?;
            engine::begin(output, &reader, &cursors)?;
            let name = format!("output-{}", output.name);
            let sink = sink(output, make_stdout)?;
            let (sender, control) = channel();
            let engine = Engine { output: output.clone(), reader, cursors, sink, control };
            let thread = std::thread::Builder::new().name(name).spawn(move || engine.run());
            running.push((sender, thread.doing("start a thread", &PathBuf::from(&output.name))?));
        }
        Ok(Outputs { running })
    }

    /// What opens the files of all outputs again, when something else has moved them away.
    pub fn reopener(&self) -> Reopener {
        Reopener(self.running.iter().map(|(sender, _)| sender.clone()).collect())
    }

    /// Stops them all, with their cursors saved. It blocks until they have stopped.
    pub fn stop(self) {
        for (sender, _) in &self.running {
            // It may have panicked.
            let _ = sender.send(Control::Stop);
        }
        for (_, thread) in self.running {
            if thread.join().is_err() {
                tracing::error!("the thread of an output has panicked");
            }
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

/// Opens the files of outputs again.
#[derive(Clone, Debug, Default)]
pub struct Reopener(Vec<Sender<Control>>);

impl Reopener {
    /// Has it done.
    pub fn reopen(&self) {
        for sender in &self.0 {
            let _ = sender.send(Control::Reopen);
        }
    }
}

fn sink(output: &Output, make_stdout: MakeStdout<'_>) -> Result<Box<dyn Sink>, OutputError> {
    Ok(match &output.to {
        Destination::Stdout => Box::new(Stream { writer: make_stdout(), buffer: Vec::new() }),
        Destination::File(file) => {
            let tender = Tender::start((**file).clone());
            let tender = tender.doing("start a thread", &PathBuf::from(&output.name))?;
            Box::new(Files::new((**file).clone(), tender))
        }
    })
}
