//! The loop of one output: reads entries behind a cursor, and writes lines to a sink.
//!
//! It never blocks the receiver. It reads like any other reader, and entries that it cannot write
//! yet stay in the store. It holds one slice of the store in memory. After any error it starts
//! again from the saved cursor, as after a crash, so there is only one way to recover.

use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use super::activity::SharedActivity;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::error::OutputError;
use super::settings::{NotValid, Output, Start};
use super::sink::Sink;
use super::throughput::Throughput;
use crate::clock::now;
use crate::entry::{Millis, Record};
use crate::output::OutputFormat;
use crate::search::{Field, Filter};
use crate::store::{Event, EventBatch, OutputCursor, OutputCursors, Position, Reader};

/// A command to an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Open files again.
    Reopen,
    /// End the wait after a failure.
    Retry,
    /// Save everything and end.
    Stop,
}

/// How often the store is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// How often an idle output checks whether it was reset.
const RESET_INTERVAL: Duration = Duration::from_secs(1);

/// The maximum number of polls after the command to stop, with up to 1,000 entries each.
const MAX_LAST_POLLS: usize = 10;

/// The maximum number of entries held for the dead letters before they are written.
const MAX_TOO_LONG: usize = 1000;

/// The pause after a failure: the first, doubled after each further failure up to the longest. The
/// other end can ask for a longer pause.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// An output and what it works with.
pub(super) struct Engine {
    pub(super) output: Output,
    pub(super) reader: Reader,
    pub(super) cursors: OutputCursors,
    pub(super) sink: Box<dyn Sink>,
    pub(super) dead_letters: DeadLetters,
    pub(super) control: Receiver<Control>,
    pub(super) activity: SharedActivity,
    /// Whether it received [`Control::Stop`].
    pub(super) is_stopping: bool,
    /// The number of resets when it started last.
    pub(super) epoch: Option<u64>,
}

impl Engine {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let name = self.output.name.clone();
        let mut failed_at = None;
        let mut pause = PAUSE;
        loop {
            let error = match self.follow() {
                Ok(()) => return,
                // It starts from the new cursor the next time.
                Err(OutputError::Reset) if self.is_stopping => return,
                Err(OutputError::Reset) => {
                    tracing::info!(output = name, "the output was reset");
                    continue;
                }
                Err(error) => error,
            };
            // Best effort: the error may be one of the catalog.
            let _ = self.cursors.fail(&name, &error.to_string(), now());
            let cursor = self.cursors.load(&name).ok().flatten();
            if let Some(cursor) = &cursor {
                // Best effort: no half line should be in a file while the output waits, or after it
                // ends.
                let _ = self.sink.restore(&cursor.state);
            }
            let at = cursor.map(|cursor| cursor.position);
            pause = match at == failed_at {
                true => (pause * 2).min(LONGEST_PAUSE),
                false => PAUSE,
            };
            failed_at = at;
            if self.is_stopping {
                tracing::warn!(output = name, %error, "the output stops, and goes on from its cursor");
                return;
            }
            let wait = wait_after(pause, error.retry_after());
            let seconds = format!("{:.1}", wait.as_secs_f64());
            tracing::warn!(output = name, %error, seconds, "the output waits");
            let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            let until = Millis::saturating(now().get().saturating_add(millis));
            self.activity.waits_until(Some(until));
            let told = self.wait(wait);
            self.activity.waits_until(None);
            match told {
                Some(Control::Stop) => return,
                Some(Control::Reopen) => self.sink.reopen(),
                Some(Control::Retry) => tracing::info!(output = name, "the wait was ended"),
                None => {}
            }
        }
    }

    /// Follows the store from the saved cursor until it is told to stop.
    fn follow(&mut self) -> Result<(), OutputError> {
        let cursor = begin(&self.output, &self.reader, &self.cursors)?;
        if cursor.waiting {
            return Err(OutputError::CursorLost(self.output.name.clone()));
        }
        if self.epoch.replace(cursor.epoch).is_some_and(|epoch| epoch != cursor.epoch) {
            self.sink.was_reset();
        }
        self.sink.restore(&cursor.state)?;
        let Engine { output, reader, cursors, sink, dead_letters, control, .. } = self;
        let (activity, is_stopping) = (&self.activity, &mut self.is_stopping);
        let mut follow = reader.follow(&output.wanted(), cursor.position);
        if is_raw_alone(output) {
            follow = follow.only_lines();
        }
        let mut run = Run {
            passes_changes: passes_changes(output),
            output,
            cursors,
            sink: sink.as_mut(),
            saved: cursor.clone(),
            rate: Throughput::new(cursor.written, Instant::now()),
            cursor,
            has_gone_on: false,
            saved_at: Instant::now(),
            line: Vec::new(),
            dead_letters,
            too_long: Vec::new(),
            letters: 0,
            activity,
        };
        loop {
            let EventBatch { events, more } = follow.poll()?;
            run.give_out(events, follow.position())?;
            run.save_if_due()?;
            let told = match more {
                true => control.try_recv().map_err(|error| match error {
                    TryRecvError::Empty => RecvTimeoutError::Timeout,
                    TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
                }),
                false => control.recv_timeout(POLL_INTERVAL),
            };
            match told {
                Ok(Control::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    *is_stopping = true;
                    // The latest entries go out too, unless there are many.
                    for _ in 0..MAX_LAST_POLLS {
                        let EventBatch { events, more } = follow.poll()?;
                        run.give_out(events, follow.position())?;
                        if !more {
                            break;
                        }
                    }
                    if run.is_changed() {
                        run.save()?;
                    }
                    if run.saved.state.is_empty() {
                        return Ok(());
                    }
                    // Every line is covered by the cursor. The files are closed, since another
                    // output may write to them before this one starts again.
                    run.sink.reopen();
                    return run.save();
                }
                Ok(Control::Reopen) => {
                    run.save()?;
                    run.sink.reopen();
                }
                // It does not wait.
                Ok(Control::Retry) | Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits for `pause`, or until a command arrives.
    fn wait(&self, pause: Duration) -> Option<Control> {
        match self.control.recv_timeout(pause) {
            Ok(told) => Some(told),
            Err(RecvTimeoutError::Disconnected) => Some(Control::Stop),
            Err(RecvTimeoutError::Timeout) => None,
        }
    }
}

/// The saved cursor of an output. An output with a new name gets one.
pub(super) fn begin(
    output: &Output,
    reader: &Reader,
    cursors: &OutputCursors,
) -> Result<OutputCursor, OutputError> {
    loop {
        if let Some(cursor) = cursors.load(&output.name)? {
            return Ok(cursor);
        }
        let position = match output.start {
            Start::Oldest => Position::OLDEST,
            Start::Newest => reader.newest(&Filter::All, 0)?,
        };
        cursors.begin(&output.name, position, now())?;
    }
}

/// The state from one start to the next failure.
struct Run<'a> {
    output: &'a Output,
    passes_changes: bool,
    cursors: &'a OutputCursors,
    sink: &'a mut dyn Sink,
    /// The cursor in the catalog.
    saved: OutputCursor,
    /// The current cursor. Everything before it is written.
    cursor: OutputCursor,
    rate: Throughput,
    /// Whether it wrote since, or had nothing to write. Then the last error is over.
    has_gone_on: bool,
    /// When the cursor was saved, or last checked for a reset.
    saved_at: Instant,
    line: Vec<u8>,
    dead_letters: &'a DeadLetters,
    /// Entries whose lines are too long. They are written to the dead letters just before the
    /// cursor is saved: any earlier, a failure in between would write them again and again.
    too_long: Vec<DeadLetter>,
    /// How many dead letters were written since the cursor was saved.
    letters: u64,
    activity: &'a SharedActivity,
}

impl Run<'_> {
    /// Writes the entries of `events`, after which the position is `end`.
    fn give_out(&mut self, events: Vec<Event>, end: Position) -> Result<(), OutputError> {
        let mut records = Vec::with_capacity(events.len());
        let mut lost = 0;
        for event in events {
            match event {
                Event::New(record) => records.push((record.id(), record)),
                Event::Changed(record) if self.passes_changes => records.push((None, record)),
                Event::Changed(_) => {}
                Event::Missed { from, to } => {
                    lost += to.saturating_sub(from).saturating_add(1);
                    let output = self.output.name.as_str();
                    tracing::warn!(output, from, to, "retention was faster: entries are lost");
                }
            }
        }
        if !records.is_empty() {
            self.write(&records)?;
        }
        self.cursor.lost = self.cursor.lost.saturating_add(lost);
        self.cursor.position = end;
        self.has_gone_on = true;
        if self.too_long.len() >= MAX_TOO_LONG { self.save() } else { Ok(()) }
    }

    fn write(&mut self, records: &[(Option<u64>, Record)]) -> Result<(), OutputError> {
        let time = now();
        let is_sent = |record: &&Record| record.whole.is_none();
        let all: Vec<&Record> = records.iter().map(|(_, record)| record).filter(is_sent).collect();
        let mut is_changed = self.sink.prepare(&all)?;
        if self.sink.is_due(&all, time) {
            self.save()?;
            self.sink.rotate_due(&all, time)?;
            is_changed |= self.sink.prepare(&all)?;
        }
        if is_changed {
            self.save()?;
        }
        for (id, record) in records {
            if !is_sent(&record) {
                self.too_long.push(DeadLetter::too_long(record));
                continue;
            }
            self.line.clear();
            self.output.format.write_line(record, self.output.not_valid, &mut self.line);
            // The cursor of changed entries moves only after the whole slice.
            if let Some(id) = *id {
                self.cursor.position.next_id = id;
                if self.sink.is_full(record, &self.line) {
                    self.save()?;
                    self.sink.rotate(record, time)?;
                    self.save()?;
                }
            }
            self.sink.write(record, &self.line, time)?;
            self.cursor.written = self.cursor.written.saturating_add(1);
        }
        self.line.shrink_to(1 << 20);
        self.sink.flush()
    }

    fn is_changed(&self) -> bool {
        self.cursor.position != self.saved.position || self.saved.error.is_some()
    }

    /// Saves the cursor when the sink wants it. If nothing has changed, checks for a reset.
    fn save_if_due(&mut self) -> Result<(), OutputError> {
        let since = self.saved_at.elapsed();
        if self.is_changed() {
            return if since >= self.sink.sync_every() { self.save() } else { Ok(()) };
        }
        if since >= RESET_INTERVAL {
            self.saved_at = Instant::now();
            if self.cursors.epoch(&self.output.name)? != Some(self.cursor.epoch) {
                return Err(OutputError::Reset);
            }
        }
        Ok(())
    }

    /// Syncs the sink, then saves the cursor.
    fn save(&mut self) -> Result<(), OutputError> {
        self.cursor.state = self.sink.sync()?;
        self.write_dead_letters()?;
        let dead = self.sink.dead_letters();
        self.cursor.written = without_dead(self.saved.written, self.cursor.written, dead);
        self.cursor.dead_letters = self.saved.dead_letters.saturating_add(dead + self.letters);
        self.cursor.rate = self.rate.at(self.cursor.written, Instant::now());
        self.cursor.saved_at = now();
        if self.has_gone_on {
            self.cursor.error = None;
        }
        if !self.cursors.save(&self.output.name, &self.cursor)? {
            return Err(OutputError::Reset);
        }
        let lines = self.cursor.written.saturating_sub(self.saved.written);
        if lines > 0 {
            self.activity.wrote(self.cursor.saved_at, lines);
        }
        self.sink.counted_dead_letters();
        self.letters = 0;
        if self.saved.error.is_some() && self.cursor.error.is_none() {
            tracing::info!(output = self.output.name, "the output goes on");
        }
        self.saved = self.cursor.clone();
        self.saved_at = Instant::now();
        Ok(())
    }

    /// Writes the entries with long lines to the dead letters.
    fn write_dead_letters(&mut self) -> Result<(), OutputError> {
        let count = self.too_long.len();
        if count == 0 {
            return Ok(());
        }
        self.dead_letters.append(self.too_long.drain(..))?;
        self.letters = self.letters.saturating_add(count as u64);
        tracing::warn!(
            output = self.output.name,
            count,
            file = %self.dead_letters.path().display(),
            "lines are too long to go out: their entries are among the dead letters"
        );
        Ok(())
    }
}

/// The number of written lines: those handed to the sink, less the dead letters among them. Dead
/// letters may be from before a reset, so the number never falls below `before`.
fn without_dead(before: u64, now: u64, dead: u64) -> u64 {
    before.saturating_add(now.saturating_sub(before).saturating_sub(dead))
}

/// The pause with a jitter of a fifth, so that outputs do not all retry at once. Longer if the
/// other end asks for it.
fn wait_after(pause: Duration, asked: Option<Duration>) -> Duration {
    let jittered = pause.mul_f64(0.8 + 0.4 * fastrand::f64());
    asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered))
}

/// Whether an entry goes out again when its verdict changes. It does not if the line would be the
/// same: a raw line without the verdict, under a filter that does not depend on keys.
fn passes_changes(output: &Output) -> bool {
    output.to.of_type().sends_verdict()
        || output.format != OutputFormat::Raw
        || output.not_valid != NotValid::Forward
        || depends_on_keys(&output.filter)
}

/// Whether the sink needs only the line of an entry, and the fields in its path.
fn is_raw_alone(output: &Output) -> bool {
    output.format == OutputFormat::Raw && !output.to.of_type().needs_fields()
}

fn depends_on_keys(filter: &Filter) -> bool {
    match filter {
        Filter::All | Filter::Text(_) => false,
        Filter::And(filters) | Filter::Or(filters) => filters.iter().any(depends_on_keys),
        Filter::Not(filter) => depends_on_keys(filter),
        Filter::Field(field, _) => {
            matches!(field, Field::Verdict | Field::Reason | Field::Kid | Field::Warning)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_written_lines_never_falls() {
        assert_eq!(without_dead(10, 15, 0), 15);
        assert_eq!(without_dead(10, 15, 2), 13);
        assert_eq!(without_dead(10, 11, 3), 10);
        assert_eq!(without_dead(10, 10, 3), 10);
    }

    #[test]
    fn a_pause_has_a_jitter_and_the_requested_length() {
        let second = Duration::from_secs(1);
        for _ in 0..100 {
            let wait = wait_after(10 * second, None);
            assert!((8 * second..=12 * second).contains(&wait), "{wait:?}");
            let wait = wait_after(10 * second, Some(second));
            assert!((8 * second..=12 * second).contains(&wait), "{wait:?}");
        }
        assert_eq!(wait_after(second, Some(7 * second)), 7 * second);
        assert_eq!(wait_after(second, Some(Duration::MAX)), LONGEST_ASKED);
    }
}
