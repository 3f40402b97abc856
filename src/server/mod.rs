//! The server behind `vidimus serve`: store, keys, receiver, console and outputs.
//!
//! [`Server::start`] opens and binds everything, and [`Server::run`] serves until shutdown. `credentials`
//! loads the authorization value and the certificates, or makes them on the first run. `uptime` records
//! when the server runs. [`receive`] is the server behind `vidimus receive`, which has no store.

mod credentials;
mod listeners;
mod log;
mod parties;
pub(crate) mod receive;
mod uptime;

use std::collections::HashMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use self::credentials::generated_authorization;
use self::listeners::Listeners;
use self::log::Log;
use self::uptime::Uptimes;
use crate::archive::archiver::Archiver;
use crate::archive::error::ArchiveError;
use crate::archive::place::Place;
use crate::clock::now;
use crate::config::{self, Authorization, Config, KeySource, SourceType};
use crate::console::actions::Actions;
use crate::console::guard::Guard;
use crate::console::receiver_info::ReceiverInfo;
use crate::console::{self, Console};
use crate::control::{self, ControlSocket, TaskHandler};
use crate::ingest::{self, ExpectedIds};
use crate::journal::cipher::{Cipher, KeyFileError};
use crate::keys::{InputVerification, KeyRing, RefreshObserver, RefreshTrigger, Refresher};
use crate::konnect::client as konnect;
use crate::log::LogError;
use crate::metrics::{
    CountingDeliveryObserver, Exposition, GaugeSources, Has, Metrics, ReceiverSources,
};
use crate::net::{Client, ClientOptions, ListenError, MemoryBudget, Shutdown, TlsError};
use crate::objects::{Bucket, ObjectError};
use crate::output::{MakeStdout, Output, OutputError, Outputs};
use crate::random::NoRandomBytes;
use crate::receiver::deliver::Deliverer;
use crate::receiver::fault::Faults;
use crate::receiver::kept::KeptRequests;
use crate::receiver::storing::StoreSink;
use crate::receiver::{DeliveryObserver, InputEndpoint, Receiver, ReceiverLimits};
use crate::source::journal::ingest::Ingester;
use crate::source::journal::skip::Skipper;
use crate::source::journal::status::SourceStatus;
use crate::source::journal::{self, JournalSource};
use crate::source::{self, KonnectPull, Reconciler};
use crate::store::{Directory, Options, Pulse, Reader, Retention, Store, StoreError};

/// The shortest time between two key refreshes that a failed signature triggers.
const MIN_REFRESH_TRIGGER_INTERVAL: Duration = Duration::from_secs(60);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("cannot use the socket of the service manager: {0}")]
    ActivationSocket(std::io::Error),
    #[error("cannot read or make the authorization value in {}: {why}", path.display())]
    Authorization { path: PathBuf, why: String },
    #[error("cannot start the output {name:?}: {why}")]
    Output { name: String, why: Box<OutputError> },
    #[error(transparent)]
    Random(#[from] NoRandomBytes),
    #[error("cannot make the data directory {}: {source}", path.display())]
    DataDir { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error("cannot start the threads that verify signatures: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// A server whose store is open and whose listeners are bound.
pub(crate) struct Server {
    pub(crate) listeners: Listeners,
    guard: Guard,
    about: ReceiverInfo,
    actions: Actions,
    outputs: Arc<Outputs>,
    reader: Reader,
    receiver: Arc<Receiver>,
    refresher: Refresher,
    metrics: Arc<Metrics>,
    sources: Vec<KonnectPull>,
    /// What compares the store with Konnect, if it is to.
    reconciler: Option<Reconciler>,
    /// What reads the journal, if a source does.
    journal: Option<JournalSource>,
    archiver: Option<Archiver>,
    log: Log,
    /// Closed when the last write has ended.
    written: mpsc::Receiver<()>,
    /// `None` if the socket could not be bound.
    control: Option<ControlSocket>,
    /// The file of the authorization value made on the first run, if an input uses it.
    pub(crate) generated_authorization: Option<PathBuf>,
}

impl Server {
    /// Opens and binds everything. Must be called in a runtime of tokio with several threads. The outputs
    /// do not run until [`Server::start_outputs`] is called. The receiver uses `socket` if there is one,
    /// and the configured address otherwise. `konnect` is the client of Konnect's API: without it, nothing
    /// runs that calls it.
    pub(crate) async fn start(
        config: &Config,
        socket: Option<TcpListener>,
        konnect: Option<konnect::Client>,
        observer: Arc<dyn DeliveryObserver>,
        make_stdout: MakeStdout,
    ) -> Result<Server, StartError> {
        let directory = Directory::create(&config.data_dir)?;
        let metrics = Arc::new(metrics(config));
        let store_observer = Arc::clone(&metrics) as Arc<_>;
        let store =
            Arc::new(Store::open_with_observer(&directory, store_options(config), store_observer)?);
        // The open store has the lock that this needs.
        let control = ControlSocket::bind(&directory).inspect_err(
            |error| tracing::warn!(%error, "commands cannot send tasks: control.sock cannot be bound"),
        );
        let mut listeners = Listeners::bind(config, socket).await?;
        listeners.bind_log(config).await?;
        let (inputs, generated_authorization) = inputs(config)?;
        let refresher = refresher(config, &store, &inputs, Arc::clone(&metrics) as Arc<_>)?;
        let observer: Arc<dyn DeliveryObserver> =
            Arc::new(CountingDeliveryObserver { metrics: Arc::clone(&metrics), inner: observer });
        let receiver_limits = receiver_limits(config);
        let reconciler = reconciler(config, konnect.clone(), &store, &directory)?;
        let sources = sources(config, konnect, &store, &directory)?;
        let log = Log::open(config, &directory, &store, &refresher.client)?;
        let pool =
            rayon::ThreadPoolBuilder::new().thread_name(|n| format!("verify-{n}")).build()?;
        let deliverer = Arc::new(Deliverer {
            sink: StoreSink {
                store,
                ring: Arc::clone(&refresher.ring),
                refresh: refresher.trigger.clone(),
                pool,
                observer: Arc::clone(&observer),
                task: Mutex::default(),
            },
            limits: receiver_limits.clone(),
            observer,
            faults: Arc::new(faults(config)),
            kept: Arc::new(KeptRequests::new(config.console.keep_requests)),
        });
        let budget = budget(config);
        let (writing, written) = mpsc::channel(1);
        let journal = journal_source(config, &deliverer, &directory, &writing)?;
        let reading = journal.as_ref().map(JournalSource::status);
        let archiver = archiver(config, &directory, &deliverer.sink.store, reading)?;
        let about = ReceiverInfo::new(
            config,
            listeners.receiver_address(),
            listeners.certificate.as_deref(),
        );
        Ok(Server {
            guard: listeners.guard(config.console.clone(), &config.receiver),
            listeners,
            about,
            actions: Actions::new(
                config.console.actions,
                config.console.token.as_ref(),
                &directory,
            )?,
            reader: Reader::open(&directory)?,
            outputs: Arc::new(Outputs::new(&directory, make_stdout)),
            receiver: Arc::new(Receiver {
                inputs,
                limits: receiver_limits,
                budget,
                deliverer,
                writing,
            }),
            refresher,
            metrics,
            sources,
            reconciler,
            journal,
            archiver,
            log,
            written,
            control: control.ok(),
            generated_authorization,
        })
    }

    pub(crate) fn ring(&self) -> &Arc<KeyRing> {
        &self.refresher.ring
    }

    /// Asks for a refresh of the keys.
    pub(crate) fn refresh_trigger(&self) -> RefreshTrigger {
        self.refresher.trigger.clone()
    }

    /// Tells whether the writer of the store makes progress.
    pub(crate) fn pulse(&self) -> Pulse {
        self.receiver.deliverer.sink.store.pulse()
    }

    /// The outputs. They can be changed while the server runs.
    pub(crate) fn outputs(&self) -> &Arc<Outputs> {
        &self.outputs
    }

    /// Starts the outputs. Must be called before [`Server::run`].
    pub(crate) fn start_outputs(&self, outputs: &[Output]) -> Result<(), StartError> {
        let failed = self.outputs.set(outputs).err().into_iter().flatten().next();
        failed.map_or(Ok(()), |(name, why)| Err(StartError::Output { name, why: Box::new(why) }))
    }

    /// Reads the key sets in files, so that the first deliveries can be verified.
    pub(crate) async fn read_key_files(&self) {
        self.refresher.read_files().await;
    }

    /// Serves until shutdown. Then it accepts no new connections, answers the requests in progress, and
    /// closes the store.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let Server { receiver, refresher, listeners, mut written, outputs, .. } = self;
        // A crash may have ended the last recheck.
        refresher.store.recheck(Arc::clone(&refresher.ring) as Arc<_>);
        let ring = Arc::clone(&refresher.ring);
        let refreshing = tokio::spawn(refresher.run());
        for source in self.sources {
            let (shutdown, writing) = (shutdown.clone(), receiver.writing.clone());
            tokio::spawn(async move {
                source.run(shutdown).await;
                // The end waits for this as for a delivery.
                drop(writing);
            });
        }
        if let Some(reconciler) = self.reconciler {
            let (shutdown, writing) = (shutdown.clone(), receiver.writing.clone());
            tokio::spawn(async move {
                reconciler.run(shutdown).await;
                drop(writing);
            });
        }
        let journal = self.journal.as_ref().map(|source| Arc::clone(source.status()));
        let skipper = self.journal.as_ref().map(JournalSource::skipper);
        if let Some(source) = self.journal {
            tokio::spawn(source.run(shutdown.clone()));
        }
        let archive = self.archiver.as_ref().map(|archiver| Arc::clone(archiver.status()));
        let archiving = self.archiver.and_then(Archiver::start);
        let (log, checkpoints) = (Arc::clone(self.log.status()), self.log.checkpoints().clone());
        let parties = self.log.parties();
        let signed_log = self.log.signed().clone();
        let signing = self.log.start();

        let (store, writing) =
            (Arc::clone(&receiver.deliverer.sink.store), receiver.writing.clone());
        let has_receiver = listeners.receiver_address().is_some();
        let uptimes = Uptimes::new(store, has_receiver, journal.is_some()).run(shutdown.clone());
        tokio::spawn(async move {
            uptimes.await;
            // The end waits for the last record.
            drop(writing);
        });

        let sources = GaugeSources {
            receiver: ReceiverSources {
                budget: receiver.budget.clone(),
                listeners: listeners.gauges(),
            },
            ring: Arc::clone(&ring),
            health: Arc::clone(receiver.deliverer.sink.store.health()),
            journal: journal.clone(),
            archive: archive.clone(),
            log: Arc::clone(&log),
            witnesses: parties.witnesses,
            authority: parties.authority,
        };
        if let Some(control) = self.control {
            tokio::spawn(control.serve(task_handler(&receiver, skipper), shutdown.clone()));
        }
        let health = Arc::clone(&sources.health);
        let exposition = Exposition::new(Arc::clone(&self.metrics), sources);
        if let Err(error) =
            tokio::task::block_in_place(|| exposition.restore_last_received(&self.reader))
        {
            tracing::warn!(%error, "the metrics do not know when entries were last received");
        }
        let pages = Console::new(console::Parts {
            reader: self.reader,
            ring,
            health,
            metrics: exposition,
            journal,
            archive,
            log,
            checkpoints,
            signed_log,
            receiver: self.about,
            deliverer: Arc::clone(&receiver.deliverer),
            outputs: Arc::clone(&outputs),
            inputs: receiver.inputs.clone(),
            tls: listeners.tls.clone(),
            actions: self.actions,
            guard: self.guard,
            shutdown: shutdown.clone(),
        });
        tokio::spawn(Arc::clone(&pages).sample_lag(shutdown.clone()));
        let mut ending = shutdown.clone();
        let (pages, log) = (pages.router(), pages.log_router());
        listeners.serve(&receiver, pages, log, self.metrics.receiving(), shutdown).await;

        refreshing.abort();
        let _ = refreshing.await;
        // Running writes hold the senders.
        drop(receiver);
        finish("some writes are unfinished", written.recv(), &mut ending).await;
        // After the last write: the last checkpoint covers all of them.
        let stopped = tokio::task::spawn_blocking(move || drop(signing));
        finish("the last checkpoint is not signed yet", stopped, &mut ending).await;
        // An output may block, because nothing reads its standard output.
        let stopped = tokio::task::spawn_blocking(move || outputs.stop());
        finish("some outputs still run", stopped, &mut ending).await;
        let stopped = tokio::task::spawn_blocking(move || drop(archiving));
        finish("the archive is still written", stopped, &mut ending).await;
    }
}

/// The sources, ready to run.
fn sources(
    config: &Config,
    client: Option<konnect::Client>,
    store: &Arc<Store>,
    directory: &Directory,
) -> Result<Vec<KonnectPull>, StartError> {
    let Some(client) = client else { return Ok(Vec::new()) };
    let caps = receiver_limits(config).lines;
    let pulls = config.sources.iter().filter(|source| source.r#type == SourceType::KonnectPull);
    let source = |source: &config::FetchedSource| {
        let settings = source::Settings {
            name: source.name.clone(),
            interval: source.interval,
            delay: source.delay,
            // What is older would be deleted again.
            since: source.since.or(config.store.retention_age),
        };
        KonnectPull::new(settings, client.clone(), Arc::clone(store), directory, caps)
    };
    Ok(pulls.map(source).collect::<Result<_, _>>()?)
}

/// What compares the store with Konnect, ready to run, if it is to.
fn reconciler(
    config: &Config,
    client: Option<konnect::Client>,
    store: &Arc<Store>,
    directory: &Directory,
) -> Result<Option<Reconciler>, StartError> {
    let (Some(client), Some(every)) = (client, config.konnect.reconcile_every) else {
        return Ok(None);
    };
    let retention = config.konnect.retention;
    Ok(Some(Reconciler::new(every, retention, client, Arc::clone(store), directory)?))
}

/// What reads the journal, ready to run, if the configuration has such a source.
fn journal_source(
    config: &Config,
    deliverer: &Arc<Deliverer>,
    directory: &Directory,
    writing: &mpsc::Sender<()>,
) -> Result<Option<JournalSource>, StartError> {
    let mut sources = config.sources.iter();
    let source = sources.find(|source| source.r#type == SourceType::Journal);
    let (Some(source), Some(url)) = (source, &config.journal.url) else { return Ok(None) };
    let cipher = config.journal.key_file.as_deref().map(Cipher::from_file).transpose()?;
    let ingester = Ingester::new(Arc::clone(deliverer), cipher, config.journal.max_size);
    let settings = journal::Settings {
        name: source.name.clone(),
        poll_interval: config.journal.poll_interval,
        seal_after: config.journal.seal_after,
    };
    let store = (Arc::clone(&deliverer.sink.store), directory);
    let bucket = Bucket::open(url)?;
    Ok(Some(JournalSource::new(settings, bucket, store, ingester, writing.clone())))
}

/// The memory for bodies in flight.
fn budget(config: &Config) -> MemoryBudget {
    MemoryBudget::new(usize::try_from(config.receiver.max_in_flight).unwrap_or(usize::MAX))
}

/// Performs the tasks of commands.
fn task_handler(receiver: &Receiver, skipper: Option<Skipper>) -> Arc<TaskHandler> {
    let (deliverer, writing) = (Arc::clone(&receiver.deliverer), receiver.writing.clone());
    Arc::new(move |task| {
        // The shutdown waits for the task as for a delivery.
        let _writing = &writing;
        control::perform(&deliverer, skipper.as_ref(), task).map_err(|error| error.to_string())
    })
}

/// Waits for `done` until the deadline of the shutdown, and warns if it passes.
async fn finish(unfinished: &str, done: impl Future, shutdown: &mut Shutdown) {
    tokio::select! {
        _ = done => {}
        () = shutdown.over() => tracing::warn!("the shutdown timed out: {unfinished}"),
    }
}

/// The archiver of the store, if there is an archive. `reading` is how far the source is that reads
/// the journal, if one does: it publishes no more than what is archived. Nothing is sent yet.
fn archiver(
    config: &Config,
    directory: &Directory,
    store: &Arc<Store>,
    reading: Option<&Arc<SourceStatus>>,
) -> Result<Option<Archiver>, ArchiveError> {
    let Some(url) = &config.archive.url else { return Ok(None) };
    let place = Place::open(url, Handle::current())?;
    let reading = reading.map(Arc::clone);
    let reached = move |archived: &_| {
        if let Some(reading) = &reading {
            reading.archived(archived);
        }
    };
    Archiver::new(directory, Arc::clone(store), place, Box::new(reached)).map(Some)
}

/// The metrics, with the names of the configured inputs and sources.
fn metrics(config: &Config) -> Metrics {
    let inputs: Vec<_> = config.inputs.iter().map(|input| input.name.as_str()).collect();
    let sources = config.inputs.iter().flat_map(|input| &input.keys);
    let reads_journal = config.sources.iter().any(|one| one.r#type == SourceType::Journal);
    let has = Has { journal: reads_journal, archive: config.archive.url.is_some() };
    Metrics::new(&inputs, &sources.map(ToString::to_string).collect::<Vec<_>>(), has)
}

/// The faults, none yet, for the configured inputs.
fn faults(config: &Config) -> Faults {
    let inputs = config.inputs.iter().map(|input| input.name.clone());
    Faults::new(config.console.actions, inputs.collect())
}

pub(crate) fn store_options(config: &Config) -> Options {
    let has_archive = config.archive.url.is_some();
    Options {
        segment_entries: config.store.segment_entries,
        // What is not in the archive yet is what a loss of this store would cost.
        segment_age: match has_archive {
            true => config.store.segment_age.min(config.archive.max_delay),
            false => config.store.segment_age,
        },
        retention: Retention { age: config.store.retention_age, size: config.store.retention_size },
        retention_needs_archive: has_archive && config.archive.retention_needs_archive,
        quarantine_size: config.store.quarantine_size,
    }
}

/// The size limits and time-outs of the receiver.
pub(crate) fn receiver_limits(config: &Config) -> ReceiverLimits {
    let receiver = &config.receiver;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    ReceiverLimits {
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

/// The inputs, and the file of the generated authorization value if an input uses it.
fn inputs(config: &Config) -> Result<(Vec<Arc<InputEndpoint>>, Option<PathBuf>), StartError> {
    let mut generated = None;
    let mut inputs = Vec::new();
    for input in &config.inputs {
        let authorization = match &input.authorization {
            Authorization::Given(values) => values.clone(),
            Authorization::Unused => Vec::new(),
            Authorization::Generated => {
                let path = config.data_dir.join("authorization");
                let secret = generated_authorization(&path)
                    .map_err(|why| StartError::Authorization { path: path.clone(), why })?;
                generated = Some(path);
                vec![secret]
            }
        };
        let expected =
            ExpectedIds { org_ids: input.org_ids.clone(), portal_ids: input.portal_ids.clone() };
        inputs.push(Arc::new(InputEndpoint {
            name: input.name.clone(),
            path: input.path.clone(),
            authorization,
            expected: Arc::new(expected),
            profile: input.response_profile,
        }));
    }
    Ok((inputs, generated))
}

/// The refresher of the keys. Its ring begins with the keys of the catalog.
fn refresher(
    config: &Config,
    store: &Arc<Store>,
    inputs: &[Arc<InputEndpoint>],
    observer: Arc<dyn RefreshObserver>,
) -> Result<Refresher, StartError> {
    let of = |input: &crate::config::Input| -> Vec<String> {
        input.keys.iter().map(ToString::to_string).collect()
    };
    let named: Vec<_> = config.inputs.iter().map(|input| (input.name.clone(), of(input))).collect();
    store.enter_inputs(&named)?;
    let verification: HashMap<_, _> = named
        .into_iter()
        .zip(inputs)
        .map(|((name, sources), input)| {
            (name, InputVerification { sources, expected: Arc::clone(&input.expected) })
        })
        .collect();
    let max_line = receiver_limits(config).lines.max_line;
    let retirements = store.enter_retirement(config.keys.retire_after, now())?;
    let ring = KeyRing::new(verification, retirements, max_line, store.keys()?, now());
    let mut sources: Vec<KeySource> = Vec::new();
    for source in config.inputs.iter().flat_map(|input| &input.keys) {
        if !sources.contains(source) {
            sources.push(source.clone());
        }
    }
    Ok(Refresher {
        ring: Arc::new(ring),
        store: Arc::clone(store),
        sources,
        client: Client::new(ClientOptions::default())?,
        interval: config.keys.refresh,
        min_trigger_interval: MIN_REFRESH_TRIGGER_INTERVAL,
        trigger: RefreshTrigger::default(),
        observer,
    })
}
