//! `vidimus konnect listen`: set up the webhook, receive and show entries, and undo the set-up at the
//! end.
//!
//! The set-up is recorded as temporary before it is made. So whatever ends the program, the next
//! `listen` or `teardown` from the same data directory undoes it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::access::{Access, WebhookArgs, log_format};
use super::setup::apply::Applied;
use super::setup_record::{SetupRecord, SetupRecords};
use super::teardown::undo;
use crate::cli::args::{QueryArgs, print_hints};
use crate::cli::display::DeliveryLog;
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::{Printer, RecordFormat, ZoneArgs};
use crate::cli::serve::demo::{authorization, keys_arrived};
use crate::cli::tail;
use crate::cli::terminal::{StandardOutput, tell};
use crate::config::{Config, listen_address};
use crate::entry::Format;
use crate::konnect::api::{CreateDestination, WebhookScope};
use crate::konnect::client::Client;
use crate::net::{Trigger, shutdown};
use crate::output::MakeStdout;
use crate::server::Server;
use crate::settings::HttpUrl;
use crate::store::{Directory, Reader};

/// The time for requests in progress after the webhook was removed.
const GRACE: Duration = Duration::from_secs(5);

/// Point the webhook at this machine, and show the verified entries as they come.
///
/// The command creates a destination, enables the webhook, receives and stores deliveries, and prints
/// their entries until it is interrupted. Then it restores the webhook and deletes the destination.
/// If it is killed, the next start does that. The store stays.
///
/// Konnect must reach --public-url: use a tunnel that ends TLS and forwards to --listen. With
/// --skip-ssl-verification the receiver serves TLS itself, with a self-signed certificate.
#[derive(Args)]
pub(super) struct Listen {
    /// The URL at which Konnect reaches --listen, without the path
    #[arg(long, value_name = "URL")]
    public_url: String,

    #[command(flatten)]
    whose: WebhookArgs,

    /// Listen on this address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443",
          value_parser = listen_address)]
    listen: SocketAddr,

    /// The path of the endpoint
    #[arg(long, value_name = "PATH", default_value = "/audit-logs")]
    path: String,

    /// Tell Konnect not to verify the certificate, and serve TLS with a self-signed one
    #[arg(long)]
    skip_ssl_verification: bool,

    /// The log format of the entries
    #[arg(long, value_name = "FORMAT", default_value = "cef", value_parser = log_format())]
    log_format: Format,

    /// The name of the destination [default: vidimus-listen and a random number]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Replace a webhook that points elsewhere; it is restored at the end
    #[arg(long)]
    replace: bool,

    /// Serve the console on this address [default: a free port]
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0",
          value_parser = listen_address)]
    console: SocketAddr,

    #[command(flatten)]
    query: QueryArgs,

    /// The output format
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: RecordFormat,

    #[command(flatten)]
    zone: ZoneArgs,

    #[command(flatten)]
    access: Access,
}

impl Listen {
    pub(super) fn run(self) -> Result<Exit, Failure> {
        let config = self.config()?;
        let client = self.access.client()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let ended = runtime.block_on(self.listen(&config, &client));
        // Do not wait for a running DNS look-up or key fetch.
        runtime.shutdown_timeout(Duration::from_secs(1));
        ended
    }

    /// The configuration of the receiver.
    fn config(&self) -> Result<Config, Failure> {
        const EXPECTED: &str = "a URL without a path, such as https://abc.example.com";
        let url = HttpUrl::new(&self.public_url, EXPECTED)
            .map_err(|mismatch| Failure::usage(format!("--public-url: {mismatch}")))?;
        if !url.is_https() && self.access.region()?.is_some() {
            return Err(Failure::usage("--public-url: Konnect delivers to https only"));
        }
        let mut flags = self.access.store.flags();
        flags.listen = Some(self.listen);
        flags.path = Some(self.path.clone());
        flags.public_url = Some(self.public_url.trim_end_matches('/').to_owned());
        flags.console = Some(self.console);
        // A tunnel or a proxy ends TLS, unless the certificate need not be good.
        flags.no_tls = !url.is_https() || !self.skip_ssl_verification;
        let hosts = self.access.hosts()?;
        flags.jwks = vec![format!("{}/v2/audit-log-webhook/jwks.json", hosts.regional())];
        Config::load(&flags, &|name| std::env::var(name).ok()).map_err(Failure::usage)
    }

    async fn listen(&self, config: &Config, client: &Client) -> Result<Exit, Failure> {
        let filter = self.query.filter()?;
        let mut interrupted = Interrupted::new()?;
        let directory = Directory::create(&config.data_dir)?;
        let stdout: MakeStdout = Box::new(|| Box::new(StandardOutput::new()));
        let observer = Arc::new(DeliveryLog::default());
        let server = Server::start(config, None, None, observer, stdout).await?;
        let mut records = SetupRecords::read(&config.data_dir)?;
        undo_temporary(client, &mut records).await?;

        let scope = self.whose.scope(client).await?;
        if records.of(client, &scope).is_some() {
            return Err(Failure::failed(format!(
                "what vidimus konnect setup or listen made from {} is still there: use another \
                 --data-dir, or undo it with vidimus konnect teardown",
                config.data_dir.display()
            )));
        }
        let destination = CreateDestination {
            name: self.name.clone().unwrap_or_else(random_name),
            endpoint: format!("{}{}", self.public_url.trim_end_matches('/'), self.path),
            authorization: authorization(config, &server)?,
            log_format: self.log_format,
            skip_ssl_verification: self.skip_ssl_verification,
        };
        let receiver = server.listeners.receiver_url();
        let receiver =
            receiver.ok_or_else(|| Failure::failed("there is no receiver to listen with"))?;
        let console = server.listeners.console_url();
        let reader = Reader::open(&directory)?;
        let position = reader.newest(&filter, 0)?;
        print_hints(&reader, &filter)?;
        let printer = Printer::for_new_records(self.output, &self.zone)?;

        let ring = Arc::clone(server.ring());
        let (trigger, shutdown) = shutdown();
        let running = tokio::spawn(server.run(shutdown));
        let applied = Applied { temporary: true, replace: self.replace };
        let listened = async {
            let are_there = tokio::select! {
                () = keys_arrived(&ring) => true,
                () = interrupted.wait() => false,
            };
            if !are_there {
                return Ok(Exit::Done);
            }
            // Not interrupted half-way: what a request changed is known only when it is answered.
            applied.apply(client, &scope, &destination, &mut records).await?;
            tell(format_args!(
                "ready: deliveries at {receiver}, console at {console}; Ctrl-C ends it"
            ));
            let follow = reader.follow(&filter, position);
            tail::follow(&reader, follow, printer, interrupted.wait()).await
        }
        .await;
        let undone = self.end(client, &scope, &mut records, &mut interrupted).await;
        stop(&trigger, running).await;
        listened.and_then(|exit| undone.map(|undone| exit.max(undone)))
    }

    /// Undoes the set-up. A second interrupt gives up.
    async fn end(
        &self,
        client: &Client,
        scope: &WebhookScope,
        records: &mut SetupRecords,
        interrupted: &mut Interrupted,
    ) -> Result<Exit, Failure> {
        let undone = async {
            let Some(made) = records.of(client, scope).cloned() else { return Ok(Exit::Done) };
            let undone = undo(client, scope, &made).await?;
            if undone == Exit::Done {
                records.put(client, scope, None)?;
            }
            Ok(undone)
        };
        tokio::select! {
            undone = undone => undone,
            () = interrupted.wait() => Err(Failure::failed(
                "interrupted again: the webhook may still point here; undo it with vidimus konnect \
                 teardown",
            )),
        }
    }
}

/// Undoes what an earlier `listen` left when it was killed.
async fn undo_temporary(client: &Client, records: &mut SetupRecords) -> Result<(), Failure> {
    let is_left = |made: &&SetupRecord| made.temporary && made.api == client.hosts().regional();
    let left: Vec<_> = records.all.iter().filter(is_left).cloned().collect();
    for made in left {
        tell(format_args!(
            "undoing what an earlier vidimus konnect listen left: the destination {:?}",
            made.destination_name
        ));
        let scope = made.portal_id.clone().map_or(WebhookScope::Organization, WebhookScope::Portal);
        if undo(client, &scope, &made).await? == Exit::Done {
            records.put(client, &scope, None)?;
        }
    }
    Ok(())
}

fn random_name() -> String {
    format!("vidimus-listen-{:08x}", fastrand::u32(..))
}

/// Stops the receiver, and waits for it.
async fn stop(trigger: &Trigger, running: tokio::task::JoinHandle<()>) {
    trigger.begin(GRACE);
    // Only a panic ends it otherwise, and that was reported.
    let _ = running.await;
}

/// SIGINT, SIGTERM, and SIGHUP when the terminal is closed.
struct Interrupted {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hang_up: tokio::signal::unix::Signal,
}

impl Interrupted {
    fn new() -> Result<Interrupted, Failure> {
        Ok(Interrupted {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_destination_has_a_name_of_its_own() {
        assert!(random_name().starts_with("vidimus-listen-"));
        assert_ne!(random_name(), random_name());
    }
}
