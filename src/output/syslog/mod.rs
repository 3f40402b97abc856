//! Outputs of the type `syslog`: messages to a receiver over TCP or TLS.
//!
//! - `settings`: the keys of the type. `message`: an entry to a message.
//! - `connection`: carries messages, and confirms at its end that all were read.
//! - `close_behavior`: how the receiver ends connections, remembered across restarts.
//!
//! The cursor is saved only after a connection was ended and confirmed. That happens at least every
//! ten seconds or few megabytes. After a failure everything since then is sent again. An output
//! with nothing to send has no open connection.
//!
//! Some receivers never close a connection that was ended. Such a receiver keeps its connection,
//! and entries that it loses are lost. A receiver that closed a connection once is never treated like that.

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

/// How often it is confirmed that everything was read. Each confirmation costs a connection, and
/// what is not confirmed is sent again after a failure.
const CONFIRM_EVERY: Duration = Duration::from_secs(10);

/// How long the receiver may take to read everything and to close its side. It is less than a
/// shutdown may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(5);

/// After this many connections in a row that the receiver leaves open, it counts as one that never
/// closes. It may only be slow, so there is a pause between them.
const OPEN_ENDS: u32 = 3;
const BETWEEN_ENDS: Duration = Duration::from_secs(30);

/// How often a receiver that never closes is tested again.
const ASK_EVERY: Duration = Duration::from_secs(3600);

/// The maximum number of bytes sent without a confirmation, and the maximum for a receiver that is
/// slow or not known yet.
const MOST_UNCONFIRMED: usize = 4 << 20;
const LEAST_UNCONFIRMED: usize = 64 << 10;

/// The size of the buffer in bytes.
const GATHERED: usize = 64 << 10;

/// The sink of an output of the type `syslog`.
struct SyslogSink {
    name: String,
    settings: SyslogSettings,
    messages: Messages,
    /// Built from the files on the first use, and again after a failure.
    tls: Option<Arc<ClientConfig>>,
    connection: Option<Connection>,
    /// The messages that were not sent yet.
    buffer: Vec<u8>,
    /// The bytes written since the last confirmation, and their current maximum.
    unconfirmed: usize,
    most_unconfirmed: usize,
    /// The receiver of `close_behavior`, as the state names it.
    receiver: String,
    close_behavior: CloseBehavior,
    /// Whether the saved state was read. What is learned later is newer.
    is_restored: bool,
    /// The connections in a row that were left open, while the behavior is not known.
    left_open: u32,
    /// When a receiver that never closes was tested last. `None`: not in this process, or not since
    /// SIGHUP.
    asked_at: Option<Instant>,
    confirm_within: Duration,
}

impl SyslogSink {
    /// Creates a sink without a connection, for the output `name`.
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

    /// Sends one entry as the output would. Returns a description of what the receiver did.
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

    /// Sends the buffer.
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

    /// Ends the connection, and checks whether everything was read.
    fn confirm(&mut self) -> Result<(), OutputError> {
        let was_asked = self.asked_at.is_some_and(|at| at.elapsed() < ASK_EVERY);
        if self.close_behavior == CloseBehavior::StaysOpen && was_asked {
            // It keeps one connection. A receiver that reads nothing would accept any amount over
            // several.
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
            // A failure is not the same as staying open.
            self.left_open = 0;
            self.peer(error)
        })
    }

    fn was_closed(&mut self, notified: bool) -> Result<(), OutputError> {
        if self.close_behavior == CloseBehavior::ClosesWithNotify && !notified {
            return Err(self.peer(
                "the connection was closed without TLS's close_notify, which this receiver has sent \
                 before: it was cut off, or somebody on the network path closed it; if a different \
                 receiver has this address now, write the address differently",
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
            "the receiver does not close its side of a connection, so entries that it loses are lost"
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
        // What was not confirmed is sent again. The files of certificates may have changed.
        (self.connection, self.tls) = (None, None);
        self.buffer.clear();
        self.unconfirmed = 0;
        Ok(())
    }

    fn is_full(&self, _record: &Record, line: &[u8]) -> bool {
        self.unconfirmed > 0 && self.unconfirmed + line.len() > self.most_unconfirmed
    }

    fn write(&mut self, record: &Record, line: &[u8], _now: Millis) -> Result<(), OutputError> {
        // The engine does not call `is_full` for an entry whose verdict changed.
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
        // The files of certificates and the receiver may have changed.
        self.tls = None;
        self.asked_at = None;
    }
}

impl Drop for SyslogSink {
    fn drop(&mut self) {
        // A receiver that never closes has one. It is ended like any other.
        if let Some(connection) = self.connection.take() {
            let _ = connection.finish(Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
