//! `vidimus receive`: receive deliveries and put them into the journal.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::Signal;
use tokio::signal::unix::SignalKind;

use super::exit::{Exit, Failure};
use super::logging::{self, Style, Verbosity};
use super::serve::display::{DeliveryLines, DeliveryLog};
use super::serve::{listen_for, service_manager, stop};
use super::terminal::{stderr_is_terminal, tell};
use crate::config::{self, Authorization, Config, Flags, listen_address};
use crate::net::{activation_socket, shutdown};
use crate::private_file;
use crate::receiver::DeliveryObserver;
use crate::server::receive::JournalReceiver;

/// Receive deliveries and put them into the journal, from which `vidimus serve` reads them.
///
/// A delivery is answered 2xx when the object store of `[journal]` has it. Any number of receivers can
/// stand behind a load balancer: each is stateless and needs no store. The address of the console has
/// only /healthz, /readyz and /metrics. There are no pages, so `keep_requests` and `actions` under
/// `[console]` have no effect.
#[derive(Args)]
pub(crate) struct Receive {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The directory for the self-signed certificate and the generated Authorization value
    /// [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Receive deliveries on this address and port, such as localhost:8443, or :8443 for all IPv4
    /// addresses [default: 127.0.0.1:8443]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    listen: Option<SocketAddr>,

    /// Receive deliveries at this path [default: /audit-logs]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// The public URL of the receivers, if a load balancer, tunnel or proxy is in front
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

    /// Serve plain HTTP, for use behind a TLS proxy or load balancer
    #[arg(long)]
    no_tls: bool,

    /// Serve health, readiness and metrics on this address [default: 127.0.0.1:8480]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    console: Option<SocketAddr>,

    /// Write the addresses to this file, as JSON, once the receiver is ready
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,

    /// The log format. With json, all messages are JSON. On a terminal without this flag, each
    /// delivery is shown as a line
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Style>,
}

impl Receive {
    /// Runs until SIGTERM or SIGINT.
    pub(crate) fn run(self, verbosity: Verbosity) -> Result<Exit, Failure> {
        let on_terminal = stderr_is_terminal() && self.log_format.is_none();
        // On a terminal, deliveries are shown as lines instead.
        let default = if on_terminal { "warn,vidimus::receiver::journal=info" } else { "info" };
        let style = self.log_format.unwrap_or_default();
        let ready_file = self.ready_file.clone();
        let flags = Flags::from(self);
        let log = config::log(&flags);
        let level = log.as_ref().ok().and_then(|log| log.level);
        logging::start(verbosity, level, default, style)?;
        log.map_err(Failure::usage)?;
        let env = |name: &str| std::env::var(name).ok();
        let config = Config::load(&flags, &env).map_err(Failure::usage)?;
        config.check_receive().map_err(Failure::usage)?;
        let observer: Arc<dyn DeliveryObserver> = match on_terminal && !verbosity.is_quiet() {
            true => Arc::new(DeliveryLines::default()),
            false => Arc::new(DeliveryLog::default()),
        };
        let startup = Startup {
            socket: activation_socket()?,
            ready_file,
            is_json: style == Style::Json,
            observer,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let received = runtime.block_on(startup.receive(&config));
        // Do not wait for a running DNS look-up or call of the object store.
        runtime.shutdown_timeout(Duration::from_secs(1));
        received
    }
}

impl From<Receive> for Flags {
    fn from(receive: Receive) -> Flags {
        Flags {
            config: receive.config,
            data_dir: receive.data_dir,
            listen: receive.listen,
            path: receive.path,
            public_url: receive.public_url,
            authorization: receive.authorization,
            authorization_file: receive.authorization_file,
            tls_cert: receive.tls_cert,
            tls_key: receive.tls_key,
            no_tls: receive.no_tls,
            console: receive.console,
            ..Flags::default()
        }
    }
}

/// The parts that a receiver needs to run.
struct Startup {
    /// The socket for deliveries that the service manager passed.
    socket: Option<TcpListener>,
    ready_file: Option<PathBuf>,
    /// Whether all messages are JSON log events.
    is_json: bool,
    observer: Arc<dyn DeliveryObserver>,
}

impl Startup {
    async fn receive(self, config: &Config) -> Result<Exit, Failure> {
        let url = config.journal.url.as_ref().ok_or_else(|| {
            Failure::usage(
                "there is no journal to put deliveries into: write url = \"s3://BUCKET/PREFIX\" \
                 under [journal] into the configuration, and name it with --config",
            )
        })?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if config.journal.key_file.is_none() {
            tracing::warn!(
                "journal.key_file is not set: whoever may write to {url} can forge unsigned \
                 entries, peers and times, and whoever may read it can read all entries"
            );
        }
        let mut terminate = listen_for(SignalKind::terminate())?;
        let mut interrupt = listen_for(SignalKind::interrupt())?;
        // The certificate is checked regularly, and nothing else is read again.
        let mut hang_up = listen_for(SignalKind::hangup())?;
        // Ignore the signal of a file size limit, so that the write fails like on a full disk.
        let _file_too_large = listen_for(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
        let (trigger, shutdown) = shutdown();
        let server = JournalReceiver::start(config, url, self.socket, self.observer).await?;
        if let Some(file) = &server.generated_authorization {
            let file = file.display();
            match self.is_json {
                true => {
                    tracing::info!(%file, "this file has the Authorization value to enter in Konnect");
                }
                false => tell(format_args!("the Authorization value to enter in Konnect: {file}")),
            }
        }
        if config.inputs.iter().any(|input| matches!(input.authorization, Authorization::Generated))
        {
            tracing::warn!(
                "the Authorization value is this receiver's own: receivers behind one address \
                 need the same, so set it with --authorization-file"
            );
        }
        let scheme = |has_tls| if has_tls { "https" } else { "http" };
        let receiver =
            format!("{}://{}", scheme(server.certificate.is_some()), server.receiver_address());
        let console =
            format!("{}://{}", scheme(server.console_has_tls()), server.console_address());
        let pulse = server.pulse();
        service_manager::feed_watchdog(move || pulse.is_alive(), shutdown.clone());
        let mut running = tokio::spawn(server.run(shutdown));
        match self.is_json {
            true => tracing::info!(receiver, console, %url, "ready"),
            false => tell(format_args!(
                "ready: deliveries at {receiver} go to {url}; health and metrics at {console}"
            )),
        }
        // After the message, so that a script that waits for the file finds the message in the log.
        if let Some(path) = &self.ready_file {
            let addresses = serde_json::json!({"receiver": receiver, "console": console});
            private_file::write(path, format!("{addresses}\n")).map_err(|error| {
                Failure::failed(format!("cannot write {}: {error}", path.display()))
            })?;
        }
        service_manager::ready();
        loop {
            tokio::select! {
                ended = &mut running => {
                    ended?;
                    return Ok(Exit::Done);
                }
                _ = terminate.recv() => stop(&trigger),
                _ = interrupt.recv() => stop(&trigger),
                _ = hang_up.recv() => {
                    service_manager::reloading();
                    service_manager::ready();
                }
            }
        }
    }
}
