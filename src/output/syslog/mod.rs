//! Entries as syslog messages to a receiver, over TCP or TLS.
//!
//! - `message`: an entry to a message. `connection`: what carries it, and how its end tells that
//!   everything was read. `close_behavior`: what is known of the receiver's ends, across restarts.
//!
//! The cursor is saved only after such an end, and a connection lasts until then: at most ten seconds
//! or a few megabytes. Whatever fails before it makes all of that come again. An output that has
//! nothing to send holds no connection open. Receivers that never end a connection are taken as they
//! are, and keep the one that they have; but one that ever did is not taken for one of these.

mod close_behavior;
mod connection;
mod message;
mod settings;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use self::close_behavior::CloseBehavior;
use self::connection::{CloseResult, Connection};
use self::message::Messages;
pub(super) use self::settings::SyslogSettings;
use self::settings::Transport;
use super::error::OutputError;
use super::sink::Sink;
use crate::entry::{Millis, Record};
use crate::net::client_config;

/// How often it is confirmed that everything was read: each time costs a connection, and what was not
/// confirmed comes again after a failure.
const CONFIRM_EVERY: Duration = Duration::from_secs(10);

/// How long the receiver may take to read what it was sent and to end its side. Within what a
/// shutdown may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// How many connections in a row a receiver has to leave open before it is taken for one that always
/// does, and how long it has between them: it may only be slow.
const OPEN_ENDS: u32 = 3;
const BETWEEN_ENDS: Duration = Duration::from_secs(30);

/// How often a receiver that was taken for such a one is asked again.
const ASK_EVERY: Duration = Duration::from_secs(3600);

/// What is sent without a confirmation, in bytes: at most, and at least where the receiver is slow or
/// is not known yet.
const MOST_UNCONFIRMED: usize = 4 << 20;
const LEAST_UNCONFIRMED: usize = 64 << 10;

/// What is gathered before it is sent, in bytes.
const GATHERED: usize = 64 << 10;

/// Messages to one receiver.
struct SyslogSink {
    name: String,
    settings: SyslogSettings,
    messages: Messages,
    /// Made of the files when it is needed, and again after a failure.
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
    /// What is to be sent.
    buffer: Vec<u8>,
    /// How many bytes were taken since the last confirmation, and how many may be.
    unconfirmed: usize,
    most_unconfirmed: usize,
    /// The receiver that the close_behavior is of, as the state names it.
    receiver: String,
    close_behavior: CloseBehavior,
    /// Whether the state was read. What is known since is newer.
    is_restored: bool,
    /// How many connections in a row were left open, while the close_behavior is not known.
    left_open: u32,
    /// When a silent receiver was asked last. Never, in this process or since SIGHUP.
    asked_at: Option<Instant>,
    confirm_within: Duration,
}

impl SyslogSink {
    /// Nothing is connected yet. `name` is that of the output.
    fn new(name: &str, settings: &SyslogSettings) -> SyslogSink {
        let machine = rustix::system::uname();
        let machine = machine.nodename().to_string_lossy();
        SyslogSink {
            name: name.to_owned(),
            settings: settings.clone(),
            messages: Messages::new(settings, &machine),
            tls: None,
            connection: None,
            buffer: Vec::new(),
            unconfirmed: 0,
            most_unconfirmed: LEAST_UNCONFIRMED,
            receiver: close_behavior::receiver(settings),
            close_behavior: CloseBehavior::Unknown,
            is_restored: false,
            left_open: 0,
            asked_at: None,
            confirm_within: CONFIRM_WITHIN,
        }
    }

    /// Sends one entry, as the output would: what the receiver is, and did.
    fn try_out(&mut self, record: &Record, line: &[u8]) -> Result<String, OutputError> {
        self.take(record, line);
        self.send()?;
        let address = self.settings.address.to_string();
        let Some(connection) = self.connection.take() else { return Ok(address) };
        let description = connection.description();
        let is_tls = self.settings.transport != Transport::Tcp;
        let did = match self.end(connection)? {
            CloseResult::Closed { notified: false } if is_tls => {
                "it has read the message and closed the connection, but without TLS's close_notify: \
                 whoever is on the way could have done that too"
            }
            CloseResult::Closed { .. } => "it has read the message and closed the connection",
            CloseResult::Open => {
                "it took the message and left the connection open, so it is not known whether it \
                 has read it"
            }
        };
        Ok(format!("{address} ({description}): {did}"))
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
        if let Err(error) = connection.write(&self.buffer) {
            self.left_open = 0;
            return Err(self.peer(error));
        }
        self.connection = Some(connection);
        self.buffer.clear();
        self.buffer.shrink_to(2 * GATHERED);
        Ok(())
    }

    fn connect(&mut self) -> Result<Connection, OutputError> {
        let SyslogSettings { address, transport, timeout, .. } = &self.settings;
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
        let was_asked = self.asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if self.close_behavior == CloseBehavior::StaysOpen && was_asked {
            // It keeps its connection: one that reads nothing would take any amount in many.
            self.unconfirmed = 0;
            return Ok(());
        }
        let Some(connection) = self.connection.take() else { return Ok(()) };
        match self.end(connection)? {
            CloseResult::Closed { notified } => self.was_closed(notified)?,
            CloseResult::Open => self.was_left_open()?,
        }
        self.unconfirmed = 0;
        Ok(())
    }

    fn end(&mut self, connection: Connection) -> Result<CloseResult, OutputError> {
        connection.finish(self.confirm_within).map_err(|error| {
            // Whatever it is, it is not silent.
            self.left_open = 0;
            self.peer(error)
        })
    }

    fn was_closed(&mut self, notified: bool) -> Result<(), OutputError> {
        if self.close_behavior == CloseBehavior::ClosesWithNotify && !notified {
            return Err(self.peer(
                "the connection was closed without TLS's close_notify, which this receiver has sent \
                 before: it was cut off, or somebody on the way has closed it; if another receiver \
                 stands there now, write its address in another way",
            ));
        }
        self.close_behavior =
            if notified { CloseBehavior::ClosesWithNotify } else { CloseBehavior::Closes };
        self.left_open = 0;
        self.most_unconfirmed = (self.most_unconfirmed * 2).min(MOST_UNCONFIRMED);
        Ok(())
    }

    fn was_left_open(&mut self) -> Result<(), OutputError> {
        let wait = self.confirm_within;
        match self.close_behavior {
            CloseBehavior::Closes | CloseBehavior::ClosesWithNotify => {
                self.most_unconfirmed = (self.most_unconfirmed / 2).max(LEAST_UNCONFIRMED);
                return Err(self.peer(format_args!(
                    "not everything was read within {wait:?}; is the receiver held up?"
                )));
            }
            CloseBehavior::Unknown if self.left_open + 1 < OPEN_ENDS => {
                self.left_open += 1;
                let why = format!(
                    "the receiver has not closed the connection within {wait:?}, so it is not known \
                     whether it read; trying again ({} of {OPEN_ENDS})",
                    self.left_open
                );
                let to = self.settings.address.to_string();
                return Err(OutputError::Peer { to, why, retry_after: Some(BETWEEN_ENDS) });
            }
            CloseBehavior::Unknown | CloseBehavior::StaysOpen => {}
        }
        self.close_behavior = CloseBehavior::StaysOpen;
        self.left_open = 0;
        self.asked_at = Some(Instant::now());
        self.most_unconfirmed = MOST_UNCONFIRMED;
        tracing::warn!(
            output = self.name,
            receiver = %self.settings.address,
            "the receiver does not close a connection that is ended: what it loses is lost"
        );
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

impl Sink for SyslogSink {
    fn sync_every(&self) -> Duration {
        CONFIRM_EVERY
    }

    fn restore(&mut self, state: &str) -> Result<(), OutputError> {
        if !self.is_restored {
            self.is_restored = true;
            self.close_behavior = CloseBehavior::of(&self.receiver, state);
            if self.close_behavior != CloseBehavior::Unknown {
                self.most_unconfirmed = MOST_UNCONFIRMED;
            }
        }
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
        // Nobody asks whether it is full for an entry whose verdict changed.
        if self.is_full(record, line) {
            self.send()?;
            self.confirm()?;
        }
        self.take(record, line);
        if self.buffer.len() >= GATHERED { self.send() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), OutputError> {
        self.send()
    }

    fn sync(&mut self) -> Result<String, OutputError> {
        self.send()?;
        self.confirm()?;
        Ok(self.close_behavior.state(&self.receiver))
    }

    fn reopen(&mut self) {
        // The files may be others now, and so may the receiver.
        self.tls = None;
        self.asked_at = None;
    }
}

impl Drop for SyslogSink {
    fn drop(&mut self) {
        // That of a silent receiver: it is ended as any other.
        if let Some(connection) = self.connection.take() {
            let _ = connection.finish(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
