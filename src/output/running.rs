//! The outputs at work: started, changed and stopped, each on a thread of its own.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::dead_letters::DeadLetters;
use super::destination::SinkOptions;
use super::engine::{self, Control, Engine};
use super::error::{IoContext, OutputError};
use super::settings::Output;
use crate::clock::now;
use crate::net::{Trigger, shutdown};
use crate::store::{Directory, OutputCursors, Reader};

/// The outputs at work. They can be changed while they run.
pub struct Outputs {
    directory: Directory,
    make_stdout: MakeStdout,
    /// None once they are stopped for good.
    running: Mutex<Option<All>>,
}

/// Makes the writer that an output to standard output writes to.
pub type MakeStdout = Box<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

#[derive(Default)]
struct All {
    running: Vec<Running>,
    /// Those that were told to stop, and may not have yet.
    leaving: Vec<Running>,
}

/// An output at work.
struct Running {
    output: Output,
    control: Sender<Control>,
    /// For what waits on the network.
    trigger: Trigger,
    ended: Ended,
    thread: JoinHandle<()>,
}

/// How long a request in flight has when its output is stopped.
const GRACE: Duration = Duration::from_secs(2);

impl Running {
    fn reopen(&self) {
        // It may have ended.
        let _ = self.control.send(Control::Reopen);
    }

    fn tell_to_stop(&self) {
        let _ = self.control.send(Control::Stop);
        self.trigger.begin(GRACE);
    }

    /// Whether `output` may not be at work before this one has ended.
    fn is_before(&self, output: &Output) -> bool {
        let (own, other) = (&self.output.to, &output.to);
        let is_of_its_type = own.type_name() == other.type_name();
        self.output.name == output.name || is_of_its_type && other.of_type().waits_for_others()
    }
}

impl Outputs {
    /// No outputs yet, of the store in `directory`.
    pub fn new(directory: &Directory, make_stdout: MakeStdout) -> Outputs {
        let running = Mutex::new(Some(All::default()));
        Outputs { directory: directory.clone(), make_stdout, running }
    }

    /// Has these outputs at work and no others. Those that are at work already and the same open their
    /// files again; those that are not the same, or not wanted any more, are told to stop, and save
    /// their cursors. Outputs with a new name have their place when it returns: what is stored later
    /// goes out. Nobody waits for an output that does not stop but one of the same name, and where it
    /// writes to files, those that do so too.
    ///
    /// # Errors
    /// Why outputs cannot be started, with their names. The others are at work.
    pub fn set(&self, outputs: &[Output]) -> Result<(), Vec<(String, OutputError)>> {
        let mut guard = self.lock();
        let Some(All { running, leaving }) = guard.as_mut() else { return Ok(()) };
        leaving.retain(|one| !one.thread.is_finished());
        let stays = |one: &Running| outputs.contains(&one.output) && !one.thread.is_finished();
        let (same, others): (Vec<_>, Vec<_>) = running.drain(..).partition(stays);
        others.iter().for_each(Running::tell_to_stop);
        leaving.extend(others);
        same.iter().for_each(Running::reopen);
        *running = same;
        self.configure(outputs);
        let mut failed = Vec::new();
        for output in outputs {
            if running.iter().any(|one| one.output.name == output.name) {
                continue;
            }
            let before = leaving.iter().filter(|one| one.is_before(output));
            match self.start(output, before.map(|one| Arc::clone(&one.ended)).collect()) {
                Ok(started) => running.push(started),
                Err(error) => {
                    fail(&self.directory, &output.name, &error.to_string());
                    failed.push((output.name.clone(), error));
                }
            }
        }
        if failed.is_empty() { Ok(()) } else { Err(failed) }
    }

    /// Has those at work open their files again: something else may have moved them away.
    pub fn reopen(&self) {
        let guard = self.lock();
        guard.iter().flat_map(|all| &all.running).for_each(Running::reopen);
    }

    /// The names of those at work.
    pub fn names(&self) -> Vec<String> {
        let guard = self.lock();
        guard.iter().flat_map(|all| &all.running).map(|one| one.output.name.clone()).collect()
    }

    /// Stops them all for good, with their cursors saved. It blocks until they have stopped.
    pub fn stop(&self) {
        let All { running, leaving } = self.lock().take().unwrap_or_default();
        running.iter().for_each(Running::tell_to_stop);
        for one in running.into_iter().chain(leaving) {
            // A panic is in the log.
            let _ = one.thread.join();
        }
    }

    /// Enters which outputs there are.
    fn configure(&self, outputs: &[Output]) {
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let entered = OutputCursors::open(&self.directory).and_then(|all| all.configure(&names));
        if let Err(error) = entered {
            tracing::warn!(%error, "outputs that are past are not marked as such");
        }
    }

    /// Starts an output, to work once those `before` it have ended.
    fn start(&self, output: &Output, before: Vec<Ended>) -> Result<Running, OutputError> {
        let reader = Reader::open(&self.directory)?;
        let cursors = OutputCursors::open(&self.directory)?;
        engine::begin(output, &reader, &cursors)?;
        let (trigger, shutdown) = shutdown();
        let sink = output.to.of_type().sink(SinkOptions {
            name: &output.name,
            format: output.format,
            dead_letters: self.dead_letters(output),
            shutdown,
            make_stdout: &self.make_stdout,
        })?;
        let (sender, control) = channel();
        let output = output.clone();
        let engine = Engine {
            output: output.clone(),
            reader,
            cursors,
            sink,
            dead_letters: DeadLetters::new(self.dead_letters(&output), &output.name),
            control,
            is_stopping: false,
            epoch: None,
        };
        let ended = Ended::default();
        let sets_ended = SetsEnded(Arc::clone(&ended));
        let (directory, name) = (self.directory.clone(), output.name.clone());
        let work = move || {
            let _sets_ended = sets_ended;
            for ended in before {
                ended.wait();
            }
            if catch_unwind(AssertUnwindSafe(|| engine.run())).is_err() {
                tracing::error!(output = name, "the thread of an output has panicked");
                fail(&directory, &name, "a bug: its thread has panicked; SIGHUP starts it again");
            }
        };
        let thread = std::thread::Builder::new().name(format!("output-{}", output.name));
        let thread = thread.spawn(work).doing("start a thread", Path::new(&output.name))?;
        Ok(Running { output, control: sender, trigger, ended, thread })
    }

    /// The file of what does not go out of this output.
    fn dead_letters(&self, output: &Output) -> PathBuf {
        match output.to.of_type().dead_letters() {
            Some(path) => path.to_owned(),
            None => {
                let file = format!("{}.jsonl", output.name);
                self.directory.path().join("dead-letters").join(file)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<All>> {
        // Whoever panicked left a list that can be worked with.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Enters that an output is not at work. It is in the log already.
fn fail(directory: &Directory, name: &str, error: &str) {
    let _ = OutputCursors::open(directory).and_then(|all| all.fail(name, error, now()));
}

/// Is set when the thread of an output has ended.
type Ended = Arc<OnceLock<()>>;

/// Sets it when it is dropped, in a panic too.
struct SetsEnded(Ended);

impl Drop for SetsEnded {
    fn drop(&mut self) {
        let _ = self.0.set(());
    }
}
