//! Outputs of the type `http`: batches of entries to an HTTP endpoint.
//!
//! - `settings`: the keys of the type. `credentials`: those for `Authorization` and other headers.
//!   `oauth`: tokens that are fetched.
//! - `batch`: entries and the body that they make. `splunk` and `bulk`: the bodies and the error
//!   codes of Splunk's HTTP Event Collector and of `_bulk`.
//! - `endpoint`: a request and its response. `answer`: the meaning of a response.
//!
//! The cursor moves after each batch, so after a failure one batch is sent again. A batch that is
//! rejected is halved until the entries at fault are found. These become dead letters, and the
//! output continues. An entry becomes a dead letter only if the response is about entries. If it
//! may be about the endpoint, the settings or the credentials, the output waits.

mod answer;
mod batch;
mod bulk;
mod credentials;
mod endpoint;
mod oauth;
mod settings;
mod splunk;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use self::answer::{Answer, BatchOutcome};
use self::batch::{Batch, BodyEncoder, Entry, EntryKey};
use self::bulk::ItemOutcome;
use self::endpoint::Endpoint;
use self::settings::Body;
pub(super) use self::settings::HttpSettings;
use super::activity::SharedActivity;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::destination::Trial;
use super::error::OutputError;
use super::sink::Sink;
use crate::clock::now;
use crate::entry::{Millis, Record};
use crate::net::{Shutdown, shutdown};
use crate::output::OutputFormat;

/// The sink of an output of the type `http`.
struct HttpSink {
    name: String,
    settings: HttpSettings,
    encoder: BodyEncoder,
    endpoint: Endpoint,
    batch: Batch,
    dead_letters: DeadLetters,
    /// Entries of a batch that was accepted in part, until the cursor is past them: they were
    /// accepted, or are dead letters. True if the entry was read again since.
    done: HashMap<EntryKey, bool>,
    /// The number of dead letters since they were counted last.
    dead: u64,
}

impl HttpSink {
    /// Creates a sink for the endpoint in `settings`, with lines in `format`. It stops waiting when
    /// `shutdown` is over. Dead letters go to the file `dead_letters`.
    ///
    /// # Errors
    /// When the files of certificates and keys cannot be used.
    fn new(
        name: &str,
        settings: &HttpSettings,
        format: OutputFormat,
        dead_letters: PathBuf,
        shutdown: Shutdown,
    ) -> Result<HttpSink, OutputError> {
        Ok(HttpSink {
            name: name.to_owned(),
            settings: settings.clone(),
            encoder: BodyEncoder::new(settings, format),
            endpoint: Endpoint::new(settings, format, shutdown)?,
            batch: Batch::default(),
            dead_letters: DeadLetters::new(dead_letters, name),
            done: HashMap::new(),
            dead: 0,
        })
    }

    /// Reports each request to `activity`.
    fn reporting_to(self, activity: SharedActivity) -> HttpSink {
        HttpSink { endpoint: self.endpoint.reporting_to(activity), ..self }
    }

    /// Sends the batch, and writes the entries that are rejected for good to the dead letters.
    fn send(&mut self) -> Result<(), OutputError> {
        let batch = std::mem::take(&mut self.batch);
        let mut refused = Vec::new();
        let sent = self.send_parts(batch.entries(), &mut refused);
        if sent.is_err() {
            self.endpoint.disconnect();
        }
        // Even if the rest failed: the rest is sent again, and these entries are not.
        self.write_dead_letters(&refused)?;
        sent
    }

    fn send_parts<'a>(
        &mut self,
        entries: &'a [Entry],
        refused: &mut Vec<RejectedEntry<'a>>,
    ) -> Result<(), OutputError> {
        // The first part is on top of the stack, which keeps the order.
        let mut parts = vec![entries];
        while let Some(part) = parts.pop() {
            let answer = self.endpoint.send(self.encoder.join(part), part.len())?;
            match answer::classify(&self.settings, &answer) {
                BatchOutcome::Accepted if self.settings.body == Body::Bulk => {
                    self.take_items(part, &answer, refused)?;
                }
                BatchOutcome::Accepted if part.len() < entries.len() => self.mark_done(part),
                BatchOutcome::Accepted => {}
                BatchOutcome::Rejected { why, first } => match part {
                    [entry] => {
                        let status = answer.status.as_u16();
                        refused.push(RejectedEntry { entry, status, why });
                    }
                    part => parts.extend(split(part, first)),
                },
                BatchOutcome::Retry { why } => {
                    return Err(self.endpoint.peer(&why, answer.retry_after));
                }
            }
        }
        Ok(())
    }

    /// Handles the result of each document of a `_bulk`.
    fn take_items<'a>(
        &mut self,
        part: &'a [Entry],
        answer: &Answer,
        refused: &mut Vec<RejectedEntry<'a>>,
    ) -> Result<(), OutputError> {
        let item_outcomes = bulk::item_outcomes(&answer.body, part.len(), self.settings.action)
            .map_err(|why| self.endpoint.peer(&why, answer.retry_after))?;
        let mut waits: Option<(usize, String)> = None;
        for (entry, outcome) in part.iter().zip(item_outcomes) {
            match outcome {
                ItemOutcome::Accepted => drop(self.done.insert(entry.key(), true)),
                ItemOutcome::Rejected { status, why } => {
                    refused.push(RejectedEntry { entry, status, why: answer.redactor.of(&why) });
                }
                ItemOutcome::Retry { why } => {
                    waits.get_or_insert_with(|| (0, answer.redactor.of(&why))).0 += 1;
                }
            }
        }
        match waits {
            None => Ok(()),
            Some((count, why)) => {
                let why = format!("{count} of {} documents are not taken yet: {why}", part.len());
                Err(self.endpoint.peer(&why, answer.retry_after))
            }
        }
    }

    /// Remembers entries that are not sent again with the rest of their batch.
    fn mark_done(&mut self, entries: &[Entry]) {
        self.done.extend(entries.iter().map(|entry| (entry.key(), true)));
    }

    fn write_dead_letters(&mut self, refused: &[RejectedEntry<'_>]) -> Result<(), OutputError> {
        let Some(RejectedEntry { status, why, .. }) = refused.first() else { return Ok(()) };
        let letter = |one: &RejectedEntry<'_>| DeadLetter {
            time: now(),
            status: Some(one.status),
            reason: one.why.clone(),
            url: Some(self.endpoint.shown().to_owned()),
            entry: one.entry.record().clone(),
        };
        self.dead_letters.append(refused.iter().map(letter))?;
        self.dead = self.dead.saturating_add(refused.len() as u64);
        self.done.extend(refused.iter().map(|one| (one.entry.key(), true)));
        tracing::warn!(
            output = self.name,
            count = refused.len(),
            file = %self.dead_letters.path().display(),
            status,
            reason = why,
            "the endpoint refuses entries for good: they are among the dead letters"
        );
        Ok(())
    }

    /// Sends one entry and describes the response. There are no dead letters.
    fn try_out(&mut self, record: &Record, line: &[u8]) -> Result<Trial, OutputError> {
        self.batch.push(self.encoder.entry(record, line));
        let batch = std::mem::take(&mut self.batch);
        let answer = self.endpoint.send(self.encoder.join(batch.entries()), 1)?;
        let problem = match answer::classify(&self.settings, &answer) {
            BatchOutcome::Accepted if self.settings.body == Body::Bulk => {
                match bulk::item_outcomes(&answer.body, 1, self.settings.action).as_deref() {
                    Ok([ItemOutcome::Rejected { why, .. } | ItemOutcome::Retry { why }]) => {
                        Some(answer.redactor.of(why))
                    }
                    Ok(_) => None,
                    Err(why) => Some(why.clone()),
                }
            }
            BatchOutcome::Accepted => None,
            BatchOutcome::Rejected { why, .. } => {
                Some(format!("the entry would be a dead letter: {why}"))
            }
            BatchOutcome::Retry { why } => Some(why),
        };
        let said = match answer.said() {
            said if said.is_empty() => said,
            said => format!(": {said}"),
        };
        let (to, status) = (self.endpoint.shown(), answer.status.as_u16());
        let answered = format!("{to} answered {status} in {} ms{said}", answer.took.as_millis());
        let is_taken = problem.is_none();
        let taken = match problem {
            None => "the entry was accepted".to_owned(),
            Some(problem) => format!("the entry was not accepted: {problem}"),
        };
        Ok(Trial { lines: vec![answered, taken], is_taken })
    }
}

/// An entry that is rejected for good.
struct RejectedEntry<'a> {
    entry: &'a Entry,
    status: u16,
    why: String,
}

/// Splits a rejected batch, the first part last: around the entry that the response names, or into
/// halves.
fn split(part: &[Entry], first: Option<usize>) -> Vec<&[Entry]> {
    let parts = match first.filter(|first| *first < part.len()) {
        Some(first) => {
            let (before, rest) = part.split_at(first);
            let (named, after) = rest.split_at(1);
            vec![after, named, before]
        }
        None => {
            let (left, right) = part.split_at(part.len() / 2);
            vec![right, left]
        }
    };
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

impl Sink for HttpSink {
    fn sync_every(&self) -> Duration {
        self.settings.batch_every
    }

    fn restore(&mut self, _state: &str) -> Result<(), OutputError> {
        self.batch = Batch::default();
        self.done.values_mut().for_each(|came| *came = false);
        Ok(())
    }

    fn was_reset(&mut self) {
        self.done.clear();
    }

    fn is_full(&self, _record: &Record, line: &[u8]) -> bool {
        let HttpSettings { batch_entries, batch_size, .. } = self.settings;
        let (count, bytes) = (self.batch.entries().len(), self.batch.bytes());
        let bytes = bytes.saturating_add(line.len()).saturating_add(self.encoder.brackets());
        count >= batch_entries || count > 0 && bytes > batch_size
    }

    fn write(&mut self, record: &Record, line: &[u8], _now: Millis) -> Result<(), OutputError> {
        if !self.done.is_empty()
            && let Some(came) = self.done.get_mut(&EntryKey::of(record))
        {
            *came = true;
            return Ok(());
        }
        // The engine does not call `is_full` for an entry whose verdict changed.
        if self.is_full(record, line) {
            self.send()?;
        }
        self.batch.push(self.encoder.entry(record, line));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        // The batch may grow.
        Ok(())
    }

    fn sync(&mut self) -> Result<String, OutputError> {
        if !self.batch.entries().is_empty() {
            self.send()?;
        }
        self.done.retain(|_, came| !*came);
        Ok(String::new())
    }

    fn dead_letters(&self) -> u64 {
        self.dead
    }

    fn counted_dead_letters(&mut self) {
        self.dead = 0;
    }

    fn reopen(&mut self) {
        // The files of certificates may have changed.
        self.endpoint.disconnect();
    }
}

/// Sends one entry to the endpoint, as the output would.
fn try_out(
    settings: &HttpSettings,
    format: OutputFormat,
    record: &Record,
    line: &[u8],
) -> Result<Trial, OutputError> {
    let (_trigger, shutdown) = shutdown();
    HttpSink::new("test", settings, format, PathBuf::new(), shutdown)?.try_out(record, line)
}
