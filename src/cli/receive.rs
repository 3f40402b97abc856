//! `vidimus receive`: receive deliveries and put them into the journal.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Failure};
use super::logging::Verbosity;
use super::receiving::{ReceivingArgs, Shown, Signals, write_addresses};
use super::service_manager;
use super::terminal::tell;
use crate::config::{Authorization, Config, Flags, listen_address};
use crate::net::{activation_socket, shutdown};
use crate::server::receive::JournalReceiver;

/// Receive deliveries and put them into the journal, from which `vidimus serve` reads them.
///
/// A delivery is answered 2xx when the object store of `[journal]` has it. Any number of receivers can
/// stand behind a load balancer: each is stateless and needs no store. The address of the console has
/// only /healthz, /readyz and /metrics. There are no pages, so `keep_requests` and `actions` under
/// `[console]` have no effect.
#[derive(Args)]
pub(crate) struct Receive {
    #[command(flatten)]
    receiving: ReceivingArgs,

    /// The directory for the self-signed certificate and the generated Authorization value
    /// [default: vidimus-data] [env: VIDIMUS_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,

    /// Serve health, readiness and metrics on this address [default: 127.0.0.1:8480]
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    console: Option<SocketAddr>,
}

impl Receive {
    /// Runs until SIGTERM or SIGINT.
    pub(crate) fn run(self, verbosity: Verbosity) -> Result<Exit, Failure> {
        let shown = self.receiving.start_log(verbosity, "warn,vidimus::receiver::journal=info")?;
        let ready_file = self.receiving.ready_file();
        let flags = Flags::from(self);
        let env = |name: &str| std::env::var(name).ok();
        let config = Config::load(&flags, &env).map_err(Failure::usage)?;
        config.check_receive().map_err(Failure::usage)?;
        let startup = Startup { socket: activation_socket()?, ready_file, shown };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let received = runtime.block_on(startup.receive(&config));
        // Do not wait for a running DNS look-up or call of the object store.
        runtime.shutdown_timeout(Duration::from_secs(1));
        received
    }
}

impl From<Receive> for Flags {
    fn from(receive: Receive) -> Flags {
        let Receive { receiving, data_dir, console } = receive;
        Flags { data_dir, console, ..receiving.into_flags() }
    }
}

/// The parts that a receiver needs to run.
struct Startup {
    /// The socket for deliveries that the service manager passed.
    socket: Option<TcpListener>,
    ready_file: Option<PathBuf>,
    shown: Shown,
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
        let signals = Signals::listen()?;
        let (trigger, shutdown) = shutdown();
        let server =
            JournalReceiver::start(config, url, self.socket, self.shown.observer()).await?;
        if let Some(file) = &server.generated_authorization {
            let file = file.display();
            match self.shown.is_json {
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
        let receiver = server.listeners.receiver_url().unwrap_or_default();
        let console = server.listeners.console_url();
        let pulse = server.pulse();
        service_manager::feed_watchdog(move || pulse.is_alive(), shutdown.clone());
        let running = tokio::spawn(server.run(shutdown));
        match self.shown.is_json {
            true => tracing::info!(receiver, console, %url, "ready"),
            false => tell(format_args!(
                "ready: deliveries at {receiver} go to {url}; health and metrics at {console}"
            )),
        }
        // After the message, so that a script that waits for the file finds the message in the log.
        let addresses = serde_json::json!({"receiver": receiver, "console": console});
        write_addresses(self.ready_file.as_deref(), &addresses)?;
        service_manager::ready();
        // The certificate is checked regularly, and nothing else is read again.
        let reload = || {
            service_manager::reloading();
            service_manager::ready();
        };
        signals.until_ended(running, &trigger, reload).await?;
        Ok(Exit::Done)
    }
}
