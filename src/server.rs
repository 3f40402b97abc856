//! The whole of `vidimus serve`, put together: store, keys, receiver, console.
//!
//! [`Server::start`] binds and opens everything, and [`Server::run`] works until it is told to stop.
//! The command and the tests both go this way. `certificate` and `authorization` are what it finds or
//! makes on first run.

mod authorization;
mod certificate;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::now;
use crate::config::{self, Authorization, Config, KeySource};
use crate::console::guard::Guard;
use crate::console::receiver_info::ReceiverInfo;
use crate::console::{self, Console};
use crate::control::{self, Control};
use crate::ingest::{self, ExpectedIds};
use crate::keys::ring::Judged;
use crate::keys::{KeyRing, Refresher, Suspicion, Watcher};
use crate::metrics::{CountedEvents, CountedObserver, Exposition, Metrics, Sources};
use crate::net::{
    Budget, Client, ClientOptions, Events, Limits, ListenError, Listener, ServerTls, Shutdown,
    TlsError, descriptors,
};
use crate::output::{MakeStdout, Output, OutputError, Outputs};
use crate::receiver::deliver::Deliverer;
use crate::receiver::{Caps, Input, Observer, Receiver};
use crate::store::{Directory, Options, Pulse, Reader, Retention, Store, StoreError};

/// How often the files of the certificate are looked at.
const CERTIFICATE_INTERVAL: Duration = Duration::from_secs(2);

/// The least time between two refreshes of the keys for the sake of a signature that failed.
const SUSPICION_PAUSE: Duration = Duration::from_secs(60);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The addresses.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The socket that the service manager listens on.
    #[error("cannot take over the socket of the service manager: {0}")]
    TakeOver(std::io::Error),
    /// The authorization value made on first run.
    #[error("cannot read or make the authorization value in {}: {why}", path.display())]
    Authorization {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An output.
    #[error("cannot start the output {name:?}: {why}")]
    Output {
        /// Its name.
        name: String,
        /// What is wrong.
        why: Box<OutputError>,
    },
    /// The threads that verify.
    #[error("cannot start threads: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// A server that is bound and opened.
pub struct Server {
    receiver_listener: Listener,
    console_listener: Listener,
    console: config::Console,
    about: ReceiverInfo,
    outputs: Arc<Outputs>,
    reader: Reader,
    receiver: Arc<Receiver>,
    refresher: Refresher,
    metrics: Arc<Metrics>,
    tls: Option<Arc<ServerTls>>,
    console_tls: Option<Arc<ServerTls>>,
    /// Those of the receiver and of the console.
    limits: (Limits, Limits),
    written: mpsc::Receiver<()>,
    /// Where commands ask, if it can be had.
    control: Option<Control>,
    /// Where the authorization value is that was made on first run, if it is in use.
    pub generated_authorization: Option<PathBuf>,
    /// Where the certificate is, if there is TLS: for `curl --cacert` if it is self-signed.
    pub certificate: Option<PathBuf>,
}

impl Server {
    /// Opens and binds everything, in a runtime of tokio with several threads.
    /// The outputs are there and none of them is at work: see [`Server::outputs`]. Deliveries are
    /// taken at `socket`, if there is one, and otherwise where the configuration says.
    pub async fn start(
        config: &Config,
        socket: Option<TcpListener>,
        observer: Arc<dyn Observer>,
        make_stdout: MakeStdout,
    ) -> Result<Server, StartError> {
        let directory = Directory::create(&config.data_dir)?;
        let metrics = Arc::new(metrics(config));
        let meter = Arc::clone(&metrics) as Arc<_>;
        let store = Arc::new(Store::open_watched(&directory, store_options(config), meter)?);
        // Under the store's lock.
        let control = Control::bind(&directory).inspect_err(
            |error| tracing::warn!(%error, "commands cannot ask this process: no control.sock"),
        );
        let (tls, certificate) = certificate::load(config, &config.receiver.tls)?;
        let console_tls = match &tls {
            // One pair, looked at once.
            Some(tls) if config.console.tls == config.receiver.tls => Some(Arc::clone(tls)),
            _ => certificate::load(config, &config.console.tls)?.0,
        };
        let receiver_listener = match socket {
            None => Listener::bind(config.receiver.listen, tls.clone()).await?,
            Some(socket) => {
                Listener::take_over(socket, tls.clone()).map_err(StartError::TakeOver)?
            }
        };
        let console_listener = Listener::bind(config.console.listen, console_tls.clone()).await?;

        let (inputs, generated_authorization) = inputs(config)?;
        let refresher = refresher(config, &store, &inputs, Arc::clone(&metrics) as Arc<_>)?;
        let observer = Arc::new(CountedObserver { metrics: Arc::clone(&metrics), inner: observer });
        let caps = caps(config);
        let pool =
            rayon::ThreadPoolBuilder::new().thread_name(|n| format!("verify-{n}")).build()?;
        let deliverer = Arc::new(Deliverer {
            store,
            ring: Arc::clone(&refresher.ring),
            suspicion: refresher.suspicion.clone(),
            pool,
            caps: caps.clone(),
            observer,
        });
        let budget =
            Budget::new(usize::try_from(config.receiver.max_in_flight).unwrap_or(usize::MAX));
        let (writing, written) = mpsc::channel(1);
        let about = ReceiverInfo::new(config, receiver_listener.address(), certificate.as_deref());
        Ok(Server {
            receiver_listener,
            console_listener,
            console: config.console.clone(),
            about,
            reader: Reader::open(&directory)?,
            outputs: Arc::new(Outputs::new(&directory, make_stdout)),
            receiver: Arc::new(Receiver { inputs, caps, budget, deliverer, writing }),
            refresher,
            metrics,
            tls,
            console_tls,
            limits: shared_limits(&limits(config)),
            written,
            control: control.ok(),
            generated_authorization,
            certificate,
        })
    }

    /// The receiver's address, with the real port.
    pub fn receiver_address(&self) -> SocketAddr {
        self.receiver_listener.address()
    }

    /// The console's address, with the real port.
    pub fn console_address(&self) -> SocketAddr {
        self.console_listener.address()
    }

    /// Whether the console speaks TLS.
    pub fn console_has_tls(&self) -> bool {
        self.console_tls.is_some()
    }

    /// The keys at hand.
    pub fn ring(&self) -> &Arc<KeyRing> {
        &self.refresher.ring
    }

    /// Asks for the keys to be read again.
    pub fn suspicion(&self) -> Suspicion {
        self.refresher.suspicion.clone()
    }

    /// Tells whether the writer of the store gets on.
    pub fn pulse(&self) -> Pulse {
        self.receiver.deliverer.store.pulse()
    }

    /// The outputs, to be set before the server runs and to be changed while it does.
    pub fn outputs(&self) -> &Arc<Outputs> {
        &self.outputs
    }

    /// Starts the outputs, so that what is stored from now on goes out.
    pub fn start_outputs(&self, outputs: &[Output]) -> Result<(), StartError> {
        let failed = self.outputs.set(outputs).err().into_iter().flatten().next();
        failed.map_or(Ok(()), |(name, why)| Err(StartError::Output { name, why: Box::new(why) }))
    }

    /// Reads the key sets that are in files, so that what comes first is verified already.
    pub async fn read_key_files(&self) {
        self.refresher.read_files().await;
    }

    /// Works until shutdown: then no new connections, those in flight answered, the store closed.
    pub async fn run(self, shutdown: Shutdown) {
        let Server { receiver, refresher, limits, mut written, tls, console_tls, outputs, .. } =
            self;
        let (limits, console_limits) = limits;
        let own = console_tls
            .clone()
            .filter(|own| tls.as_ref().is_none_or(|receivers| !Arc::ptr_eq(own, receivers)));
        for tls in tls.iter().chain(&own).map(Arc::clone) {
            tokio::spawn(tls.watch(CERTIFICATE_INTERVAL, shutdown.clone(), certificate::report));
        }
        // What a crash kept from being checked again.
        refresher.store.recheck(Arc::clone(&refresher.ring) as Arc<_>);
        let ring = Arc::clone(&refresher.ring);
        let refreshing = tokio::spawn(refresher.run());

        let sources = Sources {
            budget: receiver.budget.clone(),
            listeners: vec![
                ("receiver", self.receiver_listener.connections(), tls),
                ("console", self.console_listener.connections(), console_tls.clone()),
            ],
            ring: Arc::clone(&ring),
            health: Arc::clone(receiver.deliverer.store.health()),
        };
        if let Some(control) = self.control {
            let (deliverer, writing) = (Arc::clone(&receiver.deliverer), receiver.writing.clone());
            let work = move |task| {
                // The shutdown waits for it as for a delivery.
                let _writing = &writing;
                control::by(&deliverer, task).map_err(|error| error.to_string())
            };
            tokio::spawn(control.serve(Arc::new(work), shutdown.clone()));
        }
        let health = Arc::clone(&sources.health);
        let exposition = Exposition::new(Arc::clone(&self.metrics), sources);
        if let Err(error) = tokio::task::block_in_place(|| exposition.begin(&self.reader)) {
            tracing::warn!(%error, "when entries were received last is not known to the metrics");
        }
        let address = self.console_listener.address();
        let guard = Guard::new(address, self.console.hosts, self.console.token)
            .with_tls(console_tls.is_some())
            .with_proxies(receiver.caps.trusted_proxies.clone());
        let router = Console::new(
            self.reader,
            ring,
            health,
            exposition,
            self.about,
            guard,
            shutdown.clone(),
        )
        .router();
        let events = |listener| -> Arc<dyn Events> {
            let (metrics, inner) = (Arc::clone(&self.metrics), Arc::clone(&receiver.deliverer));
            Arc::new(CountedEvents { metrics, listener, inner })
        };
        let console = self.console_listener.serve(
            move |request, peer| console::handle(router.clone(), request, peer),
            console_limits,
            events("console"),
            shutdown.clone(),
        );
        let handler = {
            let receiver = Arc::clone(&receiver);
            move |request, peer| Arc::clone(&receiver).handle(request, peer)
        };
        let mut over = shutdown.clone();
        let deliveries =
            self.receiver_listener.serve(handler, limits, events("receiver"), shutdown);
        tokio::join!(deliveries, console);

        refreshing.abort();
        let _ = refreshing.await;
        // Writes that have begun hold the other ends.
        drop(receiver);
        tokio::select! {
            _ = written.recv() => {}
            () = over.over() => tracing::warn!("some writes take longer than the shutdown may"),
        }
        // After the last write. Who reads standard output may have stopped reading.
        tokio::select! {
            _ = tokio::task::spawn_blocking(move || outputs.stop()) => {}
            () = over.over() => tracing::warn!("some outputs take longer than the shutdown may"),
        }
    }
}

/// What counts, with the names that the configuration has.
fn metrics(config: &Config) -> Metrics {
    let inputs: Vec<_> = config.inputs.iter().map(|input| input.name.as_str()).collect();
    let sources = config.inputs.iter().flat_map(|input| &input.keys);
    Metrics::new(&inputs, &sources.map(ToString::to_string).collect::<Vec<_>>())
}

/// How the store is kept.
pub fn store_options(config: &Config) -> Options {
    Options {
        segment_entries: config.store.segment_entries,
        segment_age: config.store.segment_age,
        retention: Retention { age: config.store.retention_age, size: config.store.retention_size },
        quarantine_size: config.store.quarantine_size,
    }
}

/// The receiver's caps and time-outs.
pub fn caps(config: &Config) -> Caps {
    let receiver = &config.receiver;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Caps {
        max_body: size(receiver.max_body),
        max_decoded: size(receiver.max_decoded),
        lines: ingest::Caps {
            max_line: size(receiver.max_line),
            max_lines: size(receiver.max_lines),
        },
        body_timeout: receiver.body_timeout,
        queue_timeout: receiver.queue_timeout,
        trusted_proxies: receiver.trusted_proxies.clone(),
    }
}

/// The limits of the receiver and of the console, as far as the system has descriptors for them.
fn shared_limits(limits: &Limits) -> (Limits, Limits) {
    let open = descriptors::raise();
    let (receiver, console) = descriptors::shared(limits, open);
    if (&receiver, &console) != (limits, limits) {
        tracing::warn!(
            "this process may have {} files open, too few for receiver.max_connections = {}: the \
             receiver takes {} connections at a time, and the console {}; raise the limit \
             (`ulimit -Hn`, or LimitNOFILE= in systemd)",
            open.unwrap_or_default(),
            limits.max_connections,
            receiver.max_connections,
            console.max_connections
        );
    }
    (receiver, console)
}

fn limits(config: &Config) -> Limits {
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

/// The inputs, and the file of the authorization value that was made on first run, if one uses it.
fn inputs(config: &Config) -> Result<(Vec<Arc<Input>>, Option<PathBuf>), StartError> {
    let mut generated = None;
    let mut inputs = Vec::new();
    for input in &config.inputs {
        let authorization = match &input.authorization {
            Authorization::Given(values) => values.clone(),
            Authorization::Generated => {
                let path = config.data_dir.join("authorization");
                let secret = authorization::generated(&path)
                    .map_err(|why| StartError::Authorization { path: path.clone(), why })?;
                generated = Some(path);
                vec![secret]
            }
        };
        let expected =
            ExpectedIds { org_ids: input.org_ids.clone(), portal_ids: input.portal_ids.clone() };
        inputs.push(Arc::new(Input {
            name: input.name.clone(),
            path: input.path.clone(),
            authorization,
            expected: Arc::new(expected),
            profile: input.response_profile,
        }));
    }
    Ok((inputs, generated))
}

/// What keeps the keys current; the ring begins with what the catalog knows.
fn refresher(
    config: &Config,
    store: &Arc<Store>,
    inputs: &[Arc<Input>],
    watcher: Arc<dyn Watcher>,
) -> Result<Refresher, StartError> {
    let of = |input: &crate::config::Input| -> Vec<String> {
        input.keys.iter().map(ToString::to_string).collect()
    };
    let named: Vec<_> = config.inputs.iter().map(|input| (input.name.clone(), of(input))).collect();
    store.enter_inputs(&named)?;
    let judged: HashMap<_, _> = named
        .into_iter()
        .zip(inputs)
        .map(|((name, sources), input)| {
            (name, Judged { sources, expected: Arc::clone(&input.expected) })
        })
        .collect();
    let max_line = caps(config).lines.max_line;
    let ring = KeyRing::new(judged, config.keys.retire_after, max_line, store.keys()?, now());
    let mut sources: Vec<KeySource> = Vec::new();
    for source in config.inputs.iter().flat_map(|input| &input.keys) {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    Ok(Refresher {
        watcher,
        ring: Arc::new(ring),
        store: Arc::clone(store),
        sources,
        client: Client::new(ClientOptions::default())?,
        every: config.keys.refresh,
        pause: SUSPICION_PAUSE,
        suspicion: Suspicion::default(),
    })
}
