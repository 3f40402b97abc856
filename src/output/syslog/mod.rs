//! Entries as syslog messages to a receiver, over TCP or TLS.
//!
//! - `message`: an entry to a message. `connection`: what carries it, and how its end tells that
//!   everything was read.
//!
//! The cursor is saved only after such an end, and a connection lasts until then: at most ten seconds
//! or a few megabytes. Whatever fails before it makes all of that come again. An output that has
//! nothing to send holds no connection open. Receivers that never end a connection are taken as they
//! are, and keep the one that they have.

mod connection;
mod message;

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use self::connection::{Connection, End};
use self::message::Messages;
use super::error::OutputError;
use super::sink::Sink;
use crate::config::{OutputSyslog, Transport};
use crate::entry::{Millis, Record};
use crate::net::client_config;

/// How often it is confirmed that everything was read: each time costs a connection, and what was not
/// confirmed comes again after a failure.
const CONFIRM_EVERY: Duration = Duration::from_secs(10);

/// How long the receiver may take to read what it was sent and to end its side. Within what a
/// shutdown may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// What is sent without a confirmation, in bytes: at most, and at least where the receiver is slow.
const MOST_UNCONFIRMED: usize = 4 << 20;
const LEAST_UNCONFIRMED: usize = 64 << 10;

/// What is gathered before it is sent, in bytes.
const GATHERED: usize = 64 << 10;

/// Messages to one receiver.
pub(super) struct Syslog {
    name: String,
    settings: OutputSyslog,
    messages: Messages,
    /// Made of the files when it is needed, and again after a failure.
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
    /// What is to be sent.
    buffer: Vec<u8>,
    /// How many bytes were taken since the last confirmation, and how many may be.
    unconfirmed: usize,
    most_unconfirmed: usize,
    habit: Habit,
    confirm_within: Duration,
}

/// What the receiver does when a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    /// That is not known yet.
    Unknown,
    /// It ends its side.
    Confirms,
    /// It leaves its side open, so that nothing is known of what it read. It is not asked again.
    Silent,
}

impl Syslog {
    /// Nothing is connected yet. `name` is that of the output.
    pub(super) fn new(name: &str, settings: &OutputSyslog) -> Syslog {
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        Syslog {
            name: name.to_owned(),
            settings: settings.clone(),
            messages: Messages::new(settings, &machine),
            tls: None,
            connection: None,
            buffer: Vec::new(),
            unconfirmed: 0,
            most_unconfirmed: MOST_UNCONFIRMED,
            habit: Habit::Unknown,
            confirm_within: CONFIRM_WITHIN,
        }
    }

    /// Sends one entry, as the output would: what the receiver is, and did.
    pub(super) fn try_out(&mut self, record: &Record, line: &[u8]) -> Result<String, OutputError> {
        self.take(record, line);
        self.send()?;
        let description = self.connection.as_ref().map(Connection::description).unwrap_or_default();
        self.confirm()?;
        let did = match self.habit {
            Habit::Confirms => "it has read the message and closed the connection",
            _ => {
                "it took the message and left the connection open, so it is not known whether it \
                 has read it"
            }
        };
        Ok(format!("{} ({description}): {did}", self.settings.address))
    }

    fn take(&mut self, record: &Record, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let before = self.buffer.len();
        self.messages.append(record, line, &mut self.buffer);
        self.unconfirmed += self.buffer.len() - before;
    }

    /// Sends what is gathered.
    fn send(&mut self) -> Result<(), OutputError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        connection.write(&self.buffer).map_err(|error| self.peer(error))?;
        self.connection = Some(connection);
        self.buffer.clear();
        self.buffer.shrink_to(2 * GATHERED);
        Ok(())
    }

    fn connect(&mut self) -> Result<Connection, OutputError> {
        let OutputSyslog { address, transport, timeout, .. } = &self.settings;
        let connection = match transport {
            Transport::Tcp => Connection::open(address, None, *timeout),
            Transport::Tls(settings) => {
                let config = match &self.tls {
                    Some(config) => config.clone(),
                    None => {
                        let pair = settings.certificate.as_ref();
                        let config = client_config(settings.ca_file.as_deref(), pair);
                        Arc::new(config.map_err(|error| self.peer(error))?)
                    }
                };
                self.tls = Some(Arc::clone(&config));
                Connection::open(address, Some((&config, &settings.server_name)), *timeout)
            }
        };
        connection.map_err(|error| self.peer(error))
    }

    /// Ends the connection, and learns whether everything was read.
    fn confirm(&mut self) -> Result<(), OutputError> {
        if self.habit == Habit::Silent {
            // It keeps its connection: one that reads nothing would take any amount in many.
            self.unconfirmed = 0;
            return Ok(());
        }
        let Some(connection) = self.connection.take() else { return Ok(()) };
        let wait = self.confirm_within;
        let end = connection.finish(wait).map_err(|error| self.peer(error))?;
        match (end, self.habit) {
            (End::Closed, _) => {
                self.habit = Habit::Confirms;
                self.most_unconfirmed = (self.most_unconfirmed * 2).min(MOST_UNCONFIRMED);
            }
            (End::Open, Habit::Unknown | Habit::Silent) => {
                self.habit = Habit::Silent;
                tracing::warn!(
                    output = self.name,
                    receiver = %self.settings.address,
                    "the receiver does not close a connection that is ended: what it loses is lost"
                );
            }
            (End::Open, Habit::Confirms) => {
                self.most_unconfirmed = (self.most_unconfirmed / 2).max(LEAST_UNCONFIRMED);
                return Err(self.peer(format_args!(
                    "not everything was read within {wait:?}; is the receiver held up?"
                )));
            }
        }
        self.unconfirmed = 0;
        Ok(())
    }

    fn peer(&self, why: impl std::fmt::Display) -> OutputError {
        OutputError::Peer {
            to: self.settings.address.to_string(),
            why: why.to_string(),
            retry_after: None,
        }
    }
}

impl Sink for Syslog {
    fn sync_every(&self) -> Duration {
        CONFIRM_EVERY
    }

    fn restore(&mut self, _state: &str) -> Result<(), OutputError> {
        // What was not confirmed comes again. The files may be others now.
        (self.connection, self.tls) = (None, None);
        self.buffer.clear();
        self.unconfirmed = 0;
        Ok(())
    }

    fn is_full(&self, _record: &Record, line: &[u8]) -> bool {
        self.unconfirmed > 0 && self.unconfirmed + line.len() > self.most_unconfirmed
    }

    fn write(&mut self, record: &Record, line: &[u8], _now: Millis) -> Result<(), OutputError> {
        self.take(record, line);
        if self.buffer.len() >= GATHERED { self.send() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.send()
    }

    fn sync(&mut self) -> Result<String, OutputError> {
        self.send()?;
        self.confirm()?;
        Ok(String::new())
    }

    fn reopen(&mut self) {
        // The files may be others now, and so may the receiver.
        self.tls = None;
        self.habit = Habit::Unknown;
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        // That of a silent receiver: it is ended as any other.
        if let Some(connection) = self.connection.take() {
            let _ = connection.finish(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
