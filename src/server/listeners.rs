//! The listeners of a server: that of the receiver, if it has one, that of the console, and that of the
//! transparency log, if it has one.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use super::credentials::{load_certificate, log_reload};
use crate::config::{self, Config};
use crate::console;
use crate::console::guard::Guard;
use crate::metrics::{CountingListenerObserver, Receiving};
use crate::net::{
    Limits, Listener, ListenerObserver, OpenConnections, ServerTls, Shutdown,
    raise_descriptor_limit,
};
use crate::receiver::Receiver;
use crate::receiver::sink::Sink;

/// How often the files of the certificates are checked.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

/// Listeners that are bound.
pub(crate) struct Listeners {
    /// `None`: nothing is received, and entries come from the sources alone.
    receiver: Option<Listener>,
    console: Listener,
    /// `None`: the log has no address of its own.
    log: Option<Listener>,
    /// The TLS of the receiver.
    pub(super) tls: Option<Arc<ServerTls>>,
    /// The TLS of the console and of the log.
    console_tls: Option<Arc<ServerTls>>,
    /// The limits of the receiver, and of each of the others.
    limits: (Limits, Limits),
    /// The file of the receiver's certificate, if it has TLS.
    pub(crate) certificate: Option<PathBuf>,
}

impl Listeners {
    /// Binds them. The receiver uses `socket` if there is one, and the configured address otherwise.
    pub(super) async fn bind(
        config: &Config,
        socket: Option<TcpListener>,
    ) -> Result<Listeners, StartError> {
        let (tls, certificate) = match config.has_receiver {
            true => load_certificate(config, &config.receiver.tls)?,
            false => (None, None),
        };
        let console_tls = match &tls {
            // The same pair is checked only once.
            Some(tls) if config.console.tls == config.receiver.tls => Some(Arc::clone(tls)),
            _ => load_certificate(config, &config.console.tls)?.0,
        };
        let receiver = match (config.has_receiver, socket) {
            (false, _) => None,
            (true, None) => Some(Listener::bind(config.receiver.listen, tls.clone()).await?),
            (true, Some(socket)) => {
                let listener = Listener::from_socket(socket, tls.clone());
                Some(listener.map_err(StartError::ActivationSocket)?)
            }
        };
        let console = Listener::bind(config.console.listen, console_tls.clone()).await?;
        let limits = connection_limits(config);
        Ok(Listeners { receiver, console, log: None, tls, console_tls, limits, certificate })
    }

    /// Binds the address of the transparency log, if it has one. It has the certificate of the console.
    pub(super) async fn bind_log(&mut self, config: &Config) -> Result<(), StartError> {
        if let Some(address) = config.log.listen {
            self.log = Some(Listener::bind(address, self.console_tls.clone()).await?);
        }
        Ok(())
    }

    /// The receiver's address, with the actual port. `None` if there is no receiver.
    pub(crate) fn receiver_address(&self) -> Option<SocketAddr> {
        self.receiver.as_ref().map(Listener::address)
    }

    /// The receiver's URL, without a path. `None` if there is no receiver.
    pub(crate) fn receiver_url(&self) -> Option<String> {
        self.receiver_address().map(|address| url(self.tls.is_some(), address))
    }

    /// The console's URL, without a path.
    pub(crate) fn console_url(&self) -> String {
        url(self.console_tls.is_some(), self.console.address())
    }

    /// The URL of the log's own address, without a path. `None` if it has none.
    pub(crate) fn log_url(&self) -> Option<String> {
        self.log.as_ref().map(|log| url(self.console_tls.is_some(), log.address()))
    }

    /// What the metrics show of them: the name, the connections, the certificate.
    pub(super) fn gauges(&self) -> Vec<(&'static str, OpenConnections, Option<Arc<ServerTls>>)> {
        let receiver =
            self.receiver.as_ref().map(|one| ("receiver", one.connections(), self.tls.clone()));
        let console = ("console", self.console.connections(), self.console_tls.clone());
        let log = self.log.as_ref().map(|log| ("log", log.connections(), self.console_tls.clone()));
        receiver.into_iter().chain([console]).chain(log).collect()
    }

    /// What guards the console.
    pub(super) fn guard(&self, console: config::Console, config: &config::Receiver) -> Guard {
        Guard::new(self.console.address(), console.hosts, console.token)
            .with_tls(self.console_tls.is_some())
            .with_proxies(config.trusted_proxies.clone())
    }

    /// Serves until shutdown, and loads certificates again when their files change. `log` is used if the
    /// log has an address of its own.
    pub(super) async fn serve<S: Sink>(
        self,
        receiver: &Arc<Receiver<S>>,
        console: axum::Router,
        log: axum::Router,
        metrics: &Arc<Receiving>,
        shutdown: Shutdown,
    ) {
        let own = self
            .console_tls
            .iter()
            .filter(|own| self.tls.as_ref().is_none_or(|receivers| !Arc::ptr_eq(own, receivers)));
        for tls in self.tls.iter().chain(own).map(Arc::clone) {
            tokio::spawn(tls.watch(CERTIFICATE_INTERVAL, shutdown.clone(), log_reload));
        }
        let observer = |listener| -> Arc<dyn ListenerObserver> {
            let (metrics, inner) = (Arc::clone(metrics), Arc::clone(&receiver.deliverer));
            Arc::new(CountingListenerObserver { metrics, listener, inner })
        };
        let (limits, other_limits) = self.limits;
        let log_limits = other_limits.clone();
        let pages = self.console.serve(
            move |request, peer| console::handle(console.clone(), request, peer),
            other_limits,
            observer("console"),
            shutdown.clone(),
        );
        let leaves = async {
            if let Some(listener) = self.log {
                let handler = move |request, peer| console::handle(log.clone(), request, peer);
                listener.serve(handler, log_limits, observer("log"), shutdown.clone()).await;
            }
        };
        let handler = {
            let receiver = Arc::clone(receiver);
            move |request, peer| Arc::clone(&receiver).handle(request, peer)
        };
        let deliveries = async {
            if let Some(listener) = self.receiver {
                listener.serve(handler, limits, observer("receiver"), shutdown.clone()).await;
            }
        };
        tokio::join!(deliveries, pages, leaves);
    }
}

fn url(has_tls: bool, address: SocketAddr) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// The limits of the receiver, and of the console and the log each, lowered if the system has too few
/// descriptors.
fn connection_limits(config: &Config) -> (Limits, Limits) {
    let limits = configured_limits(config);
    let descriptors = raise_descriptor_limit();
    let others = 1 + usize::from(config.log.listen.is_some());
    let (receiver, console) = limits.for_descriptors(descriptors, others);
    if (&receiver, &console) != (&limits, &limits) {
        tracing::warn!(
            "this process may have {} files open, too few for receiver.max_connections = {}: the \
             receiver accepts {} connections at a time, and the console {}; raise the limit \
             (`ulimit -Hn`, or LimitNOFILE= in systemd)",
            descriptors.unwrap_or_default(),
            limits.max_connections,
            receiver.max_connections,
            console.max_connections
        );
    }
    (receiver, console)
}

fn configured_limits(config: &Config) -> Limits {
    let receiver = &config.receiver;
    Limits {
        max_connections: receiver.max_connections,
        max_connections_per_address: receiver.max_connections_per_address,
        many_clients: receiver.trusted_proxies.clone(),
        max_header_bytes: receiver.max_header_bytes,
        handshake_timeout: receiver.handshake_timeout,
        header_timeout: receiver.header_timeout,
        idle_timeout: receiver.idle_timeout,
        ..Limits::default()
    }
}
