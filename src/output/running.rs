//! The running outputs: each has a thread, and can be started, changed and stopped.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::activity::SharedActivity;
use super::care::RunningOutput;
use super::dead_letters::DeadLetters;
use super::destination::SinkOptions;
use super::engine::{self, Control, Engine};
use super::error::{IoContext, OutputError};
use super::settings::Output;
use crate::clock::now;
use crate::net::{Trigger, shutdown};
use crate::store::{Directory, OutputCursors, Reader};

/// The running outputs. They can be changed while they run.
pub(crate) struct Outputs {
    directory: Directory,
    make_stdout: MakeStdout,
    /// `None` after [`Outputs::stop`].
    running: Mutex<Option<All>>,
}

/// Creates the writer of an output of the type `stdout`.
pub(crate) type MakeStdout = Box<dyn Fn() -> Box<dyn Write + Send> + Send + Sync>;

#[derive(Default)]
struct All {
    running: Vec<Running>,
    /// Outputs that were told to stop, and may not have ended yet.
    leaving: Vec<Running>,
}

/// A running output.
struct Running {
    output: Output,
    control: Sender<Control>,
    activity: SharedActivity,
    /// Ends what waits on the network.
    trigger: Trigger,
    ended: Ended,
    thread: JoinHandle<()>,
}

/// How long a request in flight may take after its output is stopped.
const GRACE: Duration = Duration::from_secs(2);

impl fmt::Debug for Outputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Outputs").field(&self.names()).finish()
    }
}

impl Running {
    fn reopen(&self) {
        // The thread may have ended.
        let _ = self.control.send(Control::Reopen);
    }

    fn tell_to_stop(&self) {
        let _ = self.control.send(Control::Stop);
        self.trigger.begin(GRACE);
    }

    /// Whether this output must end before `output` can start.
    fn is_before(&self, output: &Output) -> bool {
        let (own, other) = (&self.output.to, &output.to);
        let is_of_its_type = own.type_name() == other.type_name();
        self.output.name == output.name || is_of_its_type && other.of_type().waits_for_others()
    }
}

impl Outputs {
    /// Creates the list for the store in `directory`, without outputs.
    pub(crate) fn new(directory: &Directory, make_stdout: MakeStdout) -> Outputs {
        let running = Mutex::new(Some(All::default()));
        Outputs { directory: directory.clone(), make_stdout, running }
    }

    /// Runs these outputs and no others. Outputs that have not changed open their files again.
    /// Outputs that have changed or are no longer configured are told to stop, and save their
    /// cursors. When this returns, an output with a new name has its cursor, so what is stored
    /// later goes out.
    ///
    /// A new output waits for one that does not stop only if they have the same name, or if both
    /// write to files.
    ///
    /// # Errors
    /// The outputs that could not be started, with their names. The others run.
    pub(crate) fn set(&self, outputs: &[Output]) -> Result<(), Vec<(String, OutputError)>> {
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

    /// Makes the outputs open their files again. Something else may have renamed them.
    pub(crate) fn reopen(&self) {
        let guard = self.lock();
        guard.iter().flat_map(|all| &all.running).for_each(Running::reopen);
    }

    /// The names of the running outputs.
    pub(crate) fn names(&self) -> Vec<String> {
        let guard = self.lock();
        guard.iter().flat_map(|all| &all.running).map(|one| one.output.name.clone()).collect()
    }

    /// What is known of the running outputs, in the order of the configuration.
    pub(crate) fn running(&self) -> Vec<RunningOutput> {
        let about = |one: &Running| RunningOutput {
            name: one.output.name.clone(),
            type_name: one.output.to.type_name().as_str(),
            destination: one.output.to.of_type().destination(),
            format: one.output.format.as_str(),
            dead_letters: self.dead_letters(&one.output),
            activity: one.activity.get(),
        };
        let guard = self.lock();
        guard.iter().flat_map(|all| &all.running).map(about).collect()
    }

    /// The settings of a running output.
    pub(crate) fn settings(&self, name: &str) -> Option<Output> {
        let guard = self.lock();
        let mut running = guard.iter().flat_map(|all| &all.running);
        running.find(|one| one.output.name == name).map(|one| one.output.clone())
    }

    /// Ends the wait of an output after a failure. Returns `false` if no such output runs.
    pub(crate) fn retry(&self, name: &str) -> bool {
        let guard = self.lock();
        let mut running = guard.iter().flat_map(|all| &all.running);
        let named = running.find(|one| one.output.name == name);
        // The thread may have ended.
        named.is_some_and(|one| one.control.send(Control::Retry).is_ok())
    }

    /// The data directory.
    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Stops all outputs for good, with their cursors saved. Blocks until they have stopped.
    pub(crate) fn stop(&self) {
        let All { running, leaving } = self.lock().take().unwrap_or_default();
        running.iter().for_each(Running::tell_to_stop);
        for one in running.into_iter().chain(leaving) {
            // A panic is already in the log.
            let _ = one.thread.join();
        }
    }

    /// Records in the catalog which outputs are configured.
    fn configure(&self, outputs: &[Output]) {
        let names: Vec<&str> = outputs.iter().map(|output| output.name.as_str()).collect();
        let entered = OutputCursors::open(&self.directory).and_then(|all| all.configure(&names));
        if let Err(error) = entered {
            tracing::warn!(%error, "outputs that are past are not marked as such");
        }
    }

    /// Starts an output. It begins once the outputs in `before` have ended.
    fn start(&self, output: &Output, before: Vec<Ended>) -> Result<Running, OutputError> {
        let reader = Reader::open_to_follow(&self.directory)?;
        let cursors = OutputCursors::open(&self.directory)?;
        engine::begin(output, &reader, &cursors)?;
        let (trigger, shutdown) = shutdown();
        let activity = SharedActivity::default();
        let sink = output.to.of_type().sink(SinkOptions {
            name: &output.name,
            format: output.format,
            dead_letters: self.dead_letters(output),
            shutdown,
            activity: activity.clone(),
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
            activity: activity.clone(),
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
        Ok(Running { output, control: sender, activity, trigger, ended, thread })
    }

    /// The dead letters of an output.
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
        // After a panic the list is still consistent.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Records that an output does not run. The error is in the log already.
fn fail(directory: &Directory, name: &str, error: &str) {
    let _ = OutputCursors::open(directory).and_then(|all| all.fail(name, error, now()));
}

/// Is set when the thread of an output has ended.
type Ended = Arc<OnceLock<()>>;

/// Sets it on drop, so after a panic too.
struct SetsEnded(Ended);

impl Drop for SetsEnded {
    fn drop(&mut self) {
        let _ = self.0.set(());
    }
}
