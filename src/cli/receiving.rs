//! What `serve` and `receive` have in common: flags, what is shown, the file with the addresses,
//! signals.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use serde_json::Value;
use tokio::signal::unix::{self, SignalKind};
use tokio::task::JoinHandle;

use super::display::{DeliveryLines, DeliveryLog};
use super::exit::Failure;
use super::logging::{self, Style, Verbosity};
use super::service_manager;
use super::terminal::stderr_is_terminal;
use crate::config::{self, Flags, listen_address};
use crate::net::Trigger;
use crate::private_file;
use crate::receiver::DeliveryObserver;

/// The time limit for requests in flight during a shutdown. Container engines kill after 10
/// seconds, so the rest is for closing the store.
const GRACE: Duration = Duration::from_secs(8);

// No `Debug`: it may have a secret.
#[derive(Args)]
pub(super) struct ReceivingArgs {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Receive deliveries on this address and port, such as localhost:8443, or :8443 for all IPv4
    /// addresses [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,

    /// Receive deliveries at this path [default: /audit-logs]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// The public URL, if a load balancer, tunnel or proxy is in front
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,

    /// The expected Authorization header, in full [env: VIDIMUS_AUTHORIZATION]
    #[arg(long, value_name = "VALUE")]
    authorization: Option<String>,

    /// Read the expected Authorization value from this file
    #[arg(long, value_name = "FILE")]
    authorization_file: Option<PathBuf>,

    /// The certificate chain in PEM [default: a self-signed certificate]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// The private key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Serve plain HTTP, for use behind a TLS proxy, load balancer or tunnel
    #[arg(long)]
    no_tls: bool,

    /// Write the addresses to this file, as JSON, once the program is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// The log format. With json, all messages are JSON. On a terminal without this flag, each
    /// delivery is shown as a line
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Style>,
}

impl ReceivingArgs {
    /// Starts the log. `quieter` are its levels on a terminal, where deliveries are lines instead.
    pub(super) fn start_log(
        &self,
        verbosity: Verbosity,
        quieter: &'static str,
    ) -> Result<Shown, Failure> {
        let on_terminal = stderr_is_terminal() && self.log_format.is_none();
        let default = if on_terminal { quieter } else { "info" };
        let style = self.log_format.unwrap_or_default();
        let log = config::log(&Flags { config: self.config.clone(), ..Flags::default() });
        let level = log.as_ref().ok().and_then(|log| log.level);
        logging::start(verbosity, level, default, style)?;
        log.map_err(Failure::usage)?;
        Ok(Shown {
            secrets: on_terminal,
            deliveries: on_terminal && !verbosity.is_quiet(),
            is_json: style == Style::Json,
        })
    }

    /// The file for the addresses.
    pub(super) fn ready_file(&self) -> Option<PathBuf> {
        self.ready_file.clone()
    }

    /// The flags for the configuration.
    pub(super) fn into_flags(self) -> Flags {
        Flags {
            config: self.config,
            listen: self.listen,
            path: self.path,
            public_url: self.public_url,
            authorization: self.authorization,
            authorization_file: self.authorization_file,
            tls_cert: self.tls_cert,
            tls_key: self.tls_key,
            no_tls: self.no_tls,
            ..Flags::default()
        }
    }
}

/// What to print besides the log.
#[derive(Clone, Copy)]
pub(super) struct Shown {
    /// Deliveries as lines, instead of logging them.
    deliveries: bool,
    /// The generated authorization value.
    pub(super) secrets: bool,
    /// Nothing: all messages are JSON log events.
    pub(super) is_json: bool,
}

impl Shown {
    /// Shows deliveries.
    pub(super) fn observer(self) -> Arc<dyn DeliveryObserver> {
        match self.deliveries {
            true => Arc::new(DeliveryLines::default()),
            false => Arc::new(DeliveryLog::default()),
        }
    }
}

/// Writes the addresses to the file that was named, if one was.
pub(super) fn write_addresses(file: Option<&Path>, addresses: &Value) -> Result<(), Failure> {
    let Some(path) = file else { return Ok(()) };
    private_file::write(path, format!("{addresses}\n"))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

/// The signals that a server heeds.
pub(super) struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hang_up: unix::Signal,
    /// That of a file size limit is ignored, so that the write fails like on a full disk.
    _file_too_large: unix::Signal,
}

impl Signals {
    pub(super) fn listen() -> Result<Signals, Failure> {
        let listen = |kind| unix::signal(kind).map_err(Failure::failed);
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
            _file_too_large: listen(SignalKind::from_raw(Signal::XFSZ.as_raw()))?,
        })
    }

    /// Waits until the server has ended. SIGTERM and SIGINT begin its shutdown, and SIGHUP calls
    /// `reload`.
    pub(super) async fn until_ended(
        mut self,
        mut running: JoinHandle<()>,
        trigger: &Trigger,
        reload: impl Fn(),
    ) -> Result<(), Failure> {
        let stop = || {
            service_manager::stopping();
            trigger.begin(GRACE);
        };
        loop {
            tokio::select! {
                ended = &mut running => return Ok(ended?),
                _ = self.terminate.recv() => stop(),
                _ = self.interrupt.recv() => stop(),
                _ = self.hang_up.recv() => reload(),
            }
        }
    }
}
